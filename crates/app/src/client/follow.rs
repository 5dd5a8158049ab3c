//! Following a workflow to its end: what happened so far, then what happens, as it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::signal::ctrl_c;
use tokio::time::{Instant, sleep, timeout};

use super::failure::{Code, Failure};
use super::output::{NOTHING, Output, TEXT_MAX, cell, fitted, note, text};
use super::screen::Screen;
use super::service::{Pages, Service, page};
use super::show;
use super::sse::Reader;
use super::state::{self, Colour, Paint};

/// How long a silent stream is trusted; the service gives a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a service that is away is waited for: long enough for a restart.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait before coming back, where the stream did not say.
const RETRY: Duration = Duration::from_secs(1);

/// The longest that is waited, whatever the stream said.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How many running tasks are named.
const NAMED_MAX: usize = 5;

/// How wide the names of most events are.
const NAME_WIDTH: usize = 18;

/// Follows a workflow until it has ended, Ctrl-C, or `limit` is over. The workflow itself is
/// never touched.
pub(crate) async fn follow(
    id: &str,
    limit: Option<Duration>,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    let mut track = Track::new(id, output);
    let left = tokio::select! {
        followed = track.until_over(service) => followed.map(|()| None),
        signal = ctrl_c() => match signal {
            Ok(()) => Ok(Some((Code::Interrupted, "detached"))),
            Err(error) => Err(Failure::new(Code::Defect, format!("interrupts cannot be waited for: {error}"))),
        },
        () = over(limit) => Ok(Some((Code::WaitedTooLong, "the wait is over"))),
    };
    track.screen.end();
    let hint = format!("the workflow goes on: `drover workflows watch {id}`");
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
    let workflow = show::read(id, service).await?;
    workflow.print(output);
    Ok(workflow.ending().unwrap_or(Code::Success))
}

/// A workflow and how much of it was printed.
struct Track {
    id: String,
    screen: Screen,
    paint: Paint,
    /// How many characters a line may have, if lines are redrawn.
    width: Option<usize>,
    /// What the tasks are called, by identifier, and where they stand.
    tasks: BTreeMap<String, (String, String)>,
    status: String,
    /// The position of the last event that was printed.
    seen: Option<String>,
    retry: Duration,
}

impl Track {
    fn new(id: &str, output: &Output) -> Self {
        Self {
            id: id.to_owned(),
            screen: Screen::new(output.is_live()),
            paint: output.paint_of_notes(),
            width: output.width_of_notes(),
            tasks: BTreeMap::new(),
            status: String::new(),
            seen: None,
            retry: RETRY,
        }
    }

    async fn until_over(&mut self, service: &Service) -> Result<(), Failure> {
        let mut away_since: Option<Instant> = None;
        loop {
            let before = self.seen.clone();
            let broken = match self.stretch(service).await {
                Ok(true) => return Ok(()),
                Ok(false) => None,
                Err(failure) if failure.code == Code::Unavailable => Some(failure),
                Err(failure) => return Err(failure),
            };
            if self.seen != before {
                away_since = None;
            }
            // A stream may end at any time: the service is asked to stop, or a proxy has had enough.
            if let Some(failure) = broken {
                let since = *away_since.get_or_insert_with(|| {
                    self.screen.note(&format!(
                        "{}; trying again for {} s",
                        failure.message,
                        PATIENCE.as_secs()
                    ));
                    Instant::now()
                });
                if since.elapsed() >= PATIENCE {
                    return Err(failure);
                }
            }
            sleep(self.retry).await;
        }
    }

    /// Prints events until the connection ends; returns whether the workflow has ended.
    async fn stretch(&mut self, service: &Service) -> Result<bool, Failure> {
        if self.seen.is_none() && self.past(service).await? {
            return Ok(true);
        }
        let mut stream = service.events(&self.id, self.seen.as_deref()).await?;
        let mut reader = Reader::default();
        loop {
            // Silence and an end are the same: come back behind what was seen.
            let Ok(piece) = timeout(SILENCE, stream.next()).await else {
                return Ok(false);
            };
            let Some(piece) = piece? else {
                return Ok(false);
            };
            let events = reader.read(&piece)?;
            if let Some(retry) = reader.retry {
                self.retry = retry.min(RETRY_MAX);
            }
            for event in events {
                if event.name == "gap" {
                    self.screen
                        .note("some events are gone: the service keeps them for a while only");
                    self.tasks(service).await?;
                    if self.look(service).await? {
                        return Ok(true);
                    }
                    continue;
                }
                let event: Value = serde_json::from_str(&event.data).map_err(|_| {
                    Failure::new(
                        Code::Failed,
                        "the service does not answer as agreed: an event of its stream is not JSON",
                    )
                })?;
                if self.told(&event, service).await? {
                    return Ok(true);
                }
            }
            if let Some(id) = &reader.last_id {
                self.seen = Some(id.clone());
            }
        }
    }

