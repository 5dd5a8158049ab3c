//! A workflow for people: what it is, how far it is, and its tasks as a drawing.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::failure::{Code, Failure};
use super::graph::{Place, places};
use super::output::{NOTHING, Output, TEXT_MAX, cell, fitted, line, text, wrapped};
use super::service::Service;
use super::state::{self, Colour, Paint};
use super::times::{now, span};

/// The narrowest screen that is drawn for.
const WIDTH_MIN: usize = 60;
/// The most characters of a worker's name, and the fewest it is cut to.
const WORKER: (usize, usize) = (24, 8);
/// The fewest characters of a key with its stem.
const KEY_MIN: usize = 20;
/// The most lines of a sentence.
const ERROR_LINES: usize = 3;
/// The gap between columns.
const GAP: usize = 2;

/// A workflow and its tasks.
#[derive(Debug)]
pub(crate) struct Shown {
    workflow: Value,
    tasks: Vec<Value>,
}

/// Reads a workflow with its tasks.
pub(crate) async fn read(id: &str, service: &Service) -> Result<Shown, Failure> {
    Ok(Shown {
        workflow: service.get(&format!("workflows/{id}"), &[]).await?,
        tasks: service.all(&format!("workflows/{id}/tasks"), &[]).await?,
    })
}

impl Shown {
    /// How it ended, as an exit code; `None` while it goes on.
    pub(crate) fn ending(&self) -> Option<Code> {
        state::ending(text(&self.workflow, "status"))
    }

    /// Prints it.
    pub(crate) fn print(&self, output: &Output) {
        let document = json!({"workflow": self.workflow, "tasks": self.tasks});
        output.document(&document, || {
            let look = Look {
                width: output.width(),
                paint: output.paint(),
                now: now(),
            };
            for text in lines(&self.workflow, &self.tasks, look) {
                line(&text);
            }
        });
    }
}

/// How a workflow is drawn.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// How many characters a line may have; nothing is cut when it goes to a file.
    width: Option<usize>,
    paint: Paint,
    /// What open spans are measured to.
    now: DateTime<Utc>,
}

/// The lines of a workflow and its tasks.
fn lines(workflow: &Value, tasks: &[Value], look: Look) -> Vec<String> {
    let mut lines = head(workflow, look);
    let (undoing, tasks): (Vec<&Value>, Vec<&Value>) = tasks
        .iter()
        .partition(|task| !task.get("undoes_task_id").is_none_or(Value::is_null));
    // Of what undoes, only what has something to do is worth a line.
    let undoing: Vec<&Value> = undoing
        .into_iter()
        .filter(|task| text(task, "status") != "pending")
        .collect();
    let drawn = places(&tasks);
    let columns = Columns::new(&tasks, &drawn, &undoing, look);
    if !tasks.is_empty() {
        lines.push(String::new());
    }
    for place in &drawn {
        columns.place(&tasks, place, &mut lines);
    }
    if !undoing.is_empty() {
        lines.push(String::new());
        lines.push("undone:".to_owned());
        for task in undoing {
            columns.task(task, "", "", &mut lines);
        }
    }
    let output = workflow.get("output").and_then(Value::as_object);
    let output: Vec<_> = output.into_iter().flatten().collect();
    if output.iter().any(|(_, result)| !result.is_null()) {
        lines.push(String::new());
        lines.push("output:".to_owned());
        for (key, result) in output {
            lines.push(look.cut(&format!("{key}  {result}")));
        }
    }
    lines
}

