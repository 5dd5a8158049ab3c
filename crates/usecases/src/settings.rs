//! Saying what holds for applications.

use std::fmt;
use std::sync::Arc;

use drover_domain::fleet::{Application, ApplicationSettings};
use drover_domain::rollout::task::Origin;
use drover_ports::{ApplicationRegistry, Settled, StoreError};

use crate::service::Ports;

/// Wishes about what holds for applications.
#[derive(Clone)]
pub struct Settings {
    applications: Arc<dyn ApplicationRegistry>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

impl Settings {
    pub(crate) fn new(ports: &Ports) -> Self {
        Self {
            applications: Arc::clone(&ports.applications),
        }
    }

    /// Changes what people say about an application, if it is still as it was known. Updates that have begun go on as
    /// they began.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn change_application(
        &self,
        known: &Application,
        wanted: &ApplicationSettings,
        origin: &Origin,
    ) -> Result<Settled<Application>, StoreError> {
        let name = &known.observed.name;
        let changed = self
            .applications
            .change(known.key, &known.chosen(), wanted)
            .await?;
        if let Settled::Done(_) = &changed {
            tracing::info!(
                application.name = %name, application.id = %known.key, actor = %origin.actor,
                request.id = %origin.request_id, "{} changed the settings of application {name}", origin.actor
            );
        }
        Ok(changed)
    }
}
