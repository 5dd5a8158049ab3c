//! Agents that lie about what runs: whatever they say, no inventory is lost, and the next true answer brings the truth back.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::fleet::{
    Application, ApplicationKey, ApplicationKind, ApplicationStatus, ObservedApplication, Server,
    ServerStatus, VersionState,
};
use drover_domain::page::PageRequest;
use drover_ports::{ApplicationFilter, FleetView};
use drover_testkit::agent::{Agent, RefusalShape, Sight};

use crate::harness::{Harness, address};

const SIZES: [usize; 4] = [1, 5, 20, 100];

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
fn lies(size: usize) -> Vec<(&'static str, Vec<Agent>, Leaves)> {
    let all = truth(size);
    let kept = |keep: &dyn Fn(usize) -> bool| -> Vec<ObservedApplication> {
        let places = all.iter().enumerate();
        let kept = places.filter(|(place, _)| keep(*place));
        kept.map(|(_, application)| application.clone()).collect()
    };
    let changed = |change: &dyn Fn(&mut ObservedApplication)| {
        let mut applications = all.clone();
        applications.iter_mut().for_each(change);
        tells(applications)
    };
    let empty = || tells(Vec::new());
    let honest = || tells(all.clone());
    let refuses = |status| Agent::Refuses {
        shape: RefusalShape::Router,
        status,
        message: "scan failed".to_owned(),
    };
    // A fifth may go at once; of so few that is none.
    let fifth = size / 5;
    let mut halves = vec![tells(kept(&|place| place * 2 < size.saturating_sub(1)))];
    if size > 1 {
        halves.push(tells(kept(&|place| place * 2 > size)));
    }
    let mut lies = vec![
        ("an empty list", vec![empty()], Leaves::Untouched),
        (
            "an empty list, again and again between true ones",
            vec![empty(), honest(), empty(), honest(), empty()],
            Leaves::Untouched,
        ),
        (
            "half of it",
            vec![tells(kept(&|place| place * 2 >= size))],
            Leaves::Untouched,
        ),
        ("one half, then the other", halves, Leaves::Untouched),
        (
            "more than a fifth is missing",
            vec![tells(kept(&|place| place > fifth))],
            Leaves::Untouched,
        ),
        (
            "nothing but new names",
            vec![changed(&|one| one.name.insert(0, 'x'))],
            Leaves::Untouched,
        ),
        (
            "all of another kind",
            vec![changed(&|one| {
                one.kind = match one.kind {
                    ApplicationKind::Docker => ApplicationKind::Site,
                    ApplicationKind::Site | ApplicationKind::Service => ApplicationKind::Docker,
                }
            })],
            Leaves::Untouched,
        ),
        (
            "only entries without a name",
            vec![Agent::Answers(Sight {
                nameless: size,
                ..Sight::default()
            })],
            Leaves::Untouched,
        ),
        (
            "each twice",
            vec![tells([all.clone(), all.clone()].concat())],
            Leaves::Untouched,
        ),
        (
            "in another order",
            vec![tells(all.iter().rev().cloned().collect())],
            Leaves::Untouched,
        ),
        (
            "no versions",
            vec![changed(&|one| one.version = VersionState::default())],
            Leaves::Online,
        ),
        (
            "no ports and no addresses",
            vec![changed(&|one| (one.port, one.address) = (None, None))],
            Leaves::Online,
        ),
        (
            "no paths",
            vec![changed(&|one| one.path = None)],
            Leaves::Online,
        ),
        (
            "words for a status that nobody knows",
            vec![changed(&|one| one.status = ApplicationStatus::Unknown)],
            Leaves::There,
        ),
        (
            "everything is offline",
            vec![changed(&|one| one.status = ApplicationStatus::Offline)],
            Leaves::There,
        ),
        (
            "nonsense",
            vec![Agent::SpeaksNonsense; 3],
            Leaves::Untouched,
        ),
        (
            "an answer that breaks off",
            vec![Agent::BreaksOff; 3],
            Leaves::Untouched,
        ),
        (
            "an answer without an end",
            vec![Agent::Babbles; 3],
            Leaves::Untouched,
        ),
        (
            "one poll that is not answered",
            vec![Agent::Hangs],
            Leaves::Untouched,
        ),
        (
            "one answer that drips",
            vec![Agent::Drips],
            Leaves::Untouched,
        ),
        ("one no", vec![refuses(500)], Leaves::Untouched),
        ("one redirect", vec![Agent::Redirects], Leaves::Untouched),
        (
            "no answer now and then",
            vec![Agent::Hangs, honest(), refuses(503), honest(), Agent::Hangs],
            Leaves::Untouched,
        ),
    ];
    // What can be so: believed, and nothing of it is lost all the same.
    lies.push((
        "a fifth is missing",
        vec![tells(kept(&|place| place >= fifth))],
        Leaves::There,
    ));
    lies.push((
        "nothing runs, said twice",
        vec![empty(), empty()],
        Leaves::There,
    ));
    lies.push((
        "half of it, said twice",
        vec![
            tells(kept(&|place| place * 2 >= size)),
            tells(kept(&|place| place * 2 >= size)),
        ],
        Leaves::There,
    ));
    lies.push((
        "no answer for a long time",
        vec![Agent::Hangs; 5],
        Leaves::There,
    ));
    lies
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
            let now = after
                .get(key)
                .unwrap_or_else(|| panic!("{lie}, {size}: {was:?} is lost"));
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
        for (lie, polls, leaves) in lies(size) {
            check(size, lie, polls, leaves).await;
            cases += 1;
        }
    }
    assert_eq!(cases, 27 * SIZES.len());
}
