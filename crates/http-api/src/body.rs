//! JSON bodies, read field by field: every complaint at once, each with its place.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use drover_domain::secret::{MASK, is_masked};
use drover_domain::text::visible;
use drover_domain::workflow::{Json, TaskPolicy};
use sha2::{Digest, Sha256};

use crate::code::Code;
use crate::json::{DEPTH_MAX, JsonError, Map, Number, Value, pointer_part};
use crate::problem::{ApiError, FieldError};
use crate::state::Api;
use crate::wire::ID_MAX;

/// The longest span a body may name; what a field allows is mostly less.
const SECONDS_MAX: Duration = TaskPolicy::DEADLINE_MAX;

/// A request body of the type `T`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

/// A request body of the type `T` that may be left out: then none of its fields is there.
#[derive(Debug)]
pub(crate) struct MaybeBody<T>(pub(crate) T);

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
        let is_masked_allowed = reports(&request);
        parse(&arrive(request, api).await?, is_masked_allowed).map(Self)
    }
}

impl<T: ReadBody> FromRequest<Api> for MaybeBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let checked = check_type(request.headers());
        let is_masked_allowed = reports(&request);
        let bytes = arrive(request, api).await?;
        if bytes.is_empty() {
            return parse(b"{}", is_masked_allowed).map(Self);
        }
        checked?;
        parse(&bytes, is_masked_allowed).map(Self)
    }
}

/// The body, which [`receive`](crate::guard::receive) has waited for.
async fn arrive(request: Request, api: &Api) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, api)
        .await
        .map_err(|_| ApiError::new(Code::MalformedBody, "the body did not arrive whole"))
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

/// Whether the body says what a worker saw, which may be anything.
fn reports(request: &Request) -> bool {
    request.uri().path().contains("/workers/")
}

fn parse<T: ReadBody>(bytes: &[u8], is_masked_allowed: bool) -> Result<T, ApiError> {
    let value = Value::parse(bytes).map_err(unreadable)?;
    // Most bodies have no mark at all.
    if !is_masked_allowed
        && bytes
            .windows(MASK.len())
            .any(|part| part == MASK.as_bytes())
    {
        let mut masked = Vec::new();
        find_masked(&value, "", &mut masked);
        if !masked.is_empty() {
            return Err(ApiError::invalid_body(masked));
        }
    }
    let Value::Object(map) = value else {
        let detail = format!("the body must be an object, not {}", kind_of(&value));
        return Err(ApiError::invalid_body(vec![FieldError {
            pointer: String::new(),
            code: "wrong_type",
            detail,
        }]));
    };
    read_object(map)
        .map_err(|flaws| ApiError::invalid_body(flaws.into_iter().map(Flaw::told).collect()))?
        .ok_or_else(|| ApiError::defect("a body was refused without a complaint"))
}

