//! How a client command ends when it does not end well.

use std::error::Error;
use std::process::ExitCode;

use drover_domain::text::visible;
use serde_json::{Value, json};

/// The most characters of a sentence from the service.
const SENTENCE_MAX: usize = 1_000;

/// The exit codes of the client; scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It worked; a watched update completed.
    Success,
    /// A watched update failed, or an error that has no code of its own.
    Failed,
    /// A watched update was cancelled.
    Cancelled,
    /// No API key, a wrong one, or one that does not allow this.
    NotAllowed,
    /// The resource does not exist.
    NotFound,
    /// It conflicts with what is there.
    Conflict,
    /// The wait ran out; the update goes on.
    WaitedTooLong,
    /// The result of a watched update is unknown: a person must check it.
    Unknown,
    /// The command line, or what it asks for, is wrong.
    Usage,
    /// The service cannot be reached, or cannot answer at the moment.
    Unavailable,
    /// The client broke a promise of its own.
    Defect,
    /// The client's settings cannot be used.
    Config,
    /// Interrupted; what was started goes on.
    Interrupted,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Success => 0,
            Code::Failed => 1,
            Code::Cancelled => 3,
            Code::NotAllowed => 4,
            Code::NotFound => 5,
            Code::Conflict => 6,
            Code::WaitedTooLong => 7,
            Code::Unknown => 9,
            Code::Usage => 64,
            Code::Unavailable => 69,
            Code::Defect => 70,
            Code::Config => 78,
            Code::Interrupted => 130,
        })
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// A sentence for people, safe to print.
    pub(crate) message: String,
    /// The problem document of the service, if it sent one.
    pub(crate) problem: Option<Value>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            problem: None,
        }
    }

    /// What the service said instead of an answer.
    pub(crate) fn from_problem(status: u16, problem: Option<Value>) -> Self {
        let code = match status {
            401 | 403 => Code::NotAllowed,
            404 => Code::NotFound,
            409 | 412 | 428 => Code::Conflict,
            400 | 413 | 415 | 422 => Code::Usage,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Failed,
        };
        let message = problem
            .as_ref()
            .and_then(sentence)
            .unwrap_or_else(|| format!("the service answered with status {status}"));
        Self {
            code,
            message,
            problem,
        }
    }

    /// The failure as a problem document.
    pub(crate) fn document(&self) -> Value {
        self.problem.clone().unwrap_or_else(|| {
            json!({
                "type": "about:blank", "title": "The command failed", "code": "client", "detail": self.message,
            })
        })
    }
}

fn sentence(problem: &Value) -> Option<String> {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut sentence = text(problem, "detail").or_else(|| text(problem, "title"))?;
    for error in problem
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let (Some(pointer), Some(detail)) = (text(error, "pointer"), text(error, "detail")) {
            sentence = match sentence.contains(&detail) {
                true if pointer.is_empty() => sentence,
                true => format!("{sentence} (at {pointer})"),
                false => format!("{sentence}; {pointer}: {detail}"),
            };
        }
    }
    Some(visible(&sentence, SENTENCE_MAX))
}

/// The causes of an error behind its own message, in one line.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let more = current.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = current.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_sentence_and_a_code() {
        let problem = json!({
            "title": "Unprocessable", "detail": "The request is not valid.", "status": 422,
            "errors": [{"pointer": "/drain_wait_time", "code": "range", "detail": "must be 0 to 60\u{1b}[2J"}],
        });
        let failure = Failure::from_problem(422, Some(problem));
        assert_eq!(failure.code, Code::Usage);
        assert_eq!(
            failure.message,
            "The request is not valid.; /drain_wait_time: must be 0 to 60\\u{1b}[2J"
        );
        assert_eq!(
            Failure::from_problem(500, None).message,
            "the service answered with status 500"
        );
    }

    #[test]
    fn statuses_have_their_codes() {
        for (status, code) in [
            (401, Code::NotAllowed),
            (403, Code::NotAllowed),
            (404, Code::NotFound),
            (409, Code::Conflict),
            (422, Code::Usage),
            (503, Code::Unavailable),
            (500, Code::Failed),
            (418, Code::Failed),
        ] {
            assert_eq!(Failure::from_problem(status, None).code, code, "{status}");
        }
    }
}
