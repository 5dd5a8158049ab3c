//! Rollouts, as those use them who start and do them.
//!
//! Every write under a claim starts with [`hold`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use drover_domain::rollout::job::JobEvent;
use drover_domain::rollout::record::{
    EndStatus, Rollout, RolloutDetail, RolloutEnd, RolloutId, RolloutRun, RolloutTarget,
    RunProgress,
};
use drover_domain::{Key, Timestamp};
use drover_ports::{
    Claim, Idempotency, NewRollouts, NewWorkflow, RolloutStore, RolloutWork, Started, StoreError,
};
use sea_orm::FromQueryResult;

use crate::fleet::events::insert_events;
use crate::fleet::inventory::{VersionChangeRow, insert_versions};
use crate::rollout::held::{hold, stale};
use crate::row::prepared::{HostShape, PreparedShape, ReportShape};
use crate::row::rollout::{
    RUN_COLUMNS, RolloutRow, RunRow, TARGET_COLUMNS, TargetRow, select_rollouts,
};
use crate::row::{Stored, integer};
use crate::sql::dialect::rows;
use crate::sql::session::{KeyRow, Row, Session};
use crate::sql::{Sql, to_json};
use crate::store::{SeaOrmStore, is_duplicate};
use crate::workflow::start_all;

/// What a claim is on, for [`StoreError::Stale`].
const WHAT: &str = "rollout";

rows! {
    /// What is an update's own.
    NewRolloutRow<'a> {
        ordinal: usize => Integer,
        id: String => Uuid,
        workflow_id: String => Uuid,
        application_ids: Vec<i64> => Json,
        artifact_url: &'a str => Text,
        mode: &'static str => Text,
        orchestrator: &'a str => Text,
        drain_wait_minutes: Option<f64> => Real,
        allow_undrained: bool => Boolean,
        playbook_path: &'a str => Text,
        actor: &'a str => Text,
        request_id: &'a str => Text,
        created_at: i64 => Integer,
    }
}

rows! {
    /// A run as it is now.
    RunWriteRow {
        run_index: u32 => Integer,
        job_id: String => Uuid,
        prepared: PreparedShape => Json,
        status: &'static str => Text,
        exit_code: Option<i32> => Integer,
        started_at: Option<i64> => Integer,
        finished_at: Option<i64> => Integer,
        hosts: Vec<HostShape> => Json,
    }
}

rows! {
    /// A target as it is now.
    TargetWriteRow<'a> {
        ordinal: usize => Integer,
        application_id: i64 => Integer,
        name: &'a str => Text,
        server: &'a str => Text,
        composite: &'a str => Text,
        run_index: u32 => Integer,
        batch: &'a str => Text,
        haproxy_server: Option<&'a str> => Text,
        outcome: &'static str => Text,
        detail: Option<&'a str> => Text,
        version_before: Option<&'a str> => Text,
        process_before: Option<&'a str> => Text,
        version_after: Option<&'a str> => Text,
    }
}

rows! {
    /// An event of a run.
    JobEventRow<'a> {
        sequence: i64 => Integer,
        at: i64 => Integer,
        kind: &'static str => Text,
        play: Option<&'a str> => Text,
        task: Option<&'a str> => Text,
        host: Option<&'a str> => Text,
        message: Option<&'a str> => Text,
        report: Option<ReportShape> => Json,
        stats: Vec<HostShape> => Json,
    }
}

#[derive(Debug, FromQueryResult)]
struct UsedKey {
    digest: Vec<u8>,
    task_ids: String,
}

impl Row for UsedKey {
    const WHAT: &'static str = "idempotency key";
}

