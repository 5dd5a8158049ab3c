//! What runs on this server, as the `/api/v1/apps` document.

mod description;
mod docker;
mod folder;
mod process;
mod site;
mod status;
mod systemd;
mod unit_name;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::settings::Settings;
use description::Kind;
use docker::{ContainerEntry, Docker};
use site::SiteEntry;
use systemd::Systemd;

pub(crate) use docker::DockerError;
pub(crate) use folder::FolderError;
pub(crate) use systemd::UnitsError;

/// Most applications of one folder.
const APPLICATIONS_MAX: usize = 10_000;

/// Most time of one scan. Shorter than the 5 s a FAgent client waits for the inventory.
const SCAN_DEADLINE: Duration = Duration::from_secs(4);

/// The most problems that the answer lists; the log has all.
const PROBLEMS_TOLD_MAX: usize = 10;

/// The sources of applications on this server.
///
/// Every answer comes from a scan that began after it was asked for; those who ask while a scan runs share the next.
#[derive(Debug)]
pub(crate) struct Inventory {
    server_name: String,
    server_ip: IpAddr,
    apps_dir: Option<PathBuf>,
    docker: Option<Docker>,
    systemd: Systemd,
    latest: Mutex<Option<Scan>>,
}

/// The findings of one scan.
#[derive(Debug, Clone)]
struct Scan {
    began: Instant,
    ended: Instant,
    ended_at: DateTime<Utc>,
    containers: Vec<ContainerEntry>,
    sites: Vec<SiteEntry>,
    services: Vec<SiteEntry>,
    problems: Vec<String>,
}

impl Inventory {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            server_name: settings.server_name.clone(),
            server_ip: settings.server_ip,
            apps_dir: settings.apps_dir.clone(),
            docker: settings.docker_socket.clone().map(Docker::new),
            systemd: Systemd::new(settings.system_bus.clone()),
            latest: Mutex::new(None),
        }
    }

    /// The inventory now.
    ///
    /// An application whose description is unusable is left out and named in `meta.cache.error`. A source that cannot
    /// be read at all is an error: a shorter list would mean that applications are gone.
    pub(crate) async fn read(&self) -> Result<Document, InventoryError> {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some(scan) = latest.as_ref().filter(|scan| scan.began >= asked) {
            return Ok(self.document(scan));
        }
        let scan = self.scan().await?;
        let document = self.document(&scan);
        *latest = Some(scan);
        Ok(document)
    }

    async fn scan(&self) -> Result<Scan, InventoryError> {
        let began = Instant::now();
        let containers = async {
            match &self.docker {
                Some(docker) => docker.containers(self.server_ip, SCAN_DEADLINE).await,
                None => Ok(Vec::new()),
            }
        };
        let applications = async {
            match &self.apps_dir {
                Some(folder) => site::applications(folder, &self.systemd, SCAN_DEADLINE).await,
                None => Ok(site::Applications::default()),
            }
        };
        let (containers, applications) = tokio::join!(containers, applications);
        let containers = containers.map_err(|source| InventoryError::Docker { source })?;
        let applications = applications?;
        for problem in &applications.problems {
            tracing::warn!("an application is not told in full: {problem}");
        }
        let (mut sites, mut services) = (Vec::new(), Vec::new());
        for (kind, entry) in applications.entries {
            match kind {
                Kind::Site => sites.push(entry),
                Kind::Service => services.push(entry),
            }
        }
        Ok(Scan {
            began,
            ended: Instant::now(),
            ended_at: now(),
            containers,
            sites,
            services,
            problems: applications.problems,
        })
    }

    fn document(&self, scan: &Scan) -> Document {
        let last_update = scan.ended_at.format("%Y%m%d_%H%M%S").to_string();
        let docker = (!scan.containers.is_empty())
            .then(|| Listing::new(scan.containers.clone(), &last_update));
        Document {
            server: Server {
                name: self.server_name.clone(),
                ip: self.server_ip,
                docker,
                sites: Listing::new(scan.sites.clone(), &last_update),
                services: Listing::new(scan.services.clone(), &last_update),
            },
            meta: Meta {
                cache: Cache {
                    status: "fresh",
                    age_seconds: scan.ended.elapsed().as_secs_f64(),
                    scan_duration_ms: scan.ended.duration_since(scan.began).as_millis(),
                    error: summary(&scan.problems),
                },
            },
        }
    }
}

/// The document of `/api/v1/apps`.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    server: Server,
    meta: Meta,
}

#[derive(Debug, Serialize)]
struct Server {
    name: String,
    ip: IpAddr,
    #[serde(rename = "docker-app", skip_serializing_if = "Option::is_none")]
    docker: Option<Listing<ContainerEntry>>,
    #[serde(rename = "site-app")]
    sites: Listing<SiteEntry>,
    #[serde(rename = "service-app")]
    services: Listing<SiteEntry>,
}

#[derive(Debug, Serialize)]
struct Listing<T> {
    applications: Vec<T>,
    count: usize,
    last_update: String,
}

impl<T> Listing<T> {
    fn new(applications: Vec<T>, last_update: &str) -> Self {
        Self {
            count: applications.len(),
            applications,
            last_update: last_update.to_owned(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Meta {
    cache: Cache,
}

#[derive(Debug, Serialize)]
struct Cache {
    status: &'static str,
    age_seconds: f64,
    scan_duration_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The problems as one text; `None` without any.
fn summary(problems: &[String]) -> Option<String> {
    let mut text = problems
        .iter()
        .take(PROBLEMS_TOLD_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    let more = problems.len().saturating_sub(PROBLEMS_TOLD_MAX);
    if more > 0 {
        text = format!("{text}; and {more} more");
    }
    (!text.is_empty()).then_some(text)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the agent has no Clock port; this one value stamps the inventory"
)]
fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InventoryError {
    #[error("the inventory cannot be read: the folder of applications is not readable")]
    Folder { source: FolderError },
    #[error("the inventory cannot be read: Docker did not list its containers")]
    Docker { source: DockerError },
    #[error("the inventory cannot be read: systemd did not tell of its units")]
    Units { source: UnitsError },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_counted_not_listed() {
        assert_eq!(summary(&[]), None);
        assert_eq!(
            summary(&["a".to_owned(), "b".to_owned()]).as_deref(),
            Some("a; b")
        );
        let many: Vec<String> = (0..13).map(|number| number.to_string()).collect();
        assert_eq!(
            summary(&many).as_deref(),
            Some("0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 3 more")
        );
    }
}
