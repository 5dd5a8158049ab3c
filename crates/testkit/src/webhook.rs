//! Receivers of webhooks that exist only in a test.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::Timestamp;
use drover_domain::webhook::{Notice, WebhookSecret};
use drover_ports::{Outgoing, Receipt, SendFailure, WebhookSender};

/// A message as a receiver got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where.
    pub url: String,
    /// Its identifier.
    pub message: String,
    /// Its body: the event's word and what happened, as `Debug` shows it.
    pub body: String,
    /// How many secrets signed it.
    pub signatures: usize,
}

/// Receivers that accept every message unless a test scripts another answer. The URL `bad` can never be called.
#[derive(Debug, Default)]
pub struct ScriptedReceivers {
    answers: Mutex<VecDeque<Result<u16, String>>>,
    received: Mutex<Vec<Received>>,
    secrets: AtomicU64,
}

impl ScriptedReceivers {
    /// Lets the next message be answered like this: with a status, or not at all and why.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it did the same.
    pub fn answer(&self, answer: Result<u16, &str>) {
        let answer = answer.map_err(str::to_owned);
        self.answers.lock().unwrap().push_back(answer);
    }

    /// What was received so far.
    ///
    /// # Panics
    ///
    /// If a thread panicked while it received something.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

#[async_trait]
impl WebhookSender for ScriptedReceivers {
    fn draw_secret(&self) -> Result<WebhookSecret, SendFailure> {
        let number = self.secrets.fetch_add(1, Ordering::Relaxed);
        Ok(WebhookSecret::new(format!("whsec_{number}")))
    }

    fn check(&self, url: &str, _: Option<&WebhookSecret>) -> Result<(), SendFailure> {
        if url == "bad" {
            return Err(SendFailure {
                reason: "this is no URL".to_owned(),
                is_final: true,
            });
        }
        Ok(())
    }

    fn render(&self, notice: &Notice) -> String {
        format!("{} {:?}", notice.event().as_str(), notice.what)
    }

    async fn send(
        &self,
        outgoing: &Outgoing,
        at: Timestamp,
        _: Duration,
    ) -> Result<Receipt, SendFailure> {
        let received = Received {
            url: outgoing.webhook.wish.url.clone(),
            message: outgoing.message.clone(),
            body: outgoing.payload.clone(),
            signatures: outgoing.secrets.valid(at).count(),
        };
        self.received.lock().unwrap().push(received);
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(204));
        answer
            .map(|status| Receipt { status })
            .map_err(|reason| SendFailure {
                reason,
                is_final: false,
            })
    }
}
