//! A reader of the log of events, whatever it speaks.

use std::fmt;
use std::time::Duration;

use drover_domain::workflow::{EventPosition, TaskKey, WorkflowEvent};
use drover_usecases::{EventFeed, EventFilter, Presented};
use tokio::time::{Instant, sleep_until};

use crate::guard::Place;
use crate::problem::ApiError;
use crate::state::Api;

/// The most events that are in memory for one reader.
const PAGE: u32 = 100;

/// How often it is checked that the key of a reader is still valid.
const KEY_CHECK: Duration = Duration::from_secs(3);

/// What a reader hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Events.
    Events {
        /// Where the reader was, if events behind it are gone.
        gap: Option<EventPosition>,
        /// The events, with the keys of their tasks.
        events: Vec<(WorkflowEvent, Option<TaskKey>)>,
    },
    /// No event for the keep-alive interval.
    Nothing,
    /// Nothing more on this connection.
    End,
}

/// A reader and where it stands.
pub(crate) struct Follower {
    feed: EventFeed,
    api: Api,
    filter: EventFilter,
    only_tasks: bool,
    at: EventPosition,
    quiet: Duration,
    place: Place,
    checked_at: Instant,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Follower {
    /// A reader that begins behind `after`, or now. It keeps its place among the readers until it is
    /// dropped.
    pub(crate) async fn begin(
        api: &Api,
        place: Place,
        filter: EventFilter,
        after: Option<EventPosition>,
    ) -> Result<Self, ApiError> {
        let feed = api.service.events.clone();
        let at = match after {
            Some(after) => after,
            None => feed.end().await?,
        };
        Ok(Self {
            feed,
            api: api.clone(),
            filter,
            only_tasks: false,
            at,
            quiet: api.options.stream_heartbeat,
            place,
            checked_at: Instant::now(),
        })
    }

    /// The same reader, who hears only what happens to tasks.
    pub(crate) fn of_tasks(self) -> Self {
        Self {
            only_tasks: true,
            ..self
        }
    }

    /// Behind what it has heard.
    pub(crate) const fn position(&self) -> EventPosition {
        self.at
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Heard {
        let page = tokio::select! {
            page = self.feed.follow(self.at, self.filter, PAGE, self.quiet) => page,
            () = self.api.told_to_end() => return Heard::End,
            () = revoked(&self.api, &self.place, &mut self.checked_at) => return Heard::End,
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                // The reader comes back by itself, to where it is now.
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "a stream of events ends early"
                );
                return Heard::End;
            }
        };
        let gap = page.gap.then_some(self.at);
        self.at = page.next;
        let mut events = page.events;
        if self.only_tasks {
            events.retain(|(event, _)| event.event.task.is_some());
        }
        if events.is_empty() && gap.is_none() {
            return Heard::Nothing;
        }
        Heard::Events { gap, events }
    }
}

/// Returns when the key of a lasting request is revoked or has expired: the request then ends, and the next one is refused.
pub(crate) async fn revoked(api: &Api, place: &Place, checked_at: &mut Instant) {
    let Some(key) = place.key() else {
        return std::future::pending().await;
    };
    loop {
        sleep_until(*checked_at + KEY_CHECK).await;
        let access = &api.service.access;
        match access.authenticate(key.public_id(), key.digest()).await {
            Ok(Presented::By(_)) => {}
            Ok(Presented::Expired { .. } | Presented::Unknown) => return,
            Err(error) => tracing::debug!(
                error = &error as &(dyn std::error::Error + 'static),
                "the key of a stream cannot be checked for now"
            ),
        }
        *checked_at = Instant::now();
    }
}
