//! Agents that lie about what runs: whatever they say, no inventory is lost, and the next true answer brings the truth back.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::fleet::{
    Application, ApplicationKey, ApplicationKind, ApplicationStatus, ObservedApplication, Server,
    ServerStatus, VersionState,
};
use drover_domain::haproxy::AdminState;
use drover_domain::haproxy::action::ActionStatus;
use drover_domain::page::PageRequest;
use drover_ports::{ApplicationFilter, FleetView};
use drover_testkit::agent::{Agent, RefusalShape, Sight, obey};

use crate::actions::{SECOND, Scene as HaproxyScene, code, tell_sessions};
use crate::harness::{Harness, address};

const SIZES: [usize; 4] = [1, 5, 20, 100];

/// Lies that need several applications: of one they leave nothing, or the truth.
const OF_SEVERAL: [&str; 6] = [
    "half of it",
    "one half, then the other",
    "more than a fifth is missing",
    "in another order",
    "a fifth is missing",
    "half of it, said twice",
];

fn application(number: usize) -> ObservedApplication {
    let kind = match number % 3 {
        0 => ApplicationKind::Docker,
        1 => ApplicationKind::Site,
        _ => ApplicationKind::Service,
    };
    ObservedApplication {
        name: format!("app{number}_1"),
        kind,
        status: ApplicationStatus::Online,
        version: VersionState {
            version: Some("1.0".to_owned()),
            ..VersionState::default()
        },
        address: Some("10.0.0.1".to_owned()),
        port: Some(8_000 + u16::try_from(number).unwrap()),
        pid: None,
        path: Some("/srv".to_owned()),
        log_path: None,
        container_id: None,
        start_time: None,
    }
}

fn truth(size: usize) -> Vec<ObservedApplication> {
    (1..=size).map(application).collect()
}

fn tells(applications: Vec<ObservedApplication>) -> Agent {
    Agent::Answers(Sight {
        applications,
        ..Sight::default()
    })
}

/// What may become of the applications that the last believed answer had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// All of them are as they were.
    Untouched,
    /// All of them are online, and their versions are known; the rest of what is seen of them may be another.
    Online,
    /// All of them are there; what is said of their status is believed.
    There,
}

