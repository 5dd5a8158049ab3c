//! Preparing an update: everything between a request and the plays that would run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use drover_domain::Id;
use drover_domain::fleet::ApplicationKey;
use drover_domain::id::Uuid;
use drover_domain::rollout::drain::DrainWait;
use drover_domain::rollout::executor::{OrchestratorContext, PreparedPlaybook, prepare_all};
use drover_domain::rollout::orchestrator::{OrchestratorMetadata, Parameter};
use drover_domain::rollout::record::{ArtifactUrl, UpdateMode};
use drover_domain::rollout::snapshot::FleetSnapshot;
use drover_ports::FleetSnapshots;
use drover_store_sea_orm::{Options, SeaOrmStore};
use drover_testkit::store::postgres::{Cluster, Durability};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};

use crate::proxy::Proxy;
use crate::{fleet, naive, proxy};

/// What the proxy adds to each round trip.
const DELAY: Duration = Duration::from_millis(5);

/// How many applications are updated, and how often each way is measured.
const SIZES: [Size; 4] = [
    Size {
        applications: 10,
        ours: 31,
        naive: 15,
    },
    Size {
        applications: 40,
        ours: 31,
        naive: 5,
    },
    Size {
        applications: 100,
        ours: 31,
        naive: 3,
    },
    Size {
        applications: 1_000,
        ours: 31,
        naive: 1,
    },
];

struct Size {
    applications: usize,
    ours: usize,
    naive: usize,
}

/// Measures all sizes and returns the report.
pub(crate) async fn measure() -> Result<Value> {
    eprintln!("bench: starting PostgreSQL and filling in the fleet");
    let cluster = Cluster::private(Durability::Durable);
    let database = cluster.database("bench");
    let near = database.url();
    let store = SeaOrmStore::connect(&Options::new(near.clone()))
        .await
        .context("PostgreSQL cannot be reached")?;
    store.migrate().await.context("the schema cannot be made")?;
    let applications = fleet::fill(&Database::connect(&near).await?).await?;
    store.close().await;

    let socket =
        socket_of(&near).context("the testkit's PostgreSQL is expected behind a socket")?;
    let proxy = proxy::start(&socket, DELAY)?;
    let far = format!("postgres://postgres@{}/bench", proxy.address);
    let store = SeaOrmStore::connect(&Options::new(far.clone()))
        .await
        .context("the proxy cannot be reached")?;
    let mut plain = ConnectOptions::new(far);
    // The same advantages for both: no question before each query, one connection kept.
    plain
        .test_before_acquire(false)
        .sqlx_logging(false)
        .min_connections(1);
    let plain = Database::connect(plain).await?;

    let round_trip = round_trip(&plain).await?;
    eprintln!(
        "bench: a round trip takes {:.2} ms",
        milliseconds(round_trip)
    );
    let mut sizes = Vec::new();
    for size in SIZES {
        let measured = of_size(&size, &applications, &store, &plain, &proxy).await?;
        eprintln!("bench: {measured}");
        sizes.push(measured);
    }
    Ok(json!({
        "delay_ms": milliseconds(DELAY),
        "round_trip_ms": rounded(milliseconds(round_trip)),
        "build": if cfg!(debug_assertions) { "dev" } else { "release" },
        "sizes": sizes,
    }))
}

/// The socket in a URL whose parameter `host` is the folder of the socket.
fn socket_of(url: &str) -> Option<PathBuf> {
    let (_, folder) = url.split_once("?host=")?;
    Some(Path::new(folder).join(".s.PGSQL.5432"))
}

async fn of_size(
    size: &Size,
    applications: &[ApplicationKey],
    store: &SeaOrmStore,
    plain: &DatabaseConnection,
    proxy: &Proxy,
) -> Result<Value> {
    let keys = applications
        .get(..size.applications)
        .context("the fleet is too small")?;

    // Not measured: the drivers learn the statements, and both ways have to come to one plan.
    let before = proxy.traffic.statements();
    let ours = prepare(keys, &store.snapshot(keys).await?)?;
    let theirs = prepare(keys, &naive::snapshot(plain, keys).await?)?;
    ensure!(
        ours == theirs,
        "the two ways come to different plans for {} applications",
        keys.len()
    );
    let planned: usize = ours
        .iter()
        .flat_map(|run| &run.batches)
        .map(|batch| batch.members.len())
        .sum();
    ensure!(
        planned == keys.len(),
        "{planned} of {} applications are planned",
        keys.len()
    );
    ensure!(
        proxy.traffic.statements() > before,
        "nothing went through the proxy"
    );

    let before = proxy.traffic.statements();
    let mut our_times = Vec::new();
    for _ in 0..size.ours {
        let start = Instant::now();
        let prepared = prepare(keys, &store.snapshot(keys).await?)?;
        our_times.push(start.elapsed());
        drop(prepared);
    }
    let our_statements = (proxy.traffic.statements() - before) / u64::try_from(size.ours)?;

    let before = proxy.traffic.statements();
    let mut their_times = Vec::new();
    for _ in 0..size.naive {
        let start = Instant::now();
        let prepared = prepare(keys, &naive::snapshot(plain, keys).await?)?;
        their_times.push(start.elapsed());
        drop(prepared);
    }
    let their_statements = (proxy.traffic.statements() - before) / u64::try_from(size.naive)?;

    let (ours_took, theirs_took) = (median(our_times), median(their_times));
    Ok(json!({
        "applications": keys.len(),
        "runs": ours.len(),
        "statements": our_statements,
        "naive_statements": their_statements,
        "ours_ms": rounded(milliseconds(ours_took)),
        "naive_ms": rounded(milliseconds(theirs_took)),
        "ratio": rounded(theirs_took.as_secs_f64() / ours_took.as_secs_f64()),
        "ours_repeats": size.ours,
        "naive_repeats": size.naive,
    }))
}

fn prepare(keys: &[ApplicationKey], snapshot: &FleetSnapshot) -> Result<Vec<PreparedPlaybook>> {
    let required = [
        "app_instances",
        "drain_delay",
        "update_playbook",
        "distr_url",
        "haproxy_backend",
        "haproxy_api_url",
    ];
    let context = OrchestratorContext::new(
        Id::from_uuid(Uuid::from_u128(1)),
        keys.to_vec(),
        ArtifactUrl::parse("http://artifacts.example.net/product-1.1.0.zip")?,
        UpdateMode::Update,
        OrchestratorMetadata {
            file_path: "orchestrator-even-odd.yml".to_owned(),
            name: "Even, then odd".to_owned(),
            description: None,
            version: None,
            required: required
                .map(|name| Parameter {
                    name: name.to_owned(),
                    description: None,
                    default: None,
                })
                .to_vec(),
            optional: Vec::new(),
        },
        "update-app.yml {server} {app} {distr_url} {mode}".to_owned(),
        DrainWait::DEFAULT,
    )?;
    Ok(prepare_all(&context, snapshot)?)
}

async fn round_trip(database: &DatabaseConnection) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        database.execute_unprepared("SELECT 1").await?;
        times.push(start.elapsed());
    }
    Ok(median(times))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_read_from_the_url() {
        let url = "postgres://postgres@localhost/bench?host=/tmp/x/socket";
        assert_eq!(
            socket_of(url),
            Some(PathBuf::from("/tmp/x/socket/.s.PGSQL.5432"))
        );
        assert_eq!(socket_of("postgres://postgres@localhost/bench"), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        let times = [9, 1, 5].map(Duration::from_millis);
        assert_eq!(median(times.to_vec()), Duration::from_millis(5));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
