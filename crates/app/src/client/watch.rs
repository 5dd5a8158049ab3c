//! Following rollouts to their end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::ctrl_c;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::failure::{Code, Failure};
use super::output::{Output, note};
use super::rollout::{ending, show};
use super::screen::Screen;
use super::service::{Pages, Service, page};

/// How often a rollout is looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a service that is away is waited for: long enough for a restart.
const PATIENCE: Duration = Duration::from_mins(1);

/// Follows rollouts until all have ended, Ctrl-C, or `limit` is over. The rollouts
/// themselves are never touched.
pub(crate) async fn watch(
    tasks: Vec<String>,
    limit: Option<Duration>,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let mut screen = Screen::new(output.is_live());
    let mut tracks: Vec<Track> = tasks.into_iter().map(Track::new).collect();
    let left = tokio::select! {
        followed = follow(&mut tracks, service, &mut screen) => followed.map(|()| None),
        signal = ctrl_c() => match signal {
            Ok(()) => Ok(Some((Code::Interrupted, "detached"))),
            Err(error) => Err(Failure::new(Code::Defect, format!("interrupts cannot be waited for: {error}"))),
        },
        () = over(limit) => Ok(Some((Code::WaitedTooLong, "the wait is over"))),
    };
    screen.end();
    let going_on: Vec<&str> = tracks
        .iter()
        .filter(|track| track.ending().is_none())
        .map(|track| track.id.as_str())
        .collect();
    let hint = format!(
        "the rollout goes on: `drover rollout show {} --watch`",
        going_on.join(" ")
    );
    match left {
        Ok(None) => {}
        Ok(Some((code, why))) => {
            note(&format!("{why}; {hint}"));
            return Ok(code);
        }
        Err(mut failure) => {
            if failure.code == Code::Unavailable {
                failure.message = format!("{}; {hint}", failure.message);
            }
            return Err(failure);
        }
    }
    let ended: Vec<Value> = tracks.iter().map(|track| track.task.clone()).collect();
    output.document(&json!({"items": ended, "next_cursor": null}), || {
        for task in &ended {
            show(task, output);
        }
    });
    Ok(worst(tracks.iter().filter_map(Track::ending)))
}

/// One rollout and how much of it has been shown.
struct Track {
    id: String,
    task: Value,
    cursor: Option<String>,
    seen: i64,
}

impl Track {
    fn new(id: String) -> Self {
        Self {
            id,
            task: Value::Null,
            cursor: None,
            seen: -1,
        }
    }

    fn ending(&self) -> Option<Code> {
        ending(&self.task)
    }

    /// Shows what is new.
    async fn look(&mut self, service: &Service, screen: &mut Screen) -> Result<(), Failure> {
        // The rollout before its events: after its end no event follows.
        let task = service.get(&format!("rollouts/{}", self.id), &[]).await?;
        let path = format!("rollouts/{}/events", self.id);
        let mut pages = Pages::default();
        loop {
            let mut query = vec![("limit", "200")];
            query.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let (events, next) = page(service.get(&path, &query).await?)?;
            let before = self.seen;
            for event in events {
                let sequence = event
                    .get("sequence")
                    .and_then(Value::as_i64)
                    .unwrap_or(i64::MAX);
                if sequence > self.seen {
                    self.seen = sequence;
                    screen.event(&event);
                }
            }
            // The cursor behind the last event leads to a page without news, however often it is followed.
            let is_last = next.is_none() || self.seen == before;
            if is_last {
                self.cursor = next.or(self.cursor.take());
                break;
            }
            self.cursor = pages.next(&path, next)?;
        }
        screen.task(&task);
        self.task = task;
        Ok(())
    }
}

async fn follow(
    tracks: &mut [Track],
    service: &Service,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away_since: Option<Instant> = None;
    while tracks.iter().any(|track| track.ending().is_none()) {
        ticks.tick().await;
        for track in tracks.iter_mut().filter(|track| track.ending().is_none()) {
            match track.look(service, screen).await {
                Ok(()) => away_since = None,
                Err(failure) if failure.code == Code::Unavailable => {
                    let since = *away_since.get_or_insert_with(|| {
                        screen.note(&format!(
                            "{}; trying again for {} s",
                            failure.message,
                            PATIENCE.as_secs()
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

async fn over(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// What needs a person most comes first.
fn worst(codes: impl Iterator<Item = Code>) -> Code {
    let codes: Vec<Code> = codes.collect();
    [Code::Unknown, Code::Failed, Code::Cancelled]
        .into_iter()
        .find(|code| codes.contains(code))
        .unwrap_or(Code::Success)
}
