//! Progress on standard error: a few live lines on a terminal, one line per event elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use terminal_size::{Height, Width, terminal_size_of};

use super::natural;
use super::output::{NOTHING, cell, fitted, sentence, text};
use super::times::{now, span};
use crate::print;

/// How often a live line moves.
const TICK: Duration = Duration::from_millis(250);

/// The most redraws in a second: what is watched is looked at twice in a second.
const REDRAWS: u8 = 4;

/// The size of a terminal that does not say its own.
const SIZE: (usize, usize) = (80, 24);

/// The fewest instances that are drawn, however low the terminal is.
const ROWS_MIN: usize = 3;

/// What of an event is shown, in this order.
const EVENT: [&str; 8] = [
    "at", "kind", "host", "play", "task", "instance", "status", "message",
];

/// Shows how tasks go on.
pub(crate) enum Screen {
    /// One line per event and per change of a rollout.
    Lines { statuses: BTreeMap<String, String> },
    /// A few lines that are redrawn.
    Live {
        bar: ProgressBar,
        views: Vec<View>,
        is_ticking: bool,
    },
}

impl Screen {
    pub(crate) fn new(is_live: bool) -> Self {
        if !is_live {
            return Self::Lines {
                statuses: BTreeMap::new(),
            };
        }
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
        Self::Live {
            bar: ProgressBar::with_draw_target(None, target).with_style(style("{msg}")),
            views: Vec::new(),
            is_ticking: false,
        }
    }

    /// Something a play said.
    pub(crate) fn event(&mut self, event: &Value) {
        if let Self::Lines { .. } = self {
            let parts: Vec<String> = EVENT
                .iter()
                .map(|member| sentence(event, member))
                .filter(|part| part != NOTHING)
                .collect();
            print::note(&parts.join("  "));
        }
    }

    /// Where a rollout stands.
    pub(crate) fn task(&mut self, task: &Value) {
        match self {
            Self::Lines { statuses } => {
                let mut status = cell(task, "status");
                // Before it begins, an update says what it waits for.
                let waits = sentence(task, "current_step");
                if status == "pending" && waits != NOTHING {
                    status = format!("{status}  {waits}");
                }
                let known = statuses.insert(cell(task, "id"), status.clone());
                if known.as_ref() != Some(&status) {
                    print::note(&format!("rollout {}  {status}", cell(task, "id")));
                }
            }
            Self::Live { bar, views, .. } => {
                let id = cell(task, "id");
                match views.iter_mut().find(|view| cell(&view.task, "id") == id) {
                    Some(view) => view.follow(task),
                    None => views.push(View::new(task)),
                }
                bar.set_message(frame(views, size(), now()).join("\n"));
            }
        }
    }

    /// A line that is printed as it is; what it consists of is safe to print.
    pub(crate) fn told(&self, text: &str) {
        match self {
            Self::Lines { .. } => print::note(text),
            Self::Live { bar, .. } => bar.println(print::safe(text)),
        }
    }

    /// How far the one thing is that is watched, where lines can be redrawn.
    pub(crate) fn bar(&mut self, status: &str, far: &str) {
        if let Self::Live {
            bar, is_ticking, ..
        } = self
        {
            if !std::mem::replace(is_ticking, true) {
                bar.set_style(style("{spinner} {prefix}  {wide_msg}"));
                bar.enable_steady_tick(TICK);
            }
            bar.set_prefix(print::safe(status));
            bar.set_message(print::safe(far));
        }
    }

    /// A sentence.
    pub(crate) fn note(&self, sentence: &str) {
        self.told(sentence);
    }

    /// Leaves the last state on the screen.
    pub(crate) fn end(&mut self) {
        if let Self::Live { bar, .. } = self {
            bar.abandon();
        }
    }
}

/// Without colours: they would say nothing that the words do not say.
fn style(template: &str) -> ProgressStyle {
    // The templates are ours and can be read.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    terminal_size_of(io::stderr()).map_or(SIZE, |(Width(width), Height(height))| {
        (usize::from(width), usize::from(height))
    })
}

/// A task as it was seen last.
pub(crate) struct View {
    task: Value,
    /// The details that were there before an instance came where it stands: they are of its past.
    past: BTreeMap<String, String>,
}

impl View {
    fn new(task: &Value) -> Self {
        Self {
            task: task.clone(),
            past: BTreeMap::new(),
        }
    }

    /// Takes the rollout as it is now.
    fn follow(&mut self, task: &Value) {
        for instance in targets(task) {
            let key = cell(instance, "application_id");
            let before = targets(&self.task)
                .iter()
                .find(|before| cell(before, "application_id") == key);
            if let Some(before) = before
                && cell(before, "outcome") != cell(instance, "outcome")
            {
                self.past.insert(key, sentence(before, "detail"));
            }
        }
        self.task = task.clone();
    }