#[async_trait]
impl RolloutStore for SeaOrmStore {
    #[tracing::instrument(name = "db.rollouts.start", level = "debug", skip_all)]
    async fn start(&self, rollouts: &NewRollouts) -> Result<Started, StoreError> {
        let session = self.write("start updates").await?;
        if let Some(idempotency) = &rollouts.idempotency
            && !use_key(&session, idempotency, rollouts).await?
        {
            return replay(&session, idempotency).await;
        }
        let workflows: Vec<NewWorkflow> = rollouts
            .rollouts
            .iter()
            .map(|update| update.workflow.clone())
            .collect();
        let (_, told) = start_all(&session, &workflows).await?;
        insert_rollouts(&session, rollouts).await?;
        note_groups(&session, rollouts).await?;
        insert_events(&session, &rollouts.events).await?;
        session.commit().await?;
        self.hints().tell(told);
        Ok(Started::Created)
    }

    #[tracing::instrument(name = "db.rollouts.started_by", level = "debug", skip_all)]
    async fn started_by(
        &self,
        idempotency: &Idempotency,
    ) -> Result<Option<Vec<RolloutId>>, StoreError> {
        started_by(&self.read("look up a request for rollouts"), idempotency).await
    }

    #[tracing::instrument(name = "db.rollouts.begin", level = "debug", skip_all)]
    async fn begin(&self, claim: &Claim, at: Timestamp) -> Result<Option<RolloutWork>, StoreError> {
        let session = self.write("begin with a rollout").await?;
        let is_called_off = hold(&session, claim, WHAT).await?.is_stopped;
        let change = "began_at = COALESCE(began_at, $2)";
        change_rollout(&session, claim.task, change, |sql| sql.bind(at.as_micros())).await?;
        let loaded = detail(&session, claim.task).await?;
        session.commit().await?;
        Ok(loaded.map(|(end, detail)| RolloutWork {
            detail,
            end,
            is_called_off,
        }))
    }

    #[tracing::instrument(name = "db.rollouts.plan", level = "debug", skip_all)]
    async fn plan(
        &self,
        claim: &Claim,
        runs: &[RolloutRun],
        targets: &[RolloutTarget],
    ) -> Result<(), StoreError> {
        let session = self.write("store the plan of a rollout").await?;
        hold(&session, claim, WHAT).await?;
        let sql = Sql::new(format!(
            "SELECT id FROM rollout_runs WHERE rollout_id = {} LIMIT 1",
            session.dialect.uuid(1)
        ));
        if session.row::<KeyRow>(sql.id(claim.task)).await?.is_some() {
            return session.undo().await;
        }
        insert_runs(&session, claim.task, runs).await?;
        insert_targets(&session, claim.task, targets).await?;
        session.commit().await
    }

    #[tracing::instrument(name = "db.rollouts.progress", level = "debug", skip_all)]
    async fn progress(&self, claim: &Claim, progress: &RunProgress) -> Result<(), StoreError> {
        let session = self.write("store the progress of a rollout").await?;
        hold(&session, claim, WHAT).await?;
        let change = "progress = $2, current_step = $3";
        let changed = change_rollout(&session, claim.task, change, |sql| {
            sql.bind(i64::from(progress.progress))
                .optional_text(progress.current.as_deref())
        })
        .await?;
        if !changed {
            return Err(stale(claim, WHAT));
        }
        update_run(&session, claim.task, &progress.run).await?;
        insert_job_events(&session, claim.task, progress.run.index, &progress.events).await?;
        update_targets(&session, claim.task, &progress.targets).await?;
        session.commit().await
    }

    #[tracing::instrument(name = "db.rollouts.finish", level = "debug", skip_all)]
    async fn finish(
        &self,
        claim: &Claim,
        end: &RolloutEnd,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let session = self.write("end a rollout").await?;
        hold(&session, claim, WHAT).await?;
        let change = "ended_as = $2, result = $3, error = $4, ended_at = $5, progress = $6, current_step = NULL";
        let changed = change_rollout(&session, claim.task, change, |sql| {
            sql.bind(end.status.as_str())
                .optional_text(end.result.as_deref())
                .optional_text(end.error.as_deref())
                .bind(at.as_micros())
                .bind(i64::from(end.progress))
        })
        .await?;
        if !changed {
            return session.undo().await;
        }
        update_targets(&session, claim.task, &end.targets).await?;
        change_versions(&session, claim.task, end).await?;
        insert_events(&session, &end.events).await?;
        session.commit().await
    }
}

