//! What a play asks of Drover and the answers, as the JSON of the job's mailbox.

use std::time::Duration;

use drover_domain::rollout::request::{PlayRequest, Step, StepAnswer, StepKind};
use drover_domain::text::visible;
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::protocol::Asked;

/// Most targets of a request.
const TARGETS_MAX: usize = 1_000;
/// Most characters of a sentence about what cannot be read.
const COMPLAINT_MAX: usize = 200;
/// The longest any part of a step may wait.
const WAIT_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Deserialize)]
struct Request {
    action: String,
    targets: Vec<String>,
    #[serde(deserialize_with = "seconds")]
    drain_delay: Duration,
    #[serde(deserialize_with = "seconds")]
    settle: Duration,
    #[serde(deserialize_with = "seconds")]
    health_timeout: Duration,
    #[serde(deserialize_with = "seconds")]
    ready_timeout: Duration,
    min_ready: Option<u32>,
}

/// Seconds, bounded to [`WAIT_MAX`].
fn seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let found = Duration::try_from_secs_f64(f64::deserialize(source)?);
    found
        .map(|found| found.min(WAIT_MAX))
        .map_err(serde::de::Error::custom)
}

/// Reads a request; one that cannot be read keeps its number, so that it is answered.
pub(crate) fn request(asked: &Asked) -> PlayRequest {
    PlayRequest {
        number: asked.number,
        step: step(&asked.text),
    }
}

fn step(text: &str) -> Result<Step, String> {
    let found: Request =
        serde_json::from_str(text).map_err(|error| visible(&error.to_string(), COMPLAINT_MAX))?;
    let kind = StepKind::parse(&found.action)
        .ok_or_else(|| format!("`{}` is no action", visible(&found.action, COMPLAINT_MAX)))?;
    if found.targets.is_empty() || found.targets.len() > TARGETS_MAX {
        return Err(format!(
            "it names {} targets; 1 to {TARGETS_MAX} are possible",
            found.targets.len()
        ));
    }
    Ok(Step {
        kind,
        targets: found.targets,
        drain_wait: found.drain_delay,
        settle: found.settle,
        health_wait: found.health_timeout,
        ready_wait: found.ready_timeout,
        min_ready: found.min_ready,
    })
}

/// Writes an answer.
pub(crate) fn answer(answer: &StepAnswer) -> String {
    let targets: serde_json::Map<String, serde_json::Value> = answer
        .targets
        .iter()
        .map(|target| {
            let said = json!({ "state": target.state.as_str(), "detail": target.detail });
            (target.composite.clone(), said)
        })
        .collect();
    json!({ "error": answer.error, "targets": targets }).to_string()
}

#[cfg(test)]
mod tests {
    use drover_domain::rollout::request::{TargetAnswer, TargetState};

    use super::*;

    fn read(text: &str) -> Result<Step, String> {
        let asked = Asked {
            number: 3,
            text: text.to_owned(),
        };
        let found = request(&asked);
        assert_eq!(found.number, 3);
        found.step
    }

    #[test]
    fn a_request_is_read_with_its_bounds() {
        let text = r#"{"action":"drain","targets":["w::a"],"drain_delay":300,"settle":0.5,"health_timeout":1e9,
            "ready_timeout":30,"min_ready":2}"#;
        let step = read(text).unwrap();
        assert_eq!(
            (step.kind, step.targets.as_slice()),
            (StepKind::Drain, &["w::a".to_owned()][..])
        );
        assert_eq!(
            (step.drain_wait.as_secs(), step.settle.as_millis()),
            (300, 500)
        );
        assert_eq!((step.health_wait, step.min_ready), (WAIT_MAX, Some(2)));
    }

    #[test]
    fn what_is_no_request_says_why() {
        let with = |action: &str, targets: &str, delay: &str| {
            format!(
                r#"{{"action":"{action}","targets":{targets},"drain_delay":{delay},"settle":0,"health_timeout":1,"ready_timeout":1}}"#
            )
        };
        assert!(read(&with("drain", r#"["a"]"#, "1")).is_ok());
        for (text, part) in [
            (String::new(), "EOF"),
            (with("explode", r#"["a"]"#, "1"), "`explode`"),
            (with("drain", "[]", "1"), "0 targets"),
            (with("drain", r#"["a"]"#, "-1"), "negative"),
        ] {
            let reason = read(&text).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn an_answer_names_each_target() {
        let text = answer(&StepAnswer {
            number: 1,
            error: None,
            targets: vec![TargetAnswer {
                composite: "w::a".to_owned(),
                state: TargetState::Drained,
                detail: "no session".to_owned(),
            }],
        });
        assert_eq!(
            text,
            r#"{"error":null,"targets":{"w::a":{"detail":"no session","state":"drained"}}}"#
        );
    }
}
