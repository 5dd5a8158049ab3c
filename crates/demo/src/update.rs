//! The update under load, as seen by Drover, by HAProxy, by the applications and by their clients.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::api::{Rollout, RolloutTarget};
use crate::fleet::Instance;
use crate::load::{Expected, Load, LongLoad};
use crate::report::{Findings, InstanceReport, REQUESTS_MIN, Report, Requests, TaskReport};
use crate::scene::{Scene, VERSION_AFTER, VERSION_BEFORE, find_application};
use crate::screen::Screen;
use crate::wait::until;
use crate::watcher::Watcher;

/// Requests before the update is asked for.
const WARM_UP_REQUESTS: u64 = 400;

/// Longest wait for a number of requests; the load itself makes them in a quarter of this at the most.
const REQUESTS_LIMIT: Duration = Duration::from_mins(1);

/// How long the load goes on after the task ended.
const COOL_DOWN: Duration = Duration::from_secs(2);

/// Longest time for the whole update.
const UPDATE_LIMIT: Duration = Duration::from_mins(15);

/// The longest wait for Drover to see the versions that the applications answer with.
const VERSIONS_LIMIT: Duration = Duration::from_secs(10);

/// Pause between two looks at the task.
const PAUSE: Duration = Duration::from_millis(250);

/// Most time a drain may take, in minutes: 6 seconds.
const DRAIN_MINUTES: f64 = 0.1;

/// Long requests under way for each instance, where HAProxy is reloaded.
const LONG_REQUESTS: usize = 2;

/// How long after the beginning of a half HAProxy is reloaded.
const RELOAD_AFTER: Duration = Duration::from_secs(1);

/// What the update did to each instance.
fn instance_reports(
    scene: &Scene,
    task: &Rollout,
    before: Vec<Option<String>>,
    after: Vec<Option<String>>,
) -> Vec<InstanceReport> {
    let by_number: BTreeMap<i64, _> = task
        .targets
        .iter()
        .map(|target| (target.application_id, target))
        .collect();
    let instances = scene.fleet.instances.iter().zip(&scene.applications);
    instances
        .zip(before.into_iter().zip(after))
        .map(|((instance, number), (version_before, version_after))| {
            let target = by_number.get(number);
            InstanceReport {
                name: instance.name.clone(),
                server: instance.server_name(),
                batch: target.and_then(|target| target.batch.clone()),
                version_before,
                version_after,
                outcome: target
                    .map_or_else(|| "unknown".to_owned(), |target| target.outcome.clone()),
            }
        })
        .collect()
}

/// Updates the fleet under load and collects what everybody saw.
///
/// # Errors
///
/// If Drover refuses the update, stops, or does not end it within 15 minutes. A failed update is no error.
pub async fn update(scene: &Scene, screen: &Screen) -> anyhow::Result<(Report, Findings)> {
    let expected = Expected {
        names: scene
            .fleet
            .instances
            .iter()
            .map(|instance| instance.name.clone())
            .collect(),
        versions: [VERSION_BEFORE.to_owned(), VERSION_AFTER.to_owned()].into(),
    };
    let long_load = scene.reload.map(|work| {
        let count = scene.applications.len() * LONG_REQUESTS;
        LongLoad::start(scene.haproxy.frontend, expected.clone(), count, work)
    });
    let load = Load::start(scene.haproxy.frontend, expected);
    requests(&load, WARM_UP_REQUESTS).await?;
    let versions_before = versions(scene).await;
    screen.line(format!(
        "Update of {} instances from {VERSION_BEFORE} to {VERSION_AFTER} under load",
        scene.applications.len()
    ));

    let watcher = Watcher::start(scene.haproxy.socket.clone()).await?;
    let began = Instant::now();
    // Long requests have all the time they need: it is the drain that has to wait for them.
    let drain_minutes = scene
        .reload
        .map_or(DRAIN_MINUTES, |work| (work.as_secs_f64() + 20.0) / 60.0);
    let wish = scene
        .api
        .update(&scene.applications, &scene.artifact_url, drain_minutes);
    let task_id = scene.drover.while_it_lives(wish).await?;
    let (task, reloads) = scene
        .drover
        .while_it_lives(follow(scene, &task_id, began, screen))
        .await?;
    let duration = began.elapsed();

    requests(&load, REQUESTS_MIN).await?;
    sleep(COOL_DOWN).await;
    let versions_after = versions(scene).await;
    let drover_versions = drover_versions(scene, &versions_after).await?;
    let sight = watcher.finish().await?;
    let left_drained = scene.haproxy.socket.drained().await?;
    let (mut tally, sent_for) = load.finish().await;
    let long_requests = match long_load {
        Some(load) => {
            let long = load.finish().await;
            tally.failed += long.failed;
            tally.reasons.extend(long.reasons);
            Some(long.total)
        }
        None => None,
    };

    let instances = instance_reports(scene, &task, versions_before, versions_after);
    let report = Report {
        requests: Requests {
            total: tally.total,
            failed: tally.failed,
            rate_per_s: rounded(per_second(tally.total, sent_for)),
            long: long_requests,
            reasons: tally.reasons.clone(),
        },
        reloads: scene.reload.map(|_| reloads),
        instances,
        min_ready: sight.min_ready,
        timeline: sight.timeline,
        task: TaskReport {
            id: task_id,
            status: task.status,
            error: task.error,
        },
        duration_s: rounded(duration.as_secs_f64()),
    };
    let findings = Findings {
        tally,
        drover_versions,
        left_drained,
        looks_missed: sight.missed,
    };
    Ok((report, findings))
}

