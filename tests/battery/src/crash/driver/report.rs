//! What came of it, as one document.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::check::{Findings, Sin};
use super::super::worker::LEASE;
use super::Driver;
use super::faults::Strikes;

/// How many examples of a sin are shown.
const SHOWN: usize = 5;

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// The figures.
    pub figures: Value,
    /// What must not be.
    pub findings: Findings,
    /// Where logs and ledger are kept; nothing where nothing was found.
    pub kept: Option<PathBuf>,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_clean() && self.kept.is_none()
    }

    /// What was found, for people.
    #[must_use]
    pub fn complaint(&self) -> String {
        let mut text = String::new();
        for sin in Sin::ALL {
            let found = self.findings.of(*sin);
            if found.is_empty() {
                continue;
            }
            let _never_fails = writeln!(text, "{} ({}):", sin.as_str(), found.len());
            for what in found.iter().take(SHOWN) {
                let _never_fails = writeln!(text, "  {what}");
            }
        }
        if let Some(kept) = &self.kept {
            let _never_fails = writeln!(text, "logs and ledger: {}", kept.display());
        }
        text
    }
}

impl Driver {
    pub(super) fn report(self, mut findings: Findings) -> Report {
        let points = Strikes::points();
        let strikes = &self.strikes;
        if strikes.covered < points {
            let what = format!("{} points were never passed", points - strikes.covered);
            findings.add(Sin::Leftover, what);
        }
        let sins: Map<String, Value> = Sin::ALL
            .iter()
            .map(|sin| (sin.as_str().to_owned(), json!(findings.of(*sin).len())))
            .collect();
        let covered = u32::try_from(strikes.covered).unwrap_or(u32::MAX);
        let figures = json!({
            "seed": self.plan.seed,
            "kills": strikes.random + covered,
            "kills_at_random": strikes.random,
            "points": format!("{covered} of {points}"),
            "points_tried_again": strikes.missed,
            "tasks": findings.tasks,
            "lost_tasks": findings.lost_tasks,
            "excess_effects": findings.excess,
            "repeated_as_allowed": findings.repeats,
            "illegal_transitions": findings.of(Sin::IllegalMove).len(),
            "moves_replayed": findings.moves,
            "ledger_lines": findings.ledger_lines,
            "takeovers": findings.takeovers,
            "unknown": findings.unknown,
            "orders_repeated": self.desk.repeated,
            "ready_p95_s": seconds(percentile(&self.crew.ready_after, 95)),
            "lease_s": LEASE.as_secs_f64(),
            "drain_s": self.drained.map(|drained| seconds(Some(drained))),
            "restarts": strikes.resumed.len(),
            "resumed_after_s": strikes.resumed.iter().map(|took| seconds(Some(*took))).collect::<Vec<_>>(),
            "postgresql_away_s": strikes.away.iter().map(|took| seconds(Some(*took))).collect::<Vec<_>>(),
            "found": sins,
        });
        let kept = (!findings.is_clean()).then(|| self.folder.keep());
        Report {
            figures,
            findings,
            kept,
        }
    }
}

// Milliseconds are enough.
fn seconds(took: Option<Duration>) -> f64 {
    (took.unwrap_or_default().as_secs_f64() * 1_000.0).round() / 1_000.0
}

fn percentile(took: &[Duration], part: usize) -> Option<Duration> {
    let mut took = took.to_vec();
    took.sort_unstable();
    took.get(took.len() * part / 100).copied()
}
