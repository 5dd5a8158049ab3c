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
    walk("", &values, &mut |key, value| {
        // What the layers remember of a value's origin is not enough: a list keeps that of the default, and
        // the defaults and the file are called alike.
        let origin = if from_variables.find_value(&key).is_ok() {
            "variable"
        } else {
            origin_in_file(file, &key)
        };
        shown.push(Shown {
            value: masked(&key, value),
            key,
            origin,
        });
    });
    Ok(shown)
}

fn walk(prefix: &str, values: &Dict, visit: &mut impl FnMut(String, &Value)) {
    for (name, value) in values {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value.as_dict() {
            Some(inner) => walk(&key, inner, visit),
            None => visit(key, value),
        }
    }
}

fn origin_in_file(file: Option<Source<'_>>, key: &str) -> &'static str {
    let in_file = file.is_some_and(|file| {
        Figment::from(Toml::string(file.text))
            .find_value(key)
            .is_ok()
    });
    if in_file { "file" } else { "default" }
}

fn masked(key: &str, value: &Value) -> String {
    let text = shown(value);

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

fn shown(value: &Value) -> String {
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
            let items: Vec<String> = items.iter().map(shown).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Empty(..) | Value::Dict(..) => String::new(),
    }
}
