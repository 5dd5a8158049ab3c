//! Rules about the text of our sources that no lint of the compiler knows.

use std::path::{Path, PathBuf};

use crate::source::{code, unit_tests, without_unit_tests};
use crate::workspace::{packages, read, root, shown};

/// The longest table of contents.
const LIB_LINES_MAX: usize = 60;

/// Crates outside the service that start processes for a living, besides the packages of `tests/`.
const PROCESS_TOOLS: [&str; 4] = [
    "drover-agent",
    "drover-demo",
    "drover-testkit",
    "drover-xtask",
];

/// The one crate of the service that starts processes.
const PROCESS_CRATE: &str = "drover-runner-ansible";

/// The schema's steps in the order in which they were made. Steps are added at the end and never
/// renamed, moved or removed: databases out there have them behind them.
const MIGRATIONS: &[&str] = &[
    "m20261121_000001_fleet",
    "m20261121_000002_balancer",
    "m20261121_000003_rollout",
    "m20261121_000004_access",
    "m20261125_000005_workflows",
    "m20261125_000006_updates_on_the_engine",
    "m20261126_000007_actions",
    "m20261126_000008_mapping_audit",
    "m20261126_000011_desired_states",
    "m20261126_000012_retention",
    "m20261126_000013_webhooks",
    "m20261130_000014_access_keys",
    "m20261130_000015_engine_bounds",
    "m20261130_000016_haproxy_columns",
    "m20261130_000017_fleet_bounds",
    "m20261130_000018_rollout_evidence",
    "m20261201_000020_names",
    "m20261201_000022_stood_behind_haproxy",
];

fn all_files() -> Vec<PathBuf> {
    packages()
        .iter()
        .flat_map(|package| package.files(&["src", "tests", "examples", "benches"]))
        .collect()
}

/// The code of tests: integration tests, unit tests, and everything in the testkit.
fn test_code(path: &Path) -> String {
    let relative = shown(path);
    let code = code(&read(path));
    let is_test = relative.contains("/tests/")
        || relative.starts_with("tests/e2e/")
        || relative.starts_with("crates/testkit/");
    if is_test {
        code
    } else {
        unit_tests(&code).to_owned()
    }
}

/// The line on which a byte stands, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

#[test]
fn every_module_says_what_it_is_about() {
    for path in all_files() {
        let text = read(&path);
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("//! "),
            "{} does not start with a `//!` line",
            shown(&path)
        );
    }
}

#[test]
fn every_lib_is_a_table_of_contents() {
    for package in packages() {
        let lib = package.folder.join("src/lib.rs");
        if lib.exists() {
            let lines = read(&lib).lines().count();
            assert!(
                lines <= LIB_LINES_MAX,
                "{} has {lines} lines; at most {LIB_LINES_MAX}",
                shown(&lib)
            );
        }
    }
}

#[test]
fn no_test_is_switched_off() {
    for path in all_files() {
        let code = code(&read(&path));
        for attribute in ["#[ignore", "#[should_panic"] {
            let found = code.find(attribute).map(|at| line_of(&code, at));
            assert_eq!(
                found,
                None,
                "{} has `{attribute}` (left: the line)",
                shown(&path)
            );
        }
    }
}

#[test]
fn no_test_waits_by_the_clock() {
    for path in all_files() {
        let code = test_code(&path);
        let at = code.find("sleep(").or_else(|| code.find("sleep_until("));
        assert!(
            at.is_none(),
            "a test in {} sleeps; wait for a state with `eventually`",
            shown(&path)
        );
    }
}

/// `tracing` remembers for a whole process whether a place in the code is listened to, so beside other tests the log of
/// one is empty at random.
#[test]
fn a_test_that_reads_the_log_has_a_program_of_its_own() {
    for path in all_files() {
        let code = test_code(&path);
        let listens = [
            "subscriber::set_default(",
            "subscriber::with_default(",
            "set_global_default(",
        ];
        if listens.iter().any(|call| code.contains(call)) {
            let tests = code.matches("#[test]").count() + code.matches("#[tokio::test").count();
            let is_program = path
                .parent()
                .is_some_and(|folder| folder.ends_with("tests"));
            assert!(
                is_program && tests == 1,
                "{} installs a subscriber; it must be a program of its own with this one test",
                shown(&path)
            );
        }
    }
}

#[test]
fn only_the_runner_starts_processes() {
    for package in packages() {
        let name = package.name.as_str();
        let tool =
            PROCESS_TOOLS.contains(&name) || package.folder.starts_with(root().join("tests"));
        if tool || name == PROCESS_CRATE {
            continue;
        }
        for path in package.files(&["src"]) {
            let code = code(&read(&path));
            let code = without_unit_tests(&code);
            let found = ["process::Command", "CommandExt", "process::{Command"]
                .iter()
                .find(|text| code.contains(*text));
            assert_eq!(
                found,
                None,
                "{} starts processes; only {PROCESS_CRATE} may",
                shown(&path)
            );
        }
    }
}

#[test]
fn an_error_says_its_own_part_only() {
    for path in all_files() {
        let text = read(&path);
        for (at, _) in text.match_indices("#[error(") {
            // The attribute ends where its line of code does; a message never holds `)]`.
            let attribute = text
                .get(at..)
                .and_then(|rest| rest.split(")]").next())
                .unwrap_or_default();
            let repeats = attribute.contains("{source") || attribute.contains(".source");
            assert!(
                !repeats,
                "{}:{} interpolates its source, which the chain prints again",
                shown(&path),
                line_of(&text, at)
            );
        }
    }
}

#[test]
fn the_schema_only_grows_at_its_end() {
    let folder = root().join("migrations/src");
    let list = code(&read(&folder.join("migrator.rs")));
    let list = list
        .get(list.find("impl ").unwrap_or_default()..)
        .unwrap_or_default();
    let mut steps: Vec<(usize, String)> = Vec::new();
    for entry in std::fs::read_dir(&folder)
        .expect("there are migrations")
        .filter_map(Result::ok)
    {
        let name = entry
            .file_name()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned();
        if name
            .strip_prefix('m')
            .is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
        {
            let place = list.find(&format!("{name}::"));
            assert!(
                place.is_some(),
                "the step {name} is in no list of migrations/src/migrator.rs"
            );
            steps.push((place.unwrap_or_default(), name));
        }
    }
    steps.sort();
    let listed: Vec<&str> = steps.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(
        listed, MIGRATIONS,
        "steps of the schema (left: found, right: MIGRATIONS)"
    );
    assert!(
        listed.is_sorted(),
        "steps are named so that they sort in their order: {listed:?}"
    );
}