/// Waits until the load has made `total` requests.
async fn requests(load: &Load, total: u64) -> anyhow::Result<()> {
    until("enough load", REQUESTS_LIMIT, PAUSE, || async {
        let made = load.total();
        anyhow::ensure!(made >= total, "{made} of {total} requests were made");
        Ok(())
    })
    .await
}

/// The version that each instance answers with.
async fn versions(scene: &Scene) -> Vec<Option<String>> {
    let mut versions = Vec::new();
    for instance in &scene.fleet.instances {
        versions.push(instance.version().await.ok());
    }
    versions
}

/// The versions that Drover knows, once they match or after the wait for it.
async fn drover_versions(
    scene: &Scene,
    told: &[Option<String>],
) -> anyhow::Result<Vec<Option<String>>> {
    let read = async || {
        let known = scene.api.applications().await?;
        let version = |instance: &Instance| find_application(instance, &known)?.version.clone();
        anyhow::Ok(
            scene
                .fleet
                .instances
                .iter()
                .map(version)
                .collect::<Vec<_>>(),
        )
    };
    let same = until(
        "Drover seeing the versions",
        VERSIONS_LIMIT,
        PAUSE,
        || async {
            let versions = read().await?;
            anyhow::ensure!(versions == told, "they differ");
            Ok(versions)
        },
    )
    .await;
    match same {
        Ok(versions) => Ok(versions),
        Err(_) => read().await,
    }
}

/// Shows the task until its end.
async fn follow(
    scene: &Scene,
    task_id: &str,
    began: Instant,
    screen: &Screen,
) -> anyhow::Result<(Rollout, usize)> {
    let mut shown: BTreeMap<i64, RolloutTarget> = BTreeMap::new();
    let mut said = None;
    // When each half began.
    let mut halves: BTreeMap<String, Instant> = BTreeMap::new();
    let mut reloads = 0;
    loop {
        let task = scene.api.rollout(task_id).await?;
        let at_s = began.elapsed().as_secs_f64();
        if task.current != said {
            if let Some(current) = &task.current {
                screen.line(format!("{at_s:>6.1} s  {current}"));
            }
            said.clone_from(&task.current);
        }
        for told in &task.targets {
            let before = shown.insert(told.application_id, told.clone());
            if told.outcome != "pending"
                && before
                    .as_ref()
                    .is_none_or(|before| before.outcome != told.outcome)
            {
                screen.line(news(scene, told, before.as_ref(), at_s));
            }
        }
        for told in task.targets.iter().filter(|it| it.outcome == "draining") {
            halves
                .entry(told.batch.clone().unwrap_or_default())
                .or_insert_with(Instant::now);
        }
        let due = halves
            .values()
            .filter(|began| began.elapsed() >= RELOAD_AFTER);
        if scene.reload.is_some() && reloads < due.count() {
            scene.haproxy.reload().await?;
            reloads += 1;
            screen.line(format!("{at_s:>6.1} s  HAProxy is reloaded"));
        }
        let what = task.current.as_deref().unwrap_or(&task.status);
        screen.progress(percent(task.progress), what);
        if task.is_final() {
            return Ok((task, reloads));
        }
        anyhow::ensure!(
            began.elapsed() < UPDATE_LIMIT,
            "the update did not end within {} minutes; it is at {:.0} %",
            UPDATE_LIMIT.as_secs() / 60,
            task.progress
        );
        sleep(PAUSE).await;
    }
}

/// One line about an instance whose outcome is new; details that were printed before are not repeated.
fn news(scene: &Scene, told: &RolloutTarget, before: Option<&RolloutTarget>, at_s: f64) -> String {
    let name = scene
        .applications
        .iter()
        .position(|number| *number == told.application_id)
        .and_then(|place| scene.fleet.instances.get(place))
        .map_or_else(|| told.application_id.to_string(), Instance::haproxy_server);
    let batch = told.batch.as_deref().unwrap_or("-");
    let detail = told
        .detail
        .as_deref()
        .filter(|detail| before.is_none_or(|before| before.detail.as_deref() != Some(detail)))
        .unwrap_or_default();
    let line = format!(
        "{at_s:>6.1} s  {name:<16} {batch:<5} {:<12} {detail}",
        told.outcome
    );
    line.trim_end().to_owned()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the number is clamped before"
)]
fn percent(progress: f64) -> u64 {
    progress.clamp(0.0, 100.0) as u64
}

/// To two digits after the point.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "no demo makes 2^53 requests")]
fn per_second(total: u64, time: Duration) -> f64 {
    total as f64 / time.as_secs_f64().max(f64::EPSILON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_within_their_bounds() {
        assert_eq!(
            (
                percent(-1.0),
                percent(49.9),
                percent(101.0),
                percent(f64::NAN)
            ),
            (0, 49, 100, 0)
        );
        assert!((rounded(per_second(1_000, Duration::from_secs(3))) - 333.33).abs() < 1e-9);
        assert!(per_second(0, Duration::ZERO).abs() < 1e-9);
    }
}
