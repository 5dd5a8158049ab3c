//! Settings from variables such as `DROVER_SERVER__LISTEN`.

use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};

/// What every variable of ours begins with.
pub(crate) const PREFIX: &str = "DROVER_";

/// The variables of one process; those that are not ours are left out.
#[derive(Debug, Clone)]
pub(crate) struct Variables(Vec<(String, String)>);

impl Variables {
    /// Keeps `DROVER_SECTION__KEY` as `section.key`. Names without `__` are not settings: the
    /// client has some of its own, such as `DROVER_URL`.
    pub(crate) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(PREFIX)?;
            name.contains("__")
                .then(|| (name.to_lowercase().replace("__", "."), value))
        });
        Self(ours.collect())
    }
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named("variable")
            .interpolater(|_, keys| format!("{PREFIX}{}", keys.join("__").to_uppercase()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut all = Dict::new();
        for (key, value) in &self.0 {
            // Numbers and truth values are read as such; everything else is text as it is.
            let value = match (value.parse::<i64>(), value.parse::<bool>()) {
                (Ok(number), _) => Value::from(number),
                (_, Ok(truth)) => Value::from(truth),
                _ => Value::from(value.as_str()),
            };
            let nested = figment::util::nest(key, value);
            if let Some(dict) = nested.into_dict() {
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
