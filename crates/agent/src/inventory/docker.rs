//! Running containers, from the Docker daemon's socket.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker as Client};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::time::timeout;

use super::APPLICATIONS_MAX;

/// Containers asked about at a time.
const INSPECTIONS_AT_A_TIME_MAX: usize = 8;

/// Where Compose notes the folder of its project.
const COMPOSE_FOLDER_LABEL: &str = "com.docker.compose.project.working_dir";

/// FAgent's word for an unknown start time.
const START_TIME_UNKNOWN: &str = "Unknown";

/// The Docker daemon of this server.
///
/// It is connected to anew for each scan: a daemon that was down at start is used as soon as it is up.
#[derive(Debug)]
pub(super) struct Docker {
    socket: PathBuf,
}

/// A container in FAgent's shape; what is not known is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ContainerEntry {
    container_id: String,
    container_name: String,
    image: String,
    tag: String,
    ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compose_project_dir: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i64>,
    start_time: String,
    eureka_registered: bool,
}

impl Docker {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The running containers sorted by name, with the address of this server as theirs.
    pub(super) async fn containers(
        &self,
        server_ip: IpAddr,
        deadline: Duration,
    ) -> Result<Vec<ContainerEntry>, DockerError> {
        match timeout(deadline, self.list(server_ip, deadline)).await {
            Ok(listed) => listed.map_err(|source| DockerError::Failed {
                source: Box::new(source),
            }),
            Err(_) => Err(DockerError::Silent {
                seconds: deadline.as_secs(),
            }),
        }
    }

    async fn list(
        &self,
        server_ip: IpAddr,
        deadline: Duration,
    ) -> Result<Vec<ContainerEntry>, bollard::errors::Error> {
        let path = self.socket.to_string_lossy();
        let client = Client::connect_with_unix(&path, deadline.as_secs(), API_DEFAULT_VERSION)?
            .negotiate_version()
            .await?;
        let client = &client;
        let summaries = client
            .list_containers(None::<ListContainersOptions>)
            .await?;
        let mut containers: Vec<ContainerEntry> =
            futures::stream::iter(summaries.into_iter().take(APPLICATIONS_MAX))
                .map(|summary| async move {
                    let Some(id) = summary.id.clone() else {
                        return Ok(None);
                    };
                    match client
                        .inspect_container(&id, None::<InspectContainerOptions>)
                        .await
                    {
                        Ok(details) => Ok(entry(summary, Some(&details), server_ip)),
                        // It ended between the list and the question.
                        Err(bollard::errors::Error::DockerResponseServerError {
                            status_code: 404,
                            ..
                        }) => Ok(None),
                        Err(error) => Err(error),
                    }
                })
                .buffer_unordered(INSPECTIONS_AT_A_TIME_MAX)
                .try_filter_map(futures::future::ok)
                .try_collect()
                .await?;
        containers.sort_by(|a, b| a.container_name.cmp(&b.container_name));
        Ok(containers)
    }
}

/// `None` for a container without a name: the name is the key of the inventory.
///
/// Name and image are those of the inspection. What the list shows changes without the container: it shows the image's
/// id once its tag has moved on, and the names that links give the container beside its own.
fn entry(
    summary: ContainerSummary,
    details: Option<&ContainerInspectResponse>,
    server_ip: IpAddr,
) -> Option<ContainerEntry> {
    let inspected = details.and_then(|details| details.name.as_deref());
    let container_name = match inspected.filter(|name| !bare(name).is_empty()) {
        Some(name) => bare(name).to_owned(),
        None => own_name(&summary.names?)?.to_owned(),
    };
    let configured = details
        .and_then(|details| details.config.as_ref())
        .and_then(|config| config.image.as_deref())
        .filter(|image| !image.is_empty());
    let id = details
        .and_then(|details| details.image.as_deref())
        .or(summary.image_id.as_deref());
    let reference = configured.or(summary.image.as_deref()).unwrap_or_default();
    let (image, tag) = image_and_tag(reference, id);
    let state = details.and_then(|details| details.state.as_ref());
    Some(ContainerEntry {
        container_id: summary.id?,
        container_name,
        image,
        tag,
        ip: server_ip,
        port: summary
            .ports
            .unwrap_or_default()
            .into_iter()
            .filter_map(|port| port.public_port)
            .min(),
        compose_project_dir: summary
            .labels
            .and_then(|mut labels| labels.remove(COMPOSE_FOLDER_LABEL)),
        status: status(summary.state),
        pid: state.and_then(|state| state.pid).filter(|pid| *pid > 0),
        start_time: state
            .and_then(|state| state.started_at.as_deref())
            .map_or_else(|| START_TIME_UNKNOWN.to_owned(), microseconds),
        eureka_registered: false,
    })
    .filter(|entry| !entry.container_name.is_empty())
}