    /// Prints earlier events; returns whether the workflow has ended.
    async fn past(&mut self, service: &Service) -> Result<bool, Failure> {
        self.tasks(service).await?;
        // The workflow is read before its events: after its end no further event comes.
        let is_over = self.look(service).await?;
        let mut last = None;
        let path = format!("workflows/{}/history", self.id);
        let mut cursor: Option<String> = None;
        let mut pages = Pages::default();
        loop {
            let mut query = vec![("limit", "200")];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let (events, next) = page(service.get(&path, &query).await?)?;
            let is_last = events.len() < 200;
            for event in &events {
                self.tell(event);
                last = ends_as(text(event, "event")).or(last);
                self.seen = Some(text(event, "position").to_owned());
            }
            match next {
                Some(next) if !is_last => cursor = pages.next(&path, Some(next))?,
                // It may have ended after the look.
                Some(_) | None if !is_over && last.is_some() => {
                    return Ok(self.look(service).await? && last == Some(self.status.as_str()));
                }
                Some(_) | None => return Ok(is_over),
            }
        }
    }

    async fn tasks(&mut self, service: &Service) -> Result<(), Failure> {
        let path = format!("workflows/{}/tasks", self.id);
        for task in service.all(&path, &[]).await? {
            let known = (cell(&task, "key"), text(&task, "status").to_owned());
            self.tasks.insert(text(&task, "id").to_owned(), known);
        }
        Ok(())
    }

    /// Where the workflow stands; whether it has ended.
    async fn look(&mut self, service: &Service) -> Result<bool, Failure> {
        let workflow = service.get(&format!("workflows/{}", self.id), &[]).await?;
        text(&workflow, "status").clone_into(&mut self.status);
        self.redraw();
        Ok(state::ending(&self.status).is_some())
    }

    /// Prints an event; returns whether the workflow has ended with it.
    async fn told(&mut self, event: &Value, service: &Service) -> Result<bool, Failure> {
        // The look comes first: it may fail, and then the event comes again.
        let kind = text(event, "event");
        let is_over = kind.starts_with("workflow_")
            && self.look(service).await?
            // It may have ended since: the events in between are printed first.
            && ends_as(kind) == Some(self.status.as_str());
        self.tell(event);
        self.seen = Some(text(event, "position").to_owned());
        self.redraw();
        Ok(is_over)
    }

    fn tell(&mut self, event: &Value) {
        let kind = text(event, "event");
        let status = state::after(kind);
        let task = text(event, "task_id");
        let mut key = String::new();
        if !task.is_empty() {
            let known = self.tasks.entry(task.to_owned()).or_insert_with(|| {
                // Retention may have left the event and not the task.
                (cell(event, "task_key"), String::new())
            });
            key.clone_from(&known.0);
            if let Some(status) = status {
                status.clone_into(&mut known.1);
            }
        }
        let at = cell(event, "at");
        // On a screen the day is known, and a line is one line.
        let at = match (self.width, at.get(11..23)) {
            (Some(_), Some(time)) => time.to_owned(),
            (Some(_), None) | (None, _) => at,
        };
        let mut rest = Vec::new();
        rest.extend((!key.is_empty()).then_some(key));
        if let Some(attempt) = event.get("attempt").and_then(Value::as_u64)
            && attempt > 1
        {
            rest.push(format!("#{attempt}"));
        }
        rest.extend(Some(cell(event, "detail")).filter(|detail| detail != NOTHING));
        let name = format!("{kind:<NAME_WIDTH$}");
        let before = at.chars().count() + name.chars().count() + 4;
        let room = self
            .width
            .map_or(TEXT_MAX, |width| width.saturating_sub(before));
        let name = self.paint.text(colour_of(kind, status), &name);
        let line = format!("{at}  {name}  {}", fitted(&rest.join("  "), room));
        self.screen.told(line.trim_end());
    }

    fn redraw(&mut self) {
        // What undoes counts once it has something to do.
        let counted = || {
            let tasks = self.tasks.values();
            tasks.filter(|(key, status)| !key.contains('/') || status != "pending")
        };
        let total = counted().count();
        let ended = counted().filter(|(_, status)| is_over(status)).count();
        let mut line = format!("{ended} of {total} tasks ended");
        for wanted in ["running", "waiting"] {
            let keys: Vec<&str> = counted()
                .filter(|(_, status)| status == wanted)
                .map(|(key, _)| key.as_str())
                .collect();
            let named = keys.get(..keys.len().min(NAMED_MAX)).unwrap_or_default();
            if named.is_empty() {
                continue;
            }
            line = format!("{line}; {wanted}: {}", named.join(", "));
            if keys.len() > named.len() {
                line = format!("{line} and {} more", keys.len() - named.len());
            }
        }
        self.screen.bar(&self.status, &line);
    }
}

/// The colour of what an event leads to.
fn colour_of(kind: &str, status: Option<&str>) -> Colour {
    let status = status.unwrap_or(match kind {
        "workflow_completed" => "succeeded",
        "workflow_failed" | "workflow_needs_human" => "failed",
        "workflow_compensated" => "compensated",
        _ => "pending",
    });
    state::symbol(status).1
}

/// How a workflow stands that ends with this event.
fn ends_as(kind: &str) -> Option<&'static str> {
    match kind {
        "workflow_completed" => Some("succeeded"),
        "workflow_failed" => Some("failed"),
        "workflow_cancelled" => Some("cancelled"),
        "workflow_compensated" => Some("compensated"),
        "workflow_needs_human" => Some("needs_human"),
        _ => None,
    }
}

fn is_over(status: &str) -> bool {
    !matches!(
        status,
        "pending" | "queued" | "running" | "retrying" | "waiting"
    )
}

async fn over(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}
