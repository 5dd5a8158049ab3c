//! Workers and PostgreSQL are killed, and nothing is lost; and the check would notice a loss.

use std::process::Command;

use drover_battery::crash::{Defect, Sin, rehearse, rehearse_unheard};
use serde_json::Value;

/// What the checker has to find, for each deliberate defect; one of these.
fn signs(defect: Defect) -> &'static [Sin] {
    match defect {
        Defect::DoesNothing | Defect::SucceedsFalsely | Defect::DropsReports => {
            &[Sin::FalseVerdict]
        }
        Defect::ActsTwice
        | Defect::GivesBackTooLate
        | Defect::ChangesItsKey
        | Defect::GivesTwice => &[Sin::Excess],
        Defect::DropsStarts | Defect::ForgetsWorkflow => &[Sin::Lost],
        Defect::IgnoresKeys => &[Sin::Overlap],
        Defect::ForgetsEvent | Defect::SwapsEvents | Defect::StoresOtherState => {
            &[Sin::IllegalMove]
        }
        Defect::RepeatsEvent => &[Sin::Gap],
        Defect::LeavesLease => &[Sin::Leftover],
    }
}

#[test]
fn nothing_is_lost_when_workers_and_postgresql_are_killed() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the battery is a program that starts and kills others"
    )]
    let mut battery = Command::new(env!("CARGO_BIN_EXE_drover-battery"));
    battery.args([
        "crash",
        "--kills",
        "20",
        "--tasks",
        "1500",
        "--restarts",
        "2",
    ]);
    let output = battery.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figure = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap();
    assert!(figure("tasks") >= 1_500, "{figures}");
    assert_eq!(figure("kills_at_random"), 20, "{figures}");
    assert_eq!(figure("restarts"), 2, "{figures}");
    // What would not have been there could not have gone wrong.
    assert!(figure("takeovers") > 0, "{figures}");
    assert!(figure("orders_repeated") > 0, "{figures}");
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_without_a_defect_is_clean() {
    let findings = rehearse(None).await.unwrap();
    for sin in Sin::ALL {
        assert_eq!(
            findings.of(*sin),
            <&[String]>::default(),
            "{}",
            sin.as_str()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_hears_are_no_harm() {
    for (place, findings) in rehearse_unheard().await.unwrap() {
        assert!(findings.is_clean(), "{place}: {findings:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_checker_finds_every_deliberate_defect() {
    for defect in Defect::ALL {
        let findings = rehearse(Some(*defect)).await.unwrap();
        let is_found = signs(*defect)
            .iter()
            .any(|sin| !findings.of(*sin).is_empty());
        assert!(is_found, "{defect:?} shows as {findings:?}");
    }
}
