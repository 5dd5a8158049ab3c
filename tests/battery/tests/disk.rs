//! A disk fills up under the store and is emptied again, and nothing is lost.

use std::process::Command;

use serde_json::Value;

#[test]
fn nothing_is_lost_when_a_disk_fills_up() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the battery is a program that starts others"
    )]
    let mut battery = Command::new(env!("CARGO_BIN_EXE_drover-battery"));
    let output = battery.args(["disk", "--runs", "2"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let figures: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {complaint}"));
    assert!(output.status.success(), "{figures} {complaint}");
    if let Some(reason) = figures.get("skipped") {
        // The tests of the store fill up a file by `max_page_count` everywhere.
        assert_eq!(figures.as_object().unwrap().len(), 1, "{reason}");
        return;
    }
    for database in ["sqlite", "postgres"] {
        let figure = |name: &str| figures.get(database).and_then(|it| it.get(name)?.as_u64());
        assert_eq!(figure("runs"), Some(2), "{figures}");
        assert_eq!(figure("lost"), Some(0), "{figures}");
        assert!(figure("acknowledged") > Some(20), "{figures}");
    }
}
