//! Progress on standard error: live lines on a terminal, one line per event elsewhere.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use drover_domain::text::visible;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::output::{NOTHING, cell, text};

/// The most characters of one line.
const LINE_MAX: usize = 300;

/// How often a live line moves.
const TICK: Duration = Duration::from_millis(120);

/// What of an event is shown, in this order.
const EVENT: [&str; 7] = ["at", "kind", "host", "play", "task", "status", "message"];

/// Shows how tasks go on.
pub(crate) enum Screen {
    /// One line per event and per change of a task.
    Lines { statuses: BTreeMap<String, String> },
    /// One line per task and per instance, redrawn.
    Live {
        all: MultiProgress,
        bars: BTreeMap<String, ProgressBar>,
    },
}

impl Screen {
    pub(crate) fn new(is_live: bool) -> Self {
        if is_live {
            return Self::Live {
                all: MultiProgress::new(),
                bars: BTreeMap::new(),
            };
        }
        Self::Lines {
            statuses: BTreeMap::new(),
        }
    }

    /// Something a play said.
    pub(crate) fn event(&mut self, event: &Value) {
        if let Self::Lines { .. } = self {
            let parts: Vec<String> = EVENT
                .iter()
                .map(|member| cell(event, member))
                .filter(|part| part != NOTHING)
                .collect();
            line(&parts.join("  "));
        }
    }

    /// Where a task stands.
    pub(crate) fn task(&mut self, task: &Value) {
        match self {
            Self::Lines { statuses } => {
                let status = cell(task, "status");
                let known = statuses.insert(cell(task, "id"), status.clone());
                if known.as_ref() != Some(&status) {
                    line(&format!("task {}  {status}", cell(task, "id")));
                }
            }
            Self::Live { all, bars } => redraw(all, bars, task),
        }
    }

    /// A line that is told as it is; what it consists of is safe to print.
    pub(crate) fn told(&self, text: &str) {
        match self {
            Self::Lines { .. } => {
                let _nobody_reads = writeln!(io::stderr().lock(), "{text}").is_err();
            }
            Self::Live { all, .. } => {
                let _nobody_reads = all.println(text).is_err();
            }
        }
    }

    /// How far the one thing is that is watched, where lines can be redrawn.
    pub(crate) fn bar(&mut self, status: &str, far: &str) {
        if let Self::Live { all, bars } = self {
            let bar = bars.entry(String::new()).or_insert_with(|| {
                let bar = all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(TICK);
                bar
            });
            bar.set_prefix(status.to_owned());
            bar.set_message(far.to_owned());
        }
    }

    /// A sentence.
    pub(crate) fn note(&self, sentence: &str) {
        match self {
            Self::Lines { .. } => line(sentence),
            Self::Live { all, .. } => {
                // A terminal that went away has no reader.
                let _nobody_reads = all.println(visible(sentence, LINE_MAX)).is_err();
            }
        }
    }

    /// Leaves the last state on the screen.
    pub(crate) fn end(&mut self) {
        match self {
            Self::Lines { .. } => {}
            Self::Live { bars, .. } => {
                for bar in bars.values() {
                    bar.abandon();
                }
            }
        }
    }
}

fn line(text: &str) {
    let _nobody_reads = writeln!(io::stderr().lock(), "{}", visible(text, LINE_MAX)).is_err();
}

fn redraw(all: &MultiProgress, bars: &mut BTreeMap<String, ProgressBar>, task: &Value) {
    let id = cell(task, "id");
    let head = format!(
        "{}%  {}  {}",
        cell(task, "progress"),
        cell(task, "status"),
        cell(task, "current_task")
    );
    set(all, bars, &id, &format!("update {id}"), &head);
    for instance in task
        .get("instances")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let key = format!("{id} {}", cell(instance, "application_id"));
        let name = format!(
            "  {} on {} ({})",
            cell(instance, "name"),
            cell(instance, "server"),
            cell(instance, "batch")
        );
        let mut state = cell(instance, "outcome");
        if !text(instance, "detail").is_empty() {
            state = format!("{state}: {}", cell(instance, "detail"));
        }
        set(all, bars, &key, &name, &state);
    }
}

fn set(
    all: &MultiProgress,
    bars: &mut BTreeMap<String, ProgressBar>,
    key: &str,
    name: &str,
    state: &str,
) {
    let bar = bars.entry(key.to_owned()).or_insert_with(|| {
        let bar = all.add(ProgressBar::new_spinner());
        // Without colours: they would say nothing that the words do not say.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:44} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        bar
    });
    bar.set_prefix(name.to_owned());
    bar.set_message(state.to_owned());
}
