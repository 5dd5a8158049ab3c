//! One word for one thing (decision 33): pins and exclusions of servers in HAProxy, rollouts and their targets.

use sea_orm_migration::prelude::*;

use crate::dialect::run;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }
}

const UP: &str = "
ALTER TABLE update_tasks RENAME TO rollouts;
ALTER TABLE update_task_runs RENAME TO rollout_runs;
ALTER TABLE update_task_instances RENAME TO rollout_targets;
ALTER TABLE update_task_events RENAME TO rollout_events;
ALTER TABLE rollout_runs RENAME COLUMN task_id TO rollout_id;
ALTER TABLE rollout_targets RENAME COLUMN task_id TO rollout_id;
ALTER TABLE rollout_events RENAME COLUMN task_id TO rollout_id;
ALTER TABLE application_version_history RENAME COLUMN task_id TO rollout_id;
DROP INDEX update_tasks_workflow;
CREATE UNIQUE INDEX rollouts_workflow ON rollouts (workflow_id);
DROP INDEX update_task_events_task;
CREATE INDEX rollout_events_rollout ON rollout_events (rollout_id, position);

ALTER TABLE haproxy_servers RENAME COLUMN desired_state TO pin_state;
ALTER TABLE haproxy_servers RENAME COLUMN desired_by TO pin_by;
ALTER TABLE haproxy_servers RENAME COLUMN desired_reason TO pin_reason;
ALTER TABLE haproxy_servers RENAME COLUMN desired_since TO pin_since;
ALTER TABLE haproxy_servers RENAME COLUMN desired_until TO pin_until;
ALTER TABLE haproxy_actions RENAME COLUMN hold_for TO pin_for;

ALTER TABLE haproxy_servers RENAME COLUMN mapping_held_at TO excluded_at;
ALTER TABLE haproxy_servers RENAME COLUMN mapping_held_by TO excluded_by;
ALTER TABLE haproxy_servers RENAME COLUMN mapping_held_reason TO exclusion_reason;
";

const DOWN: &str = "
ALTER TABLE haproxy_servers RENAME COLUMN exclusion_reason TO mapping_held_reason;
ALTER TABLE haproxy_servers RENAME COLUMN excluded_by TO mapping_held_by;
ALTER TABLE haproxy_servers RENAME COLUMN excluded_at TO mapping_held_at;

ALTER TABLE haproxy_actions RENAME COLUMN pin_for TO hold_for;
ALTER TABLE haproxy_servers RENAME COLUMN pin_until TO desired_until;
ALTER TABLE haproxy_servers RENAME COLUMN pin_since TO desired_since;
ALTER TABLE haproxy_servers RENAME COLUMN pin_reason TO desired_reason;
ALTER TABLE haproxy_servers RENAME COLUMN pin_by TO desired_by;
ALTER TABLE haproxy_servers RENAME COLUMN pin_state TO desired_state;

DROP INDEX rollout_events_rollout;
CREATE INDEX update_task_events_task ON rollout_events (rollout_id, position);
DROP INDEX rollouts_workflow;
CREATE UNIQUE INDEX update_tasks_workflow ON rollouts (workflow_id);
ALTER TABLE application_version_history RENAME COLUMN rollout_id TO task_id;
ALTER TABLE rollout_events RENAME COLUMN rollout_id TO task_id;
ALTER TABLE rollout_targets RENAME COLUMN rollout_id TO task_id;
ALTER TABLE rollout_runs RENAME COLUMN rollout_id TO task_id;
ALTER TABLE rollout_events RENAME TO update_task_events;
ALTER TABLE rollout_targets RENAME TO update_task_instances;
ALTER TABLE rollout_runs RENAME TO update_task_runs;
ALTER TABLE rollouts RENAME TO update_tasks;
";
