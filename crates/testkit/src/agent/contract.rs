//! What every [`AgentGateway`](drover_ports::AgentGateway) promises.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_domain::fleet::{ApplicationKind, ApplicationStatus, ObservedApplication, VersionState};
use drover_domain::haproxy::{
    AdminBits, AdminState, ObservedProcess, ObservedServer, ServerRole, ServerWord,
};
use drover_ports::{AgentAddress, AgentError, AgentGateway, Fault, NameAnswer};

use super::{Agent, AgentWorld, RefusalShape, Sight};

/// An application with every member that an agent can report.
#[must_use]
pub fn application(kind: ApplicationKind, name: &str) -> ObservedApplication {
    let text = |text: &str| Some(text.to_owned());
    let bare = ObservedApplication {
        name: name.to_owned(),
        kind,
        status: ApplicationStatus::Online,
        version: VersionState::default(),
        address: text("10.0.0.7"),
        port: Some(8080),
        pid: Some(4711),
        path: text("/srv/app"),
        log_path: None,
        container_id: None,
        start_time: text("2026-11-21T08:00:00Z"),
    };
    match kind {
        ApplicationKind::Docker => ObservedApplication {
            version: VersionState {
                version: text("1.2"),
                tag: text("1.2"),
                image: text("shop"),
                distr_path: None,
            },
            container_id: text("0123456789ab"),
            ..bare
        },
        ApplicationKind::Site | ApplicationKind::Service => ObservedApplication {
            version: VersionState {
                version: text("1.2"),
                distr_path: text("/srv/shop-1.2.war"),
                ..VersionState::default()
            },
            log_path: text("/var/log/app"),
            ..bare
        },
    }
}

/// An HAProxy server with every member that an agent can report.
#[must_use]
pub fn server(name: &str, word: &str) -> ObservedServer {
    ObservedServer {
        name: name.to_owned(),
        word: ServerWord::new(word),
        admin: Some(AdminBits::from_bits(8)),
        sessions: Some(3),
        old_sessions: Some(2),
        queue: Some(0),
        weight: 100,
        role: ServerRole {
            is_backup: name == "web2_jurws_1",
            tracks: (name == "s").then(|| "be_jurws/web1_jurws_1".to_owned()),
            has_agent_check: name == "web1_jurws_1",
        },
        check_status: Some("L7OK".to_owned()),
        address: Some("10.0.0.7".to_owned()),
        port: Some(8080),
    }
}

fn sight() -> Sight {
    let backends = BTreeMap::from([
        (
            "be_jurws".to_owned(),
            vec![
                server("web1_jurws_1", "UP"),
                server("web2_jurws_1", "UP 1/3"),
            ],
        ),
        (
            "be_site".to_owned(),
            vec![ObservedServer {
                admin: None,
                sessions: None,
                old_sessions: None,
                queue: None,
                ..server("s", "no check")
            }],
        ),
    ]);
    Sight {
        server: Some("web1".to_owned()),
        applications: vec![
            application(ApplicationKind::Docker, "shop_1"),
            application(ApplicationKind::Site, "jurws_1"),
            application(ApplicationKind::Service, "jurws_2"),
        ],
        nameless: 0,
        haproxy: BTreeMap::from([
            ("default".to_owned(), backends),
            ("second".to_owned(), BTreeMap::new()),
        ]),
        processes: BTreeMap::from([(
            "default".to_owned(),
            ObservedProcess {
                pid: 77,
                uptime: Duration::from_secs(1_000),
            },
        )]),
        version: Some("2.6.12".to_owned()),
        unread: Vec::new(),
    }
}

/// The failure of each question, by name; ping is asked only `with_ping`.
async fn failures(
    gateway: &dyn AgentGateway,
    agent: &AgentAddress,
    with_ping: bool,
) -> Vec<(&'static str, AgentError)> {
    let mut failures = vec![
        ("inventory", gateway.inventory(agent).await.unwrap_err()),
        (
            "haproxy_instances",
            gateway.haproxy_instances(agent).await.unwrap_err(),
        ),
        (
            "backends",
            gateway.backends(agent, "default").await.unwrap_err(),
        ),
        (
            "backend_servers",
            gateway
                .backend_servers(agent, "default", "be")
                .await
                .unwrap_err(),
        ),
        (
            "set_state",
            gateway
                .set_state(agent, "default", "be", "s", AdminState::Drain)
                .await
                .unwrap_err(),
        ),
    ];
    if with_ping {
        failures.push(("ping", gateway.ping(agent).await.unwrap_err()));
    }
    failures
}