/// What was read from an answer with its secrets masked must not replace the real values.
fn find_masked(value: &Value, pointer: &str, found: &mut Vec<FieldError>) {
    match value {
        Value::String(text) if is_masked(text) => found.push(FieldError {
            pointer: pointer.to_owned(),
            code: "masked",
            detail: format!(
                "`{}` has the mark of a masked secret; give the real value",
                visible(pointer.trim_start_matches('/'), 200)
            ),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                find_masked(value, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(map) => {
            for (name, value) in map.iter() {
                find_masked(value, &format!("{pointer}/{}", pointer_part(name)), found);
            }
        }
    }
}

fn unreadable(error: JsonError) -> ApiError {
    match error {
        JsonError::Malformed { line, column } => {
            let detail = format!("the body is not JSON (line {line}, column {column})");
            ApiError::new(Code::MalformedBody, detail)
        }
        JsonError::TooDeep { line, column } => ApiError::invalid_body(vec![FieldError {
            pointer: String::new(),
            code: "too_deep",
            detail: format!(
                "lists and objects stand in each other on more than {DEPTH_MAX} levels (line {line}, column {column}); \
                 {DEPTH_MAX} are allowed"
            ),
        }]),
        JsonError::Repeated(pointers) => {
            let flaws = pointers.into_iter().map(|pointer| FieldError {
                detail: format!("`{}` is given more than once", visible(&pointer, 200)),
                code: "repeated",
                pointer,
            });
            ApiError::invalid_body(flaws.collect())
        }
    }
}

fn read_object<T: ReadBody>(map: Map) -> Result<Option<T>, Vec<Flaw>> {
    let mut fields = Fields {
        map,
        flaws: Vec::new(),
    };
    let read = T::read(&mut fields);
    fields.finish()?;
    Ok(read)
}

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Where below the value: a JSON pointer, mostly empty.
    at: String,
    code: &'static str,
    detail: String,
    /// Whether the detail says by itself what it is about.
    is_whole: bool,
}

impl Flaw {
    pub(crate) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            at: String::new(),
            code,
            detail: detail.into(),
            is_whole: false,
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

    /// The same flaw, of a part of the value with this name or place.
    pub(crate) fn below(self, part: impl std::fmt::Display) -> Self {
        Self {
            at: format!("/{part}{}", self.at),
            ..self
        }
    }

    fn told(self) -> FieldError {
        let place = self.at.strip_prefix('/').unwrap_or_default();
        let detail = if self.is_whole {
            self.detail
        } else {
            format!("`{place}`: {}", self.detail)
        };
        FieldError {
            pointer: self.at,
            code: self.code,
            detail,
        }
    }
}

/// The unread fields of an object, and the errors so far.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map,
    flaws: Vec<Flaw>,
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
        let flaw = flaw.below(pointer_part(name));
        self.flaws.push(Flaw {
            is_whole: true,
            ..flaw
        });
    }

    /// A digest of all unread fields, independent of their order and spelling.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        feed_object(&mut digest, &self.map);
        digest.finalize().to_vec()
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
                self.flaws
                    .extend(flaws.into_iter().map(|flaw| flaw.below(pointer_part(name))));
                None
            }
        }
    }

    /// Refuses what is left: a field that is ignored is a surprise later.
    fn finish(mut self) -> Result<(), Vec<Flaw>> {
        for (name, _) in std::mem::take(&mut self.map) {
            let name = visible(&name, 64);
            self.complain(
                &name,
                Flaw::new("unknown_field", format!("there is no field `{name}`")),
            );
        }
        if self.flaws.is_empty() {
            Ok(())
        } else {
            Err(self.flaws)
        }
    }
}

fn feed_object(digest: &mut Sha256, map: &Map) {
    let mut fields: Vec<_> = map.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    digest.update(b"{");
    digest.update(fields.len().to_be_bytes());
    for (name, value) in fields {
        feed_text(digest, name);
        feed(digest, value);
    }
}

fn feed(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Null => digest.update(b"n"),
        Value::Bool(value) => digest.update(if *value { b"t" } else { b"f" }),
        Value::Number(number) => {
            digest.update(b"#");
            feed_text(digest, &number.canonical());
        }
        Value::String(text) => {
            digest.update(b"s");
            feed_text(digest, text);
        }
        Value::Array(values) => {
            digest.update(b"[");
            digest.update(values.len().to_be_bytes());
            for value in values {
                feed(digest, value);
            }
        }
        Value::Object(map) => feed_object(digest, map),
    }
}

fn feed_text(digest: &mut Sha256, text: &str) {
    digest.update(text.len().to_be_bytes());
    digest.update(text);
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
    move |value| match value.as_number().and_then(Number::as_f64) {
        Some(number) => read(number).map_err(|flaw| vec![flaw]),
        None => Err(vec![Flaw::wrong_type("a number", &value)]),
    }
}

/// Seconds, fractions included.
pub(crate) fn seconds(value: Value) -> Result<Duration, Vec<Flaw>> {
    number(|number| {
        Duration::try_from_secs_f64(number)
            .ok()
            .filter(|wait| *wait <= SECONDS_MAX)
            .ok_or_else(|| {
                let most = SECONDS_MAX.as_secs();
                Flaw::new("out_of_range", format!("must be 0 to {most} seconds"))
            })
    })(value)
}

/// A JSON document of the domain's size.
#[expect(
    clippy::needless_pass_by_value,
    reason = "has the shape of all readers"
)]
pub(crate) fn document(value: Value) -> Result<Json, Vec<Flaw>> {
    Json::from_parsed("it", value.to_string())
        .map_err(|error| vec![Flaw::new("too_large", error.to_string())])
}

