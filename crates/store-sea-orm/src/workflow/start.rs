//! Starting workflows: any number of them, with any number of tasks, in a constant number of statements.

use std::collections::{BTreeMap, BTreeSet};

use drover_domain::Timestamp;
use drover_domain::workflow::run::{Changes, Family, NewRun, Run, Task};
use drover_domain::workflow::{Definition, TaskNo, TaskSpec, Work, WorkflowId, WorkflowStatus};
use drover_ports::{Idempotency, NewWorkflow, StartedWorkflow, StoreError};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::load::WantedWorkflow;
use super::read::{StoredUuid, by_place};
use super::shape::{ActionShape, PolicyShape, micros};
use super::write::{Told, Writes, column};
use crate::row::Stored;
use crate::sql::batch::batch;
use crate::sql::session::{Row, Session};
use crate::sql::{Sql, to_json};
use crate::store::is_duplicate;

batch! {
    NewWorkflowRow<'a> {
        ordinal: i64 => Integer,
        id: Uuid => Uuid,
        name: &'a str => Text,
        mode: &'static str => Text,
        definition_name: Option<&'a str> => OptionalText,
        definition_version: Option<i64> => OptionalInteger,
        labels: String => Text,
        input: &'a str => Text,
        actor: &'a str => Text,
        request_id: &'a str => Text,
        idempotency_scope: Option<&'a str> => OptionalText,
        idempotency_key: Option<&'a str> => OptionalText,
        parent_task: Option<Uuid> => OptionalUuid,
        ancestors: String => Text,
        status: &'static str => Text,
        total: i64 => Integer,
        open: i64 => Integer,
        ended: i64 => Integer,
        has_signals: bool => Boolean,
        deadline: Option<i64> => OptionalInteger,
        is_started: bool => Boolean,
    }
}

batch! {
    NewTaskRow<'a> {
        workflow_id: Uuid => Uuid,
        task_no: i64 => Integer,
        task_key: &'a str => Text,
        kind: &'a str => Text,
        action: String => Text,
        queue: &'a str => Text,
        priority: i64 => Integer,
        payload: &'a str => Text,
        policy: String => Text,
        concurrency_keys: String => Text,
        depends_on: String => Text,
        dependants: String => Text,
        undoes: Option<i64> => OptionalInteger,
        undone_by: Option<i64> => OptionalInteger,
        status: &'static str => Text,
        attempt: i64 => Integer,
        pending: i64 => Integer,
        deadline_at: Option<i64> => OptionalInteger,
    }
}

batch! {
    NewKeyRow<'a> {
        scope: &'a str => Text,
        request_key: &'a str => Text,
        digest: String => Text,
        ids: String => Text,
    }
}

batch! {
    WantedKey<'a> {
        scope: &'a str => Text,
        request_key: &'a str => Text,
    }
}

batch! {
    /// How many workflows a topmost one is about to have more.
    GrowthRow {
        topmost: Uuid => Uuid,
        born: i64 => Integer,
    }
}

by_place! {
    /// A workflow with those above it, the topmost first.
    AboveRow("workflow") {
        id: StoredUuid,
        ancestors: String,
    }
}

by_place! {
    StatusRow("workflow") {
        id: StoredUuid,
        status: String,
    }
}

by_place! {
    GrownRow("workflow") {
        id: StoredUuid,
        descendants: i64,
    }
}

by_place! {
    NowRow("time") {
        now: i64,
    }
}

#[derive(Debug, FromQueryResult)]
struct FreshKeyRow {
    scope: String,
    request_key: String,
}

impl Row for FreshKeyRow {
    const WHAT: &'static str = "idempotency key";
}

#[derive(Debug, FromQueryResult)]
struct UsedKeyRow {
    scope: String,
    request_key: String,
    digest: Vec<u8>,
    task_ids: String,
}

impl Row for UsedKeyRow {
    const WHAT: &'static str = "idempotency key";
}

/// The database's time.
pub(super) async fn now(session: &Session) -> Result<Timestamp, StoreError> {
    let sql = Sql::new(format!("SELECT {}", session.dialect.now()));
    let row = session.row::<NowRow>(sql).await?;
    Ok(row.map_or(Timestamp::EPOCH, |row| Timestamp::from_micros(row.now)))
}