    /// What is known of an instance in the state it is in.
    fn detail(&self, instance: &Value) -> Option<String> {
        let detail = sentence(instance, "detail");
        let is_past = self.past.get(&cell(instance, "application_id")) == Some(&detail);
        (detail != NOTHING && !is_past).then_some(detail)
    }
}

pub(crate) fn targets(task: &Value) -> &[Value] {
    let instances = task.get("targets").and_then(Value::as_array);
    instances.map(Vec::as_slice).unwrap_or_default()
}

/// How many instances stand at each of these outcomes, in words.
fn counted(instances: &[&Value]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in instances {
        *counts.entry(text(instance, "outcome")).or_default() += 1;
    }
    let words = [
        "done",
        "failed",
        "left_drained",
        "rolled_back",
        "unverified",
        "unknown",
        "skipped",
    ];
    let mut parts = vec![format!(
        "{} of {} done",
        counts.get("done").copied().unwrap_or(0),
        instances.len()
    )];
    parts.extend(words.iter().skip(1).filter_map(|word| {
        let count = counts.get(word)?;
        Some(format!("{count} {}", word.replace('_', " ")))
    }));
    parts.join(", ")
}

/// How much an instance is worth a line, the most first.
fn rank(instance: &Value) -> u8 {
    match text(instance, "outcome") {
        "failed" | "left_drained" | "unknown" | "unverified" => 0,
        "pending" => 2,
        "done" | "skipped" | "rolled_back" => 3,
        // It is worked on.
        _ => 1,
    }
}

/// The lines of all rollouts, as many as the terminal shows.
fn frame(views: &[View], (width, height): (usize, usize), now: DateTime<Utc>) -> Vec<String> {
    // The cursor stands below the lines.
    let rows = height.saturating_sub(1 + views.len());
    let each = (rows / views.len().max(1)).max(ROWS_MIN);
    let mut lines = Vec::new();
    for view in views {
        lines.push(fitted(&head(view, views.len() > 1, now), width));
        lines.extend(body(view, width, each));
    }
    lines
}

fn head(view: &View, is_one_of_many: bool, now: DateTime<Utc>) -> String {
    let task = &view.task;
    let all: Vec<&Value> = targets(task).iter().collect();
    let mut parts = Vec::new();
    if is_one_of_many {
        let id = cell(task, "id");
        // Identifiers made at the same moment differ only at their end.
        let end: String = id
            .chars()
            .skip(id.chars().count().saturating_sub(8))
            .collect();
        parts.push(format!("…{end}"));
    }
    parts.push(cell(task, "status"));
    parts.push(format!("{}%", cell(task, "progress")));
    if !all.is_empty() {
        parts.push(counted(&all));
    }
    let took = span(task, "started_at", "completed_at", now);
    let known = [took, cell(task, "current_step")];
    parts.extend(known.into_iter().filter(|part| part != NOTHING));
    parts.join("  ")
}

/// The targets of a rollout in at most `rows` lines: those first that need a look.
fn body(view: &View, width: usize, rows: usize) -> Vec<String> {
    let mut all: Vec<&Value> = targets(&view.task).iter().collect();
    let name = |instance: &Value| {
        format!(
            "{} on {} ({})",
            cell(instance, "name"),
            cell(instance, "server"),
            cell(instance, "batch")
        )
    };
    all.sort_by(|one, other| natural::compare(&name(one), &name(other)));
    let mut left_out = Vec::new();
    if all.len() > rows {
        let mut ranked: Vec<usize> = (0..all.len()).collect();
        ranked.sort_by_key(|at| all.get(*at).map_or(u8::MAX, |instance| rank(instance)));
        let mut shown: Vec<usize> = ranked.iter().copied().take(rows - 1).collect();
        shown.sort_unstable();
        left_out = all
            .iter()
            .enumerate()
            .filter(|(at, _)| !shown.contains(at))
            .map(|(_, instance)| *instance)
            .collect();
        all = shown
            .into_iter()
            .filter_map(|at| all.get(at).copied())
            .collect();
    }
    let widest = all.iter().map(|it| name(it).chars().count()).max();
    let column = widest.unwrap_or(0).min(width * 2 / 5);
    let mut lines: Vec<String> = all
        .iter()
        .map(|instance| {
            let state = match view.detail(instance) {
                Some(detail) => format!("{}: {detail}", cell(instance, "outcome")),
                None => cell(instance, "outcome"),
            };
            let name = fitted(&name(instance), column);
            let room = width.saturating_sub(column + 4);
            format!(
                "  {name:<column$}  {}",
                super::output::shortened(&state, room)
            )
        })
        .collect();
    if !left_out.is_empty() {
        let more = format!("  … {} more: {}", left_out.len(), others(&left_out));
        lines.push(fitted(&more, width));
    }
    lines
}