/// An object with fields of its own.
pub(crate) fn object<T: ReadBody>(value: Value) -> Result<T, Vec<Flaw>> {
    let Value::Object(map) = value else {
        return Err(vec![Flaw::wrong_type("an object", &value)]);
    };
    read_object(map)?.ok_or_else(|| vec![Flaw::new("invalid", "is not valid")])
}

/// At most `most` values.
pub(crate) fn list<T>(
    most: usize,
    read: impl Fn(Value) -> Result<T, Vec<Flaw>>,
) -> impl FnOnce(Value) -> Result<Vec<T>, Vec<Flaw>> {
    move |value| {
        let Value::Array(values) = value else {
            return Err(vec![Flaw::wrong_type("a list", &value)]);
        };
        if values.len() > most {
            let detail = format!("{} are given; at most {most} are allowed", values.len());
            return Err(vec![Flaw::new("too_many", detail)]);
        }
        let mut taken = Vec::with_capacity(values.len());
        let mut flaws = Vec::new();
        for (index, value) in values.into_iter().enumerate() {
            match read(value) {
                Ok(value) => taken.push(value),
                Err(found) => flaws.extend(found.into_iter().map(|flaw| flaw.below(index))),
            }
        }
        if flaws.is_empty() {
            Ok(taken)
        } else {
            Err(flaws)
        }
    }
}