/// Starts workflows within a transaction; returns the hints to send after its commit.
pub(crate) async fn start_all(
    session: &Session,
    workflows: &[NewWorkflow],
) -> Result<(Vec<StartedWorkflow>, Told), StoreError> {
    let now = now(session).await?;
    let replayed = replayed(session, workflows, now).await?;
    let answers = workflows
        .iter()
        .enumerate()
        .map(|(at, new)| match replayed.get(&at) {
            Some(id) => StartedWorkflow::Replayed(*id),
            None => StartedWorkflow::Created(new.id),
        })
        .collect();
    let created: Vec<&NewWorkflow> = workflows
        .iter()
        .enumerate()
        .filter(|(at, _)| !replayed.contains_key(at))
        .map(|(_, new)| new)
        .collect();
    if created.is_empty() {
        return Ok((answers, Told::default()));
    }
    let families = families(session, &created).await?;
    let mut runs = Vec::with_capacity(created.len());
    for (new, (family, _)) in created.iter().zip(&families) {
        runs.push(create(new, *family, now)?);
    }
    insert_workflows(session, &created, &families, &runs).await?;
    insert_tasks(session, &created, &runs).await?;
    let mut writes = Writes::default();
    for (run, changes) in &runs {
        writes.add_new(run, changes, now);
    }
    let told = writes.flush(session).await?;
    Ok((answers, told))
}

fn create(new: &NewWorkflow, family: Family, now: Timestamp) -> Result<(Run, Changes), StoreError> {
    let run = NewRun {
        id: new.id,
        definition: &new.definition,
        parent: new.parent,
        family,
        start_after: new.start_after,
        deadline: new.deadline,
    };
    Run::create(&run, now).map_err(|refusal| {
        let reason = refusal.to_string();
        if refusal.is_defect() {
            Stored::new("workflow", new.id).corrupt(reason)
        } else {
            StoreError::Refused { reason }
        }
    })
}

/// What is above a new workflow, and who, the topmost first.
type Above = (Family, Vec<Uuid>);

// Counts the new ones at their topmost workflows, which lets starts below one take turns.
async fn families(session: &Session, created: &[&NewWorkflow]) -> Result<Vec<Above>, StoreError> {
    let parents: Vec<Option<Uuid>> = created
        .iter()
        .map(|new| new.parent.map(|task| task.workflow().as_uuid()))
        .collect();
    if parents.iter().all(Option::is_none) {
        return Ok(vec![Above::default(); created.len()]);
    }
    let ancestors = ancestors(session, parents.iter().flatten()).await?;
    let above: Vec<Vec<Uuid>> = parents
        .iter()
        .map(|parent| {
            let Some(parent) = parent else {
                return Vec::new();
            };
            let mut above = ancestors.get(parent).cloned().unwrap_or_default();
            above.push(*parent);
            above
        })
        .collect();
    let statuses = statuses(session, above.iter().flatten()).await?;
    let mut sizes = grow(session, &above).await?;
    let families = above.into_iter().map(|above| {
        let size = above.first().and_then(|topmost| sizes.get_mut(topmost));
        let size = size.map_or(0, |size| {
            *size += 1;
            *size - 1
        });
        let found = above.iter().filter_map(|id| statuses.get(id).copied());
        (Family::below(found, size), above)
    });
    Ok(families.collect())
}

fn rows_of<'a>(ids: impl Iterator<Item = &'a Uuid>) -> Vec<WantedWorkflow> {
    let ids: BTreeSet<Uuid> = ids.copied().collect();
    ids.into_iter()
        .map(|workflow_id| WantedWorkflow { workflow_id })
        .collect()
}

async fn ancestors(
    session: &Session,
    workflows: impl Iterator<Item = &Uuid>,
) -> Result<BTreeMap<Uuid, Vec<Uuid>>, StoreError> {
    let text = format!(
        "SELECT w.id, w.ancestors FROM {} JOIN workflows w ON w.id = r.workflow_id",
        session.dialect.batch::<WantedWorkflow>(1, "r"),
    );
    let sql = Sql::new(text).batch(session.dialect, &rows_of(workflows));
    let rows = session.rows::<AboveRow>(sql).await?;
    rows.into_iter()
        .map(|row| {
            let stored = Stored::new("workflow", row.id.0);
            let above = stored.shape("list of identifiers", &row.ancestors)?;
            Ok((row.id.0, above))
        })
        .collect()
}