/// The outcomes of those that have no line.
fn others(instances: &[&Value]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for instance in instances {
        *counts.entry(cell(instance, "outcome")).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(outcome, count)| format!("{count} {}", outcome.replace('_', " ")))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(number: i64, outcome: &str, detail: Option<&str>) -> Value {
        json!({
            "application_id": number, "name": format!("jurws_{number}"), "server": "web1.example.org",
            "batch": if number % 2 == 0 { "even" } else { "odd" }, "outcome": outcome, "detail": detail,
        })
    }

    fn task(instances: &[Value]) -> Value {
        json!({
            "id": "0190b3a4-7c00-7000-8000-000000000001", "status": "processing", "progress": 19,
            "current_step": "Put back what is healthy", "targets": instances,
            "started_at": "2026-11-21T08:00:00.000Z", "completed_at": null,
        })
    }

    fn later() -> DateTime<Utc> {
        "2026-11-21T08:01:05.000Z".parse().unwrap()
    }

    #[test]
    fn a_small_update_is_shown_in_full_and_in_natural_order() {
        let view = View::new(&task(&[
            instance(10, "pending", None),
            instance(2, "draining", Some("2 sessions")),
            instance(1, "done", None),
        ]));
        assert_eq!(
            frame(&[view], (80, 24), later()),
            [
                "processing  19%  1 of 3 done  1m05s  Put back what is healthy",
                "  jurws_1 on web1.example.org (od…  done",
                "  jurws_2 on web1.example.org (ev…  draining: 2 sessions",
                "  jurws_10 on web1.example.org (e…  pending",
            ]
        );
    }

    #[test]
    fn a_large_update_fits_the_terminal_and_names_what_needs_a_look() {
        let long =
            "cannot download http://127.0.0.1/a/very/long/path/shop-1.1.0.txt: connection refused";
        let mut instances: Vec<Value> = (1..=36)
            .map(|number| instance(number, "pending", None))
            .collect();
        for number in [3, 36] {
            instances[number - 1] = instance(i64::try_from(number).unwrap(), "failed", Some(long));
        }
        instances[34] = instance(35, "draining", None);
        instances[0] = instance(1, "done", None);
        for (width, height) in [(80, 24), (60, 10), (200, 50), (20, 2)] {
            let lines = frame(&[View::new(&task(&instances))], (width, height), later());
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:#?}"
            );
            assert!(
                lines.len() < height.max(2 + ROWS_MIN),
                "{height}: {lines:#?}"
            );
        }
        let lines = frame(&[View::new(&task(&instances))], (80, 24), later());
        assert!(lines[0].contains("1 of 36 done, 2 failed"), "{lines:#?}");
        let named: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        for name in ["jurws_3", "jurws_35", "jurws_36"] {
            assert!(named.contains(&name), "{lines:#?}");
        }
        let failed = lines.iter().find(|line| line.contains("jurws_3 ")).unwrap();
        assert!(
            failed.ends_with("refused"),
            "the end of a reason matters: {failed}"
        );
        assert_eq!(lines[22], "  … 15 more: 1 done, 14 pending");
    }

    #[test]
    fn a_detail_ends_with_its_state() {
        let detail = Some("no session and no queued request in 3 samples");
        let mut view = View::new(&task(&[instance(1, "drained", detail)]));
        let shown = |view: &View| view.detail(&targets(&view.task)[0]);
        assert_eq!(shown(&view).as_deref(), detail);
        view.follow(&task(&[instance(1, "updating", detail)]));
        assert_eq!(shown(&view), None);
        view.follow(&task(&[instance(1, "updating", detail)]));
        assert_eq!(shown(&view), None);
        view.follow(&task(&[instance(1, "updating", Some("half of it"))]));
        assert_eq!(shown(&view).as_deref(), Some("half of it"));
        view.follow(&task(&[instance(1, "failed", Some("no such file"))]));
        assert_eq!(shown(&view).as_deref(), Some("no such file"));
    }

    #[test]
    fn several_updates_share_the_terminal() {
        let instances: Vec<Value> = (1..=36)
            .map(|number| instance(number, "pending", None))
            .collect();
        let mut other = task(&instances);
        other["id"] = json!("0190b3a4-7c00-7000-8000-00000000a001");
        let lines = frame(
            &[View::new(&task(&instances)), View::new(&other)],
            (80, 24),
            later(),
        );
        assert!(lines.len() < 24, "{lines:#?}");
        assert!(lines[0].starts_with("…00000001  processing"), "{lines:#?}");
    }
}