/// Changes what is the rollout's own, until its end is written down; whether it did. Parameters of `change`
/// start at $2.
async fn change_rollout(
    session: &Session,
    rollout: RolloutId,
    change: &str,
    bind: impl FnOnce(Sql) -> Sql + Send,
) -> Result<bool, StoreError> {
    let text = format!(
        "UPDATE rollouts SET {change} WHERE id = {} AND ended_as IS NULL",
        session.dialect.uuid(1)
    );
    Ok(session.execute(bind(Sql::new(text).id(rollout))).await? > 0)
}

// Whether the key is ours now; on PostgreSQL a request with the same key at the same time is waited for.
async fn use_key(
    session: &Session,
    idempotency: &Idempotency,
    rollouts: &NewRollouts,
) -> Result<bool, StoreError> {
    let ids: Vec<String> = rollouts
        .rollouts
        .iter()
        .map(|update| update.rollout.id.to_string())
        .collect();
    let text = format!(
        "INSERT INTO idempotency_keys (scope, request_key, digest, task_ids, created_at, ends_by_age)
         VALUES ($1, $2, $3, {}, $5, TRUE)
         ON CONFLICT (scope, request_key) DO NOTHING",
        session.dialect.json(4),
    );
    let sql = Sql::new(text)
        .text(&idempotency.scope)
        .text(&idempotency.key)
        .bind(idempotency.digest.clone())
        .json(&ids)
        .bind(rollouts.at.as_micros());
    Ok(session.execute(sql).await? == 1)
}

async fn replay(session: &Session, idempotency: &Idempotency) -> Result<Started, StoreError> {
    let stored = Stored::new(UsedKey::WHAT, &idempotency.key);
    started_by(session, idempotency)
        .await?
        .map(Started::Replayed)
        .ok_or_else(|| stored.corrupt("it was not there after it was found used"))
}

async fn started_by(
    session: &Session,
    idempotency: &Idempotency,
) -> Result<Option<Vec<RolloutId>>, StoreError> {
    let sql = Sql::new(
        "SELECT digest, CAST(task_ids AS text) AS task_ids FROM idempotency_keys WHERE scope = $1 AND request_key = $2",
    );
    let used = session
        .row::<UsedKey>(sql.text(&idempotency.scope).text(&idempotency.key))
        .await?;
    let Some(used) = used else {
        return Ok(None);
    };
    if used.digest != idempotency.digest {
        return Err(StoreError::KeyReused {
            key: idempotency.key.clone(),
        });
    }
    let stored = Stored::new(UsedKey::WHAT, &idempotency.key);
    let rollouts: Vec<String> = stored.shape("list of rollouts", &used.task_ids)?;
    let rollouts = rollouts
        .iter()
        .map(|rollout| stored.id("rollout identifier", rollout));
    rollouts.collect::<Result<_, _>>().map(Some)
}

// What joined a group later is new in its next update. As long as an application is left out that is new already, the
// moment stays: it is still to be named. Groups are locked in the order in which polls make them.
async fn note_groups(session: &Session, rollouts: &NewRollouts) -> Result<(), StoreError> {
    let applications: Vec<i64> = rollouts
        .rollouts
        .iter()
        .flat_map(|update| &update.rollout.request.applications)
        .map(|application| application.get())
        .collect();
    let wanted = session.dialect.integers(1);
    let groups = format!(
        "SELECT g.id FROM application_groups g
         WHERE g.id IN (SELECT a.group_id FROM application_instances a WHERE a.id IN {wanted})
         ORDER BY g.name{}",
        session.dialect.locking("g"),
    );
    let groups = session
        .rows::<KeyRow>(Sql::new(groups).json(&applications))
        .await?;
    let groups: Vec<i64> = groups.into_iter().map(|row| row.id).collect();
    let text = format!(
        "UPDATE application_groups AS g SET last_update_at = $2
         WHERE g.id IN {} AND NOT EXISTS (
             SELECT 1 FROM application_instances o
             WHERE o.group_id = g.id AND o.joined_at > g.last_update_at AND o.id NOT IN {wanted})",
        session.dialect.integers(3),
    );
    let sql = Sql::new(text)
        .json(&applications)
        .bind(rollouts.at.as_micros())
        .json(&groups);
    session.execute(sql).await.map(|_| ())
}

