//! What executes tasks, by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use drover_domain::workflow::{Guarantee, Kind};
use drover_ports::TaskHandler;

/// What executes tasks, by kind.
#[derive(Clone, Default)]
pub struct Handlers {
    by_kind: BTreeMap<Kind, Arc<dyn TaskHandler>>,
}

/// A kind that already has a handler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kind `{kind}` already has a handler")]
pub struct KindTaken {
    /// The kind.
    pub kind: Kind,
}

impl Handlers {
    /// Lets `handler` execute the tasks of `kind`.
    ///
    /// # Errors
    ///
    /// [`KindTaken`], and then nothing changed.
    pub fn register(&mut self, kind: Kind, handler: Arc<dyn TaskHandler>) -> Result<(), KindTaken> {
        if self.by_kind.contains_key(&kind) {
            return Err(KindTaken { kind });
        }
        self.by_kind.insert(kind, handler);
        Ok(())
    }

    /// The handler of a kind.
    #[must_use]
    pub fn find(&self, kind: &Kind) -> Option<&Arc<dyn TaskHandler>> {
        self.by_kind.get(kind)
    }

    /// The kinds that have one, by name, with what each promises.
    pub fn kinds(&self) -> impl Iterator<Item = (&Kind, Guarantee)> {
        self.by_kind
            .iter()
            .map(|(kind, handler)| (kind, handler.guarantee()))
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_kind.keys()).finish()
    }
}