async fn statuses(
    session: &Session,
    workflows: impl Iterator<Item = &Uuid>,
) -> Result<BTreeMap<Uuid, WorkflowStatus>, StoreError> {
    let text = format!(
        "SELECT w.id, w.status FROM {} JOIN workflows w ON w.id = r.workflow_id",
        session.dialect.batch::<WantedWorkflow>(1, "r"),
    );
    let sql = Sql::new(text).batch(session.dialect, &rows_of(workflows));
    let rows = session.rows::<StatusRow>(sql).await?;
    rows.into_iter()
        .map(|row| {
            let stored = Stored::new("workflow", row.id.0);
            let status = stored.word("status", &row.status, WorkflowStatus::parse)?;
            Ok((row.id.0, status))
        })
        .collect()
}

/// How many workflows were below the topmost ones.
async fn grow(session: &Session, above: &[Vec<Uuid>]) -> Result<BTreeMap<Uuid, u32>, StoreError> {
    let mut born: BTreeMap<Uuid, i64> = BTreeMap::new();
    for topmost in above.iter().filter_map(|above| above.first()) {
        *born.entry(*topmost).or_default() += 1;
    }
    let rows: Vec<GrowthRow> = born
        .iter()
        .map(|(topmost, born)| GrowthRow {
            topmost: *topmost,
            born: *born,
        })
        .collect();
    let text = format!(
        "UPDATE workflows SET descendants = descendants + r.born FROM {} WHERE id = r.topmost RETURNING id, descendants",
        session.dialect.batch::<GrowthRow>(1, "r"),
    );
    let sql = Sql::new(text).batch(session.dialect, &rows);
    let rows = session.rows::<GrownRow>(sql).await?;
    rows.into_iter()
        .map(|row| {
            let stored = Stored::new("workflow", row.id.0);
            let before = row.descendants - born.get(&row.id.0).copied().unwrap_or_default();
            Ok((row.id.0, stored.number("count of descendants", before)?))
        })
        .collect()
}

async fn insert_workflows(
    session: &Session,
    created: &[&NewWorkflow],
    families: &[Above],
    runs: &[(Run, Changes)],
) -> Result<(), StoreError> {
    let rows: Vec<NewWorkflowRow<'_>> = created
        .iter()
        .zip(runs)
        .zip(families)
        .zip(0_i64..)
        .map(|(((new, (run, _)), (_, above)), ordinal)| NewWorkflowRow {
            ordinal,
            id: new.id.as_uuid(),
            name: &new.name,
            mode: new.definition.mode().as_str(),
            definition_name: new.source.as_ref().map(|source| source.name.as_str()),
            definition_version: new.source.as_ref().map(|source| i64::from(source.version)),
            labels: to_json(&new.labels),
            input: new.input.as_str(),
            actor: &new.origin.actor,
            request_id: &new.origin.request_id,
            idempotency_scope: new.idempotency.as_ref().map(|key| key.scope.as_str()),
            idempotency_key: new.idempotency.as_ref().map(|key| key.key.as_str()),
            parent_task: new.parent.map(drover_domain::Id::as_uuid),
            ancestors: to_json(above),
            status: run.head.status.as_str(),
            total: i64::from(run.head.total),
            open: i64::from(run.head.open),
            ended: i64::from(run.head.ended),
            has_signals: run.head.has_signals,
            deadline: run.head.deadline.map(micros),
            is_started: run.head.status != WorkflowStatus::Pending,
        })
        .collect();
    let dialect = session.dialect;
    let now = dialect.now();
    let text = format!(
        "INSERT INTO workflows (
             id, name, mode, definition_name, definition_version, labels, input, actor, request_id,
             idempotency_scope, idempotency_key, parent_task, ancestors, status, total, open, failed, undoable, ended, has_signals, deadline,
             created_at, started_at)
         SELECT r.id, r.name, r.mode, r.definition_name, r.definition_version, {}, r.input, r.actor, r.request_id,
                r.idempotency_scope, r.idempotency_key, r.parent_task, r.ancestors, r.status, r.total, r.open, 0, 0, r.ended, r.has_signals, r.deadline,
                {now}, CASE WHEN r.is_started THEN {now} END
         FROM {} ORDER BY r.ordinal",
        dialect.json_of("r.labels"),
        dialect.batch::<NewWorkflowRow<'_>>(1, "r"),
    );
    let insert = Sql::new(text).batch(dialect, &rows);
    session.execute(insert).await.map(|_| ()).map_err(|error| {
        if is_duplicate(&error) {
            let names: Vec<String> = created
                .iter()
                .take(5)
                .map(|new| new.id.to_string())
                .collect();
            return StoreError::AlreadyExists {
                what: "workflow",
                name: names.join(", "),
            };
        }
        error
    })
}