async fn insert_rollouts(session: &Session, rollouts: &NewRollouts) -> Result<(), StoreError> {
    let rollouts = rollouts.rollouts.iter().map(|update| &update.rollout);
    let rows: Vec<NewRolloutRow<'_>> = rollouts
        .enumerate()
        .map(|(ordinal, rollout)| rollout_row(ordinal, rollout))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = "id, workflow_id, application_ids, artifact_url, mode, orchestrator, drain_wait_minutes, \
                   allow_undrained, playbook_path, actor, request_id, created_at";
    let text = format!(
        "INSERT INTO rollouts ({columns}) SELECT {columns} FROM {} ORDER BY r.ordinal",
        session.dialect.rows::<NewRolloutRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&rows))
        .await
        .map(|_| ())
        .map_err(|error| {
            if is_duplicate(&error) {
                let names: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
                return StoreError::AlreadyExists {
                    what: "rollout",
                    name: names.join(", "),
                };
            }
            error
        })
}

fn rollout_row(ordinal: usize, rollout: &Rollout) -> NewRolloutRow<'_> {
    NewRolloutRow {
        ordinal,
        id: rollout.id.to_string(),
        workflow_id: rollout.id.workflow().to_string(),
        application_ids: rollout
            .request
            .applications
            .iter()
            .map(|key| key.get())
            .collect(),
        artifact_url: rollout.request.artifact.as_str(),
        mode: rollout.request.mode.as_str(),
        orchestrator: &rollout.request.orchestrator,
        drain_wait_minutes: rollout.request.drain_wait.minutes(),
        allow_undrained: rollout.request.allow_undrained,
        playbook_path: &rollout.playbook_path,
        actor: &rollout.origin.actor,
        request_id: &rollout.origin.request_id,
        created_at: rollout.created_at.as_micros(),
    }
}

/// The query for a rollout's row.
pub(crate) fn find_rollout(session: &Session, rollout: RolloutId) -> Sql {
    let id = session.dialect.uuid(1);
    select_rollouts(&format!("WHERE u.id = {id}")).id(rollout)
}

/// A rollout with its runs and targets, and what it came to if that is written down. The caller's session
/// must see one state of the database.
pub(crate) async fn detail(
    session: &Session,
    rollout: RolloutId,
) -> Result<Option<(Option<EndStatus>, RolloutDetail)>, StoreError> {
    let id = session.dialect.uuid(1);
    let Some(row) = session
        .row::<RolloutRow>(find_rollout(session, rollout))
        .await?
    else {
        return Ok(None);
    };
    let sql = Sql::new(format!(
        "SELECT {RUN_COLUMNS} FROM rollout_runs WHERE rollout_id = {id} ORDER BY run_index"
    ));
    let runs = session.rows::<RunRow>(sql.id(rollout)).await?;
    let sql = Sql::new(format!(
        "SELECT {TARGET_COLUMNS} FROM rollout_targets WHERE rollout_id = {id} ORDER BY id"
    ));
    let targets = session.rows::<TargetRow>(sql.id(rollout)).await?;
    let end = row.end()?;
    let detail = RolloutDetail {
        rollout: row.read()?.1,
        runs: runs
            .into_iter()
            .map(RunRow::read)
            .collect::<Result<_, _>>()?,
        targets: targets
            .into_iter()
            .map(TargetRow::read)
            .collect::<Result<_, _>>()?,
    };
    Ok(Some((end, detail)))
}

