//! Effective settings with their origin, for people.

use figment::value::{Dict, Value};
use url::Url;

use crate::settings::{SettingsError, Source, layers};

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

const SECRETS: [&str; 1] = ["access.admin_key"];

/// All effective settings by key. What [`crate::load`] would refuse is shown all the same.
///
/// # Errors
///
/// [`SettingsError::Unreadable`] when a layer is no TOML.
pub fn describe(
    file: Option<Source<'_>>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Shown>, SettingsError> {
    let figment = layers(file, variables);
    let values: Dict = figment
        .extract()
        .map_err(|error| SettingsError::Unreadable {
            reason: error.to_string(),
        })?;
    let mut shown = Vec::new();
    walk("", &values, &mut |key, value| {
        let origin = match figment.find_metadata(&key) {
            Some(metadata) if metadata.name == "variable" => "variable",
            // The defaults are the first TOML text, the file the second; both are called alike.
            Some(_) | None => origin_in_file(file, &key),
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
        use figment::providers::{Format, Toml};
        figment::Figment::from(Toml::string(file.text))
            .find_value(key)
            .is_ok()
    });
    if in_file { "file" } else { "default" }
}

fn masked(key: &str, value: &Value) -> String {
    let text = match value {
        Value::String(_, text) => text.clone(),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string()))
            .unwrap_or_default(),
        Value::Char(_, letter) => letter.to_string(),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => String::new(),
    };
    if SECRETS.contains(&key) {
        return "[REDACTED]".to_owned();
    }
    let Ok(mut url) = Url::parse(&text) else {
        return text;
    };
    if url.password().is_none() {
        return text;
    }
    match url.set_password(Some("REDACTED")) {
        Ok(()) => url.to_string(),
        Err(()) => "[REDACTED]".to_owned(),
    }
}
