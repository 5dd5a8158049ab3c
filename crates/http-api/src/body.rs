//! JSON bodies, read field by field: every complaint at once, each with its place.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use drover_domain::text::visible;
use serde_json::{Map, Value};

use crate::code::Code;
use crate::problem::{ApiError, FieldError};
use crate::state::Api;
use crate::wire::ID_MAX;

/// A request body of the type `T`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

/// A body that can be read from the fields of a JSON object.
///
/// By hand and not by serde's derive: that one stops at the first error and does not say where it is.
pub(crate) trait ReadBody: Sized {
    /// Takes every field; `None` if a complaint was made.
    fn read(fields: &mut Fields) -> Option<Self>;
}

impl<T: ReadBody> FromRequest<Api> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        check_type(request.headers())?;
        let bytes =
            tokio::time::timeout(api.options.body_timeout, Bytes::from_request(request, api))
                .await
                .map_err(|_| {
                    ApiError::new(
                        Code::BodyTimeout,
                        "the body did not arrive in time; send it again",
                    )
                })?
                .map_err(|rejection| {
                    if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                        let most = api.options.body_limit;
                        ApiError::new(
                            Code::BodyTooLarge,
                            format!("the body may have at most {most} bytes"),
                        )
                    } else {
                        ApiError::new(Code::MalformedBody, "the body did not arrive whole")
                    }
                })?;
        parse(&bytes).map(Self)
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let media_type = text(header::CONTENT_TYPE)
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let detail = "the body must be JSON; send it with `Content-Type: application/json`";
        return Err(ApiError::new(Code::UnsupportedMediaType, detail));
    }
    match text(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(()),
        Some(_) => Err(ApiError::new(
            Code::UnsupportedMediaType,
            "compressed bodies are not accepted",
        )),
    }
}

fn parse<T: ReadBody>(bytes: &[u8]) -> Result<T, ApiError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let detail = format!(
            "the body is not JSON (line {}, column {})",
            error.line(),
            error.column()
        );
        ApiError::new(Code::MalformedBody, detail)
    })?;
    let Value::Object(map) = value else {
        let detail = format!("the body must be an object, not {}", kind_of(&value));
        return Err(ApiError::invalid_body(vec![FieldError {
            pointer: String::new(),
            code: "wrong_type",
            detail,
        }]));
    };
    let mut fields = Fields {
        map,
        errors: Vec::new(),
    };
    let body = T::read(&mut fields);
    fields.finish()?;
    body.ok_or_else(|| ApiError::defect("a body was refused without a complaint"))
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Where below the value: a JSON pointer, mostly empty.
    at: String,
    code: &'static str,
    detail: String,
}

impl Flaw {
    pub(crate) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            at: String::new(),
            code,
            detail: detail.into(),
        }
    }

    /// A value that the domain does not take; its error is made for users.
    pub(crate) fn invalid(error: impl std::error::Error) -> Self {
        Self::new("invalid", error.to_string())
    }

    fn wrong_type(expected: &str, found: &Value) -> Self {
        Self::new(
            "wrong_type",
            format!("expected {expected}, found {}", kind_of(found)),
        )
    }

    fn below(self, index: usize) -> Self {
        Self {
            at: format!("/{index}{}", self.at),
            ..self
        }
    }
}