fn run_row(run: &RolloutRun) -> RunWriteRow {
    RunWriteRow {
        run_index: run.index,
        job_id: run.job.to_string(),
        prepared: PreparedShape::write(&run.prepared),
        status: run.status.as_str(),
        exit_code: run.exit_code,
        started_at: run.started_at.map(Timestamp::as_micros),
        finished_at: run.finished_at.map(Timestamp::as_micros),
        hosts: HostShape::write(&run.hosts),
    }
}

async fn insert_runs(
    session: &Session,
    rollout: RolloutId,
    runs: &[RolloutRun],
) -> Result<(), StoreError> {
    if runs.is_empty() {
        return Ok(());
    }
    let rows: Vec<RunWriteRow> = runs.iter().map(run_row).collect();
    let text = format!(
        "INSERT INTO rollout_runs (
             rollout_id, run_index, job_id, prepared, status, exit_code, started_at, finished_at, hosts)
         SELECT {}, r.run_index, r.job_id, r.prepared, r.status, r.exit_code, r.started_at, r.finished_at, r.hosts
         FROM {} ORDER BY r.run_index",
        session.dialect.uuid(2),
        session.dialect.rows::<RunWriteRow>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&rows).id(rollout))
        .await
        .map(|_| ())
}

// What was prepared, and for which job, stays as it was planned.
async fn update_run(
    session: &Session,
    rollout: RolloutId,
    run: &RolloutRun,
) -> Result<(), StoreError> {
    let text = format!(
        "UPDATE rollout_runs SET
             status = $3, exit_code = $4, started_at = $5, finished_at = $6, hosts = {}
         WHERE rollout_id = {} AND run_index = $2",
        session.dialect.json(7),
        session.dialect.uuid(1),
    );
    let sql = Sql::new(text)
        .id(rollout)
        .bind(i64::from(run.index))
        .bind(run.status.as_str())
        .bind(run.exit_code.map(i64::from))
        .time(run.started_at)
        .time(run.finished_at)
        .bind(to_json(&HostShape::write(&run.hosts)));
    session.execute(sql).await.map(|_| ())
}

fn target_row(ordinal: usize, target: &RolloutTarget) -> TargetWriteRow<'_> {
    TargetWriteRow {
        ordinal,
        application_id: target.application.get(),
        name: &target.name,
        server: &target.server,
        composite: &target.composite,
        run_index: target.run,
        batch: &target.batch,
        haproxy_server: target.haproxy_server.as_deref(),
        outcome: target.outcome.as_str(),
        detail: target.detail.as_deref(),
        version_before: target.version_before.as_deref(),
        process_before: target.process_before.as_deref(),
        version_after: target.version_after.as_deref(),
    }
}

async fn insert_targets(
    session: &Session,
    rollout: RolloutId,
    targets: &[RolloutTarget],
) -> Result<(), StoreError> {
    if targets.is_empty() {
        return Ok(());
    }
    let rows: Vec<TargetWriteRow<'_>> = targets
        .iter()
        .enumerate()
        .map(|(ordinal, target)| target_row(ordinal, target))
        .collect();
    let text = format!(
        "INSERT INTO rollout_targets (
             rollout_id, application_id, name, server, composite, run_index, batch, haproxy_server, outcome, detail,
             version_before, process_before, version_after)
         SELECT {}, r.application_id, r.name, r.server, r.composite, r.run_index, r.batch, r.haproxy_server, r.outcome,
                r.detail, r.version_before, r.process_before, r.version_after
         FROM {} ORDER BY r.ordinal",
        session.dialect.uuid(2),
        session.dialect.rows::<TargetWriteRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&rows).id(rollout))
        .await
        .map(|_| ())
}

async fn update_targets(
    session: &Session,
    rollout: RolloutId,
    targets: &[RolloutTarget],
) -> Result<(), StoreError> {
    if targets.is_empty() {
        return Ok(());
    }
    let rows: BTreeMap<Key<_>, TargetWriteRow<'_>> = targets
        .iter()
        .map(|target| (target.application, target_row(0, target)))
        .collect();
    let rows: Vec<TargetWriteRow<'_>> = rows.into_values().collect();
    let text = format!(
        "UPDATE rollout_targets AS i SET
             outcome = r.outcome, detail = r.detail, version_before = r.version_before, version_after = r.version_after
         FROM {} WHERE i.rollout_id = {} AND i.application_id = r.application_id",
        session.dialect.rows::<TargetWriteRow<'_>>(1, "r"),
        session.dialect.uuid(2),
    );
    session
        .execute(Sql::new(text).rows(&rows).id(rollout))
        .await
        .map(|_| ())
}

