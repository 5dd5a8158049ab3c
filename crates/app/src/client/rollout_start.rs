//! `drover rollout start`.

use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use drover_domain::text::visible;
use serde_json::{Value, json};

use super::failure::{Code, Failure};
use super::names::{self, Reference, reference};
use super::output::{Output, TEXT_MAX, line, note};
use super::service::Service;
use super::{GROUPS, watch};

/// The most characters of a warning.
const WARNING_MAX: usize = 10_000;

/// The longest drain that can be asked for, minutes.
const DRAIN_MINUTES_MAX: f64 = 60.0;

/// What a rollout is about.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("applications").required(true).args(["group", "app"])))]
pub(crate) struct Order {
    /// All instances of this group.
    #[arg(long)]
    group: Option<String>,
    /// These instances, by their names, as `NAME@SERVER` or by number (`drover apps list`).
    #[arg(long, value_name = "APPLICATION", num_args = 1.., value_delimiter = ',', value_parser = reference)]
    app: Vec<Reference>,
    /// Where the new version comes from.
    #[arg(long, value_name = "URL")]
    distr_url: String,
    /// What to do; without it the service decides.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// The orchestrator playbook; without it the service's default.
    #[arg(long, value_name = "FILE")]
    orchestrator: Option<String>,
    /// How long a drained server is waited for, up to 60 minutes; without it, or with 0, 5 minutes.
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    drain_minutes: Option<f64>,
    /// Update applications without a drain although they, or others of their group, stand or stood behind HAProxy.
    #[arg(long)]
    allow_undrained: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    order: Order,
    /// Start exactly this plan (`drover rollout plan`), or nothing if it no longer holds.
    #[arg(long, value_name = "PLAN")]
    plan: Option<String>,
    /// Follow the rollout to its end; the exit code is its result.
    #[arg(long)]
    watch: bool,
    /// The most time to watch; then exit code 7, and the rollout goes on.
    #[arg(long, value_name = "SECONDS", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// The same as --output json.
    #[arg(long)]
    json: bool,
    /// Makes a repeated command safe: the same key starts the rollouts once. Made up when not given.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Bring the new version and switch to it.
    Update,
    /// Bring the new version only.
    Deliver,
    /// The same as update.
    Immediate,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Deliver => "deliver",
            Self::Immediate => "immediate",
        }
    }
}

impl Order {
    /// The body of the request.
    pub(crate) async fn body(self, service: &Service) -> Result<Value, Failure> {
        let applications = match &self.group {
            Some(group) => members(group, service).await?,
            None => names::applications(&self.app, service).await?,
        };
        let mut body = json!({"app_ids": applications, "distr_url": self.distr_url});
        for (name, value) in [
            ("mode", self.mode.map(|mode| Value::from(mode.word()))),
            ("orchestrator_playbook", self.orchestrator.map(Value::from)),
            ("drain_wait_time", self.drain_minutes.map(Value::from)),
            (
                "allow_undrained",
                self.allow_undrained.then_some(Value::Bool(true)),
            ),
        ] {
            if let (Some(value), Some(members)) = (value, body.as_object_mut()) {
                members.insert(name.to_owned(), value);
            }
        }
        Ok(body)
    }
}

impl Start {
    pub(crate) const fn wants_json(&self) -> bool {
        self.json
    }
}

pub(crate) async fn run(start: Start, service: &Service, output: &Output) -> Result<Code, Failure> {
    let mut body = start.order.body(service).await?;
    if let (Some(plan), Some(members)) = (start.plan, body.as_object_mut()) {
        members.insert("plan".to_owned(), plan.into());
    }
    let key = match start.idempotency_key {
        Some(key) => key,
        None => fresh_key()?,
    };
    let accepted = service
        .post_once("rollouts", &body, &key)
        .await
        .map_err(|failure| repeatable(failure, &key))?;
    let rollouts: Vec<String> = accepted
        .get("rollout_ids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    if rollouts.is_empty() {
        return Err(Failure::new(
            Code::Failed,
            "the service does not answer as agreed: nothing was started for what it accepted",
        ));
    }
    let warnings = accepted.get("warnings").and_then(Value::as_array);
    for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
        note(&visible(warning, WARNING_MAX));
    }
    if start.watch {
        let applications = body.get("app_ids").and_then(Value::as_array);
        let count = applications.map_or(0, Vec::len);
        note(&format!(
            "update of {count} applications accepted as {}",
            rollouts.join(", ")
        ));
        return watch::watch(
            rollouts,
            start.timeout.map(Duration::from_secs),
            service,
            output,
        )
        .await;
    }
    output.document(&accepted, || {
        for rollout in &rollouts {
            line(&visible(rollout, TEXT_MAX));
        }
        for rollout in &rollouts {
            let rollout = visible(rollout, TEXT_MAX);
            note(&format!(
                "accepted; follow it with `drover rollout show {rollout} --watch`"
            ));
        }
    });
    Ok(Code::Success)
}

async fn members(group: &str, service: &Service) -> Result<Vec<i64>, Failure> {
    let items = service.all("applications", &[("group", group)]).await?;
    if items.is_empty() {
        // The group has no applications, or there is no such group.
        service.find(GROUPS, "group", group).await?;
    }
    let ids: Vec<i64> = items
        .iter()
        .filter_map(|item| item.get("id")?.as_i64())
        .collect();
    if ids.is_empty() {
        let message = format!(
            "the group `{}` has no applications; `drover apps list` shows what there is",
            group.escape_debug()
        );
        return Err(Failure::new(Code::NotFound, message));
    }
    Ok(ids)
}

/// The failure of a request that can be repeated: whether it arrived is unknown, and the same key makes the repetition
/// safe.
pub(crate) fn repeatable(mut failure: Failure, key: &str) -> Failure {
    if failure.code == Code::Unavailable {
        failure.message = format!(
            "{}; it is safe to repeat the command with --idempotency-key {key}",
            failure.message
        );
    }
    failure
}

/// A new random idempotency key.
pub(crate) fn fresh_key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(
            Code::Defect,
            format!("this machine gives no random numbers: {error}"),
        )
    })?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}

fn minutes(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|minutes| (0.0..=DRAIN_MINUTES_MAX).contains(minutes))
        .ok_or_else(|| format!("a number from 0 to {DRAIN_MINUTES_MAX} is expected"))
}
