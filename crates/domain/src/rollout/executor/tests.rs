//! The template on small fleets: names, halves, precedence, emission, refusals.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::fleet::{ApplicationKind, SettingsLayer};
use crate::rollout::composite::CompositeNameError;
use crate::rollout::drain::DrainWait;
use crate::rollout::job::Variable;
use crate::rollout::orchestrator::{OrchestratorMetadata, Parameter};
use crate::rollout::record::{ArtifactUrl, UpdateMode};
use crate::rollout::snapshot::{FleetSnapshot, Target, TargetHaproxyServer, TargetServer};
use crate::{Id, Key};

fn target(key: i64, name: &str, server: &str, backend: Option<i64>) -> Target {
    let haproxy_servers = backend
        .map(|backend| TargetHaproxyServer {
            key: Key::new(key),
            name: format!("{server}_{name}"),
            backend: Key::new(backend),
            backend_name: format!("be{backend}"),
            instance: Key::new(backend),
            instance_name: "default".to_owned(),
            agent: (format!("10.9.0.{backend}"), 5000),
        })
        .into_iter()
        .collect();
    Target {
        application: Key::new(key),
        name: name.to_owned(),
        kind: ApplicationKind::Service,
        version: Some("1.0.0".to_owned()),
        process: None,
        server: Some(TargetServer {
            key: Key::new(key),
            name: format!("{server}.example"),
            address: "10.0.0.1".to_owned(),
            namesake: None,
        }),
        group: None,
        own_settings: SettingsLayer::default(),
        catalog_settings: SettingsLayer::default(),
        haproxy_servers,
        expects_haproxy: false,
        is_new_in_group: false,
    }
}

fn snapshot(targets: Vec<Target>) -> FleetSnapshot {
    FleetSnapshot {
        targets: targets
            .into_iter()
            .map(|target| (target.application, target))
            .collect(),
        has_haproxy: true,
        unread_haproxy: Vec::new(),
    }
}

fn parameter(name: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        description: None,
        default: None,
    }
}

fn orchestrator(required: &[&str], optional: &[&str]) -> OrchestratorMetadata {
    OrchestratorMetadata {
        file_path: "o.yml".to_owned(),
        name: "o".to_owned(),
        description: None,
        version: None,
        required: required.iter().map(|name| parameter(name)).collect(),
        optional: optional.iter().map(|name| parameter(name)).collect(),
    }
}

fn context(
    applications: &[i64],
    orchestrator: OrchestratorMetadata,
    path: &str,
) -> OrchestratorContext {
    OrchestratorContext::new(
        Id::from_uuid(Uuid::from_u128(1)),
        applications.iter().copied().map(Key::new).collect(),
        ArtifactUrl::parse("http://nexus/app-1.1.zip").unwrap(),
        UpdateMode::Update,
        orchestrator,
        path.to_owned(),
        DrainWait::DEFAULT,
    )
    .unwrap()
}

fn text(value: &str) -> Variable {
    Variable::Text(value.to_owned())
}

#[test]
fn mapped_applications_get_three_part_names_in_two_halves() {
    let fleet = snapshot(vec![
        target(1, "a_1", "s1", Some(1)),
        target(2, "a_1", "s2", Some(1)),
    ]);
    let context = context(
        &[1, 2],
        orchestrator(
            &["app_instances", "haproxy_backend", "haproxy_api_url"],
            &[],
        ),
        "u.yml",
    );
    let runs = prepare_all(&context, &fleet).unwrap();
    let [run] = runs.as_slice() else {
        panic!("{runs:?}")
    };
    assert_eq!(
        run.extra_params["app_instances"],
        text("s1::a_1::s1_a_1,s2::a_1::s2_a_1")
    );
    assert_eq!(
        run.extra_params["haproxy_api_url"],
        text("http://10.9.0.1:5000/api/v1/haproxy/default")
    );
    assert_eq!(
        run.playbook_path,
        "o.yml {app_instances} {haproxy_backend} {haproxy_api_url}"
    );
    let halves: Vec<_> = run
        .batches
        .iter()
        .map(|batch| (batch.label, batch.members.len()))
        .collect();
    assert_eq!(halves, [(BatchLabel::Even, 1), (BatchLabel::Odd, 1)]);
}

