//! Who may name whom.

use std::collections::BTreeSet;

use crate::workspace::{Package, packages, read};

/// A crate and the crates of this workspace it names: exactly these, so that an unused permission
/// fails too.
struct Layer {
    name: &'static str,
    names: &'static [&'static str],
    /// What its tests name besides.
    tests: &'static [&'static str],
    /// Whether it is part of an installation.
    ships: bool,
}

const fn ships(
    name: &'static str,
    names: &'static [&'static str],
    tests: &'static [&'static str],
) -> Layer {
    Layer {
        name,
        names,
        tests,
        ships: true,
    }
}

const fn tool(
    name: &'static str,
    names: &'static [&'static str],
    tests: &'static [&'static str],
) -> Layer {
    Layer {
        name,
        names,
        tests,
        ships: false,
    }
}

/// Innermost first: a crate names only crates above it.
const LAYERS: &[Layer] = &[
    ships("drover-domain", &[], &[]),
    ships("drover-ports", &["drover-domain"], &[]),
    tool("drover-testkit", &["drover-domain", "drover-ports"], &[]),
    ships(
        "drover-usecases",
        &["drover-domain", "drover-ports"],
        &["drover-testkit"],
    ),
    ships("drover-migrations", &[], &[]),
    ships(
        "drover-store-sea-orm",
        &["drover-domain", "drover-migrations", "drover-ports"],
        &["drover-testkit"],
    ),
    ships("drover-egress", &[], &[]),
    ships(
        "drover-fagent-http",
        &["drover-domain", "drover-egress", "drover-ports"],
        &["drover-testkit"],
    ),
    ships(
        "drover-peer-http",
        &["drover-domain", "drover-egress", "drover-ports"],
        &[],
    ),
    ships(
        "drover-runner-ansible",
        &["drover-domain", "drover-ports"],
        &["drover-testkit"],
    ),
    ships(
        "drover-http-api",
        &["drover-domain", "drover-usecases"],
        &["drover-ports", "drover-testkit"],
    ),
    ships("drover-config", &[], &[]),
    ships(
        "drover-app",
        &[
            "drover-config",
            "drover-domain",
            "drover-egress",
            "drover-fagent-http",
            "drover-http-api",
            "drover-peer-http",
            "drover-ports",
            "drover-runner-ansible",
            "drover-store-sea-orm",
            "drover-usecases",
        ],
        &["drover-testkit"],
    ),
    ships("drover-agent", &[], &[]),
    tool("drover-demo", &[], &[]),
    tool("drover-xtask", &[], &[]),
    tool("drover-architecture", &[], &[]),
    tool(
        "drover-bench",
        &[
            "drover-domain",
            "drover-fagent-http",
            "drover-ports",
            "drover-store-sea-orm",
            "drover-testkit",
            "drover-usecases",
        ],
        &[],
    ),
    tool(
        "drover-battery",
        &[
            "drover-domain",
            "drover-ports",
            "drover-store-sea-orm",
            "drover-testkit",
            "drover-usecases",
        ],
        &[],
    ),
    tool("drover-e2e", &[], &["drover-testkit"]),
];

/// Crates whose third-party dependencies are an allow-list as well. These have no I/O of their own.
const PURE: &[(&str, &[&str])] = &[
    (
        "drover-domain",
        &["chrono", "chrono-tz", "croner", "thiserror", "uuid"],
    ),
    ("drover-ports", &["async-trait", "thiserror"]),
    (
        "drover-usecases",
        &["async-trait", "sha2", "thiserror", "tokio", "tracing"],
    ),
];

/// Third-party crates that mark an adapter, and the only crates that may name them outside tests.
const MARKS: &[(&str, &[&str])] = &[
    ("sea-orm", &["drover-store-sea-orm", "drover-bench"]),
    ("sea-query-sqlx", &["drover-store-sea-orm"]),
    ("sqlx", &["drover-store-sea-orm"]),
    ("sqlx-core", &["drover-store-sea-orm"]),
    (
        "sea-orm-migration",
        &["drover-migrations", "drover-store-sea-orm"],
    ),
    (
        "axum",
        &[
            "drover-http-api",
            "drover-app",
            "drover-agent",
            "drover-demo",
        ],
    ),
    ("utoipa", &["drover-http-api"]),
    ("figment2", &["drover-config"]),
    ("bollard", &["drover-agent"]),
    ("zbus", &["drover-agent"]),
    (
        "reqwest",
        &[
            "drover-egress",
            "drover-fagent-http",
            "drover-peer-http",
            "drover-app",
            "drover-demo",
        ],
    ),
    (
        "anyhow",
        &[
            "drover-app",
            "drover-agent",
            "drover-demo",
            "drover-xtask",
            "drover-bench",
            "drover-battery",
        ],
    ),
];

