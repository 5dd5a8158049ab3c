//! Listening, working in the background, and stopping in order.

use std::time::Duration;

use drover_domain::workflow::QueueName;
use drover_http_api::{EdgeLimits, Options, admin_router, router, serve_connections};
use drover_usecases::{Engine, Service, Stop};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::descriptors::Budget;

/// The bounds of duration histograms, seconds: buckets of several nodes add up, quantiles do not.
const DURATION_BUCKETS: [f64; 13] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0, 3_600.0,
];

/// The sockets of one service.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For everybody.
    pub(crate) api: TcpListener,
    /// For the machines that watch.
    pub(crate) admin: TcpListener,
}

/// What one service does.
#[derive(Debug)]
pub(crate) struct Work {
    /// What can be asked of it.
    pub(crate) service: Service,
    /// What works on tasks of workflows.
    pub(crate) engine: Engine,
    /// The queues it takes them from.
    pub(crate) queues: Vec<QueueName>,
}

/// Serves until `stop` completes, then at most `grace` longer.
pub(crate) async fn serve(
    work: Work,
    listeners: Listeners,
    mut http: Options,
    budget: Budget,
    grace: Duration,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    let (stopping, stopped) = watch::channel(false);
    let tasks = TaskTracker::new();
    http.concurrency = http.concurrency.min(budget.api_connections / 4).max(1);
    http.lasting = http.lasting.min(budget.api_connections / 4).max(1);
    // Streams of events have no end of their own.
    http.stop = Some(stopped.clone());

    // A second service in one process keeps the first one's recorder: tests start many.
    let metrics = PrometheusBuilder::new()
        .set_buckets(&DURATION_BUCKETS)
        .map_err(std::io::Error::other)?
        .build_recorder();
    let handle = metrics.handle();
    if metrics::set_global_recorder(metrics).is_err() {
        tracing::debug!("metrics are already recorded by another service of this process");
    }
    spawn_background(&tasks, &work, &stopped);
    let service = work.service;
    tracing::info!("the API listens on http://{}", listeners.api.local_addr()?);
    tracing::info!(
        "metrics are on http://{}/metrics",
        listeners.admin.local_addr()?
    );
    let admin = admin_router(handle, service.clone(), http.clone());
    let api = serve_connections(
        listeners.api,
        router(service, http),
        EdgeLimits::new(budget.api_connections),
        stopped.clone(),
        grace,
    );
    let admin_limits = EdgeLimits::new(budget.admin_connections);
    let admin = serve_connections(listeners.admin, admin, admin_limits, stopped, grace);
    let both = async { tokio::join!(api, admin) };
    tokio::pin!(both);

    tokio::select! {
        _ = &mut both => return Ok(()),
        () = stop => {}
    }
    tracing::info!("stopping: no new work is taken, tasks in hand are handed over");
    let _receivers_are_gone = stopping.send(true).is_err();
    tasks.close();
    let all = async { tokio::join!(both, tasks.wait()) };
    if timeout(grace, all).await.is_err() {
        tracing::warn!(
            "not everything came to an end within {} s; stopped all the same",
            grace.as_secs()
        );
        return Ok(());
    }
    tracing::info!("stopped");
    Ok(())
}

fn spawn_background(tasks: &TaskTracker, work: &Work, stopped: &Stop) {
    let Work {
        service, engine, ..
    } = work;
    tasks.spawn({
        let (engine, stop) = (engine.clone(), stopped.clone());
        async move { engine.run(stop).await }
    });
    tasks.spawn({
        let told = crate::meter::tell(engine.clone(), service.clone(), work.queues.clone());
        let mut stop = stopped.clone();
        async move {
            tokio::select! {
                () = told => {}
                () = until_told(&mut stop) => {}
            }
        }
    });
    let background = service.background();
    tasks.spawn({
        let (background, stop) = (background.clone(), stopped.clone());
        async move { background.poll_loop(stop).await }
    });
    tasks.spawn({
        let (background, stop) = (background.clone(), stopped.clone());
        async move { background.sync_loop(stop).await }
    });
    tasks.spawn({
        let (background, stop) = (background.clone(), stopped.clone());
        async move { background.webhook_loop(stop).await }
    });
    tasks.spawn({
        let stop = stopped.clone();
        async move { background.retention_loop(stop).await }
    });
    // A playbook folder that cannot be read is no reason not to serve.
    let (orchestrators, mut stop) = (service.orchestrators.clone(), stopped.clone());
    tasks.spawn(async move {
        tokio::select! {
            scanned = orchestrators.scan() => {
                if let Err(error) = scanned {
                    tracing::warn!(error = &error as &(dyn std::error::Error + 'static), "no orchestrator playbook was read");
                }
            }
            () = until_told(&mut stop) => {}
        }
    });
}

async fn until_told(stop: &mut Stop) {
    let _sender_is_gone = stop.wait_for(|stop| *stop).await.is_err();
}