fn assert_unreadable(failures: &[(&'static str, AgentError)], agent: &AgentAddress) {
    for (question, failure) in failures {
        assert!(
            matches!(failure, AgentError::Unreadable { address, .. } if address == agent),
            "{question}: {failure:?}"
        );
        assert_eq!(failure.fault(), Fault::Permanent, "{question}");
    }
}

contract! { $ agent => agent_gateway_contract for dyn AgentWorld;
    /// An agent that answers is there.
    async fn an_answering_agent_is_there(world) {
        let agent = world.arrange(Agent::Answers(sight())).await;
        world.gateway().ping(&agent).await.unwrap();
    }

    /// A command is accepted by an agent that answers. Whether it was obeyed is another question.
    async fn a_command_is_accepted(world) {
        let agent = world.arrange(Agent::Answers(sight())).await;
        let gateway = world.gateway();
        for state in [AdminState::Drain, AdminState::Maint, AdminState::Ready] {
            gateway.set_state(&agent, "default", "be_jurws", "web1_jurws_1", state).await.unwrap();
        }
        let refusal = gateway.set_state(&agent, "other", "be_jurws", "web1_jurws_1", AdminState::Drain).await.unwrap_err();
        assert!(matches!(refusal, AgentError::Refused { status: 400, .. }), "{refusal:?}");
    }

    /// What an agent lists arrives as it is, in its order.
    async fn an_inventory_arrives_as_listed(world) {
        let agent = world.arrange(Agent::Answers(sight())).await;
        let report = world.gateway().inventory(&agent).await.unwrap();
        assert_eq!(report.applications, sight().applications);
        assert_eq!(report.complaints, Vec::<String>::new());
    }

    /// An agent without applications is no failure.
    async fn an_empty_inventory_is_an_answer(world) {
        let agent = world.arrange(Agent::Answers(Sight::default())).await;
        let report = world.gateway().inventory(&agent).await.unwrap();
        assert_eq!((report.applications.len(), report.complaints.len()), (0, 0));
        assert_eq!(world.gateway().haproxy_instances(&agent).await.unwrap(), NameAnswer::default());
    }

    /// One application without a name does not hide the others.
    async fn an_application_without_a_name_is_a_complaint(world) {
        let agent = world.arrange(Agent::Answers(Sight { nameless: 2, ..sight() })).await;
        let report = world.gateway().inventory(&agent).await.unwrap();
        assert_eq!(report.applications, sight().applications);
        assert_eq!(report.complaints.len(), 2, "{:?}", report.complaints);
    }

    /// Instances, backends and servers arrive as they are.
    async fn what_haproxy_shows_arrives_as_it_is(world) {
        let agent = world.arrange(Agent::Answers(sight())).await;
        let gateway = world.gateway();
        assert_eq!(gateway.haproxy_instances(&agent).await.unwrap().names, ["default", "second"]);
        assert_eq!(gateway.backends(&agent, "default").await.unwrap().names, ["be_jurws", "be_site"]);
        assert_eq!(gateway.backends(&agent, "second").await.unwrap(), NameAnswer::default());
        for backend in ["be_jurws", "be_site"] {
            let answer = gateway.backend_servers(&agent, "default", backend).await.unwrap();
            let listed = sight().haproxy.get("default").and_then(|backends| backends.get(backend)).cloned();
            assert_eq!(Some(answer.servers), listed);
            assert_eq!(answer.complaints, Vec::<String>::new());
            assert_eq!(answer.process, sight().processes.get("default").copied());
            assert_eq!((answer.version, answer.is_partial), (sight().version, false));
        }
    }

    /// Rows that the agent could not read are complaints, and the list is not complete.
    async fn unread_rows_make_an_answer_partial(world) {
        let unread = vec!["row 2 has no name".to_owned()];
        let agent = world.arrange(Agent::Answers(Sight { unread: unread.clone(), ..sight() })).await;
        let names = world.gateway().backends(&agent, "default").await.unwrap();
        assert_eq!((names.names.len(), &names.complaints), (2, &unread));
        let answer = world.gateway().backend_servers(&agent, "default", "be_jurws").await.unwrap();
        assert_eq!((answer.servers.len(), answer.is_partial, answer.complaints), (2, true, unread));
    }

    /// The agent answers an unknown backend like an empty one.
    async fn an_unknown_backend_is_empty(world) {
        let agent = world.arrange(Agent::Answers(sight())).await;
        let answer = world.gateway().backend_servers(&agent, "default", "nowhere").await.unwrap();
        assert_eq!((answer.servers.len(), answer.complaints.len()), (0, 0));
    }

    /// An unknown instance is refused by the agent.
    async fn an_unknown_instance_is_refused(world) {
        let agent = world.arrange(Agent::Answers(sight())).await;
        let refusal = world.gateway().backends(&agent, "third").await.unwrap_err();
        assert!(matches!(refusal, AgentError::Refused { status: 400, .. }), "{refusal:?}");
        assert_eq!(refusal.fault(), Fault::Permanent);
    }

    /// A name that would change the meaning of a path is never sent.
    async fn a_name_that_is_no_path_segment_is_not_asked_for(world) {
        let agent = world.arrange(Agent::Answers(sight())).await;
        for name in ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\nb", "a;b", "ä"] {
            let refusal = world.gateway().backends(&agent, name).await.unwrap_err();
            assert_unreadable(&[("backends", refusal)], &agent);
            let refusal = world.gateway().backend_servers(&agent, "default", name).await.unwrap_err();
            assert_unreadable(&[("backend_servers", refusal)], &agent);
        }
    }

    /// Each of the three shapes of a no is understood, and its words are kept.
    async fn a_refusal_keeps_its_status_and_its_words(world) {
        for shape in [RefusalShape::Controller, RefusalShape::Command, RefusalShape::Router] {
            for (status, fault) in [(400, Fault::Permanent), (404, Fault::Permanent), (502, Fault::Transient), (503, Fault::Transient)] {
                let agent = world.arrange(Agent::Refuses { shape, status, message: "not today".to_owned() }).await;
                for (question, failure) in failures(world.gateway(), &agent, true).await {
                    assert_eq!(failure.fault(), fault, "{question}");
                    let expected = format!("the agent at {agent} refused with status {status}: not today");
                    assert_eq!(failure.to_string(), expected, "{question}, {shape:?}");
                }
            }
        }
    }

    /// What an agent says is shown, never obeyed by a terminal, and not without end.
    async fn the_words_of_a_refusal_are_made_visible_and_bounded(world) {
        let message = format!("\u{1b}[31mred\u{202e}{}", "x".repeat(2_000));
        let agent = world.arrange(Agent::Refuses { shape: RefusalShape::Controller, status: 500, message }).await;
        let failure = world.gateway().inventory(&agent).await.unwrap_err();
        let AgentError::Refused { message, .. } = failure else { panic!("{failure:?}") };
        assert!(message.starts_with("\\u{1b}[31mred\\u{202e}xxx") && message.ends_with("xx…"), "{message}");
        assert!(message.chars().count() <= 520, "{}", message.chars().count());
    }

    /// An address without a listener is unreachable.
    async fn an_absent_agent_is_unreachable(world) {
        let agent = world.nobody().await;
        for (question, failure) in failures(world.gateway(), &agent, true).await {
            assert!(matches!(&failure, AgentError::Unreachable { address, .. } if *address == agent), "{question}: {failure:?}");
            assert_eq!(failure.fault(), Fault::Transient, "{question}");
        }
    }

    /// Waiting has an end, and the error says when.
    async fn a_hanging_agent_is_silent(world) {
        let agent = world.arrange(Agent::Hangs).await;
        for (question, failure) in failures(world.gateway(), &agent, true).await {
            let after = world.deadline_ms();
            assert!(matches!(failure, AgentError::Silent { after_ms, .. } if after_ms == after), "{question}: {failure:?}");
            assert_eq!(failure.fault(), Fault::Transient, "{question}");
        }
    }

    /// The deadline is for the whole answer, not for each byte.
    async fn a_dripping_agent_is_silent(world) {
        let agent = world.arrange(Agent::Drips).await;
        let failure = world.gateway().inventory(&agent).await.unwrap_err();
        let after = world.deadline_ms();
        assert!(matches!(failure, AgentError::Silent { after_ms, .. } if after_ms == after), "{failure:?}");
    }

    /// An endless answer is not read to its end.
    async fn an_endless_answer_is_unreadable(world) {
        let agent = world.arrange(Agent::Babbles).await;
        assert_unreadable(&failures(world.gateway(), &agent, false).await, &agent);
    }

    /// Half an answer is no answer.
    async fn an_answer_that_breaks_off_is_unreadable(world) {
        let agent = world.arrange(Agent::BreaksOff).await;
        assert_unreadable(&failures(world.gateway(), &agent, false).await, &agent);
    }

    /// What is no JSON is no answer.
    async fn nonsense_is_unreadable(world) {
        let agent = world.arrange(Agent::SpeaksNonsense).await;
        assert_unreadable(&failures(world.gateway(), &agent, false).await, &agent);
    }

    /// A redirect is not followed.
    async fn a_redirect_is_unreadable(world) {
        let agent = world.arrange(Agent::Redirects).await;
        assert_unreadable(&failures(world.gateway(), &agent, true).await, &agent);
    }
}
