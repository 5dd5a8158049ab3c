//! JSON as it was written: numbers keep their digits, members their order, and nothing is dropped in silence.
//!
//! `serde_json` turns numbers into floats and keeps the last of repeated members; what a user gives for others must not
//! change on its way.

use std::collections::HashSet;
use std::fmt::Write as _;

/// The most levels of lists and objects in each other. Others read what is accepted here, and several of them stop at 128
/// levels, some of which are theirs.
pub(crate) const DEPTH_MAX: usize = 125;

/// The most repeated members that are named.
const REPEATED_MAX: usize = 100;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Self>),
    Object(Map),
}

/// A number as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number(String);

/// The members of an object in their order; no name stands there twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Map(Vec<(String, Value)>);

/// Why a text is not taken as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonError {
    /// It is not JSON.
    Malformed {
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
    },
    /// It is nested more than [`DEPTH_MAX`] levels.
    TooDeep {
        /// Where the first level too many begins, from 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
    },
    /// Members of one object have one name: a JSON pointer to each.
    Repeated(Vec<String>),
}

impl Number {
    /// The nearest float, if there is a finite one.
    pub(crate) fn as_f64(&self) -> Option<f64> {
        self.0
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
    }

    /// The text it was written as.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// One spelling for all spellings of a number: `1e2` and `100.0` are `1e2`. Whole numbers without fraction and
    /// exponent stay as they are.
    pub(crate) fn canonical(&self) -> String {
        let text = self.0.as_str();
        if !text.contains(['.', 'e', 'E']) {
            return text.to_owned();
        }
        let (sign, text) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            return format!("{sign}0e0");
        }
        let zeros = digits.len() - digits.trim_end_matches('0').len();
        let shift =
            i128::try_from(zeros).unwrap_or(0) - i128::try_from(fraction.len()).unwrap_or(0);
        // An exponent beyond these bounds is its own spelling.
        match exponent.parse::<i64>() {
            Ok(exponent) => format!("{sign}{significant}e{}", i128::from(exponent) + shift),
            Err(_) => format!("{sign}{mantissa}e{exponent}"),
        }
    }
}

