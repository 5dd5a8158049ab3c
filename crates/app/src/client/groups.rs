//! `drover groups`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::failure::{Code, Failure};
use super::output::{Column, Output, note};
use super::service::Service;
use super::settings::{Layer, given, kept, tell};
use super::{GROUPS, catalog};

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("APPLICATIONS", "applications"),
    ("ONLINE", "online"),
    ("CATALOG", "catalog"),
    ("BATCHES", "batch_grouping_strategy"),
];

/// What is shown of one group.
const DETAILS: &[Column] = &[
    ("group", "id"),
    ("name", "name"),
    ("applications", "applications"),
    ("online", "online"),
    ("catalog", "catalog"),
    ("batches", "batch_grouping_strategy"),
    ("playbook", "update_playbook_path"),
    ("artifacts", "artifact_list_url"),
    ("extension", "artifact_extension"),
];

const LAYER: [&str; 3] = [
    "update_playbook_path",
    "artifact_list_url",
    "artifact_extension",
];

const STRATEGIES: [&str; 4] = ["by_group", "by_server", "by_instance_name", "no_grouping"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the groups of applications that are updated together.
    List(List),
    /// Show a group with its settings.
    Show {
        /// The group's name or number.
        #[arg(value_name = "GROUP")]
        wanted: String,
    },
    /// Add a group without applications.
    Add {
        /// The group's name.
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Change the name or the settings of a group.
    Set {
        /// The group's name or number.
        #[arg(value_name = "GROUP")]
        wanted: String,
        /// Its new name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove a group that has no applications.
    Remove {
        /// The group's name or number.
        #[arg(value_name = "GROUP")]
        wanted: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those of catalog entries with this name.
    #[arg(long, value_name = "NAME")]
    catalog: Option<String>,
    /// Only those with this in their name.
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// The column to sort by: `id` or `name`, with `-` before it for the greatest first.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The catalog entry it belongs to, by its name or number.
    #[arg(long, value_name = "ENTRY")]
    catalog: Option<String>,
    /// No catalog entry.
    #[arg(long, conflicts_with = "catalog")]
    no_catalog: bool,
    /// How its applications are grouped into rollouts.
    #[arg(long, value_name = "STRATEGY", value_parser = STRATEGIES)]
    batches: Option<String>,
    #[command(flatten)]
    layer: Layer,
}

impl Settings {
    /// Lets a body say this too.
    async fn tell(self, body: &mut Map<String, Value>, service: &Service) -> Result<(), Failure> {
        let catalog = match self.catalog {
            Some(wanted) => Some(catalog::find(&wanted, service).await?),
            None => None,
        };
        tell(body, "catalog_id", catalog, self.no_catalog);
        tell(body, "batch_grouping_strategy", self.batches, false);
        self.layer.tell(body, LAYER);
        Ok(())
    }
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List(list) => {
            let query = given([
                ("catalog", list.catalog.as_deref()),
                ("q", list.query.as_deref()),
                ("sort", list.sort.as_deref()),
            ]);
            let groups = service.all(GROUPS, &query).await?;
            if !output.is_without_rows(&groups, "no group fits") {
                output.list(&groups, COLUMNS);
            }
        }
        Command::Show { wanted } => {
            let path = path(&wanted, service).await?;
            output.details(&service.get(&path, &[]).await?, DETAILS);
        }
        Command::Add { name, settings } => {
            let mut body = Map::from_iter([("name".to_owned(), Value::from(name))]);
            settings.tell(&mut body, service).await?;
            output.one(&service.post(GROUPS, &body.into()).await?, COLUMNS);
        }
        Command::Set {
            wanted,
            name,
            settings,
        } => {
            let path = path(&wanted, service).await?;
            let mut wish = Map::new();
            tell(&mut wish, "name", name, false);
            settings.tell(&mut wish, service).await?;
            let fields = ["name", "catalog_id", "batch_grouping_strategy"];
            let changed = service.amend(&path, |known| {
                let mut body = kept(known, &fields);
                body.extend(kept(known, &LAYER));
                body.extend(wish);
                body
            });
            output.details(&changed.await?, DETAILS);
        }
        Command::Remove { wanted } => {
            let path = path(&wanted, service).await?;
            service.delete(&path).await?;
            note(&format!("group {} is removed", wanted.escape_debug()));
        }
    }
    Ok(Code::Success)
}

async fn path(wanted: &str, service: &Service) -> Result<String, Failure> {
    let id = service.find(GROUPS, "group", wanted).await?;
    Ok(format!("{GROUPS}/{id}"))
}
