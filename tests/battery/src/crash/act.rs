//! What a task does, as its payload says it.

use std::time::Duration;

use anyhow::{Context, Result};
use drover_domain::workflow::Json;
use serde_json::{Value, json};

/// What a task does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Act {
    /// How long it takes from its beginning to its effect.
    pub(crate) lasts: Duration,
    /// How many attempts fail.
    pub(crate) failures: u32,
    /// The code of these failures.
    pub(crate) code: String,
    /// The concurrency key it has to itself.
    pub(crate) lock: Option<String>,
}

impl Act {
    pub(crate) fn payload(&self) -> Result<Json> {
        let text = json!({
            "lasts_ms": u64::try_from(self.lasts.as_millis())?,
            "failures": self.failures,
            "code": self.code,
            "lock": self.lock,
        });
        Ok(Json::from_parsed("the payload", text.to_string())?)
    }

    pub(crate) fn parse(payload: &Json) -> Result<Self> {
        let value: Value = serde_json::from_str(payload.as_str())?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            lasts: Duration::from_millis(number("lasts_ms").context("lasts_ms is missing")?),
            failures: u32::try_from(number("failures").context("failures is missing")?)?,
            code: text("code").context("code is missing")?,
            lock: text("lock"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_reads_back() {
        let act = Act {
            lasts: Duration::from_millis(20),
            failures: 2,
            code: "flaky".to_owned(),
            lock: Some("lock-1".to_owned()),
        };
        assert_eq!(Act::parse(&act.payload().unwrap()).unwrap(), act);
        assert!(Act::parse(&Json::null()).is_err());
    }
}
