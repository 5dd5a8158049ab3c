//! Actions on servers in HAProxy as people look at them.

use async_trait::async_trait;
use drover_domain::haproxy::action::{HaproxyAction, action_task};
use drover_domain::haproxy::{AdminState, HaproxyServerKey};
use drover_domain::page::{Page, PageRequest};
use drover_domain::workflow::TaskId;
use drover_domain::{Key, Timestamp};
use drover_ports::{ActionFilter, ActionView, StatusChange, StoreError};

use crate::haproxy::view::is_stored;
use crate::row::action::{ActionRow, StatusChangeRow, select_actions};
use crate::sql::session::Session;
use crate::sql::{Sql, limit};
use crate::store::SeaOrmStore;

#[async_trait]
impl ActionView for SeaOrmStore {
    #[tracing::instrument(name = "db.action_view.find", level = "debug", skip_all)]
    async fn find(&self, action: TaskId) -> Result<Option<HaproxyAction>, StoreError> {
        find_action(&self.read("find an action"), action).await
    }

    #[tracing::instrument(name = "db.action_view.of_transactions", level = "debug", skip_all)]
    async fn of_transactions(
        &self,
        transactions: &[String],
    ) -> Result<Vec<HaproxyAction>, StoreError> {
        let session = self.read("find actions by their transactions");
        let rest = format!(
            "WHERE a.transaction_id IN {} ORDER BY a.id",
            session.dialect.texts(1)
        );
        let sql = select_actions(&rest).json(&transactions);
        let rows = session.rows::<ActionRow>(sql).await?;
        let actions = rows.into_iter().map(ActionRow::read);
        actions.map(|read| read.map(|(_, action)| action)).collect()
    }

    #[tracing::instrument(name = "db.action_view.list", level = "debug", skip_all)]
    async fn list(
        &self,
        filter: &ActionFilter,
        page: PageRequest,
    ) -> Result<Page<(i64, HaproxyAction)>, StoreError> {
        let mut wanted = vec!["a.id < $1".to_owned()];
        let mut sql = Sql::new("")
            .descending(page)
            .narrow(
                &mut wanted,
                "a.haproxy_server_id =",
                filter.server.map(Key::get),
            )
            .narrow(
                &mut wanted,
                "a.wanted =",
                filter.wanted.map(AdminState::as_str),
            )
            .narrow(
                &mut wanted,
                "a.created_at >=",
                filter.since.map(Timestamp::as_micros),
            )
            .narrow(
                &mut wanted,
                "a.created_at <",
                filter.until.map(Timestamp::as_micros),
            );
        let wanted = wanted.join(" AND ");
        sql.text = select_actions(&format!("WHERE {wanted} ORDER BY a.id DESC LIMIT $2")).text;
        let rows = self.read("list actions").rows::<ActionRow>(sql).await?;
        let actions = rows
            .into_iter()
            .map(ActionRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_lookahead(
            actions,
            limit(page),
            |(position, _): &(i64, _)| *position,
        ))
    }

    #[tracing::instrument(name = "db.action_view.history", level = "debug", skip_all)]
    async fn history(
        &self,
        server: HaproxyServerKey,
        page: PageRequest,
    ) -> Result<Option<Page<StatusChange>>, StoreError> {
        let session = self.read("list the status changes of a HAProxy server");
        let sql = Sql::new(
            "SELECT c.id, c.changed_at, c.old_status, c.new_status,
                    CAST(c.action_workflow_id AS text) AS action_workflow_id, c.actor
             FROM haproxy_server_status_history c
             WHERE c.id < $1 AND c.haproxy_server_id = $3 ORDER BY c.id DESC LIMIT $2",
        );
        let rows = session
            .rows::<StatusChangeRow>(sql.descending(page).bind(server.get()))
            .await?;
        if rows.is_empty() && !is_stored(&session, server).await? {
            return Ok(None);
        }
        let changes = rows
            .into_iter()
            .map(StatusChangeRow::read)
            .collect::<Result<_, _>>()?;
        Ok(Some(Page::from_lookahead(
            changes,
            limit(page),
            |change: &StatusChange| change.position,
        )))
    }
}

/// The action that this task is.
pub(crate) async fn find_action(
    session: &Session,
    task: TaskId,
) -> Result<Option<HaproxyAction>, StoreError> {
    if task != action_task(task.workflow()) {
        return Ok(None);
    }
    let id = session.dialect.uuid(1);
    let sql = select_actions(&format!("WHERE a.workflow_id = {id}")).id(task.workflow());
    let row = session.row::<ActionRow>(sql).await?;
    Ok(row
        .map(ActionRow::read)
        .transpose()?
        .map(|(_, action)| action))
}