/// A name without the slash that Docker puts before it.
fn bare(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// The container's own name among those of the list; the name of a link has the other container's name before it.
fn own_name(names: &[String]) -> Option<&str> {
    let mut bare_names = names.iter().map(|name| bare(name));
    bare_names.find(|name| !name.is_empty() && !name.contains('/'))
}

/// FAgent's words for Docker's states.
fn status(state: Option<ContainerSummaryStateEnum>) -> &'static str {
    match state {
        Some(ContainerSummaryStateEnum::RUNNING) => "online",
        Some(ContainerSummaryStateEnum::PAUSED) => "maintenance",
        Some(ContainerSummaryStateEnum::RESTARTING) => "restarting",
        Some(
            ContainerSummaryStateEnum::EXITED
            | ContainerSummaryStateEnum::CREATED
            | ContainerSummaryStateEnum::REMOVING
            | ContainerSummaryStateEnum::DEAD,
        ) => "offline",
        Some(_) | None => "unknown",
    }
}

/// Splits `registry:5000/team/app:1.2@sha256:…` into the image and its tag.
///
/// Without a tag it is the digest where there is one, and `latest` else, which is what Docker means then. A container
/// made from an image's id, of which `id` is the whole one, has no name to show: both are the id, in Docker's short form.
fn image_and_tag(reference: &str, id: Option<&str>) -> (String, String) {
    if let Some(short) = short_id(reference, id) {
        return (short.to_owned(), short.to_owned());
    }
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    match name.rsplit_once(':') {
        // A colon before the last slash is the port of the registry.
        Some((image, tag)) if !tag.contains('/') => (image.to_owned(), tag.to_owned()),
        Some(_) | None => (name.to_owned(), digest.unwrap_or("latest").to_owned()),
    }
}

/// The first 12 digits of an image's id if `reference` is one, whole or short.
fn short_id<'a>(reference: &'a str, id: Option<&str>) -> Option<&'a str> {
    const SHORT: usize = 12;
    const WHOLE: usize = 64;
    let digits = reference.strip_prefix("sha256:");
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_whole = |text: &str| text.len() == WHOLE && is_hexadecimal(text);
    let candidate = digits.unwrap_or(reference);
    let begins_the_id = || {
        let id = id.map(|id| id.strip_prefix("sha256:").unwrap_or(id));
        candidate.len() >= SHORT && id.is_some_and(|id| id.starts_with(candidate))
    };
    let is_id = digits.is_some() || is_whole(candidate) || begins_the_id();
    candidate
        .get(..SHORT)
        .filter(|_| is_id && is_hexadecimal(candidate))
}

/// Cuts Docker's nanoseconds to the six digits FAgent sends.
fn microseconds(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.split_once('.')) {
        Some((seconds, fraction)) => format!(
            "{seconds}.{}Z",
            fraction.chars().take(6).collect::<String>()
        ),
        None => time.to_owned(),
    }
}

/// Why there is no list of containers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerError {
    #[error(
        "the Docker daemon cannot be asked (is it running, and may the agent open its socket?)"
    )]
    Failed {
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the Docker daemon did not answer within {seconds} seconds")]
    Silent { seconds: u64 },
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "sha256:0505a58fa464aa11bb22cc33dd44ee55ff6600112233445566778899aabbccdd";

    #[test]
    fn an_image_is_split_into_its_name_and_what_tells_its_versions_apart() {
        for (reference, image, tag) in [
            ("nginx", "nginx", "latest"),
            ("nginx:1.25", "nginx", "1.25"),
            ("registry:5000/team/app", "registry:5000/team/app", "latest"),
            (
                "registry:5000/team/app:2.0",
                "registry:5000/team/app",
                "2.0",
            ),
            ("app:2.0@sha256:abcd", "app", "2.0"),
            ("app@sha256:abcd", "app", "sha256:abcd"),
            (
                "registry:5000/team/app@sha256:abcd",
                "registry:5000/team/app",
                "sha256:abcd",
            ),
            (ID, "0505a58fa464", "0505a58fa464"),
            (
                ID.trim_start_matches("sha256:"),
                "0505a58fa464",
                "0505a58fa464",
            ),
            ("0505a58fa464", "0505a58fa464", "0505a58fa464"),
            ("0505a58fa464aa", "0505a58fa464", "0505a58fa464"),
            // Names that consist of hexadecimal digits.
            ("deadbeefcafe", "deadbeefcafe", "latest"),
            ("cafe:0505a58fa464", "cafe", "0505a58fa464"),
            ("0505", "0505", "latest"),
            ("", "", "latest"),
        ] {
            assert_eq!(
                image_and_tag(reference, Some(ID)),
                (image.to_owned(), tag.to_owned()),
                "{reference}"
            );
        }
    }

    #[test]
    fn the_name_of_a_link_is_not_the_containers() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            own_name(&names(&["/AACORE01/edge", "/linked"])),
            Some("linked")
        );
        assert_eq!(
            own_name(&names(&["/linked", "/AACORE01/edge"])),
            Some("linked")
        );
        assert_eq!(own_name(&names(&["/a/b"])), None);
    }

    #[test]
    fn times_have_at_most_six_digits() {
        assert_eq!(
            microseconds("2025-11-12T20:42:09.346234221Z"),
            "2025-11-12T20:42:09.346234Z"
        );
        assert_eq!(microseconds("2025-11-12T20:42:09Z"), "2025-11-12T20:42:09Z");
    }

    #[test]
    fn a_container_without_a_name_is_left_out() {
        let summary = ContainerSummary {
            id: Some("1".to_owned()),
            names: Some(vec!["/".to_owned()]),
            ..ContainerSummary::default()
        };
        assert_eq!(entry(summary, None, "127.0.0.1".parse().unwrap()), None);
    }
}