/// Texts by name, at most `most` of them.
pub(crate) fn texts_by_name(
    most: usize,
    check: impl Fn(&str, &str) -> Result<(), Flaw>,
) -> impl FnOnce(Value) -> Result<BTreeMap<String, String>, Vec<Flaw>> {
    move |value| {
        let Value::Object(map) = value else {
            return Err(vec![Flaw::wrong_type("an object", &value)]);
        };
        if map.len() > most {
            let detail = format!("{} are given; at most {most} are allowed", map.len());
            return Err(vec![Flaw::new("too_many", detail)]);
        }
        let mut taken = BTreeMap::new();
        let mut flaws = Vec::new();
        for (name, value) in map {
            let place = pointer_part(&visible(&name, 64));
            let read = match &value {
                Value::String(text) => check(&name, text).map(|()| text.clone()),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => Err(Flaw::wrong_type("a text", &value)),
            };
            match read {
                Ok(text) => {
                    taken.insert(name, text);
                }
                Err(flaw) => flaws.push(flaw.below(place)),
            }
        }
        if flaws.is_empty() {
            Ok(taken)
        } else {
            Err(flaws)
        }
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
    let Some(written) = value.as_number() else {
        return Err(Flaw::wrong_type("a whole number", value));
    };
    // Beyond the floats it is beyond the bounds as well.
    let number = written.as_f64().unwrap_or(f64::MAX);
    // JSON has one kind of number: 1.0 and 1e0 are whole.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut to the bounds below, which are exact in both types"
    )]
    let whole = written.as_str().parse().unwrap_or(number as i64);
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
        let refusal = parse::<Sample>(text.as_bytes(), false).unwrap_err();
        refusal
            .errors()
            .iter()
            .map(|error| (error.pointer.clone(), error.code))
            .collect()
    }

    #[test]
    fn whole_numbers_may_be_written_as_fractions() {
        assert_eq!(
            parse::<Sample>(br#"{"ids":[1,2.0,3e0]}"#, false).unwrap(),
            Sample {
                ids: vec![1, 2, 3],
                wait: None
            }
        );
        assert_eq!(
            parse::<Sample>(br#"{"ids":[1],"wait":null}"#, false)
                .unwrap()
                .wait,
            None
        );
        assert_eq!(
            parse::<Sample>(br#"{"ids":[1],"wait":0.5}"#, false)
                .unwrap()
                .wait,
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

    #[derive(Debug, PartialEq)]
    struct Nested(Vec<Sample>, BTreeMap<String, String>);

    impl ReadBody for Nested {
        fn read(fields: &mut Fields) -> Option<Self> {
            let items = fields.required("items", list(2, object::<Sample>));
            let words = fields.optional(
                "words",
                texts_by_name(2, |_, text| match text {
                    "" => Err(Flaw::new("empty", "is empty")),
                    _ => Ok(()),
                }),
            );
            Some(Self(items?, words?.unwrap_or_default()))
        }
    }

    #[test]
    fn a_complaint_inside_has_its_whole_place_and_says_it_once() {
        let text = r#"{"items":[{"ids":[1]},{"ids":[0],"x/y":1}],"words":{"a/b":"","c":1}}"#;
        let refusal = parse::<Nested>(text.as_bytes(), false).unwrap_err();
        let said: Vec<_> = refusal
            .errors()
            .iter()
            .map(|error| (error.pointer.as_str(), error.detail.as_str()))
            .collect();
        let expected = [
            (
                "/items/1/ids/0",
                "`items/1/ids/0`: must be 1 to 9007199254740991",
            ),
            ("/items/1/x~1y", "there is no field `x/y`"),
            ("/words/a~1b", "`words/a~1b`: is empty"),
            ("/words/c", "`words/c`: expected a text, found a number"),
        ];
        assert_eq!(said, expected);
        for (text, place, code) in [
            (r#"{"items":{}}"#, "/items", "wrong_type"),
            (r#"{"items":[1,2,3]}"#, "/items", "too_many"),
            (r#"{"items":[1]}"#, "/items/0", "wrong_type"),
            (r#"{"items":[],"words":[]}"#, "/words", "wrong_type"),
        ] {
            let refusal = parse::<Nested>(text.as_bytes(), false).unwrap_err();
            let [only] = refusal.errors() else {
                panic!("{text}: {refusal:?}");
            };
            assert_eq!((only.pointer.as_str(), only.code), (place, code), "{text}");
        }
    }

    #[test]
    fn seconds_have_bounds_and_documents_a_size() {
        let wait = |value: f64| {
            seconds(Value::parse(value.to_string().as_bytes()).unwrap())
                .map_err(|flaws| flaws.len())
        };
        assert_eq!(wait(0.25), Ok(Duration::from_millis(250)));
        for wrong in [-0.1, 1e9, 1e300] {
            assert_eq!(wait(wrong), Err(1), "{wrong}");
        }
        assert!(document(Value::String("x".repeat(Json::BYTES_MAX - 2))).is_ok());
        assert!(document(Value::String("x".repeat(Json::BYTES_MAX - 1))).is_err());
    }

    #[test]
    fn a_digest_is_of_what_is_asked_and_not_of_how_it_is_written() {
        let digest = |text: &str| {
            let Value::Object(map) = Value::parse(text.as_bytes()).unwrap() else {
                panic!("{text}")
            };
            let flaws = Vec::new();
            Fields { map, flaws }.digest()
        };
        let base = digest(r#"{"a":[1,{"b":null,"c":"x"}],"d":true}"#);
        let same = r#" { "d" : true, "a" : [1, {"c":"\u0078","b":null}] } "#;
        assert_eq!(digest(same), base);
        for other in [
            r#"{"a":[1,{"b":null,"c":"x"}],"d":false}"#,
            r#"{"a":[1,{"b":null,"c":"xd"}],"":true}"#,
            r#"{"a":[1],"b":null,"c":"x","d":true}"#,
            r#"{"a":["1",{"b":null,"c":"x"}],"d":true}"#,
            "{}",
        ] {
            assert_ne!(digest(other), base, "{other}");
        }
    }

    #[test]
    fn repeated_deep_and_masked_bodies_say_so() {
        for (text, pointer, code) in [
            (r#"{"ids":[1],"ids":[2]}"#, "/ids", "repeated"),
            (r#"{"ids":[{"a":1,"a":1}]}"#, "/ids/0/a", "repeated"),
            (r#"{"ids":["***"]}"#, "/ids/0", "masked"),
            (r#"{"ids":[1],"url":"https://***@host/"}"#, "/url", "masked"),
            (&"[".repeat(10_000), "", "too_deep"),
        ] {
            let refusal = parse::<Sample>(text.as_bytes(), false).unwrap_err();
            let [only] = refusal.errors() else {
                panic!("{text:.40}: {refusal:?}");
            };
            assert_eq!(
                (only.pointer.as_str(), only.code),
                (pointer, code),
                "{text:.40}"
            );
        }
        let reported = parse::<Sample>(br#"{"ids":["***"]}"#, true).unwrap_err();
        assert_eq!(reported.errors()[0].code, "wrong_type");
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in ["", "{", "{\"ids\":[1],}", "nul", "\u{feff}{}"] {
            assert_eq!(
                parse::<Sample>(text.as_bytes(), false).unwrap_err().code(),
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