fn layer(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

#[test]
fn every_crate_has_its_place() {
    let found: BTreeSet<&str> = packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let listed: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.name).collect();
    assert_eq!(
        found, listed,
        "crates of the workspace (left: found, right: LAYERS)"
    );
}

#[test]
fn arrows_are_exactly_the_listed_ones() {
    for package in packages() {
        let Some(layer) = layer(&package.name) else {
            continue;
        };
        let allowed: BTreeSet<&str> = layer.names.iter().copied().collect();
        let found = Package::ours(&package.dependencies);
        assert_eq!(
            found, allowed,
            "arrows of {} (left: found, right: LAYERS)",
            package.name
        );
        let allowed: BTreeSet<&str> = layer.tests.iter().copied().collect();
        let found = Package::ours(&package.test_dependencies);
        assert_eq!(
            found, allowed,
            "arrows of the tests of {} (left: found, right: LAYERS)",
            package.name
        );
    }
}

#[test]
fn arrows_point_up_the_list() {
    for (place, layer) in LAYERS.iter().enumerate() {
        for named in layer.names.iter().chain(layer.tests) {
            let above = LAYERS.iter().take(place).any(|other| other.name == *named);
            assert!(
                above,
                "{} names {named}, which is not above it in LAYERS",
                layer.name
            );
        }
    }
}

#[test]
fn pure_crates_stay_pure() {
    for (name, allowed) in PURE {
        let package = packages().iter().find(|package| package.name == *name);
        let found = package
            .map(|package| Package::theirs(&package.dependencies))
            .unwrap_or_default();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert_eq!(
            found, allowed,
            "third-party crates of {name} (left: found, right: PURE)"
        );
    }
}

#[test]
fn a_technology_is_named_only_where_it_belongs() {
    for (mark, allowed) in MARKS {
        for package in packages() {
            let named = package.dependencies.contains(*mark);
            let may = allowed.contains(&package.name.as_str());
            assert!(
                may || !named,
                "{} names {mark}; only {allowed:?} may",
                package.name
            );
        }
    }
}

#[test]
fn nothing_that_ships_contains_test_doubles() {
    for package in packages() {
        if !layer(&package.name).is_some_and(|layer| layer.ships) {
            continue;
        }
        for double in [
            "drover-testkit",
            "mockall",
            "wiremock",
            "proptest",
            "insta",
            "tempfile",
        ] {
            assert!(
                !package.dependencies.contains(double),
                "{} ships {double}",
                package.name
            );
        }
        let mocks: Vec<&String> = package
            .requested_features
            .iter()
            .filter(|feature| feature.ends_with("/mock"))
            .collect();
        assert!(
            mocks.is_empty(),
            "{} asks for mocks in what it ships: {mocks:?}",
            package.name
        );
    }
}

// One feature set for all packages of a build: a request of one package would apply to all.
#[test]
fn only_the_battery_asks_for_deliberate_defects() {
    for package in packages() {
        let mutants: Vec<&String> = package
            .requested_features
            .iter()
            .filter(|feature| feature.ends_with("/mutants"))
            .collect();
        assert!(
            mutants.is_empty() || package.name == "drover-battery",
            "{} asks for deliberate defects: {mutants:?}",
            package.name
        );
    }
}

#[test]
fn every_manifest_inherits_what_the_workspace_says() {
    for package in packages() {
        let manifest = read(&package.folder.join("Cargo.toml"));
        let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
        let inherits = lines
            .windows(2)
            .any(|pair| pair == ["[lints]", "workspace = true"]);
        assert!(
            inherits,
            "{} does not inherit the lints of the workspace",
            package.name
        );
        for inherited in ["version", "edition", "rust-version", "license", "publish"] {
            let line = format!("{inherited}.workspace = true");
            assert!(
                lines.contains(&line.as_str()),
                "{} does not inherit `{inherited}`",
                package.name
            );
        }
        assert!(
            !package.description.trim().is_empty(),
            "{} has no description",
            package.name
        );
        assert!(
            !package.folder.join("clippy.toml").exists(),
            "{} has a clippy.toml of its own, which would replace the one of the workspace",
            package.name
        );
    }
}
