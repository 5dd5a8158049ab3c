//! The demo application: one HTTP service that answers with its version and stops without losing a request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::http::HeaderName;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Name of the file that holds the version, in the folder of an application.
pub const VERSION_FILE: &str = "VERSION";

/// Name of the file that holds the process id, in the folder of an application.
pub const PID_FILE: &str = "app.pid";

/// The most time between the stop signal and the end; requests that take longer are cut.
pub const STOP_LIMIT: Duration = Duration::from_secs(4);

/// Shortest time that the work of one request takes, in milliseconds.
const WORK_MS_MIN: u32 = 2;

/// Longest time that the work of one request takes, in milliseconds.
const WORK_MS_MAX: u32 = 15;

/// The arguments of one process of the application.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Name of the server it runs on
    #[arg(long)]
    pub server: String,
    /// Name of the application
    #[arg(long)]
    pub name: String,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Folder with the file VERSION; the process id goes there too
    #[arg(long, value_name = "FOLDER")]
    pub dir: PathBuf,
}

/// Who answers, and in which version: read once, at the start.
#[derive(Debug, Clone)]
pub struct Identity {
    name: String,
    server: String,
    version: String,
}

impl Identity {
    /// Reads the version from `folder`.
    ///
    /// # Errors
    ///
    /// If there is no file `VERSION` or its first line is empty.
    pub fn read(server: &str, name: &str, folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join(VERSION_FILE);
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("version file `{}` cannot be read", file.display()))?;
        let version = text.lines().next().unwrap_or_default().trim();
        anyhow::ensure!(
            !version.is_empty(),
            "version file `{}` is empty",
            file.display()
        );
        Ok(Self {
            name: name.to_owned(),
            server: server.to_owned(),
            version: version.to_owned(),
        })
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
///
/// If the address is taken, the version cannot be read or the process id cannot be written.
pub async fn run(options: Options) -> anyhow::Result<()> {
    // A reader of the process id may send the signal at once, so the handler is installed first.
    let mut terminate =
        signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let identity = Identity::read(&options.server, &options.name, &options.dir)?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    write_pid(&options.dir)?;
    let stop = CancellationToken::new();
    let serving = serve(listener, identity, stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    serving.await
}

/// Serves on `listener` until `stop`: then accepts nothing more, answers what it has taken, closes each connection
/// and returns, at the latest after [`STOP_LIMIT`].
///
/// # Errors
///
/// If the listener breaks.
pub async fn serve(
    listener: TcpListener,
    identity: Identity,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/", get(work))
        .route("/health", get(health))
        .with_state(Arc::new(identity));
    let limit = {
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            sleep(STOP_LIMIT).await;
        }
    };
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    tokio::select! {
        served = serving => served.context("the application cannot serve"),
        () = limit => Ok(()),
    }
}

/// What a request may ask for.
#[derive(Debug, Deserialize)]
struct Wish {
    /// How long the answer takes, milliseconds.
    work_ms: Option<u32>,
}

async fn work(
    State(identity): State<Arc<Identity>>,
    Query(wish): Query<Wish>,
) -> impl IntoResponse {
    // Without randomness the work still takes its time.
    let random = getrandom::u32().unwrap_or_default();
    let short_ms = WORK_MS_MIN + random % (WORK_MS_MAX - WORK_MS_MIN + 1);
    let work_ms = wish.work_ms.unwrap_or(short_ms);
    sleep(Duration::from_millis(u64::from(work_ms))).await;
    (
        [(
            HeaderName::from_static("x-version"),
            identity.version.clone(),
        )],
        format!("{} {}\n", identity.name, identity.version),
    )
}

async fn health(State(identity): State<Arc<Identity>>) -> impl IntoResponse {
    Json(serde_json::json!({
        "name": identity.name,
        "server": identity.server,
        "version": identity.version,
    }))
}

/// Writes the id of this process beside the version; a reader sees the old id or the new one, never half of one.
fn write_pid(folder: &Path) -> anyhow::Result<()> {
    let pid = std::process::id();
    let written = folder.join(format!("{PID_FILE}.{pid}"));
    let file = folder.join(PID_FILE);
    std::fs::write(&written, format!("{pid}\n"))
        .and_then(|()| std::fs::rename(&written, &file))
        .with_context(|| format!("process id cannot be written to `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;
    use crate::http::{self, Connection, Request};

    struct Running {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<anyhow::Result<()>>,
    }

    async fn start(version: &str) -> Running {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(VERSION_FILE), version).unwrap();
        let identity = Identity::read("app01", "jurws_1", folder.path()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task =
            tokio_util::task::TaskTracker::new().spawn(serve(listener, identity, stop.clone()));
        Running {
            address,
            stop,
            task,
        }
    }

    #[tokio::test]
    async fn it_tells_its_version() {
        let application = start("1.0.0\n").await;
        let answer = http::once(application.address, Request::get("/"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-version"), Some("1.0.0"));
        assert_eq!(answer.body, "jurws_1 1.0.0\n");
        let health = http::once(application.address, Request::get("/health"))
            .await
            .unwrap();
        let health: serde_json::Value = serde_json::from_str(&health.body).unwrap();
        assert_eq!(health["version"], "1.0.0");
    }

    #[tokio::test]
    async fn a_stop_answers_what_was_taken_and_takes_no_more() {
        let application = start("1.0.0").await;
        let mut busy = Vec::new();
        for _ in 0..20 {
            let mut connection = Connection::open(application.address).await.unwrap();
            // The first answer proves that the application has taken the connection.
            connection.exchange(Request::get("/")).await.unwrap();
            busy.push(connection);
        }
        let mut asked = tokio::task::JoinSet::new();
        for mut connection in busy {
            asked.spawn(async move {
                let answer = connection.exchange(Request::get("/")).await;
                (answer, connection.is_reusable())
            });
        }
        // Each task has written its request by its first pause, and work takes longer than that.
        tokio::task::yield_now().await;
        application.stop.cancel();
        while let Some(asked) = asked.join_next().await {
            let (answer, reusable) = asked.unwrap();
            assert_eq!(answer.unwrap().status, 200);
            assert!(!reusable, "the connection was to be closed");
        }
        application.task.await.unwrap().unwrap();
        assert!(
            Connection::open(application.address).await.is_err(),
            "it still takes connections"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_ends_does_not_hold_up_the_stop() {
        use tokio::io::AsyncWriteExt as _;
        let application = start("1.0.0").await;
        let mut half = tokio::net::TcpStream::connect(application.address)
            .await
            .unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHost: x").await.unwrap();
        http::once(application.address, Request::get("/health"))
            .await
            .unwrap();
        let told = tokio::time::Instant::now();
        application.stop.cancel();
        application.task.await.unwrap().unwrap();
        assert!(
            told.elapsed() <= STOP_LIMIT + Duration::from_secs(1),
            "took {:?}",
            told.elapsed()
        );
    }

    #[test]
    fn no_version_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Identity::read("app01", "jurws_1", folder.path()).unwrap_err();
        assert!(error.to_string().contains("VERSION"), "{error}");
        std::fs::write(folder.path().join(VERSION_FILE), " \n").unwrap();
        let error = Identity::read("app01", "jurws_1", folder.path()).unwrap_err();
        assert!(error.to_string().contains("is empty"), "{error}");
    }

    #[test]
    fn the_process_id_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        write_pid(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(PID_FILE)).unwrap();
        assert_eq!(text.trim().parse(), Ok(std::process::id()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