impl Map {
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a member out.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.remove(place).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(String, Value)> for Map {
    /// The names must differ.
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

impl Value {
    /// Reads a whole text that a caller sent.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        Self::within(bytes, DEPTH_MAX)
    }

    /// Reads a whole text that this service made around a document of others.
    pub(crate) fn parse_any_depth(bytes: &[u8]) -> Result<Self, JsonError> {
        Self::within(bytes, DEPTH_MAX * 2)
    }

    fn within(bytes: &[u8], depth_max: usize) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (line, column) = place(bytes, error.valid_up_to());
            JsonError::Malformed { line, column }
        })?;
        let mut reader = Reader {
            bytes,
            text,
            at: 0,
            depth_max,
            repeated: Vec::new(),
        };
        let value = reader.value(0).and_then(|value| {
            reader.blanks();
            if reader.at == bytes.len() {
                Ok(value)
            } else {
                Err(Stop::Malformed)
            }
        });
        let (line, column) = place(bytes, reader.at);
        match value {
            Ok(value) if reader.repeated.is_empty() => Ok(value),
            Ok(_) => Err(JsonError::Repeated(reader.repeated)),
            Err(Stop::Malformed) => Err(JsonError::Malformed { line, column }),
            Err(Stop::TooDeep) => Err(JsonError::TooDeep { line, column }),
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    pub(crate) const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Null | Self::Number(_) | Self::String(_) | Self::Array(_) | Self::Object(_) => {
                None
            }
        }
    }

    pub(crate) const fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            Self::Null | Self::Bool(_) | Self::String(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(number) => out.push_str(&number.0),
            Self::String(text) => quote(text, out),
            Self::Array(values) => {
                out.push('[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
            Self::Object(map) => {
                out.push('{');
                for (index, (name, value)) in map.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    quote(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// The text without blanks between its parts.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for found in text.chars() {
        match found {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' => {
                // Writing to a text cannot fail.
                write!(out, "\\u{:04x}", u32::from(found)).ok();
            }
            _ => out.push(found),
        }
    }
    out.push('"');
}

fn place(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = before.split(|byte| *byte == b'\n').count();
    let start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    (line, before.len() - start + 1)
}

/// `name` as a part of a JSON pointer.
pub(crate) fn pointer_part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    Malformed,
    TooDeep,
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    depth_max: usize,
    /// Pointers to repeated members, below the value that is read.
    repeated: Vec<String>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Takes this byte if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn needs(&mut self, byte: u8) -> Result<(), Stop> {
        if self.takes(byte) {
            Ok(())
        } else {
            Err(Stop::Malformed)
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(Stop::Malformed);
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        self.blanks();
        match self.peek() {
            Some(b'n') => self.word("null", Value::Null),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'[' | b'{') if depth >= self.depth_max => Err(Stop::TooDeep),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(_) | None => Err(Stop::Malformed),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Stop> {
        self.needs(b'[')?;
        let mut values = Vec::new();
        self.blanks();
        if self.takes(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            let known = self.repeated.len();
            values.push(self.value(depth + 1)?);
            self.below(known, || (values.len() - 1).to_string());
            self.blanks();
            if self.takes(b']') {
                return Ok(Value::Array(values));
            }
            self.needs(b',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Stop> {
        self.needs(b'{')?;
        let mut members = Vec::new();
        self.blanks();
        if self.takes(b'}') {
            return Ok(Value::Object(Map(members)));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            self.needs(b':')?;
            let known = self.repeated.len();
            let value = self.value(depth + 1)?;
            self.below(known, || pointer_part(&name));
            members.push((name, value));
            self.blanks();
            if self.takes(b'}') {
                break;
            }
            self.needs(b',')?;
        }
        let mut seen = HashSet::with_capacity(members.len());
        for (name, _) in &members {
            if !seen.insert(name.as_str()) && self.repeated.len() < REPEATED_MAX {
                self.repeated.push(format!("/{}", pointer_part(name)));
            }
        }
        Ok(Value::Object(Map(members)))
    }

    /// Puts the name of this part in front of the pointers that were found in it.
    fn below(&mut self, known: usize, name: impl FnOnce() -> String) {
        if self.repeated.len() == known {
            return;
        }
        let name = name();
        for pointer in self.repeated.iter_mut().skip(known) {
            *pointer = format!("/{name}{pointer}");
        }
    }

    fn number(&mut self) -> Result<Number, Stop> {
        let start = self.at;
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _sign = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        Ok(Number(text.to_owned()))
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Stop> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(Stop::Malformed)
        } else {
            Ok(())
        }
    }

    fn string(&mut self) -> Result<String, Stop> {
        self.needs(b'"')?;
        let mut text = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            text.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escaped()?);
                }
                Some(_) | None => return Err(Stop::Malformed),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Stop> {
        let found = self.peek().ok_or(Stop::Malformed)?;
        let plain = match found {
            b'"' | b'\\' | b'/' => char::from(found),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(Stop::Malformed),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The character behind `\u`. Half a pair is `U+FFFD`: programs that read bytes which are no UTF-8 write such halves.
    fn unicode(&mut self) -> Result<char, Stop> {
        let first = self.hexadecimal()?;
        if (0xd800..0xdc00).contains(&first) {
            let back = self.at;
            if self.takes(b'\\') && self.takes(b'u') {
                let second = self.hexadecimal()?;
                if (0xdc00..0xe000).contains(&second) {
                    let joined = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    return char::from_u32(joined).ok_or(Stop::Malformed);
                }
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hexadecimal(&mut self) -> Result<u32, Stop> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        number.ok_or(Stop::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Value::parse(text.as_bytes()).unwrap().to_string()
    }

    #[test]
    fn numbers_and_order_stay_as_they_are_written() {
        for text in [
            r#"{"z":1,"a":2,"m":{"y":1,"b":2}}"#,
            "[123456789012345.67,0.1,1e2,1E+2,-0,-0.0,100.0,1.50]",
            "[12345678901234567890123,-98765432109876543210.123456789012345678901234567890,1e999]",
            r#"["a\"b\\c\n\u0000\u001f","é","\u007f"]"#,
            "null",
            "[]",
            "{}",
        ] {
            // The delete character needs no escape.
            let expected = text.replace("\\u007f", "\u{7f}");
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown(" { \"a\" :\t[ 1 ,\n2 ] } "), r#"{"a":[1,2]}"#);
        assert_eq!(shown(r#""\/\ud83d\ude00""#), "\"/😀\"");
    }

    #[test]
    fn halves_of_pairs_are_replaced() {
        for text in [r#""a\udce7b""#, r#""a\ud800b""#] {
            assert_eq!(shown(text), "\"a\u{fffd}b\"");
        }
        assert_eq!(shown(r#""\ud800\u0041""#), "\"\u{fffd}A\"");
        assert_eq!(shown(r#""\ud800\n""#), "\"\u{fffd}\\n\"");
    }

    #[test]
    fn repeated_members_are_named_wherever_they_are() {
        let repeated = |text: &str| match Value::parse(text.as_bytes()) {
            Err(JsonError::Repeated(pointers)) => pointers.join(" "),
            other => format!("{other:?}"),
        };
        assert_eq!(repeated(r#"{"a":1,"a":1}"#), "/a");
        assert_eq!(repeated(r#"{"a":1,"\u0061":2}"#), "/a");
        assert_eq!(
            repeated(r#"{"x":[{},{"a/b":{"c":1,"c":2},"d":0,"d":0}],"y":{"":1,"":2}}"#),
            "/x/1/a~1b/c /x/1/d /y/"
        );
    }

    #[test]
    fn depth_has_a_bound_of_its_own() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        for depth in [DEPTH_MAX + 1, 100_000] {
            let found = Value::parse(nested(depth).as_bytes());
            let (line, column) = (1, DEPTH_MAX + 1);
            assert_eq!(found, Err(JsonError::TooDeep { line, column }));
        }
    }

    #[test]
    fn what_serde_refuses_is_refused() {
        for text in [
            "",
            " ",
            "nul",
            "nulll",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "0x1",
            "NaN",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":}",
            "{\"a\" 1}",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "\u{feff}{}",
            "{}{}",
            "[1]]",
            "'a'",
            "tru",
        ] {
            assert!(
                serde_json::from_str::<serde_json::Value>(text).is_err(),
                "{text:?}"
            );
            let found = Value::parse(text.as_bytes());
            assert!(
                matches!(found, Err(JsonError::Malformed { .. })),
                "{text:?}: {found:?}"
            );
        }
        let found = Value::parse(b"{\n \"a\": \xff}");
        assert_eq!(found, Err(JsonError::Malformed { line: 2, column: 7 }));
    }

    #[test]
    fn one_number_has_one_canonical_spelling() {
        let canonical = |text: &str| Number(text.to_owned()).canonical();
        for (one, other) in [
            ("1e2", "100.0"),
            ("1.5", "15e-1"),
            ("0.10", "1e-1"),
            ("-2.0", "-0.2E1"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
        for (one, other) in [
            ("1.5", "1.50000000000000000000001"),
            ("100", "1000"),
            ("1.0", "-1.0"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }
}