async fn insert_tasks(
    session: &Session,
    created: &[&NewWorkflow],
    runs: &[(Run, Changes)],
) -> Result<(), StoreError> {
    let mut rows: Vec<NewTaskRow<'_>> = Vec::new();
    for (new, (run, _)) in created.iter().zip(runs) {
        for (no, undoes, spec) in new.definition.numbered() {
            if let Some(task) = run.tasks.get(&no) {
                rows.push(task_row(new.id, &new.definition, task, spec, undoes));
            }
        }
    }
    let text = format!(
        "INSERT INTO workflow_tasks (
             workflow_id, task_no, task_key, kind, action, queue, priority, payload, policy, concurrency_keys, depends_on,
             dependants, undoes, undone_by, status, attempt, retries, lost, is_uncertain, pending, deadline_at)
         SELECT r.workflow_id, r.task_no, r.task_key, r.kind, r.action, r.queue, r.priority, r.payload, r.policy,
                r.concurrency_keys, r.depends_on, r.dependants, r.undoes, r.undone_by, r.status, r.attempt, 0, 0,
                FALSE, r.pending, r.deadline_at
         FROM {}",
        session.dialect.batch::<NewTaskRow<'_>>(1, "r"),
    );
    session
        .execute(Sql::new(text).batch(session.dialect, &rows))
        .await
        .map(|_| ())
}

fn task_row<'a>(
    workflow: WorkflowId,
    definition: &'a Definition,
    task: &'a Task,
    spec: &'a TaskSpec,
    undoes: Option<TaskNo>,
) -> NewTaskRow<'a> {
    let work: &Work = match undoes {
        Some(_) => spec.compensation.as_ref().unwrap_or(&spec.work),
        None => &spec.work,
    };
    let depends_on: Vec<&str> = match undoes {
        Some(_) => Vec::new(),
        None => definition
            .graph()
            .dependencies(task.no)
            .iter()
            .filter_map(|(on, _)| Some(definition.tasks().get(usize::from(on.get()))?.key.as_str()))
            .collect(),
    };
    let dependants: Vec<(u16, bool)> = task
        .dependants
        .iter()
        .map(|(no, skipped)| (no.get(), *skipped))
        .collect();
    NewTaskRow {
        workflow_id: workflow.as_uuid(),
        task_no: column(task.no),
        task_key: task.key.as_str(),
        kind: work.kind.as_str(),
        action: to_json(&ActionShape::write(&work.action)),
        queue: work.queue.as_str(),
        priority: i64::from(work.priority),
        payload: work.payload.as_str(),
        policy: to_json(&PolicyShape::write(&work.policy)),
        concurrency_keys: to_json(&task.concurrency_keys),
        depends_on: to_json(&depends_on),
        dependants: to_json(&dependants),
        undoes: undoes.map(column),
        undone_by: task.undone_by.map(column),
        status: task.status.as_str(),
        attempt: i64::from(task.attempt),
        pending: i64::from(task.pending),
        deadline_at: task.deadline_at.map(Timestamp::as_micros),
    }
}

/// A request's key.
type Key<'a> = (&'a str, &'a str);

