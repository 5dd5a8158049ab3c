//! Asking for updates: what is refused before anything is created.

use std::time::Duration;

use drover_domain::Key;
use drover_domain::fleet::{ObservedApplication, SettingsLayer};
use drover_domain::page::PageRequest;
use drover_domain::rollout::artifact::ArtifactSight;
use drover_domain::rollout::record::UpdateMode;
use drover_ports::HaproxyStore;
use drover_testkit::agent::{Agent, Sight};
use drover_testkit::runner::Script;
use drover_testkit::store::SideDoor;
use drover_usecases::{
    FleetView, GroupFilter, HaproxyInstanceFilter, HaproxyView, Idempotency, MappingCause,
    RequestError, RolloutOrder, RolloutView, Subject,
};

use crate::harness::{HEAD, Harness, ORCHESTRATOR, address, order, origin, sight};

async fn refused(harness: &Harness, order: RolloutOrder) -> RequestError {
    let refusal = harness.service.rollouts.request(order).await.unwrap_err();
    let tasks = RolloutView::list(&harness.store, &[], PageRequest::first())
        .await
        .unwrap();
    assert_eq!(tasks.items, [], "something was created");
    refusal
}

#[tokio::test]
async fn unknown_applications_are_named() {
    let harness = Harness::with_fleet(1).await;
    let mut keys = harness.applications().await;
    keys.push(Key::new(900));
    let refusal = refused(&harness, order(keys)).await;
    assert_eq!(refusal.to_string(), "there is no application with id 900");
}