#[test]
fn unmapped_applications_get_two_part_names_and_no_backend() {
    let fleet = snapshot(vec![target(1, "a_1", "s1", None)]);
    let context = context(
        &[1],
        orchestrator(&["app_instances"], &["haproxy_backend"]),
        "u.yml",
    );
    let runs = prepare_all(&context, &fleet).unwrap();
    assert_eq!(
        runs[0].extra_params,
        BTreeMap::from([("app_instances".to_owned(), text("s1::a_1"))])
    );
    assert_eq!(runs[0].backend, None);
}

#[test]
fn each_backend_gets_a_run_with_its_own_agent() {
    let fleet = snapshot(vec![
        target(1, "a_1", "s1", Some(1)),
        target(2, "b_1", "s2", Some(2)),
        target(3, "c_1", "s3", None),
    ]);
    let context = context(
        &[2, 1, 3],
        orchestrator(&["app_instances"], &["haproxy_api_url"]),
        "u.yml",
    );
    let runs = prepare_all(&context, &fleet).unwrap();
    let urls: Vec<_> = runs
        .iter()
        .map(|run| run.backend.as_ref().map(|backend| backend.api_url.as_str()))
        .collect();
    assert_eq!(
        urls,
        [
            Some("http://10.9.0.2:5000/api/v1/haproxy/default"),
            Some("http://10.9.0.1:5000/api/v1/haproxy/default"),
            None
        ]
    );
}

#[test]
fn base_yields_to_the_path_and_haproxy_gives_its_own() {
    let fleet = snapshot(vec![target(1, "a_1", "s1", Some(1))]);
    let path = "/etc/u.yml {server} {drain_delay=10} {unpack=TRUE}";
    let context = context(
        &[1],
        orchestrator(&["drain_delay", "haproxy_backend", "update_playbook"], &[]),
        path,
    );
    let run = prepare_all(&context, &fleet).unwrap().remove(0);
    assert_eq!(run.extra_params["drain_delay"], text("10"));
    assert_eq!(run.extra_params["haproxy_backend"], text("be1"));
    assert_eq!(run.extra_params["update_playbook"], text("u.yml"));
    assert_eq!(
        run.playbook_path,
        "o.yml {drain_delay=10} {haproxy_backend} {update_playbook}"
    );
    assert_eq!(run.extra_params["unpack"], text("true"));
    assert_eq!(run.extra_params["update_parameters"], text("unpack"));
}

#[test]
fn a_declared_parameter_is_emitted_once_and_only_with_a_value() {
    let fleet = snapshot(vec![target(1, "a_1", "s1", None)]);
    let declared = orchestrator(
        &["distr_url", "wait_after_update"],
        &["wait_after_update", "distr_url", "unheard_of"],
    );
    let run = prepare_all(&context(&[1], declared, "u.yml"), &fleet)
        .unwrap()
        .remove(0);
    assert_eq!(run.playbook_path, "o.yml {distr_url}");
    assert_eq!(run.extra_params.len(), 1);
}

#[test]
fn a_required_parameter_without_a_value_is_named_with_its_playbook() {
    let fleet = snapshot(vec![target(1, "a_1", "s1", None)]);
    let refusal = prepare_all(
        &context(&[1], orchestrator(&["haproxy_backend"], &[]), "u.yml"),
        &fleet,
    )
    .unwrap_err();
    let expected = PrepareError::MissingParameter {
        parameter: "haproxy_backend".to_owned(),
        playbook: "o.yml".to_owned(),
    };
    assert_eq!(refusal, expected);
}

#[test]
fn a_required_parameter_falls_back_to_its_default() {
    let fleet = snapshot(vec![target(1, "a_1", "s1", None)]);
    let mut declared = orchestrator(&["wait_after_update"], &[]);
    declared.required[0].default = Some(Variable::Integer(180));
    let run = prepare_all(&context(&[1], declared, "u.yml"), &fleet)
        .unwrap()
        .remove(0);
    assert_eq!(
        run.extra_params["wait_after_update"],
        Variable::Integer(180)
    );
}

