//! Documents of users: JSON or YAML, from a file or standard input.

use std::fs::File;
use std::io::{self, Read};

use drover_domain::text::visible;
use serde_json::{Map, Value};

use super::failure::{Code, Failure};

/// The largest document, bytes; the service takes no larger one.
const BYTES_MAX: u64 = 1024 * 1024;

/// The most characters of what a parser says.
const REASON_MAX: usize = 300;

/// The object in `path`, or in standard input for `-`.
pub(crate) fn read(path: &str) -> Result<Map<String, Value>, Failure> {
    let name = if path == "-" {
        "standard input".to_owned()
    } else {
        format!("`{}`", path.escape_debug())
    };
    let unusable = |why: String| Failure::new(Code::Usage, format!("{name} {why}"));
    let unreadable = |error: io::Error| unusable(format!("cannot be read: {error}"));
    let source: Box<dyn Read> = if path == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut text = String::new();
    source
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > BYTES_MAX {
        return Err(unusable(format!("has more than {BYTES_MAX} bytes")));
    }
    match parse(&text).map_err(&unusable)? {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(unusable(
                "is no object with fields such as `tasks`".to_owned(),
            ))
        }
    }
}

/// JSON that was typed.
pub(crate) fn typed(what: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(
            Code::Usage,
            format!("{what} is no JSON: {error}; a text is given in quotes, such as '\"yes\"'"),
        )
    })
}

/// JSON first: what is JSON is also YAML, but says more exactly what is wrong.
fn parse(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{') {
        let parsed = serde_json::from_str(text);
        return parsed.map_err(|error| format!("is no JSON: {error}"));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        let reason = error.lines().next().unwrap_or_default();
        format!("is no YAML: {}", visible(reason, REASON_MAX))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_and_json_say_the_same() {
        let expected = json!({"tasks": [{"key": "a", "kind": "timer", "payload": {"seconds": 1.5}}], "labels": {"n": "1"}});
        let yaml = "tasks:\n  - key: a\n    kind: timer\n    payload: { seconds: 1.5 }\nlabels:\n  n: '1'\n";
        assert_eq!(parse(yaml).unwrap(), expected);
        assert_eq!(parse(&expected.to_string()).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let json = parse("{\"tasks\": [}").unwrap_err();
        assert!(
            json.starts_with("is no JSON") && json.contains("line 1"),
            "{json}"
        );
        let yaml = parse("tasks:\n  - key: a\n   kind: x\n").unwrap_err();
        assert!(
            yaml.starts_with("is no YAML") && yaml.contains("line"),
            "{yaml}"
        );
        let twice = parse("name: a\nname: b\n").unwrap_err();
        assert!(
            twice.contains("name") || twice.contains("uplicate"),
            "{twice}"
        );
    }
}
