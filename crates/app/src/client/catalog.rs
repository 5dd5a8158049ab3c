//! `drover catalog`.

use clap::{Args, Subcommand};
use serde_json::Map;

use super::CATALOG;
use super::apps::Kind;
use super::failure::{Code, Failure};
use super::output::{Column, Output, note};
use super::service::Service;
use super::settings::{Layer, given, kept, tell};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("TYPE", "app_type"),
    ("APPLICATIONS", "applications"),
    ("GROUPS", "groups"),
    ("PLAYBOOK", "default_playbook_path"),
];

/// What is shown of one entry.
const DETAILS: &[Column] = &[
    ("entry", "id"),
    ("name", "name"),
    ("type", "app_type"),
    ("applications", "applications"),
    ("groups", "groups"),
    ("playbook", "default_playbook_path"),
    ("artifacts", "default_artifact_url"),
    ("extension", "default_artifact_extension"),
];

const LAYER: [&str; 3] = [
    "default_playbook_path",
    "default_artifact_url",
    "default_artifact_extension",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the catalog of applications.
    List(List),
    /// Show a catalog entry with its settings.
    Show {
        /// The entry's name or number; a name that several have needs the number.
        #[arg(value_name = "ENTRY")]
        wanted: String,
    },
    /// Add a catalog entry.
    Add {
        /// The base name of its applications.
        name: String,
        /// Of which kind they are.
        #[arg(long = "type", value_enum)]
        kind: Kind,
        #[command(flatten)]
        layer: Layer,
    },
    /// Change the name or the settings of a catalog entry.
    Set {
        /// The entry's name or number; a name that several have needs the number.
        #[arg(value_name = "ENTRY")]
        wanted: String,
        /// Its new name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        layer: Layer,
    },
    /// Remove a catalog entry that nothing belongs to.
    Remove {
        /// The entry's name or number; a name that several have needs the number.
        #[arg(value_name = "ENTRY")]
        wanted: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of this kind.
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// Only those with this in their name.
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// The column to sort by: `id` or `name`, with `-` before it for the greatest first.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List(list) => {
            let query = given([
                ("app_type", list.kind.map(Kind::word)),
                ("q", list.query.as_deref()),
                ("sort", list.sort.as_deref()),
            ]);
            let entries = service.all(CATALOG, &query).await?;
            if !output.is_without_rows(&entries, "no catalog entry fits") {
                output.list(&entries, COLUMNS);
            }
        }
        Command::Show { wanted } => {
            let path = path(&wanted, service).await?;
            output.details(&service.get(&path, &[]).await?, DETAILS);
        }
        Command::Add { name, kind, layer } => {
            let mut body = Map::new();
            tell(&mut body, "name", Some(name), false);
            tell(&mut body, "app_type", Some(kind.word()), false);
            layer.tell(&mut body, LAYER);
            output.one(&service.post(CATALOG, &body.into()).await?, COLUMNS);
        }
        Command::Set {
            wanted,
            name,
            layer,
        } => {
            let path = path(&wanted, service).await?;
            let changed = service.amend(&path, |known| {
                let mut body = kept(known, &["name"]);
                body.extend(kept(known, &LAYER));
                tell(&mut body, "name", name, false);
                layer.tell(&mut body, LAYER);
                body
            });
            output.details(&changed.await?, DETAILS);
        }
        Command::Remove { wanted } => {
            let path = path(&wanted, service).await?;
            service.delete(&path).await?;
            note(&format!(
                "catalog entry {} is removed",
                wanted.escape_debug()
            ));
        }
    }
    Ok(Code::Success)
}

/// The number of the entry with this name or number. A name wins.
pub(crate) async fn find(wanted: &str, service: &Service) -> Result<i64, Failure> {
    service.find(CATALOG, "catalog entry", wanted).await
}

async fn path(wanted: &str, service: &Service) -> Result<String, Failure> {
    Ok(format!("{CATALOG}/{}", find(wanted, service).await?))
}
