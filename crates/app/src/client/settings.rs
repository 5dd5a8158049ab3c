//! What people say about applications, groups and catalog entries, as it is typed.

use clap::Args;
use serde_json::{Map, Value};

/// The settings that applications, groups and catalog entries have.
#[derive(Debug, Args)]
pub(crate) struct Layer {
    /// The update playbook with its parameters.
    #[arg(long, value_name = "PLAYBOOK")]
    playbook: Option<String>,
    /// Say nothing about the playbook.
    #[arg(long, conflicts_with = "playbook")]
    no_playbook: bool,
    /// Where artifacts are listed or downloaded.
    #[arg(long, value_name = "URL")]
    artifact_url: Option<String>,
    /// Say nothing about where artifacts are.
    #[arg(long, conflicts_with = "artifact_url")]
    no_artifact_url: bool,
    /// The file extension of artifacts.
    #[arg(long, value_name = "EXTENSION")]
    artifact_extension: Option<String>,
    /// Say nothing about the extension of artifacts.
    #[arg(long, conflicts_with = "artifact_extension")]
    no_artifact_extension: bool,
}

impl Layer {
    /// Lets a body say this too; `names` are what it calls the playbook, the address and the extension.
    pub(crate) fn tell(self, body: &mut Map<String, Value>, names: [&str; 3]) {
        let [playbook, url, extension] = names;
        tell(body, playbook, self.playbook, self.no_playbook);
        tell(body, url, self.artifact_url, self.no_artifact_url);
        tell(
            body,
            extension,
            self.artifact_extension,
            self.no_artifact_extension,
        );
    }
}

/// Lets a body say `value`, or null where it `is_nothing`; else it says what it said.
pub(crate) fn tell<T: Into<Value>>(
    body: &mut Map<String, Value>,
    name: &str,
    value: Option<T>,
    is_nothing: bool,
) {
    if is_nothing {
        body.insert(name.to_owned(), Value::Null);
    } else if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

/// A body with these fields of what is known.
pub(crate) fn kept(known: &Value, fields: &[&str]) -> Map<String, Value> {
    let field = |name: &&str| {
        (
            (*name).to_owned(),
            known.get(*name).cloned().unwrap_or_default(),
        )
    };
    fields.iter().map(field).collect()
}

/// The parameters of a list that were given.
pub(crate) fn given<'a, const N: usize>(
    parameters: [(&'a str, Option<&'a str>); N],
) -> Vec<(&'a str, &'a str)> {
    let given = parameters.into_iter();
    given
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
