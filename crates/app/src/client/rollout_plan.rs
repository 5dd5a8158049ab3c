//! `drover rollout plan`.

use clap::Args;
use drover_domain::text::visible;
use serde_json::Value;

use super::failure::{Code, Failure};
use super::output::{
    Cell, DETAIL_MAX, NOTHING, Output, cell, line, note, sentence, shortened, text,
};
use super::rollout_start::Order;
use super::service::Service;

/// The most characters of a name on a terminal.
const NAME_MAX: usize = 24;

/// The most characters of a sentence.
const SENTENCE_MAX: usize = 10_000;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    order: Order,
    /// Also show the variables that each playbook run gets.
    #[arg(long)]
    parameters: bool,
}

pub(crate) async fn run(plan: Plan, service: &Service, output: &Output) -> Result<Code, Failure> {
    let body = plan.order.body(service).await?;
    let answer = service.post("rollouts:plan", &body).await?;
    output.document(&answer, || show(&answer, plan.parameters, output));
    Ok(Code::Success)
}

fn show(plan: &Value, has_parameters: bool, output: &Output) {
    let rollouts = members(plan, "rollouts");
    let many = rollouts.len() > 1;
    for (rollout, number) in rollouts.iter().zip(1..) {
        if many {
            line(&format!("rollout {number} of {}", rollouts.len()));
        }
        line(&format!(
            "update playbook   {}",
            sentence(rollout, "playbook_path")
        ));
        for run in members(rollout, "runs") {
            show_run(run, has_parameters, output);
        }
        line("");
    }
    for warning in members(plan, "warnings").iter().filter_map(Value::as_str) {
        note(&format!("warning: {}", visible(warning, SENTENCE_MAX)));
    }
    note(
        "nothing was started; to start exactly this, repeat the command with `start` instead of `plan` and",
    );
    line(&format!("--plan {}", cell(plan, "plan")));
}

fn show_run(run: &Value, has_parameters: bool, output: &Output) {
    line(&format!(
        "orchestrator      {}",
        sentence(run, "orchestrator_playbook")
    ));
    let backend = match (
        sentence(run, "backend.haproxy"),
        sentence(run, "backend.name"),
    ) {
        (_, name) if name == NOTHING => "none: nothing is drained".to_owned(),
        (haproxy, name) => format!("{name} of the HAProxy {haproxy}"),
    };
    line(&format!("backend           {backend}"));
    if has_parameters {
        let parameters = run.get("parameters").and_then(Value::as_object);
        for (name, value) in parameters.into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            line(&format!(
                "parameter         {} = {}",
                visible(name, DETAIL_MAX),
                visible(value, SENTENCE_MAX)
            ));
        }
    }
    let batches = members(run, "batches");
    for batch in batches {
        for backend in members(batch, "capacity") {
            let refused = if backend.get("below_min_ready") == Some(&Value::Bool(true)) {
                ": the drain will be refused"
            } else {
                ""
            };
            line(&format!(
                "batch {:<11} backend {} keeps {} of {} servers that take requests{refused}",
                cell(batch, "batch"),
                sentence(backend, "backend"),
                cell(backend, "left"),
                cell(backend, "serving"),
            ));
        }
    }
    let rows: Vec<Value> = batches
        .iter()
        .flat_map(|batch| {
            let label = text(batch, "batch");
            members(batch, "targets").iter().map(move |target| {
                let mut row = target.clone();
                if let Some(members) = row.as_object_mut() {
                    members.insert("batch".to_owned(), label.into());
                }
                row
            })
        })
        .collect();
    line("");
    let headings = ["TARGET", "SERVER", "BATCH", "HAPROXY", "VERSION"];
    let columns = ["name", "server", "batch", "haproxy_server", "version"];
    output.table(&rows, &headings, |target| {
        let most = output.width().map_or(DETAIL_MAX, |_| NAME_MAX);
        columns
            .map(|member| Cell::plain(shortened(&cell(target, member), most)))
            .to_vec()
    });
}

fn members<'a>(item: &'a Value, name: &str) -> &'a [Value] {
    let found = item.get(name).and_then(Value::as_array);
    found.map(Vec::as_slice).unwrap_or_default()
}