/// The fields of an object that nobody has taken yet, and the complaints so far.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Takes a field that must be there.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value) -> Result<T, Vec<Flaw>>,
    ) -> Option<T> {
        let Some(value) = self.map.remove(name) else {
            self.complain(name, Flaw::new("missing", format!("`{name}` is missing")));
            return None;
        };
        self.take(name, value, read)
    }

    /// Takes a field that may be absent or null. The outer `None` is a complaint.
    #[expect(
        clippy::option_option,
        reason = "absent and refused are different answers"
    )]
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value) -> Result<T, Vec<Flaw>>,
    ) -> Option<Option<T>> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => self.take(name, value, read).map(Some),
        }
    }

    /// Complains about the field `name`.
    pub(crate) fn complain(&mut self, name: &str, flaw: Flaw) {
        let Flaw { at, code, detail } = flaw;
        let pointer = format!("/{}{at}", name.replace('~', "~0").replace('/', "~1"));
        self.errors.push(FieldError {
            pointer,
            code,
            detail,
        });
    }

    fn take<T>(
        &mut self,
        name: &'static str,
        value: Value,
        read: impl FnOnce(Value) -> Result<T, Vec<Flaw>>,
    ) -> Option<T> {
        match read(value) {
            Ok(taken) => Some(taken),
            Err(flaws) => {
                for flaw in flaws {
                    let detail = format!("`{name}{}`: {}", flaw.at, flaw.detail);
                    self.complain(name, Flaw { detail, ..flaw });
                }
                None
            }
        }
    }

    /// Refuses what is left: a field that is ignored is a surprise later.
    fn finish(mut self) -> Result<(), ApiError> {
        for name in std::mem::take(&mut self.map).keys() {
            let name = visible(name, 64);
            self.complain(
                &name,
                Flaw::new("unknown_field", format!("there is no field `{name}`")),
            );
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::invalid_body(self.errors))
        }
    }
}

/// A text; bounds and characters are checked by the domain type it becomes.
pub(crate) fn text<T>(
    read: impl FnOnce(&str) -> Result<T, Flaw>,
) -> impl FnOnce(Value) -> Result<T, Vec<Flaw>> {
    move |value| match value.as_str() {
        Some(text) => read(text).map_err(|flaw| vec![flaw]),
        None => Err(vec![Flaw::wrong_type("a text", &value)]),
    }
}

/// A truth value.
#[expect(
    clippy::needless_pass_by_value,
    reason = "has the shape of all readers"
)]
pub(crate) fn boolean(value: Value) -> Result<bool, Vec<Flaw>> {
    value
        .as_bool()
        .ok_or_else(|| vec![Flaw::wrong_type("true or false", &value)])
}

/// A number; a text that looks like one is refused.
pub(crate) fn number<T>(
    read: impl FnOnce(f64) -> Result<T, Flaw>,
) -> impl FnOnce(Value) -> Result<T, Vec<Flaw>> {
    move |value| match value.as_f64() {
        Some(number) => read(number).map_err(|flaw| vec![flaw]),
        None => Err(vec![Flaw::wrong_type("a number", &value)]),
    }
}

/// A whole number from `least` to `most`.
pub(crate) fn whole(least: i64, most: i64) -> impl FnOnce(Value) -> Result<i64, Vec<Flaw>> {
    move |value| whole_number(&value, least, most).map_err(|flaw| vec![flaw])
}

/// Different ids, 1 to `most` of them.
pub(crate) fn ids(most: usize) -> impl FnOnce(Value) -> Result<Vec<i64>, Vec<Flaw>> {
    move |value| {
        let Value::Array(values) = value else {
            return Err(vec![Flaw::wrong_type("a list of ids", &value)]);
        };
        if values.is_empty() {
            return Err(vec![Flaw::new("empty", "at least one id is needed")]);
        }
        if values.len() > most {
            let detail = format!("{} ids are given; at most {most} are allowed", values.len());
            return Err(vec![Flaw::new("too_many", detail)]);
        }
        let mut ids = Vec::with_capacity(values.len());
        let mut seen = std::collections::BTreeSet::new();
        let mut flaws = Vec::new();
        for (index, value) in values.iter().enumerate() {
            match whole_number(value, 1, ID_MAX) {
                Ok(id) if seen.insert(id) => ids.push(id),
                Ok(id) => flaws.push(
                    Flaw::new("duplicate", format!("{id} is given more than once")).below(index),
                ),
                Err(flaw) => flaws.push(flaw.below(index)),
            }
        }
        if flaws.is_empty() {
            Ok(ids)
        } else {
            Err(flaws)
        }
    }
}