fn head(workflow: &Value, look: Look) -> Vec<String> {
    let status = text(workflow, "status");
    let failed = match cell(workflow, "tasks.failed").as_str() {
        "0" | NOTHING => String::new(),
        failed => format!(", {failed} not succeeded"),
    };
    let count = |member: &str| {
        let tasks = workflow.get("tasks")?;
        tasks.get(member)?.as_u64()
    };
    let (total, open) = (count("total").unwrap_or(0), count("open").unwrap_or(0));
    let far = format!(
        "  {}%, {} of {total} tasks ended{failed}",
        cell(workflow, "progress"),
        total.saturating_sub(open),
    );
    let definition = match cell(workflow, "definition.name") {
        name if name == NOTHING => name,
        name => format!("{name}@{}", cell(workflow, "definition.version")),
    };
    let labels = workflow.get("labels").and_then(Value::as_object);
    let labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let mut took = span(workflow, "started_at", "finished_at", look.now);
    if took != NOTHING {
        took = format!("{}  ({took})", cell(workflow, "started_at"));
    }
    let lines = [
        ("workflow", cell(workflow, "id")),
        ("name", cell(workflow, "name")),
        ("definition", definition),
        ("labels", shown_or_nothing(&labels.join(", "))),
        ("requested by", cell(workflow, "requested_by")),
        ("created", cell(workflow, "created_at")),
        ("started", took),
        ("finished", cell(workflow, "finished_at")),
    ];
    let mut lines: Vec<String> = lines
        .into_iter()
        .filter(|(_, value)| value != NOTHING)
        .map(|(label, value)| look.cut(&format!("{label:<13} {value}")))
        .collect();
    let most = look.width.map_or(TEXT_MAX, |width| width.max(WIDTH_MIN));
    let far = fitted(&far, most.saturating_sub(13 + 3 + status.chars().count()));
    let status = format!("{:<13} {}{far}", "status", state::shown(status, look.paint));
    lines.insert(2.min(lines.len()), status);
    let error = text(workflow, "error");
    if !error.is_empty() {
        let error = wrapped(error, most.saturating_sub(14), ERROR_LINES);
        for (at, error) in error.iter().enumerate() {
            let label = if at == 0 { "error" } else { "" };
            lines.push(format!(
                "{label:<13} {}",
                look.paint.text(Colour::Red, error)
            ));
        }
    }
    lines
}

fn shown_or_nothing(text: &str) -> String {
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    text.to_owned()
}

impl Look {
    /// A text without hidden characters that fits into a line.
    fn cut(self, text: &str) -> String {
        fitted(
            text,
            self.width.map_or(TEXT_MAX, |width| width.max(WIDTH_MIN)),
        )
    }
}

/// How wide each column is.
struct Columns {
    look: Look,
    key: usize,
    status: usize,
    attempt: usize,
    time: usize,
    worker: usize,
}

impl Columns {
    fn new(tasks: &[&Value], drawn: &[Place], undoing: &[&Value], look: Look) -> Self {
        let all = || tasks.iter().chain(undoing);
        let widest = |width: &dyn Fn(&Value) -> usize| all().map(|task| width(task)).max();
        let count = |text: &str| text.chars().count();
        let stems = drawn.iter().map(|place| {
            let key = tasks
                .get(place.task)
                .map_or(0, |task| count(&cell(task, "key")));
            count(&place.stem) + 2 + key
        });
        let key = stems
            .chain(undoing.iter().map(|task| 2 + count(&cell(task, "key"))))
            .max();
        let mut columns = Self {
            key: key.unwrap_or(0),
            status: widest(&|task| count(text(task, "status"))).unwrap_or(0),
            attempt: widest(&|task| count(&attempt(task))).unwrap_or(0),
            time: widest(&|task| count(&took(task, look.now))).unwrap_or(0),
            worker: widest(&|task| count(text(task, "worker")))
                .unwrap_or(0)
                .min(WORKER.0),
            look,
        };
        columns.fit();
        columns
    }

    /// Takes from the worker's name first, then from the key.
    fn fit(&mut self) {
        let Some(width) = self.look.width else {
            self.worker = 0;
            return;
        };
        let over = |columns: &Self| columns.total().saturating_sub(width.max(WIDTH_MIN));
        self.worker = self
            .worker
            .saturating_sub(over(self))
            .max(self.worker.min(WORKER.1));
        self.key = self
            .key
            .saturating_sub(over(self))
            .max(self.key.min(KEY_MIN));
    }

    const fn total(&self) -> usize {
        self.key + self.status + self.attempt + self.time + self.worker + 4 * GAP
    }

    fn place(&self, tasks: &[&Value], place: &Place, lines: &mut Vec<String>) {
        let Some(task) = tasks.get(place.task) else {
            return;
        };
        self.task(task, &place.stem, &place.rest, lines);
        if place.after.is_empty() {
            return;
        }
        let keys: Vec<String> = place
            .after
            .iter()
            .filter_map(|at| tasks.get(*at))
            .map(|task| cell(task, "key"))
            .collect();
        self.below(
            &place.rest,
            &format!("after {}", keys.join(", ")),
            Colour::Grey,
            lines,
        );
    }