async fn insert_job_events(
    session: &Session,
    rollout: RolloutId,
    run: u32,
    events: &[JobEvent],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let rows: Vec<JobEventRow<'_>> = events
        .iter()
        .map(|event| JobEventRow {
            sequence: integer(event.sequence),
            at: event.at.as_micros(),
            kind: event.kind.as_str(),
            play: event.play.as_deref(),
            task: event.task.as_deref(),
            host: event.host.as_deref(),
            message: event.message.as_deref(),
            report: event.report.as_ref().map(ReportShape::write),
            stats: HostShape::write(&event.stats),
        })
        .collect();
    let text = format!(
        "INSERT INTO rollout_events (
             rollout_id, run_id, sequence, at, kind, play, task, host, message, report, stats)
         SELECT u.rollout_id, u.id, r.sequence, r.at, r.kind, r.play, r.task, r.host, r.message, r.report, r.stats
         FROM {} JOIN rollout_runs u ON u.rollout_id = {} AND u.run_index = $3
         WHERE true
         ORDER BY r.sequence
         ON CONFLICT (run_id, sequence) DO NOTHING",
        session.dialect.rows::<JobEventRow<'_>>(1, "r"),
        session.dialect.uuid(2),
    );
    session
        .execute(Sql::new(text).rows(&rows).id(rollout).bind(i64::from(run)))
        .await
        .map(|_| ())
}

async fn change_versions(
    session: &Session,
    rollout: RolloutId,
    end: &RolloutEnd,
) -> Result<(), StoreError> {
    if end.versions.is_empty() {
        return Ok(());
    }
    let history: Vec<VersionChangeRow<'_>> = end
        .versions
        .iter()
        .enumerate()
        .map(|(ordinal, (application, change))| VersionChangeRow {
            application_id: Some(application.get()),
            ..VersionChangeRow::new(ordinal, change)
        })
        .collect();
    let table = session.dialect.rows::<VersionChangeRow<'_>>(1, "r");
    // Polling locks a server's row before its applications; so does this, or the two would wait for each other.
    let lock = format!(
        "SELECT s.id FROM servers s
         WHERE s.id IN (SELECT a.server_id FROM application_instances a JOIN {table} ON r.application_id = a.id)
         ORDER BY s.id{}",
        session.dialect.locking("s"),
    );
    session
        .rows::<KeyRow>(Sql::new(lock).rows(&history))
        .await?;
    // The last of several changes of one application holds.
    let text = format!(
        "UPDATE application_instances AS a SET
             version = r.new_version, tag = r.new_tag, image = r.new_image, distr_path = r.new_distr_path
         FROM {table}
         WHERE a.id = r.application_id
           AND NOT EXISTS (SELECT 1 FROM {} WHERE l.application_id = r.application_id AND l.ordinal > r.ordinal)",
        session.dialect.rows::<VersionChangeRow<'_>>(1, "l"),
    );
    session.execute(Sql::new(text).rows(&history)).await?;
    // A version that polling saw first is published once, with its cause.
    let text = format!(
        "DELETE FROM application_version_history
         WHERE change_source = 'polling'
           AND changed_at >= (SELECT t.began_at FROM rollouts t WHERE t.id = {})
           AND EXISTS (SELECT 1 FROM {} WHERE r.application_id = application_version_history.application_id
                       AND r.new_version = application_version_history.new_version)",
        session.dialect.uuid(2),
        session.dialect.rows::<VersionChangeRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).rows(&history).id(rollout))
        .await?;
    insert_versions(session, &history, "a.id = r.application_id", None).await
}