fn whole_number(value: &Value, least: i64, most: i64) -> Result<i64, Flaw> {
    let Some(number) = value.as_f64() else {
        return Err(Flaw::wrong_type("a whole number", value));
    };
    // JSON has one kind of number: 1.0 and 1e0 are whole.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut to the bounds below, which are exact in both types"
    )]
    let whole = value.as_i64().unwrap_or(number as i64);
    if number.fract() != 0.0 {
        return Err(Flaw::new(
            "wrong_type",
            "expected a whole number, found a fraction",
        ));
    }
    if (least..=most).contains(&whole) {
        Ok(whole)
    } else {
        Err(Flaw::new(
            "out_of_range",
            format!("must be {least} to {most}"),
        ))
    }
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Sample {
        ids: Vec<i64>,
        wait: Option<f64>,
    }

    impl ReadBody for Sample {
        fn read(fields: &mut Fields) -> Option<Self> {
            let ids = fields.required("ids", ids(3));
            let wait = fields.optional("wait", number(Ok));
            Some(Self {
                ids: ids?,
                wait: wait?,
            })
        }
    }

    fn complaints(text: &str) -> Vec<(String, &'static str)> {
        let refusal = parse::<Sample>(text.as_bytes()).unwrap_err();
        refusal
            .errors()
            .iter()
            .map(|error| (error.pointer.clone(), error.code))
            .collect()
    }

    #[test]
    fn whole_numbers_may_be_written_as_fractions() {
        assert_eq!(
            parse::<Sample>(br#"{"ids":[1,2.0,3e0]}"#).unwrap(),
            Sample {
                ids: vec![1, 2, 3],
                wait: None
            }
        );
        assert_eq!(
            parse::<Sample>(br#"{"ids":[1],"wait":null}"#).unwrap().wait,
            None
        );
        assert_eq!(
            parse::<Sample>(br#"{"ids":[1],"wait":0.5}"#).unwrap().wait,
            Some(0.5)
        );
    }

    #[test]
    fn every_complaint_has_its_place() {
        for (text, expected) in [
            ("{}", vec![("/ids", "missing")]),
            ("[]", vec![("", "wrong_type")]),
            (r#"{"ids":[]}"#, vec![("/ids", "empty")]),
            (r#"{"ids":"1"}"#, vec![("/ids", "wrong_type")]),
            (r#"{"ids":[1,2,3,4]}"#, vec![("/ids", "too_many")]),
            (
                r#"{"ids":[1,"2",1]}"#,
                vec![("/ids/1", "wrong_type"), ("/ids/2", "duplicate")],
            ),
            (
                r#"{"ids":[0,1.5,1e300]}"#,
                vec![
                    ("/ids/0", "out_of_range"),
                    ("/ids/1", "wrong_type"),
                    ("/ids/2", "out_of_range"),
                ],
            ),
            (
                r#"{"ids":[9007199254740992]}"#,
                vec![("/ids/0", "out_of_range")],
            ),
            (r#"{"ids":[1],"wait":"5"}"#, vec![("/wait", "wrong_type")]),
            (
                r#"{"ids":[1],"a/b~":1}"#,
                vec![("/a~1b~0", "unknown_field")],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(pointer, code)| (pointer.to_owned(), code))
                .collect();
            assert_eq!(complaints(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in [
            "",
            "{",
            "{\"ids\":[1],}",
            "nul",
            "\u{feff}{}",
            "{\"ids\":\"\\ud800\"}",
            &"[".repeat(10_000),
        ] {
            assert_eq!(
                parse::<Sample>(text.as_bytes()).unwrap_err().code(),
                Code::MalformedBody,
                "{text:.20}"
            );
        }
    }

    #[test]
    fn only_plain_json_is_accepted() {
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json; charset=utf-8"),
            );
            headers.insert(name, HeaderValue::from_static(value));
            check_type(&headers).map_err(|error| error.code())
        };
        assert_eq!(with("content-encoding", "identity"), Ok(()));
        for (name, value) in [
            ("content-type", "text/plain"),
            ("content-type", ""),
            ("content-encoding", "gzip"),
        ] {
            assert_eq!(
                with(name, value),
                Err(Code::UnsupportedMediaType),
                "{name}: {value}"
            );
        }
    }
}
