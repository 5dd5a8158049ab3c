//! The agent as a value: bound, then served until it is asked to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::connection::{BoundedListener, OpenRequest};
use crate::http;
use crate::settings::Settings;

/// The most time that open requests get after a stop request.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// An agent that listens.
#[derive(Debug)]
pub struct Agent {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
}

impl Agent {
    /// Takes the address of the settings. Connections queue up until [`Agent::serve`].
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`] when the address is taken or not allowed.
    pub async fn bind(settings: Settings) -> Result<Self, StartError> {
        let listen = settings.listen;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| StartError::Listen {
                address: listen,
                source,
            })?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            address: listen,
            source,
        })?;
        Ok(Self {
            listener,
            address,
            settings,
        })
    }

    /// Where the agent listens; useful when it was asked to pick a port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes; requests then open have 10 s to end.
    ///
    /// # Errors
    ///
    /// [`StartError::Serve`] when the listener breaks.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), StartError> {
        if !self.address.ip().is_loopback() && self.settings.token.is_none() {
            tracing::warn!(
                address = %self.address,
                "anybody who can reach this address can drain servers; set a token_file or listen on the loopback"
            );
        }
        tracing::info!(address = %self.address, "listening on {}", self.address);
        let router = http::router(&self.settings);
        let (stopping, stopped) = oneshot::channel();
        let told = async move {
            stop.await;
            // The other end is gone only when serving has ended already.
            stopping.send(()).ok();
        };
        let deadline = async move {
            match stopped.await {
                Ok(()) => tokio::time::sleep(STOP_DEADLINE).await,
                Err(_) => std::future::pending().await,
            }
        };
        let service = router.into_make_service_with_connect_info::<OpenRequest>();
        let serving =
            axum::serve(BoundedListener::new(self.listener), service).with_graceful_shutdown(told);
        tokio::select! {
            ended = serving => ended.map_err(|source| StartError::Serve { source }),
            () = deadline => {
                tracing::warn!("requests were still open {} seconds after the wish to stop", STOP_DEADLINE.as_secs());
                Ok(())
            }
        }
    }
}

/// Why the agent does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("the agent cannot listen on {address}")]
    Listen {
        /// The address of the settings.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The listener broke.
    #[error("the agent cannot go on serving")]
    Serve {
        /// What the system said.
        source: io::Error,
    },
}
