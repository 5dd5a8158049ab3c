//! Following actions on servers in HAProxy to their end.

use std::time::Duration;

use serde_json::Value;
use tokio::signal::ctrl_c;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::failure::{Code, Failure};
use super::output::{cell, note};
use super::service::Service;

/// How often an action is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a service that is away is waited for: long enough for a restart.
const PATIENCE: Duration = Duration::from_mins(1);

/// Follows actions until all have ended; after Ctrl-C returns the exit code. The actions themselves
/// are never touched.
pub(crate) async fn follow(
    actions: &mut [Value],
    service: &Service,
) -> Result<Option<Code>, Failure> {
    let left = tokio::select! {
        followed = until_over(actions, service) => followed.map(|()| None),
        signal = ctrl_c() => match signal {
            Ok(()) => Ok(Some(Code::Interrupted)),
            Err(error) => Err(Failure::new(Code::Defect, format!("interrupts cannot be waited for: {error}"))),
        },
    };
    let hint = "what was accepted goes on: `drover haproxy actions` shows it";
    match left {
        Ok(code) => {
            if code.is_some() {
                note(&format!("detached; {hint}"));
            }
            Ok(code)
        }
        Err(mut failure) => {
            if failure.code == Code::Unavailable {
                failure.message = format!("{}; {hint}", failure.message);
            }
            Err(failure)
        }
    }
}

/// Whether an action has ended otherwise than wanted.
pub(crate) fn has_failed(action: &Value) -> bool {
    cell(action, "status") == "failed"
}

fn is_over(action: &Value) -> bool {
    has_failed(action) || cell(action, "status") == "success"
}

async fn until_over(actions: &mut [Value], service: &Service) -> Result<(), Failure> {
    for action in actions.iter() {
        tell(action);
    }
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away_since: Option<Instant> = None;
    while !actions.iter().all(is_over) {
        ticks.tick().await;
        for action in actions.iter_mut().filter(|action| !is_over(action)) {
            let path = format!("haproxy/actions/{}", cell(action, "id"));
            match service.get(&path, &[]).await {
                Ok(seen) => {
                    away_since = None;
                    if standing(&seen) != standing(action) {
                        tell(&seen);
                    }
                    *action = seen;
                }
                Err(failure) if failure.code == Code::Unavailable => {
                    let since = *away_since.get_or_insert_with(|| {
                        let patience = PATIENCE.as_secs();
                        note(&format!(
                            "{}; trying again for {patience} s",
                            failure.message
                        ));
                        Instant::now()
                    });
                    if since.elapsed() >= PATIENCE {
                        return Err(failure);
                    }
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(())
}

fn tell(action: &Value) {
    note(&format!(
        "action {}  {} server {}  {}",
        cell(action, "id"),
        cell(action, "action"),
        cell(action, "server"),
        standing(action),
    ));
}

/// Where an action stands; while it is under way, with what was seen last.
fn standing(action: &Value) -> String {
    let status = cell(action, "status");
    let looks = action.pointer("/evidence/looks").and_then(Value::as_array);
    let Some(last) = looks.and_then(|looks| looks.last()) else {
        return status;
    };
    if is_over(action) {
        return status;
    }
    let more = |member: &str, shown: &dyn Fn(u64) -> String| {
        let count = last.get(member).and_then(Value::as_u64);
        count
            .filter(|count| *count > 0)
            .map_or_else(String::new, shown)
    };
    format!(
        "{status}  {}, sessions {}{}{}",
        cell(last, "status"),
        cell(last, "sessions"),
        more("old_sessions", &|old| format!(" ({old} in old workers)")),
        more("queue", &|queue| format!(", queue {queue}")),
    )
}
