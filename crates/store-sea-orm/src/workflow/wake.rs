//! Telling workers and readers that it may be worth looking.
//!
//! Within the process a counter is enough. Between processes on PostgreSQL it is `NOTIFY`, never within a
//! transaction that does work (it takes a lock that all commits share) and never more often than every few
//! milliseconds. The waiting task of this process keeps the listening connection and sends the hints.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use drover_ports::{Topic, WakeUps};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::{Instant, sleep};

use super::write::Told;
use crate::sql::Sql;
use crate::store::SeaOrmStore;

/// The channel of `NOTIFY`.
const CHANNEL: &str = "drover_engine";
/// The least time between two notifications of one process.
const QUIET: Duration = Duration::from_millis(5);
/// How long a broken connection is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// The hints that this process sends and receives.
#[derive(Debug)]
pub(crate) struct Hints {
    work: watch::Sender<u64>,
    events: watch::Sender<u64>,
    // Hints that are not sent to other processes yet.
    untold_work: AtomicU64,
    untold_events: AtomicU64,
    untold: Notify,
    // Held by the task that listens for this process.
    listener: Mutex<Listener>,
}

#[derive(Debug, Default)]
struct Listener {
    connection: Option<PgListener>,
    told_at: Option<Instant>,
}

impl Default for Hints {
    fn default() -> Self {
        Self {
            work: watch::Sender::new(0),
            events: watch::Sender::new(0),
            untold_work: AtomicU64::new(0),
            untold_events: AtomicU64::new(0),
            untold: Notify::new(),
            listener: Mutex::default(),
        }
    }
}

impl Hints {
    const fn channel(&self, topic: Topic) -> &watch::Sender<u64> {
        match topic {
            Topic::Work => &self.work,
            Topic::Events => &self.events,
        }
    }

    fn count(&self, topic: Topic) {
        self.channel(topic).send_modify(|count| *count += 1);
    }

    /// Sends hints about a commit.
    pub(crate) fn tell(&self, told: Told) {
        if told.work {
            self.count(Topic::Work);
            self.untold_work.fetch_add(1, Ordering::Relaxed);
        }
        if told.events {
            self.count(Topic::Events);
            self.untold_events.fetch_add(1, Ordering::Relaxed);
        }
        if told.work || told.events {
            self.untold.notify_one();
        }
    }

    /// Sends a hint about events only.
    pub(super) fn told_events(&self) {
        self.tell(Told {
            work: false,
            events: true,
        });
    }

    fn has_untold(&self) -> bool {
        self.untold_work.load(Ordering::Relaxed) + self.untold_events.load(Ordering::Relaxed) > 0
    }
}

#[async_trait]
impl WakeUps for SeaOrmStore {
    fn seen(&self, topic: Topic) -> u64 {
        *self.hints().channel(topic).borrow()
    }

    async fn changed(&self, topic: Topic, seen: u64) -> u64 {
        let hints = self.hints();
        let mut counter = hints.channel(topic).subscribe();
        // The sender lives as long as the store: waiting for the counter cannot fail.
        let told = async {
            match counter.wait_for(|count| *count != seen).await {
                Ok(count) => *count,
                Err(_) => seen,
            }
        };
        match self.database().listen_options() {
            None => told.await,
            Some(options) => tokio::select! {
                biased;
                count = told => count,
                () = self.listen(options) => seen,
            },
        }
    }
}

impl SeaOrmStore {
    // Never returns; one caller of the process at a time does something here.
    async fn listen(&self, options: &PgConnectOptions) {
        let hints = self.hints();
        let mut listener = hints.listener.lock().await;
        loop {
            if let Err(error) = self.listen_once(&mut listener, options).await {
                tracing::debug!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "no notifications for now; everybody looks by themselves"
                );
                listener.connection = None;
                sleep(RETRY).await;
            }
        }
    }

    async fn listen_once(
        &self,
        listener: &mut Listener,
        options: &PgConnectOptions,
    ) -> Result<(), sqlx::Error> {
        let hints = self.hints();
        let Listener {
            connection,
            told_at,
        } = listener;
        let connection = if let Some(connection) = connection {
            connection
        } else {
            let fresh = listener_of(options).await?;
            // Hints that came without a listener are lost.
            hints.count(Topic::Work);
            hints.count(Topic::Events);
            connection.insert(fresh)
        };
        let quiet_until = told_at.map_or_else(Instant::now, |at| at + QUIET);
        let must_tell = async {
            while !hints.has_untold() {
                hints.untold.notified().await;
            }
            tokio::time::sleep_until(quiet_until).await;
        };
        tokio::select! {
            heard = connection.recv() => {
                let heard = heard?;
                let (sender, topics) = heard.payload().split_once(' ').unwrap_or_default();
                if sender != me() {
                    if topics.contains('w') {
                        hints.count(Topic::Work);
                    }
                    if topics.contains('e') {
                        hints.count(Topic::Events);
                    }
                }
                Ok(())
            }
            () = must_tell => {
                *told_at = Some(Instant::now());
                self.notify().await
            }
        }
    }

    /// Sends the unsent hints to other processes now: the last step of a process that hands its work over and
    /// no longer has a waiting task.
    pub(super) async fn tell_others(&self) {
        if self.database().listen_options().is_some()
            && self.hints().has_untold()
            && let Err(error) = self.notify().await
        {
            tracing::debug!(
                error = &error as &(dyn std::error::Error + 'static),
                "other processes were not told; they look by themselves"
            );
        }
    }

    async fn notify(&self) -> Result<(), sqlx::Error> {
        let hints = self.hints();
        let work = hints.untold_work.swap(0, Ordering::Relaxed) > 0;
        let events = hints.untold_events.swap(0, Ordering::Relaxed) > 0;
        let topics = match (work, events) {
            (true, true) => "we",
            (true, false) => "w",
            (false, _) => "e",
        };
        let notify = Sql::new("SELECT pg_notify($1, $2)").text(CHANNEL);
        let notify = notify.text(&format!("{} {topics}", me()));
        self.database().execute(notify).await.map(|_| ())
    }
}

// On a connection of its own: one of the pool would never be given back, and closing the pool would wait
// for it.
async fn listener_of(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let own = PgPoolOptions::new().max_connections(1);
    let own = own.connect_with(options.clone()).await?;
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

// Two processes of one number on two machines only miss a hint.
fn me() -> String {
    std::process::id().to_string()
}