#[tokio::test]
async fn an_unknown_orchestrator_is_named() {
    let harness = Harness::with_fleet(1).await;
    let order = RolloutOrder {
        orchestrator: Some("none".to_owned()),
        ..order(harness.applications().await)
    };
    let refusal = refused(&harness, order).await;
    assert!(
        matches!(&refusal, RequestError::UnknownOrchestrator { name } if name == "none"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_required_parameter_without_a_value_is_named() {
    let harness = Harness::with_fleet(1).await;
    let head = format!(
        "{}#   unheard_of - something\n---\n",
        HEAD.split("#\n# Optional").next().unwrap()
    );
    harness
        .runner
        .script(ORCHESTRATOR, Script::new().head(&head));
    harness.service.orchestrators.scan().await.unwrap();
    let refusal = refused(&harness, order(harness.applications().await)).await;
    assert!(
        refusal.to_string().contains("`unheard_of`") && refusal.to_string().contains(ORCHESTRATOR),
        "{refusal}"
    );
    assert!(matches!(
        refusal,
        RequestError::Refused {
            subject: Subject::Orchestrator,
            ..
        }
    ));
}

#[tokio::test]
async fn a_control_host_that_can_run_nothing_is_a_refusal() {
    let harness = Harness::with_fleet(1).await;
    harness
        .runner
        .break_down("`ansible-playbook` is not installed");
    let refusal = refused(&harness, order(harness.applications().await)).await;
    assert!(
        matches!(&refusal, RequestError::Refused { reason, .. } if reason.contains("`ansible-playbook` is not installed")),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn an_update_playbook_that_is_not_there_is_named() {
    let harness = Harness::with_fleet(1).await;
    let other = Harness::new();
    let keys = harness.applications().await;
    other.runner.script(ORCHESTRATOR, Script::new().head(HEAD));
    let service = drover_usecases::Service::new(
        harness.ports_with_runner(&other.runner),
        drover_usecases::Policy {
            default_orchestrator: ORCHESTRATOR.to_owned(),
            ..Default::default()
        },
    );
    let refusal = service.rollouts.request(order(keys)).await.unwrap_err();
    assert!(
        refusal.to_string().contains("`update-app.yml`"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_playbook_of_another_folder_is_refused_and_one_of_the_own_runs() {
    let harness = Harness::with_fleet(1).await;
    let keys = harness.applications().await;
    let service = |path: &str| {
        drover_usecases::Service::new(
            harness.ports_with_runner(&harness.runner),
            drover_usecases::Policy {
                default_orchestrator: ORCHESTRATOR.to_owned(),
                default_playbook: path.to_owned(),
                playbook_folder: "/etc/ansible".to_owned(),
                ..Default::default()
            },
        )
    };
    for (path, words) in [
        ("/nonexistent/dir/update-app.yml {server}", "`/etc/ansible`"),
        ("/etc/ansible/sub/update-app.yml", "`/etc/ansible`"),
        ("sub/update-app.yml {server}", "write `update-app.yml`"),
        ("update-app.yml {app_instances=s9::a_1}", "set by Drover"),
        ("update-app.yml {server} {mode=deliver}", "set by Drover"),
        (
            "update-app.yml {distr_url=http://x/other-9.9.9.war}",
            "set by Drover",
        ),
        ("update-app.yml {a=1} {a=2}", "`a` stands twice"),
        (
            "update-app.yml {inventory_hostname=x}",
            "reserved by Ansible",
        ),
    ] {
        let refusal = service(path).rollouts.request(order(keys.clone())).await;
        let refusal = refusal.unwrap_err();
        assert!(refusal.to_string().contains(words), "{path}: {refusal}");
        assert!(matches!(refusal, RequestError::Refused { .. }), "{path}");
    }
    let accepted = service("/etc/ansible/update-app.yml {server}")
        .rollouts
        .request(order(keys))
        .await
        .unwrap();
    assert_eq!(accepted.rollouts.len(), 1);
}

#[tokio::test]
async fn a_playbook_without_a_play_is_no_orchestrator_and_runs_nowhere() {
    let harness = Harness::with_fleet(1).await;
    harness
        .runner
        .script("x-orchestrator.yml", Script::new().head(""));
    let scan = harness.service.orchestrators.scan().await.unwrap();
    assert_eq!((scan.scanned, scan.errors.len()), (2, 1));
    let (file, reason) = &scan.errors[0];
    assert_eq!(file, "x-orchestrator.yml");
    assert!(reason.starts_with("it has no play"), "{reason}");

    for (emptied, playbook, about) in [
        ("update-app.yml", "update", Subject::Applications),
        (ORCHESTRATOR, "orchestrator", Subject::Orchestrator),
    ] {
        harness.runner.script(emptied, Script::new().head(""));
        let refusal = refused(&harness, order(harness.applications().await)).await;
        let words = format!("the {playbook} playbook `{emptied}` cannot be run: it has no play");
        assert!(refusal.to_string().starts_with(&words), "{refusal}");
        assert!(
            matches!(&refusal, RequestError::Refused { subject, .. } if *subject == about),
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn the_same_request_again_gives_the_same_tasks() {
    let harness = Harness::with_fleet(2).await;
    let idempotency = Idempotency {
        scope: "ann".to_owned(),
        key: "k".to_owned(),
        digest: vec![1],
    };
    let order = RolloutOrder {
        idempotency: Some(idempotency),
        ..order(harness.applications().await)
    };
    let first = harness
        .service
        .rollouts
        .request(order.clone())
        .await
        .unwrap();
    let again = harness
        .service
        .rollouts
        .request(order.clone())
        .await
        .unwrap();
    assert_eq!((first.replayed, again.replayed), (false, true));
    assert_eq!(first.rollouts, again.rollouts);
    let other = Idempotency {
        digest: vec![2],
        ..order.idempotency.clone().unwrap()
    };
    let refusal = harness
        .service
        .rollouts
        .request(RolloutOrder {
            idempotency: Some(other),
            ..order
        })
        .await
        .unwrap_err();
    assert!(matches!(refusal, RequestError::Store { .. }), "{refusal}");
}

#[tokio::test]
async fn more_groups_than_one_task_can_keep_to_itself_are_refused() {
    let harness = Harness::with_fleet(1).await;
    let server = harness.add_server("many", 9, false).await;
    let mut seen = sight(9, "1.0.0");
    let one = seen.applications.remove(0);
    for number in 0..70 {
        let name = format!("app{number}x_1");
        seen.applications.push(ObservedApplication {
            name,
            ..one.clone()
        });
    }
    harness
        .agents
        .arrange(address(&server), Agent::Answers(seen));
    harness
        .service
        .servers
        .refresh(server.key)
        .await
        .unwrap()
        .unwrap();
    let groups = harness
        .store
        .groups(
            &GroupFilter::default(),
            PageRequest {
                after: None,
                limit: 200,
            },
        )
        .await
        .unwrap();
    for (group, _) in groups.items {
        let none = SettingsLayer::default();
        harness
            .store
            .set_group_settings(group.key, none, "by_server")
            .await;
    }
    let refusal = refused(&harness, order(harness.applications().await)).await;
    let RequestError::Refused { reason, subject } = refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!(subject, Subject::Applications);
    assert!(
        reason.contains("72 groups and HAProxy backends") && reason.contains("at most 64"),
        "{reason}"
    );
}

/// Takes the mapping of the first server in HAProxy away, as a person does.
async fn unmap_first(harness: &Harness) {
    let page = harness
        .store
        .instances(&HaproxyInstanceFilter::default(), PageRequest::first())
        .await
        .unwrap();
    let known = HaproxyStore::load(&harness.store, page.items[0].key).await;
    let server = known.unwrap().unwrap().servers[0].key;
    let cause = MappingCause {
        origin: origin(),
        reason: None,
    };
    let unmapped = harness.service.mappings.unmap(server, true, cause).await;
    unmapped.unwrap().unwrap();
}

#[tokio::test]
async fn applications_that_lost_their_server_in_haproxy_are_not_updated_without_a_drain() {
    let harness = Harness::with_fleet(2).await;
    let keys = harness.applications().await;
    unmap_first(&harness).await;
    // With its sibling, and alone: it had a mapping itself.
    for wanted in [keys.clone(), vec![keys[0]]] {
        let refusal = refused(&harness, order(wanted)).await;
        let RequestError::Refused { reason, subject } = refusal else {
            panic!("{refusal:?}")
        };
        assert_eq!(subject, Subject::Applications);
        assert!(
            reason.contains("`a_1` on s1,")
                && !reason.contains("s2")
                && reason.contains("allow_undrained"),
            "{reason}"
        );
    }
    let allowed = RolloutOrder {
        allow_undrained: true,
        ..order(keys)
    };
    let accepted = harness.service.rollouts.request(allowed).await.unwrap();
    assert_eq!(
        accepted.warnings,
        ["updated without a drain, because no HAProxy server is mapped to it: `a_1` on s1"]
    );
}

#[tokio::test]
async fn a_new_sibling_of_what_stands_behind_haproxy_is_not_updated_without_a_drain() {
    let harness = Harness::with_fleet(1).await;
    let server = harness.add_server("s9", 9, false).await;
    harness
        .agents
        .arrange(address(&server), Agent::Answers(sight(9, "1.0.0")));
    harness.service.servers.refresh(server.key).await.unwrap();
    let keys = harness.applications().await;
    let refusal = refused(&harness, order(keys)).await.to_string();
    assert!(refusal.contains("`a_1` on s9"), "{refusal}");
}

#[tokio::test]
async fn what_stood_behind_a_removed_haproxy_is_not_updated_without_a_drain() {
    let harness = Harness::with_fleet(2).await;
    let lb = harness.server("lb").await;
    harness
        .service
        .servers
        .remove(&lb, &origin())
        .await
        .unwrap();
    let keys = harness.applications().await;
    let refusal = refused(&harness, order(keys.clone())).await.to_string();
    assert!(refusal.contains("`a_1` on s1, `a_1` on s2"), "{refusal}");
    let allowed = RolloutOrder {
        allow_undrained: true,
        ..order(keys)
    };
    let accepted = harness.service.rollouts.request(allowed).await.unwrap();
    assert!(
        accepted.warnings[0].starts_with("updated without a drain"),
        "{accepted:?}"
    );
}

#[tokio::test]
async fn what_stands_behind_an_haproxy_that_is_switched_off_is_not_updated_without_a_drain() {
    let harness = Harness::with_fleet(2).await;
    let lb = harness.server("lb").await;
    let origin = origin();
    let off = harness
        .service
        .servers
        .set_haproxy_node(lb.key, false, &origin);
    off.await.unwrap();
    let keys = harness.applications().await;
    let refusal = refused(&harness, order(keys)).await.to_string();
    assert!(refusal.contains("`a_1` on s1, `a_1` on s2"), "{refusal}");
    assert!(refusal.contains("--allow-undrained"), "{refusal}");
}

#[tokio::test]
async fn nothing_without_a_mapping_is_updated_while_an_haproxy_was_never_read() {
    let harness = Harness::with_fleet(0).await;
    let server = harness.add_server("s1", 1, false).await;
    harness
        .agents
        .arrange(address(&server), Agent::Answers(sight(1, "1.0.0")));
    harness.service.servers.refresh(server.key).await.unwrap();
    let keys = harness.applications().await;
    // `lb` was read and has no server for it.
    let silent = harness.add_server("lb2", 201, true).await;
    let refusal = refused(&harness, order(keys.clone())).await.to_string();
    assert!(
        refusal.contains("`a_1` on s1") && refusal.contains("HAProxy on lb2"),
        "{refusal}"
    );
    let allowed = RolloutOrder {
        allow_undrained: true,
        ..order(keys.clone())
    };
    let accepted = harness.service.rollouts.request(allowed).await.unwrap();
    assert!(
        accepted.warnings[0].starts_with("updated without a drain"),
        "{accepted:?}"
    );
    let origin = origin();
    let off = harness
        .service
        .servers
        .set_haproxy_node(silent.key, false, &origin);
    off.await.unwrap();
    harness.service.rollouts.request(order(keys)).await.unwrap();
}

#[tokio::test]
async fn delivering_needs_no_drain() {
    let harness = Harness::with_fleet(2).await;
    unmap_first(&harness).await;
    let deliver = RolloutOrder {
        mode: UpdateMode::Deliver,
        ..order(harness.applications().await)
    };
    let accepted = harness.service.rollouts.request(deliver).await.unwrap();
    assert_eq!(accepted.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn an_update_whose_mapping_ended_in_the_queue_drains_nothing_and_fails() {
    let harness = Harness::with_fleet(2).await;
    let task = harness.update().await;
    unmap_first(&harness).await;
    let worker = harness.work("w1");
    let detail = harness.until_over(task).await;
    worker.stop().await;
    let error = detail.rollout.error.clone().unwrap();
    assert!(error.contains("`a_1` on s1"), "{error}");
    assert!(detail.runs.is_empty(), "{detail:?}");
}

#[tokio::test]
async fn what_joined_a_group_since_its_last_update_is_named_in_the_next() {
    let harness = Harness::with_fleet(2).await;
    let first = harness
        .service
        .rollouts
        .request(order(harness.applications().await));
    assert_eq!(first.await.unwrap().warnings, Vec::<String>::new());
    harness.clock.advance(Duration::from_mins(1));
    let server = harness.add_server("s9", 9, false).await;
    let newcomer = Sight {
        applications: vec![ObservedApplication {
            name: "a_9".to_owned(),
            ..sight(9, "1.0.0").applications.remove(0)
        }],
        ..Sight::default()
    };
    harness
        .agents
        .arrange(address(&server), Agent::Answers(newcomer));
    harness.service.servers.refresh(server.key).await.unwrap();
    let keys = harness.applications().await;
    let all = |keys| RolloutOrder {
        allow_undrained: true,
        ..order(keys)
    };
    // An update of the others does not hide it from the next one.
    let others = harness
        .service
        .rollouts
        .request(all(keys[..2].to_vec()))
        .await
        .unwrap();
    assert_eq!(others.warnings, Vec::<String>::new());
    harness.clock.advance(Duration::from_mins(1));
    let next = harness
        .service
        .rollouts
        .request(all(keys.clone()))
        .await
        .unwrap();
    assert_eq!(next.warnings.len(), 2, "{:?}", next.warnings);
    assert_eq!(
        next.warnings[1],
        "joined the group `a` since its last update: `a_9` on s9"
    );
    harness.clock.advance(Duration::from_mins(1));
    let last = harness.service.rollouts.request(all(keys)).await.unwrap();
    assert_eq!(last.warnings.len(), 1, "{:?}", last.warnings);
}

#[tokio::test]
async fn an_artifact_that_is_not_there_is_refused_and_an_unclear_one_is_a_warning() {
    let harness = Harness::with_fleet(2).await;
    let order = order(harness.applications().await);
    let place = |sight| harness.runner.place(order.artifact.as_str(), sight);
    let reason = "the server answers 404 Not Found".to_owned();
    place(ArtifactSight::Absent { reason });
    let refusal = refused(&harness, order.clone()).await;
    assert_eq!(
        refusal.to_string(),
        "the artifact http://nexus/a-1.1.0.zip is not there: the server answers 404 Not Found; nothing was drained, check the address"
    );
    let subject = Subject::Artifact;
    assert!(matches!(&refusal, RequestError::Refused { subject: about, .. } if *about == subject));
    let refusal = harness.service.rollouts.plan(&order).await.unwrap_err();
    assert!(refusal.to_string().contains("is not there"), "{refusal}");

    let reason = "the server answers 401 Unauthorized".to_owned();
    place(ArtifactSight::Unknown { reason });
    let accepted = harness
        .service
        .rollouts
        .request(order.clone())
        .await
        .unwrap();
    assert_eq!(
        accepted.warnings,
        [
            "the control host cannot tell whether the artifact http://nexus/a-1.1.0.zip is there: the server answers 401 Unauthorized"
        ]
    );
    place(ArtifactSight::Found { size: None });
    let accepted = harness
        .service
        .rollouts
        .request(order.clone())
        .await
        .unwrap();
    assert_eq!(accepted.warnings, Vec::<String>::new());
}
