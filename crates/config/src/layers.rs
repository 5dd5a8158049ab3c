//! Where settings come from, laid over one another.

use std::fmt::Write as _;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

use crate::error::SettingsError;
use crate::keys::{self, Key, Secrecy};
use crate::raw::Raw;

/// The place of what nobody gave.
pub(crate) const DEFAULT: &str = "default";

const PREFIX: &str = "DROVER_";

/// The settings of one place.
struct Layer {
    place: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// All places laid over one another; every key in them is known.
#[derive(Debug)]
pub(crate) struct Layers(Figment);

impl Layers {
    pub(crate) fn read(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let defaults = parse("the defaults", crate::DEFAULTS)?;
        let mut figment = Figment::new().merge(Layer { place: DEFAULT.to_owned(), values: defaults.clone() });
        if let Some((name, text)) = file {
            let values = parse(name, text)?;
            let place = format!("file {name}");
            check_keys(&values, &place)?;
            figment = figment.merge(Layer { place, values });
        }
        let mut variables: Vec<(String, String)> = variables.into_iter().collect();
        variables.sort();
        for (name, text) in variables {
            let place = format!("variable {name}");
            if let Some(key) = setting_of(&name, &place)? {
                let value = typed(text, defaults.get(key.section).and_then(|section| section.find_ref(key.name)));
                let section = Dict::from([(key.name.to_owned(), value)]);
                let values = Dict::from([(key.section.to_owned(), section.into())]);
                figment = figment.merge(Layer { place, values });
            }
        }
        Ok(Self(figment))
    }

    pub(crate) fn raw(&self) -> Result<Raw, SettingsError> {
        self.0.extract().map_err(|error| {
            let key = error.path.join(".");
            let is_secret = key
                .split_once('.')
                .and_then(|(section, name)| keys::find(section, name))
                .is_none_or(|key| key.secrecy != Secrecy::Open);
            let reason = if is_secret {
                "has a value of the wrong kind; a text in quotes is expected".to_owned()
            } else {
                format!("is not usable: {}", error.kind)
            };
            let place = error.metadata.map_or_else(|| "nowhere".to_owned(), |metadata| metadata.name.into_owned());
            SettingsError::Invalid { key, place, reason }
        })
    }

    /// Where the value of a setting comes from.
    pub(crate) fn place(&self, key: &str) -> String {
        self.0.find_metadata(key).map_or_else(|| DEFAULT.to_owned(), |metadata| metadata.name.clone().into_owned())
    }

    /// Whether somebody gave the setting.
    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.0.contains(key) && self.place(key) != DEFAULT
    }

    /// The value of a setting as text.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let value = self.0.find_value(key).ok()?;
        value.clone().into_string().or_else(|| value.to_u128().map(|number| number.to_string()))
    }
}

fn parse(name: &str, text: &str) -> Result<Dict, SettingsError> {
    Toml::from_str(text).map_err(|error| {
        // The quoted lines of the text are left out: they may contain a secret.
        let mut reason = String::new();
        for line in error.to_string().lines().filter(|line| !line.contains('|')) {
            let separator = if reason.is_empty() { "" } else { "; " };
            // Writing to a text cannot fail.
            let _written = write!(reason, "{separator}{}", line.trim()).is_ok();
        }
        SettingsError::NotToml { file: name.to_owned(), reason }
    })
}

fn check_keys(values: &Dict, place: &str) -> Result<(), SettingsError> {
    for (section, value) in values {
        let unknown = |key: String, known| SettingsError::Unknown { key, place: place.to_owned(), known };
        if !keys::is_section(section) {
            return Err(unknown(section.clone(), format!("the sections {}", keys::sections())));
        }
        let Some(settings) = value.as_dict() else {
            return Err(SettingsError::Invalid {
                key: section.clone(),
                place: place.to_owned(),
                reason: format!("is a section; write it as [{section}] with settings below it"),
            });
        };
        if let Some(name) = settings.keys().find(|name| keys::find(section, name).is_none()) {
            return Err(unknown(format!("{section}.{name}"), keys::names(section)));
        }
    }
    Ok(())
}

/// The setting a variable gives; `None` for variables that are none of ours.
fn setting_of(name: &str, place: &str) -> Result<Option<Key>, SettingsError> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    let lower = rest.to_lowercase();
    let unknown = |key, known| SettingsError::Unknown { key, place: place.to_owned(), known };
    if let Some((section, setting)) = lower.split_once("__") {
        let known = if keys::is_section(section) {
            keys::names(section)
        } else {
            format!("the sections {}", keys::sections())
        };
        return keys::find(section, setting)
            .map(Some)
            .ok_or_else(|| unknown(format!("{section}.{setting}"), known));
    }
    // One underscore instead of two is easily written and would go unnoticed.
    match lower.split_once('_').filter(|(section, setting)| keys::find(section, setting).is_some()) {
        Some((section, setting)) => {
            let meant = format!("{PREFIX}{}__{}", section.to_uppercase(), setting.to_uppercase());
            Err(unknown(lower.clone(), format!("{meant} (two underscores)")))
        }
        None => Ok(None),
    }
}

/// A variable's text as the kind of value the setting has by default.
fn typed(text: String, default: Option<&Value>) -> Value {
    if let Some(Value::Num(..)) = default
        && let Ok(number) = text.parse::<u64>()
    {
        return Num::U64(number).into();
    }
    text.into()
}