    fn task(&self, task: &Value, stem: &str, rest: &str, lines: &mut Vec<String>) {
        let paint = self.look.paint;
        let status = cell(task, "status");
        let (symbol, colour) = state::symbol(&status);
        let room = self.key.saturating_sub(stem.chars().count() + 2);
        let key = padded(&fitted(&cell(task, "key"), room), room);
        let worker = match cell(task, "worker") {
            worker if worker == NOTHING => String::new(),
            worker if self.worker == 0 => worker,
            worker => fitted(&worker, self.worker),
        };
        let mut line = format!("{stem}{} {key}", paint.text(colour, &symbol.to_string()));
        let (attempt, time) = (attempt(task), took(task, self.look.now));
        let columns = [
            (paint.text(colour, &status), status, self.status, false),
            (attempt.clone(), attempt, self.attempt, true),
            (time.clone(), time, self.time, true),
            (paint.text(Colour::Grey, &worker), worker, 0, false),
        ];
        for (shown, plain, width, is_right) in columns {
            // Colours take no room.
            let blank = " ".repeat(width.saturating_sub(plain.chars().count()));
            let gap = if width > 0 || !plain.is_empty() {
                GAP
            } else {
                0
            };
            line.push_str(&" ".repeat(gap));
            line.push_str(&if is_right {
                blank + &shown
            } else {
                shown + &blank
            });
        }
        lines.push(line.trim_end().to_owned());
        let error = cell(task, "error.code");
        if error != NOTHING {
            let message = task.pointer("/error/message").and_then(Value::as_str);
            let error = format!("{error}: {}", message.unwrap_or_default());
            self.below(
                rest,
                &error,
                if colour == Colour::Red {
                    Colour::Red
                } else {
                    Colour::Grey
                },
                lines,
            );
        }
    }

    /// A sentence that belongs to the task above it.
    fn below(&self, rest: &str, text: &str, colour: Colour, lines: &mut Vec<String>) {
        let before = rest.chars().count() + 4;
        let most = self
            .look
            .width
            .map_or(TEXT_MAX, |width| width.max(WIDTH_MIN));
        for text in wrapped(text, most.saturating_sub(before), ERROR_LINES) {
            lines.push(format!("{rest}    {}", self.look.paint.text(colour, &text)));
        }
    }
}

/// Which attempt it is, where it is not the first.
fn attempt(task: &Value) -> String {
    match task.get("attempt").and_then(Value::as_u64) {
        None | Some(0 | 1) => String::new(),
        Some(attempt) => format!("#{attempt}"),
    }
}