/// What an agent says in polls one after another, in place of the truth, and what that may do.
type Lie = (&'static str, Vec<Agent>, Leaves);

/// What runs.
struct Truth(Vec<ObservedApplication>);

impl Truth {
    fn told(&self) -> Agent {
        tells(self.0.clone())
    }

    /// Only those whose places are kept.
    fn kept(&self, keep: impl Fn(usize) -> bool) -> Agent {
        let places = self.0.iter().enumerate();
        let kept = places.filter(|(place, _)| keep(*place));
        tells(kept.map(|(_, application)| application.clone()).collect())
    }

    fn changed(&self, change: impl FnMut(&mut ObservedApplication)) -> Agent {
        let mut applications = self.0.clone();
        applications.iter_mut().for_each(change);
        tells(applications)
    }

    /// A fifth may go at once; of few that is none.
    const fn fifth(&self) -> usize {
        self.0.len() / 5
    }
}

fn empty() -> Agent {
    tells(Vec::new())
}

fn refuses(status: u16) -> Agent {
    Agent::Refuses {
        shape: RefusalShape::Router,
        status,
        message: "scan failed".to_owned(),
    }
}

/// Less than there is.
fn shrunken(truth: &Truth) -> Vec<Lie> {
    let (size, fifth) = (truth.0.len(), truth.fifth());
    let honest = || truth.told();
    let on_and_off = vec![empty(), honest(), empty(), honest(), empty()];
    let mut halves = vec![truth.kept(|place| place * 2 < size.saturating_sub(1))];
    if size > 1 {
        halves.push(truth.kept(|place| place * 2 > size));
    }
    let nameless = Agent::Answers(Sight {
        nameless: size,
        ..Sight::default()
    });
    let of_another_kind = truth.changed(|one| {
        one.kind = match one.kind {
            ApplicationKind::Docker => ApplicationKind::Site,
            ApplicationKind::Site | ApplicationKind::Service => ApplicationKind::Docker,
        };
    });
    let lies = [
        ("an empty list", vec![empty()]),
        (
            "an empty list, again and again between true ones",
            on_and_off,
        ),
        ("half of it", vec![truth.kept(|place| place * 2 >= size)]),
        ("one half, then the other", halves),
        (
            "more than a fifth is missing",
            vec![truth.kept(|place| place > fifth)],
        ),
        (
            "nothing but new names",
            vec![truth.changed(|one| one.name.insert(0, 'x'))],
        ),
        ("all of another kind", vec![of_another_kind]),
        ("only entries without a name", vec![nameless]),
    ];
    lies.map(|(lie, polls)| (lie, polls, Leaves::Untouched))
        .into()
}

/// The same content in another form.
fn garbled(truth: &Truth) -> Vec<Lie> {
    let twice = tells([truth.0.clone(), truth.0.clone()].concat());
    let backwards = tells(truth.0.iter().rev().cloned().collect());
    let no_versions = truth.changed(|one| one.version = VersionState::default());
    let no_places = truth.changed(|one| (one.port, one.address) = (None, None));
    let no_paths = truth.changed(|one| one.path = None);
    let unknown = truth.changed(|one| one.status = ApplicationStatus::Unknown);
    let offline = truth.changed(|one| one.status = ApplicationStatus::Offline);
    [
        ("each twice", twice, Leaves::Untouched),
        ("in another order", backwards, Leaves::Untouched),
        ("no versions", no_versions, Leaves::Online),
        ("no ports and no addresses", no_places, Leaves::Online),
        ("no paths", no_paths, Leaves::Online),
        (
            "words for a status that nobody knows",
            unknown,
            Leaves::There,
        ),
        ("everything is offline", offline, Leaves::There),
    ]
    .map(|(lie, told, leaves)| (lie, vec![told], leaves))
    .into()
}

/// No answer, or none that can be read.
fn mute(truth: &Truth) -> Vec<Lie> {
    let honest = || truth.told();
    let now_and_then = vec![Agent::Hangs, honest(), refuses(503), honest(), Agent::Hangs];
    [
        ("nonsense", vec![Agent::SpeaksNonsense; 3]),
        ("an answer that breaks off", vec![Agent::BreaksOff; 3]),
        ("an answer without an end", vec![Agent::Babbles; 3]),
        ("one poll that is not answered", vec![Agent::Hangs]),
        ("one answer that drips", vec![Agent::Drips]),
        ("one no", vec![refuses(500)]),
        ("one redirect", vec![Agent::Redirects]),
        ("no answer now and then", now_and_then),
    ]
    .map(|(lie, polls)| (lie, polls, Leaves::Untouched))
    .into()
}

/// What can be so: believed, and nothing of it is lost all the same.
fn possible(truth: &Truth) -> Vec<Lie> {
    let (size, fifth) = (truth.0.len(), truth.fifth());
    let half = || truth.kept(|place| place * 2 >= size);
    [
        (
            "a fifth is missing",
            vec![truth.kept(|place| place >= fifth)],
        ),
        ("nothing runs, said twice", vec![empty(), empty()]),
        ("half of it, said twice", vec![half(), half()]),
        ("no answer for a long time", vec![Agent::Hangs; 5]),
    ]
    .map(|(lie, polls)| (lie, polls, Leaves::There))
    .into()
}

struct Scene {
    harness: Harness,
    server: Server,
}

impl Scene {
    async fn of(size: usize) -> Self {
        let harness = Harness::new();
        let server = harness.add_server("s1", 1, false).await;
        let scene = Self { harness, server };
        scene.hear(tells(truth(size))).await;
        scene
    }

    /// Polls the server while its agent behaves like this.
    async fn hear(&self, agent: Agent) {
        self.harness.clock.advance(Duration::from_mins(1));
        self.harness.agents.arrange(address(&self.server), agent);
        let refreshed = self.harness.service.servers.refresh(self.server.key).await;
        assert!(refreshed.unwrap().is_some());
    }

    async fn known(&self) -> BTreeMap<ApplicationKey, Application> {
        let view: &dyn FleetView = &self.harness.store;
        let page = PageRequest {
            after: None,
            limit: PageRequest::LIMIT_MAX,
        };
        let found = view.applications(&ApplicationFilter::default(), page).await;
        let found = found.unwrap().items.into_iter();
        found.map(|found| (found.key, found)).collect()
    }
}

/// What is known, without when it was last seen: polls go on.
fn still(known: &BTreeMap<ApplicationKey, Application>) -> Vec<Application> {
    let still = |application: &Application| Application {
        last_seen: None,
        ..application.clone()
    };
    known.values().map(still).collect()
}

async fn check(size: usize, lie: &str, polls: Vec<Agent>, leaves: Leaves) {
    let scene = Scene::of(size).await;
    let before = scene.known().await;
    assert_eq!(before.len(), size);
    for agent in polls {
        scene.hear(agent).await;
        let after = scene.known().await;
        for (key, was) in &before {
            let now = after.get(key);
            assert!(now.is_some(), "{lie}, {size}: {was:?} is lost");
            let now = now.unwrap();
            assert_eq!(now.observed.version, was.observed.version, "{lie}, {size}");
            assert_eq!(
                (&now.group, now.number, now.catalog),
                (&was.group, was.number, was.catalog),
                "{lie}, {size}"
            );
            assert!(now.last_seen >= was.last_seen, "{lie}, {size}");
            match leaves {
                Leaves::Untouched => assert_eq!(now.observed, was.observed, "{lie}, {size}"),
                Leaves::Online => assert_eq!(
                    now.observed.status,
                    ApplicationStatus::Online,
                    "{lie}, {size}"
                ),
                Leaves::There => {}
            }
        }
        assert_eq!(
            still(&after).len(),
            size,
            "{lie}, {size}: what nobody has is there"
        );
    }
    scene.hear(tells(truth(size))).await;
    assert_eq!(
        still(&scene.known().await),
        still(&before),
        "{lie}, {size}: the truth is back"
    );
    assert_eq!(
        scene.harness.server("s1").await.status,
        ServerStatus::Online
    );
}

#[tokio::test]
async fn no_inventory_is_lost_whatever_agents_say() {
    let mut cases = 0;
    for size in SIZES {
        let truth = Truth(truth(size));
        for of in [shrunken, garbled, mute, possible] {
            for (lie, polls, leaves) in of(&truth) {
                if size == 1 && OF_SEVERAL.contains(&lie) {
                    continue;
                }
                Box::pin(check(size, lie, polls, leaves)).await;
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 27 * SIZES.len() - OF_SEVERAL.len());
}

/// Sessions on a server that is drained, before the command and after it: all, and those in old workers.
type Sessions = (Option<u64>, Option<u64>);

/// What an agent may say of old workers that proves no drain.
const OF_OLD_WORKERS: [(&str, Sessions, Sessions); 7] = [
    ("they never end", (Some(1), Some(0)), (Some(1), Some(1))),
    (
        "they grow",
        (Some(1), Some(1)),
        (Some(u64::MAX), Some(u64::MAX)),
    ),
    ("more than all", (Some(1), Some(0)), (Some(0), Some(3))),
    // This is what is made of a number that is none.
    ("garbage", (Some(1), Some(0)), (None, None)),
    (
        "garbage of the new one",
        (Some(0), Some(0)),
        (None, Some(0)),
    ),
    (
        "nothing after sessions",
        (Some(1), Some(1)),
        (Some(0), None),
    ),
    ("nothing after none", (Some(0), Some(0)), (Some(0), None)),
];

#[tokio::test(start_paused = true)]
async fn no_lie_about_old_workers_proves_a_drain() {
    for (lie, before, after) in OF_OLD_WORKERS {
        for wanted in [AdminState::Drain, AdminState::Maint] {
            let scene = HaproxyScene::new().await;
            let change = |(sessions, old): Sessions| {
                scene.harness.agents.change(&scene.agent, |sight| {
                    tell_sessions(sight, sessions, old);
                });
            };
            change(before);
            scene.on_command(move |sight, command| {
                obey(sight, command);
                tell_sessions(sight, after.0, after.1);
                Ok(())
            });
            let mut order = scene.order(1, wanted);
            order.request.wait = SECOND * 30;
            let action = scene.carry_out(order.clone()).await;
            assert_eq!(code(&action), Some("still_busy"), "{lie}: {action:?}");
            // A true answer is believed at once.
            change((Some(0), Some(0)));
            let action = scene.carry_out(order).await;
            assert_eq!(code(&action), None, "{lie}: {action:?}");
            assert_eq!(action.status, ActionStatus::Success, "{lie}");
        }
    }
}
