//! Plans of rollouts: what they show, and what makes them stale.

use drover_domain::fleet::SettingsLayer;
use drover_domain::page::PageRequest;
use drover_domain::rollout::executor::BatchLabel;
use drover_domain::rollout::plan::PlanPart;
use drover_domain::rollout::record::UpdateMode;
use drover_testkit::runner::Script;
use drover_testkit::store::SideDoor;
use drover_usecases::{Idempotency, Plan, RequestError, RolloutOrder, RolloutView};

use crate::harness::{HEAD, Harness, ORCHESTRATOR, order};

async fn plan(harness: &Harness) -> (RolloutOrder, Plan) {
    let order = order(harness.applications().await);
    let plan = harness.service.rollouts.plan(&order).await.unwrap();
    (order, plan)
}

/// What a start of the plan is refused for.
async fn changes(harness: &Harness, order: &RolloutOrder, plan: &Plan) -> Vec<PlanPart> {
    let order = RolloutOrder {
        plan: Some(plan.digest),
        ..order.clone()
    };
    let refusal = harness.service.rollouts.request(order).await.unwrap_err();
    let RequestError::Stale { changes } = refusal else {
        unreachable!("{refusal:?}");
    };
    changes
}

#[tokio::test]
async fn a_plan_shows_batches_and_what_haproxy_keeps_and_creates_nothing() {
    let harness = Harness::with_fleet(3).await;
    let (order, plan) = plan(&harness).await;
    assert_eq!(plan.rollouts.len(), 1);
    let rollout = &plan.rollouts[0];
    assert!(rollout.playbook_path.starts_with("update-app.yml "));
    let steps = &rollout.runs[0].steps;
    let shown: Vec<_> = steps
        .iter()
        .map(|step| (step.label, step.members.len(), &step.backends[0]))
        .map(|(label, members, backend)| (label, members, backend.serving, backend.left))
        .collect();
    assert_eq!(
        shown,
        [(BatchLabel::Even, 2, 3, 1), (BatchLabel::Odd, 1, 3, 2)]
    );
    assert_eq!(plan.warnings, Vec::<String>::new());
    let rollouts = RolloutView::list(&harness.store, &[], PageRequest::first());
    assert_eq!(rollouts.await.unwrap().items, []);

    let started = RolloutOrder {
        plan: Some(plan.digest),
        ..order
    };
    let accepted = harness.service.rollouts.request(started).await.unwrap();
    assert_eq!(accepted.rollouts.len(), 1);
}

#[tokio::test]
async fn a_plan_warns_of_what_the_guard_will_refuse_and_of_a_version_that_runs_already() {
    let harness = Harness::with_fleet(1).await;
    harness.tell_version("1.1.0").await;
    let server = harness.server("s1").await.key;
    harness.service.servers.refresh(server).await.unwrap();
    let (order, plan) = plan(&harness).await;
    assert_eq!(
        plan.warnings,
        [
            "HAProxy's guard will refuse to drain the `even` batch: of 1 servers of the backend `be` that take requests it leaves 0",
            "1 of 1 targets already run the version that the artifact names",
        ]
    );
    let deliver = RolloutOrder {
        mode: UpdateMode::Deliver,
        ..order
    };
    let plan = harness.service.rollouts.plan(&deliver).await.unwrap();
    assert!(plan.rollouts[0].runs[0].steps[0].backends.is_empty());
}

#[tokio::test]
async fn a_plan_is_stale_once_what_it_was_made_from_changes() {
    let harness = Harness::with_fleet(2).await;
    let (order, planned) = plan(&harness).await;
    let again = harness.service.rollouts.plan(&order).await.unwrap();
    assert_eq!(again.digest, planned.digest, "nothing has changed");

    let other = RolloutOrder {
        applications: order.applications[..1].to_vec(),
        ..order.clone()
    };
    let found = changes(&harness, &other, &planned).await;
    assert!(found.contains(&PlanPart::Request), "{found:?}");

    harness
        .runner
        .script(ORCHESTRATOR, Script::new().head(HEAD).hold());
    let found = changes(&harness, &order, &planned).await;
    assert_eq!(found, [PlanPart::Playbooks]);
    harness
        .runner
        .script(ORCHESTRATOR, Script::new().head(HEAD));

    harness.show_drained("s1_a_1").await;
    let haproxy = harness.server("lb").await.key;
    harness.service.servers.refresh(haproxy).await.unwrap();
    let found = changes(&harness, &order, &planned).await;
    assert_eq!(found, [PlanPart::Haproxy]);

    let (order, planned) = plan(&harness).await;
    let settings = SettingsLayer {
        playbook_path: Some("update-app.yml{slow=1}".to_owned()),
        ..SettingsLayer::default()
    };
    let first = order.applications[0];
    harness
        .store
        .set_application_settings(first, settings)
        .await;
    let found = changes(&harness, &order, &planned).await;
    assert!(found.contains(&PlanPart::Applications), "{found:?}");
    let refusal = RequestError::Stale { changes: found }.to_string();
    assert!(
        refusal.starts_with("the plan is stale: an application, its server"),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_repeated_request_gets_its_rollouts_whatever_changed_since() {
    let harness = Harness::with_fleet(2).await;
    let (order, planned) = plan(&harness).await;
    let keyed = RolloutOrder {
        plan: Some(planned.digest),
        idempotency: Some(Idempotency {
            scope: "rollouts ann".to_owned(),
            key: "k1".to_owned(),
            digest: vec![1],
        }),
        ..order
    };
    let first = harness.service.rollouts.request(keyed.clone()).await;
    let first = first.unwrap();
    harness.show_drained("s1_a_1").await;
    let haproxy = harness.server("lb").await.key;
    harness.service.servers.refresh(haproxy).await.unwrap();
    harness.runner.break_down("no Ansible");
    let again = harness.service.rollouts.request(keyed).await.unwrap();
    assert_eq!((again.replayed, again.rollouts), (true, first.rollouts));
}