#[test]
fn servers_with_one_short_name_are_refused_naming_both() {
    let mut other = target(2, "b_1", "s1", None);
    other.server = Some(TargetServer {
        key: Key::new(9),
        name: "s1.other".to_owned(),
        address: String::new(),
        namesake: None,
    });
    let fleet = snapshot(vec![target(1, "a_1", "s1", None), other]);
    let refusal =
        prepare_all(&context(&[1, 2], orchestrator(&[], &[]), "u.yml"), &fleet).unwrap_err();
    let PrepareError::Composite(CompositeNameError::SameShortName { first, second, .. }) = refusal
    else {
        panic!("{refusal}")
    };
    assert_eq!(
        (first.as_str(), second.as_str()),
        ("s1.example", "s1.other")
    );
}

fn refusal_of(target: Target) -> PrepareError {
    let fleet = snapshot(vec![target]);
    prepare_all(&context(&[1], orchestrator(&[], &[]), "u.yml"), &fleet).unwrap_err()
}

#[test]
fn a_server_whose_namesake_is_not_in_the_request_is_refused_naming_both() {
    let mut twin = target(1, "a_1", "s1", None);
    if let Some(server) = &mut twin.server {
        server.namesake = Some("S1.other".to_owned());
    }
    let refusal = refusal_of(twin);
    assert!(refusal.is_about_applications());
    let refusal = refusal.to_string();
    assert!(
        refusal.contains("`s1.example` and `S1.other`") && refusal.contains("rename"),
        "{refusal}"
    );
}

#[test]
fn a_server_whose_name_means_something_to_ansible_is_refused() {
    for name in ["localhost", "all", "web:1", "10.0.0.1"] {
        let mut odd = target(1, "a_1", "s1", None);
        if let Some(server) = &mut odd.server {
            name.clone_into(&mut server.name);
        }
        let refusal = refusal_of(odd);
        assert!(refusal.is_about_applications());
        let refusal = refusal.to_string();
        assert!(
            refusal.contains(&format!("rename the server `{name}`")),
            "{refusal}"
        );
    }
}

