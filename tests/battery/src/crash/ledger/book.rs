//! What the ledger knows while it is written.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use drover_domain::workflow::Guarantee;

use super::{Deed, Entry, Witness};

/// The ledger in memory: what the process keeps beside its file, and the ledger of a rehearsal.
#[derive(Debug, Default)]
pub(crate) struct Book {
    effects: HashSet<String>,
    /// What was written, in a rehearsal.
    pub(crate) entries: Vec<Entry>,
}

impl Book {
    /// The line to write for something that was asked for.
    pub(crate) fn enter(&mut self, mut entry: Entry) -> Entry {
        if entry.deed == Deed::Effect {
            let is_new = self.effects.insert(entry.key.clone());
            if !is_new && entry.class == Guarantee::G1 {
                entry.deed = Deed::Repeat;
            }
        }
        entry
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.effects.contains(key)
    }
}

#[async_trait]
impl Witness for Mutex<Book> {
    async fn tell(&self, entry: Entry) -> io::Result<()> {
        let mut book = open(self);
        let entry = book.enter(entry);
        book.entries.push(entry);
        Ok(())
    }

    async fn has(&self, key: &str) -> io::Result<bool> {
        Ok(open(self).has(key))
    }
}

fn open(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
