//! States of workflows and tasks as people see them: a symbol and the word, in colour where there is one.

use super::failure::Code;

/// A colour of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Cyan,
    Grey,
}

/// Colours texts, or leaves them as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    pub(crate) is_on: bool,
}

impl Paint {
    pub(crate) fn text(self, colour: Colour, text: &str) -> String {
        if !self.is_on || text.trim().is_empty() {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
            Colour::Grey => 90,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// The symbol of a state, of a workflow or a task, and its colour. A word that is not known has one too.
pub(crate) fn symbol(status: &str) -> (char, Colour) {
    match status {
        "succeeded" | "success" => ('✓', Colour::Green),
        "compensated" => ('↶', Colour::Yellow),
        "failed" | "timed_out" => ('✗', Colour::Red),
        "unknown" | "needs_human" => ('?', Colour::Red),
        "running" => ('▶', Colour::Cyan),
        "waiting" | "paused" => ('‖', Colour::Yellow),
        "retrying" | "compensating" | "cancelling" => ('↻', Colour::Yellow),
        "queued" => ('○', Colour::Cyan),
        "cancelled" => ('⊘', Colour::Grey),
        "skipped" => ('↷', Colour::Grey),
        _ => ('·', Colour::Grey),
    }
}

/// Symbol and word.
pub(crate) fn shown(status: &str, paint: Paint) -> String {
    let (symbol, colour) = symbol(status);
    paint.text(colour, &format!("{symbol} {status}"))
}

/// How a workflow ended, as an exit code; `None` while it goes on.
pub(crate) fn ending(status: &str) -> Option<Code> {
    match status {
        "succeeded" => Some(Code::Success),
        // What it did is undone: it did not do what was asked.
        "failed" | "compensated" => Some(Code::Failed),
        "cancelled" => Some(Code::Cancelled),
        "needs_human" => Some(Code::Unknown),
        _ => None,
    }
}

/// The status of a task after an event of the stream; `None` for an event that does not change it.
pub(crate) fn after(event: &str) -> Option<&'static str> {
    Some(match event {
        "task_queued" | "task_lost" | "task_released" | "task_reopened" => "queued",
        "task_started" => "running",
        "task_completed" => "succeeded",
        "task_retrying" => "retrying",
        "task_waiting" => "waiting",
        "task_failed" => "failed",
        "task_timed_out" => "timed_out",
        "task_cancelled" => "cancelled",
        "task_skipped" => "skipped",
        "task_unknown" => "unknown",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use drover_domain::workflow::{EventKind, TaskStatus, WorkflowStatus};

    use super::*;

    #[test]
    fn every_state_is_known() {
        let known = |status: &str| symbol(status).0 != '·';
        for status in TaskStatus::ALL {
            let is_pending = status == TaskStatus::Pending;
            assert_eq!(known(status.as_str()), !is_pending, "{status:?}");
        }
        for status in WorkflowStatus::ALL {
            let is_pending = matches!(status, WorkflowStatus::Draft | WorkflowStatus::Pending);
            assert_eq!(known(status.as_str()), !is_pending, "{status:?}");
            let is_over = ending(status.as_str()).is_some();
            assert_eq!(is_over, status.is_terminal(), "{status:?}");
        }
        for kind in EventKind::ALL.iter().copied() {
            let is_of_task = kind.as_str().starts_with("task_");
            assert_eq!(after(kind.as_str()).is_some(), is_of_task, "{kind:?}");
        }
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let (on, off) = (Paint { is_on: true }, Paint { is_on: false });
        assert_eq!(shown("failed", off), "✗ failed");
        assert_eq!(shown("failed", on), "\u{1b}[31m✗ failed\u{1b}[0m");
        assert_eq!(on.text(Colour::Red, "  "), "  ");
    }
}