#[test]
fn an_application_that_should_stand_behind_haproxy_is_not_updated_without_a_drain() {
    let lost = || Target {
        expects_haproxy: true,
        ..target(1, "a_1", "s1", None)
    };
    let refusal = refusal_of(lost());
    assert!(refusal.is_about_applications());
    let refusal = refusal.to_string();
    assert!(
        refusal.contains("`a_1` on s1.example") && refusal.contains("`allow_undrained`"),
        "{refusal}"
    );
    let fleet = snapshot(vec![lost(), target(2, "a_1", "s2", Some(1))]);
    let both = || context(&[1, 2], orchestrator(&[], &[]), "u.yml");
    assert!(prepare_all(&both(), &fleet).is_err());
    assert_eq!(
        prepare_all(&both().allowing_undrained(true), &fleet)
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn what_has_no_mapping_is_not_updated_while_an_haproxy_was_never_read() {
    let unread = |targets| FleetSnapshot {
        unread_haproxy: vec!["lb1".to_owned(), "lb2".to_owned()],
        ..snapshot(targets)
    };
    let fleet = unread(vec![
        target(1, "a_1", "s1", None),
        target(2, "a_1", "s2", Some(1)),
    ]);
    let of = |keys: &[i64]| context(keys, orchestrator(&[], &[]), "u.yml");
    let refusal = prepare_all(&of(&[1, 2]), &fleet).unwrap_err();
    assert!(refusal.is_about_applications());
    let refusal = refusal.to_string();
    for part in [
        "`a_1` on s1.example",
        "HAProxy on lb1, lb2",
        "`--allow-undrained`",
    ] {
        assert!(refusal.contains(part), "{part} is not in {refusal}");
    }
    assert!(!refusal.contains("s2.example"), "{refusal}");
    let allowed = of(&[1, 2]).allowing_undrained(true);
    assert_eq!(prepare_all(&allowed, &fleet).unwrap().len(), 2);
    // What is mapped is drained where it is known to stand.
    assert_eq!(prepare_all(&of(&[2]), &fleet).unwrap().len(), 1);
}

#[test]
fn an_application_without_a_server_is_refused() {
    let lost = Target {
        server: None,
        ..target(1, "a_1", "s1", None)
    };
    let refusal = prepare_all(
        &context(&[1], orchestrator(&[], &[]), "u.yml"),
        &snapshot(vec![lost]),
    )
    .unwrap_err();
    assert!(
        refusal.to_string().contains("`a_1`") && refusal.is_about_applications(),
        "{refusal}"
    );
}

#[test]
fn an_unknown_application_is_refused() {
    let refusal = prepare_all(
        &context(&[7], orchestrator(&[], &[]), "u.yml"),
        &snapshot(Vec::new()),
    )
    .unwrap_err();
    assert_eq!(
        refusal,
        PrepareError::UnknownApplication {
            application: Key::new(7)
        }
    );
}

#[test]
fn an_application_behind_two_servers_is_refused_naming_them() {
    let mut twice = target(1, "a_1", "s1", Some(1));
    twice
        .haproxy_servers
        .extend(target(2, "a_1", "s1", Some(2)).haproxy_servers);
    let refusal = prepare_all(
        &context(&[1], orchestrator(&[], &[]), "u.yml"),
        &snapshot(vec![twice]),
    )
    .unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("default/be1/s1_a_1 and default/be2/s1_a_1"),
        "{refusal}"
    );
}

#[test]
fn a_context_without_a_part_names_it() {
    let applications = vec![Key::new(1)];
    let artifact = ArtifactUrl::parse("http://x").unwrap();
    let context = |task: u128, applications, file: &str, path: &str| {
        let orchestrator = OrchestratorMetadata {
            file_path: file.to_owned(),
            ..orchestrator(&[], &[])
        };
        let task = Id::from_uuid(Uuid::from_u128(task));
        let (artifact, mode) = (artifact.clone(), UpdateMode::Update);
        OrchestratorContext::new(
            task,
            applications,
            artifact,
            mode,
            orchestrator,
            path.to_owned(),
            DrainWait::DEFAULT,
        )
        .map_err(|refusal| refusal.field)
        .map(|_| ())
    };
    assert_eq!(
        context(0, applications.clone(), "o.yml", "u.yml"),
        Err("a task id")
    );
    assert_eq!(
        context(1, Vec::new(), "o.yml", "u.yml"),
        Err("applications")
    );
    assert_eq!(
        context(1, applications.clone(), " ", "u.yml"),
        Err("an orchestrator playbook")
    );
    assert_eq!(
        context(1, applications.clone(), "o.yml", ""),
        Err("an update playbook path")
    );
    assert_eq!(context(1, applications, "o.yml", "u.yml"), Ok(()));
}

#[test]
fn an_update_has_its_groups_and_backends_to_itself() {
    let fleet = snapshot(vec![
        target(1, "a_1", "s1", Some(7)),
        target(2, "a_1", "s2", Some(7)),
        target(3, "b_1", "s3", None),
    ]);
    let keys = |applications: &[i64]| {
        fleet.concurrency_keys(
            &applications
                .iter()
                .copied()
                .map(Key::new)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(keys(&[1, 2, 3]), ["backend:7"]);
    assert_eq!(keys(&[3]), Vec::<String>::new());
}

#[test]
fn a_thousand_applications_are_prepared_in_one_run() {
    let targets = (0..1_000).map(|key| {
        target(
            key,
            &format!("a_{}", key % 10),
            &format!("s{}", key / 10),
            Some(1),
        )
    });
    let fleet = snapshot(targets.collect());
    let keys: Vec<i64> = (0..1_000).collect();
    let runs = prepare_all(
        &context(&keys, orchestrator(&["app_instances"], &[]), "u.yml"),
        &fleet,
    )
    .unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].members().count(), 1_000);
}
