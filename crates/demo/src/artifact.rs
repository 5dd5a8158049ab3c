//! The artifact server: the new version and its checksum, broken for one instance where that is wanted.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Header in which the update playbook says whom it downloads for, such as `app01/jurws_1`.
const INSTANCE_HEADER: &str = "x-drover-instance";

/// What is served.
#[derive(Debug, Clone)]
pub struct Artifact {
    version: String,
    /// The instance that gets a broken copy.
    broken_for: Option<String>,
}

impl Artifact {
    /// The artifact of `version`; the instance `broken_for`, such as `app01/jurws_1`, gets a copy that does not match
    /// the checksum.
    #[must_use]
    pub fn new(version: &str, broken_for: Option<String>) -> Self {
        Self {
            version: version.to_owned(),
            broken_for,
        }
    }

    /// Path of the artifact on the server; the version is in the file name.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/jurws-{}.txt", self.version)
    }

    fn content(&self) -> String {
        format!(
            "The demo application of Drover, version {}.\n",
            self.version
        )
    }

    fn checksum(&self) -> String {
        let file = self.path();
        let digest = HEXLOWER.encode(&Sha256::digest(self.content()));
        format!("{digest}  {}\n", file.trim_start_matches('/'))
    }

    fn copy_for(&self, instance: Option<&str>) -> String {
        if instance.is_some() && instance == self.broken_for.as_deref() {
            "This copy was broken on its way.\n".to_owned()
        } else {
            self.content()
        }
    }

    /// Serves on `address` until `stop`.
    ///
    /// # Errors
    ///
    /// If the address is taken.
    pub async fn serve(
        self,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("the artifact server cannot listen on {address}"))?;
        let path = self.path();
        let router = Router::new()
            .route(&path, get(artifact))
            .route(&format!("{path}.sha256"), get(checksum))
            .with_state(Arc::new(self));
        Ok(async move {
            let serving = axum::serve(listener, router);
            tokio::select! {
                // An artifact server that breaks shows itself as a failed download.
                _ = serving => {}
                () = stop.cancelled() => {}
            }
        })
    }
}

async fn artifact(State(artifact): State<Arc<Artifact>>, headers: HeaderMap) -> String {
    let instance = headers
        .get(INSTANCE_HEADER)
        .and_then(|value| value.to_str().ok());
    artifact.copy_for(instance)
}

async fn checksum(State(artifact): State<Arc<Artifact>>) -> String {
    artifact.checksum()
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::address::{Addresses, loopback};
    use crate::http::{self, Request};

    #[tokio::test]
    async fn one_instance_gets_a_copy_that_its_checksum_gives_away() {
        let address = Addresses::new().unwrap().free(loopback(1)).unwrap();
        let stop = CancellationToken::new();
        let artifact = Artifact::new("1.1.0", Some("app01/jurws_1".to_owned()));
        let tasks = TaskTracker::new();
        tasks.spawn(artifact.serve(address, stop.clone()).await.unwrap());
        let download = async |instance: &str| {
            let request = Request {
                headers: &[("X-Drover-Instance", instance)],
                ..Request::get("/jurws-1.1.0.txt")
            };
            http::once(address, request).await.unwrap().body
        };
        let checksum = http::once(address, Request::get("/jurws-1.1.0.txt.sha256"))
            .await
            .unwrap()
            .body;
        let matches = |text: &str| checksum.starts_with(&HEXLOWER.encode(&Sha256::digest(text)));
        assert!(matches(&download("app02/jurws_1").await), "{checksum}");
        assert!(!matches(&download("app01/jurws_1").await), "{checksum}");
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