fn took(task: &Value, now: DateTime<Utc>) -> String {
    // Only an attempt takes time; between two attempts no worker holds the task.
    if matches!(text(task, "status"), "pending" | "queued" | "retrying") {
        return String::new();
    }
    match span(task, "started_at", "finished_at", now) {
        none if none == NOTHING => String::new(),
        time => time,
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

#[cfg(test)]
mod tests {
    use super::super::times::moment;
    use super::*;

    fn task(key: &str, status: &str, on: &[&str]) -> Value {
        json!({
            "id": "0190b3a4-7c00-7000-8000-000000000001", "key": key, "status": status, "attempt": 1,
            "depends_on": on, "undoes_task_id": null, "worker": null, "error": null,
            "started_at": null, "finished_at": null,
        })
    }

    fn with(mut task: Value, more: &Value) -> Value {
        let more = more.as_object().unwrap().clone();
        task.as_object_mut().unwrap().extend(more);
        task
    }

    fn workflow(status: &str) -> Value {
        json!({
            "id": "0190b3a4-7c00-7000-8000-000000000000", "name": "release\u{1b}[2J", "status": status,
            "progress": 40, "tasks": {"total": 5, "open": 3, "failed": 1}, "labels": {"env": "prod"},
            "definition": null, "requested_by": "admin", "created_at": "2026-11-21T08:00:00.000Z",
            "started_at": "2026-11-21T08:00:00.000Z", "finished_at": null, "error": null, "output": null,
        })
    }

    fn look(width: Option<usize>, is_on: bool) -> Look {
        let now = json!({"now": "2026-11-21T08:01:05.000Z"});
        Look {
            width,
            paint: Paint { is_on },
            now: moment(&now, "now").unwrap(),
        }
    }

    fn tasks() -> Vec<Value> {
        vec![
            with(
                task("fetch", "succeeded", &[]),
                &json!({"worker": "web1.example-4711", "started_at": "2026-11-21T08:00:00.000Z",
                    "finished_at": "2026-11-21T08:00:00.250Z"}),
            ),
            with(
                task("test-unit", "running", &["fetch"]),
                &json!({"worker": "web1.example-4711", "started_at": "2026-11-21T08:00:01.000Z"}),
            ),
            with(
                task("test-load", "retrying", &["fetch"]),
                &json!({"attempt": 3, "worker": "web1.example-4711", "started_at": "2026-11-21T08:00:01.000Z",
                    "error": {"code": "status_503", "message": "the peer said \u{1b}[31mno, and went on about it for much longer than a line"}}),
            ),
            task("publish", "pending", &["test-unit", "test-load"]),
            with(
                task("undo/fetch", "pending", &[]),
                &json!({"undoes_task_id": "0190b3a4-7c00-7000-8000-000000000001"}),
            ),
        ]
    }

    #[test]
    fn a_workflow_fits_eighty_columns() {
        assert_eq!(
            lines(&workflow("running"), &tasks(), look(Some(80), false)),
            [
                "workflow      0190b3a4-7c00-7000-8000-000000000000",
                "name          release\\u{1b}[2J",
                "status        ▶ running  40%, 2 of 5 tasks ended, 1 not succeeded",
                "labels        env=prod",
                "requested by  admin",
                "created       2026-11-21T08:00:00.000Z",
                "started       2026-11-21T08:00:00.000Z  (1m05s)",
                "",
                "✓ fetch         succeeded       0.2s  web1.example-4711",
                "├─ ▶ test-unit  running        1m04s  web1.example-4711",
                "└─ ↻ test-load  retrying   #3         web1.example-4711",
                "       status_503: the peer said \\u{1b}[31mno, and went on about it for much",
                "       longer than a line",
                "· publish       pending",
                "    after test-unit, test-load",
            ]
        );
    }

    #[test]
    fn nothing_is_wider_than_the_screen_and_nothing_is_cut_in_a_file() {
        let mut tasks = tasks();
        tasks.push(with(
            task(&"k".repeat(64), "running", &["publish"]),
            &json!({"worker": "w".repeat(80), "attempt": 12, "started_at": "2026-11-21T08:00:01.000Z"}),
        ));
        for width in [60, 80, 120] {
            for line in lines(&workflow("running"), &tasks, look(Some(width), false)) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let all = lines(&workflow("running"), &tasks, look(None, false)).join("\n");
        assert!(
            all.contains(&"k".repeat(64)) && all.contains(&"w".repeat(80)),
            "{all}"
        );
        assert!(all.contains("much longer than a line"), "{all}");
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let plain = lines(&workflow("running"), &tasks(), look(Some(80), false));
        let coloured = lines(&workflow("running"), &tasks(), look(Some(80), true)).join("\n");
        assert!(
            coloured.contains("\u{1b}[32m✓\u{1b}[0m fetch"),
            "{coloured}"
        );
        let mut bare = coloured;
        for code in [31, 32, 33, 36, 90, 0] {
            bare = bare.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(bare, plain.join("\n"));
    }

    #[test]
    fn what_was_undone_and_what_came_out_is_told() {
        let mut tasks = tasks();
        if let Some(undoing) = tasks.last_mut() {
            *undoing = with(undoing.take(), &json!({"status": "succeeded"}));
        }
        let done = with(
            workflow("compensated"),
            &json!({"output": {"publish": {"url": "x"}}}),
        );
        let all = lines(&done, &tasks, look(Some(80), false));
        let end: Vec<&str> = all.iter().rev().take(5).map(String::as_str).collect();
        assert_eq!(
            end,
            [
                "publish  {\"url\":\"x\"}",
                "output:",
                "",
                "✓ undo/fetch    succeeded",
                "undone:"
            ]
        );
    }
}
