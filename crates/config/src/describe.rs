//! Effective settings with their origin, for people.

use figment::Figment;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Value};
use url::Url;

use crate::settings::{SECRETS, SettingsError, Source, layers, sentence};
use crate::variables::Variables;

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its dotted key.
    pub key: String,
    /// Its value; secrets are masked.
    pub value: String,
    /// Where it comes from: `default`, `file` or `variable`.
    pub origin: &'static str,
    /// Key and value as TOML; `None` for a secret, which cannot be read back.
    toml: Option<String>,
}

impl Shown {
    /// The setting as a line of a settings file. The lines of all settings are a file that means the same, but for its
    /// secrets, which are comments.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.toml {
            Some(toml) => format!("{toml}  # {}", self.origin),
            None => format!(
                "# {} = {}  # {}",
                self.key,
                quoted(&self.value),
                self.origin
            ),
        }
    }
}

/// All effective settings by key. What [`crate::load`] would refuse is shown all the same.
///
/// # Errors
///
/// [`SettingsError::Unreadable`] when a layer is no TOML.
pub fn describe(
    file: Option<Source<'_>>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Shown>, SettingsError> {
    let variables: Vec<(String, String)> = variables.into_iter().collect();
    let figment = layers(file, variables.clone())?;
    let from_variables = Variables::new(variables, &figment)
        .map(Figment::from)
        .unwrap_or_default();
    let values: Dict = figment
        .extract()
        .map_err(|error| SettingsError::Unreadable {
            reason: sentence(file, error),
        })?;
    let mut shown = Vec::new();
    walk(&mut Vec::new(), &values, &mut |path, value| {
        let key = path.join(".");
        // What the layers remember of a value's origin is not enough: a list keeps that of the default, and
        // the defaults and the file are called alike.
        let origin = if from_variables.find_value(&key).is_ok() {
            "variable"
        } else {
            origin_in_file(file, path)
        };
        let masked = masked(&key, value);
        let is_masked = SECRETS.contains(&key.as_str()) && masked != shown_as_it_is(value);
        let keys: Vec<String> = path.iter().map(|name| bare_or_quoted(name)).collect();
        shown.push(Shown {
            toml: (!is_masked).then(|| format!("{} = {}", keys.join("."), literal(value))),
            value: masked,
            key,
            origin,
        });
    });
    Ok(shown)
}

fn walk<'a>(
    path: &mut Vec<&'a str>,
    values: &'a Dict,
    visit: &mut impl FnMut(&[&'a str], &'a Value),
) {
    for (name, value) in values {
        path.push(name);
        match value.as_dict() {
            Some(inner) => walk(path, inner, visit),
            None => visit(path, value),
        }
        path.pop();
    }
}

fn origin_in_file(file: Option<Source<'_>>, path: &[&str]) -> &'static str {
    let in_file = file.is_some_and(|file| {
        let values: Dict = Figment::from(Toml::string(file.text))
            .extract()
            .unwrap_or_default();
        // A name may hold a dot, so the path is walked and not looked up as one key.
        let Some((last, folders)) = path.split_last() else {
            return false;
        };
        let folder = folders
            .iter()
            .try_fold(&values, |folder, name| folder.get(*name)?.as_dict());
        folder.is_some_and(|folder| folder.contains_key(*last))
    });
    if in_file { "file" } else { "default" }
}

fn masked(key: &str, value: &Value) -> String {
    let text = shown_as_it_is(value);
    if !SECRETS.contains(&key) {
        return text;
    }
    // Of a database's URL the place is worth seeing; what follows it may hold a password.
    let Ok(mut url) = Url::parse(&text) else {
        return "[REDACTED]".to_owned();
    };
    if url.query_pairs().any(|(name, _)| name != "mode") {
        url.set_query(Some("REDACTED"));
    }
    if url.password().is_some() && url.set_password(Some("REDACTED")).is_err() {
        return "[REDACTED]".to_owned();
    }
    url.to_string()
}

fn shown_as_it_is(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_default(),
        Value::Char(_, letter) => letter.to_string(),
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(shown_as_it_is).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Empty(..) | Value::Dict(..) => String::new(),
    }
}

/// A value in the notation of TOML.
fn literal(value: &Value) -> String {
    match value {
        Value::String(_, text) => quoted(text),
        Value::Char(_, letter) => quoted(&letter.to_string()),
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Bool(..) | Value::Num(..) => shown_as_it_is(value),
        Value::Empty(..) | Value::Dict(..) => quoted(""),
    }
}

fn bare_or_quoted(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => {
                quoted.extend(format!("\\u{:04X}", u32::from(letter)).chars());
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