// The workflows that were asked for before, by their place in the request. Keys that are new are ours from
// here on; on PostgreSQL a request with the same key at the same time is waited for.
async fn replayed(
    session: &Session,
    workflows: &[NewWorkflow],
    now: Timestamp,
) -> Result<BTreeMap<usize, WorkflowId>, StoreError> {
    let mut first: BTreeMap<Key<'_>, (&Idempotency, WorkflowId)> = BTreeMap::new();
    let mut replayed = BTreeMap::new();
    for (at, new) in workflows.iter().enumerate() {
        let Some(key) = &new.idempotency else {
            continue;
        };
        match first.get(&(key.scope.as_str(), key.key.as_str())) {
            None => {
                first.insert((&key.scope, &key.key), (key, new.id));
            }
            Some((known, id)) if known.digest == key.digest => {
                replayed.insert(at, *id);
            }
            Some(_) => return Err(reused(key)),
        }
    }
    if first.is_empty() {
        return Ok(replayed);
    }
    let used = use_keys(session, &first, now).await?;
    for (at, new) in workflows.iter().enumerate() {
        let Some(key) = &new.idempotency else {
            continue;
        };
        if let Some((digest, id)) = used.get(&(key.scope.clone(), key.key.clone())) {
            if *digest != key.digest {
                return Err(reused(key));
            }
            replayed.insert(at, *id);
        }
    }
    Ok(replayed)
}

fn reused(key: &Idempotency) -> StoreError {
    StoreError::KeyReused {
        key: key.key.clone(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for half in [byte >> 4, byte & 0xf] {
            text.extend(char::from_digit(u32::from(half), 16));
        }
    }
    text
}

async fn use_keys(
    session: &Session,
    keys: &BTreeMap<Key<'_>, (&Idempotency, WorkflowId)>,
    now: Timestamp,
) -> Result<BTreeMap<(String, String), (Vec<u8>, WorkflowId)>, StoreError> {
    let dialect = session.dialect;
    let rows: Vec<NewKeyRow<'_>> = keys
        .iter()
        .map(|((scope, request_key), (key, id))| NewKeyRow {
            scope,
            request_key,
            digest: hex(&key.digest),
            ids: to_json(&[id.to_string()]),
        })
        .collect();
    let text = format!(
        "INSERT INTO idempotency_keys (scope, request_key, digest, task_ids, created_at)
         SELECT r.scope, r.request_key, {}, {}, $1 FROM {} WHERE TRUE ORDER BY r.scope, r.request_key
         ON CONFLICT (scope, request_key) DO NOTHING RETURNING scope, request_key",
        dialect.bytes("r.digest"),
        dialect.json_of("r.ids"),
        dialect.batch::<NewKeyRow<'_>>(2, "r"),
    );
    let insert = Sql::new(text).bind(now.as_micros()).batch(dialect, &rows);
    let fresh = session.rows::<FreshKeyRow>(insert).await?;
    let fresh: BTreeSet<Key<'_>> = fresh
        .iter()
        .map(|row| (row.scope.as_str(), row.request_key.as_str()))
        .collect();
    let wanted: Vec<WantedKey<'_>> = keys
        .keys()
        .filter(|key| !fresh.contains(*key))
        .map(|(scope, request_key)| WantedKey { scope, request_key })
        .collect();
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let text = format!(
        "SELECT k.scope, k.request_key, k.digest, CAST(k.task_ids AS text) AS task_ids
         FROM {} JOIN idempotency_keys k ON k.scope = r.scope AND k.request_key = r.request_key",
        dialect.batch::<WantedKey<'_>>(1, "r"),
    );
    let rows = session
        .rows::<UsedKeyRow>(Sql::new(text).batch(dialect, &wanted))
        .await?;
    rows.into_iter()
        .map(|row| {
            let stored = Stored::new(UsedKeyRow::WHAT, &row.request_key);
            let ids: Vec<String> = stored.shape("list of identifiers", &row.task_ids)?;
            let id = ids
                .first()
                .ok_or_else(|| stored.corrupt("it has no identifier"))?;
            let id = stored.id("workflow identifier", id)?;
            Ok(((row.scope, row.request_key), (row.digest, id)))
        })
        .collect()
}
