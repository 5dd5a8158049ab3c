//! Settings from variables such as `DROVER_SERVER__LISTEN`.

use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

/// What every variable of ours begins with.
const PREFIX: &str = "DROVER_";

/// What the key of every queue begins with.
const QUEUES: &str = "engine.queues.";

/// Variables of the client and of the command line; they are no settings.
const OTHERS: [&str; 3] = ["DROVER_URL", "DROVER_API_KEY", "DROVER_CONFIG"];

/// The settings among the variables of a process, by dotted key.
#[derive(Debug, Clone)]
pub(crate) struct Variables(Vec<(String, Value)>);

impl Variables {
    /// Takes `DROVER_SECTION__KEY` as `section.key`; it is a number, a truth or a list (its items
    /// between commas) where the default is one, and text everywhere else.
    ///
    /// A variable that only looks like one of ours is an error: its name.
    pub(crate) fn new(
        variables: impl IntoIterator<Item = (String, String)>,
        defaults: &Figment,
    ) -> Result<Self, String> {
        let mut ours = Vec::new();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if OTHERS.contains(&name.as_str()) {
                continue;
            }
            if !rest.contains("__") {
                return Err(name);
            }
            let key = rest.to_lowercase().replace("__", ".");
            let value = value(&key, text, defaults);
            ours.push((key, value));
        }
        Ok(Self(ours))
    }
}

fn value(key: &str, text: String, defaults: &Figment) -> Value {
    match defaults.find_value(key) {
        Ok(Value::Num(..)) => number(text),
        Ok(Value::Bool(..)) => text
            .parse()
            .map_or_else(|_| Value::from(text), |truth: bool| Value::from(truth)),
        Ok(Value::Array(..)) => {
            let items = text.split(',').map(str::trim);
            Value::from(items.filter(|item| !item.is_empty()).collect::<Vec<_>>())
        }
        // The queues that have no default are numbers like the others.
        Err(_) if key.starts_with(QUEUES) => number(text),
        Ok(Value::String(..) | Value::Char(..) | Value::Dict(..) | Value::Empty(..)) | Err(_) => {
            Value::from(text)
        }
    }
}

fn number(text: String) -> Value {
    text.parse::<i64>()
        .map_or_else(|_| Value::from(text), Value::from)
}

/// The variable of a dotted key.
pub(crate) fn name_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named("variable")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut all = Dict::new();
        for (key, value) in &self.0 {
            if let Some(dict) = figment::util::nest(key, value.clone()).into_dict() {
                merge(&mut all, dict);
            }
        }
        Ok(Map::from([(Profile::Default, all)]))
    }
}

fn merge(into: &mut Dict, from: Dict) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Dict(_, known)), Value::Dict(_, more)) => merge(known, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
