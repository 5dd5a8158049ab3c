//! A queue of tasks that can be made slow, deaf or forgetful.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use drover_domain::workflow::LeaseId;
use drover_domain::workflow::run::Outcome;
use drover_ports::{
    Assignment, Beat, ClaimRequest, HeldAttempt, Rejection, Report, ReportVerdict, StoreError,
    TaskQueue,
};
use drover_testkit::store::MemoryStore;
use tokio::sync::watch;

type Deed = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What goes wrong.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each goes wrong by itself, in any combination"
)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// Nothing is answered, and nothing arrives.
    pub(crate) is_away: bool,
    /// Signs of life do not arrive.
    pub(crate) loses_beats: bool,
    /// Claims arrive, and the answers are lost.
    pub(crate) loses_claims: bool,
    /// Reports arrive, and the answers are lost.
    pub(crate) loses_verdicts: bool,
    /// Reports about this many tasks or more cannot be written, though everything else works.
    pub(crate) chokes_on: Option<usize>,
    /// The database refuses results, now and later.
    pub(crate) refuses_results: bool,
}

/// One process's way to the store.
pub(crate) struct RoughQueue {
    store: MemoryStore,
    weather: watch::Sender<Weather>,
    /// Reports wait while this says so, after they were handed in.
    pub(crate) holds_reports: watch::Sender<bool>,
    after_next_claim: Mutex<Option<Deed>>,
    leases: Mutex<Vec<LeaseId>>,
    claims: Mutex<Vec<(ClaimRequest, usize)>>,
    reports: Mutex<Vec<usize>>,
}

impl RoughQueue {
    pub(crate) fn new(store: &MemoryStore) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            weather: watch::Sender::default(),
            holds_reports: watch::Sender::default(),
            after_next_claim: Mutex::default(),
            leases: Mutex::default(),
            claims: Mutex::default(),
            reports: Mutex::default(),
        })
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Does something after the store has answered the next claim and before the engine hears it.
    pub(crate) fn after_next_claim<F>(&self, deed: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        *self.after_next_claim.lock().unwrap() = Some(Box::new(|| Box::pin(deed())));
    }

    /// The leases that were opened.
    pub(crate) fn leases(&self) -> Vec<LeaseId> {
        self.leases.lock().unwrap().clone()
    }

    /// What was asked for, and how many tasks came of it.
    pub(crate) fn claims(&self) -> Vec<(ClaimRequest, usize)> {
        self.claims.lock().unwrap().clone()
    }

    /// How many outcomes each report that was handed in had.
    pub(crate) fn reports(&self) -> Vec<usize> {
        self.reports.lock().unwrap().clone()
    }

    fn now(&self) -> Weather {
        *self.weather.borrow()
    }
}

fn away(action: &'static str) -> StoreError {
    StoreError::Unavailable {
        action,
        source: "nobody answers".into(),
    }
}

#[async_trait]
impl TaskQueue for RoughQueue {
    async fn open_lease(
        &self,
        lease: LeaseId,
        worker: &str,
        term: Duration,
    ) -> Result<(), StoreError> {
        if self.now().is_away {
            return Err(away("begin a lease"));
        }
        self.leases.lock().unwrap().push(lease);
        self.store.open_lease(lease, worker, term).await
    }

    async fn heartbeat(&self, lease: LeaseId, term: Duration) -> Result<Beat, StoreError> {
        if self.now().is_away || self.now().loses_beats {
            return Err(away("renew a lease"));
        }
        self.store.heartbeat(lease, term).await
    }

    async fn claim(
        &self,
        lease: LeaseId,
        request: &ClaimRequest,
    ) -> Result<Vec<Assignment>, StoreError> {
        if self.now().is_away {
            return Err(away("claim tasks"));
        }
        let claimed = self.store.claim(lease, request).await?;
        let claim = (request.clone(), claimed.len());
        self.claims.lock().unwrap().push(claim);
        let deed = self.after_next_claim.lock().unwrap().take();
        if let Some(deed) = deed {
            deed().await;
        }
        if self.now().loses_claims {
            return Err(away("claim tasks"));
        }
        Ok(claimed)
    }

    async fn held(&self, lease: LeaseId, age: Duration) -> Result<Vec<HeldAttempt>, StoreError> {
        if self.now().is_away {
            return Err(away("look what a lease holds"));
        }
        self.store.held(lease, age).await
    }

    async fn report(
        &self,
        lease: LeaseId,
        reports: &[Report],
    ) -> Result<Vec<ReportVerdict>, StoreError> {
        self.reports.lock().unwrap().push(reports.len());
        let mut held = self.holds_reports.subscribe();
        held.wait_for(|held| !held).await.unwrap();
        let weather = self.now();
        let chokes = weather.chokes_on.is_some_and(|most| reports.len() >= most);
        if weather.is_away || chokes {
            return Err(away("write outcomes down"));
        }
        let has_result = |report: &Report| matches!(report.outcome, Outcome::Succeeded { .. });
        if weather.refuses_results && reports.iter().any(has_result) {
            return Err(StoreError::Rejected {
                action: "write outcomes down",
                why: Rejection::Defect,
                source: "invalid input".into(),
            });
        }
        let verdicts = self.store.report(lease, reports).await?;
        if weather.loses_verdicts {
            return Err(away("write outcomes down"));
        }
        Ok(verdicts)
    }

    async fn close_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        if self.now().is_away {
            return Err(away("end a lease"));
        }
        self.store.close_lease(lease).await
    }
}
