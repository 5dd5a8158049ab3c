//! The table of `show servers state`: the administrative and operational state HAProxy keeps apart.

use std::collections::HashMap;

use super::instance::AdminAction;

/// Bit of `srv_admin_state`: maintenance was asked for over this socket (or in the configuration).
const FORCED_MAINT: u32 = 0x01;
/// Bit of `srv_admin_state`: draining was asked for over this socket.
const FORCED_DRAIN: u32 = 0x08;

/// One server as `show servers state` lists it. Texts are kept as HAProxy wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateRow {
    pub(super) backend_id: u32,
    pub(super) backend: String,
    pub(super) server: String,
    pub(super) op_state: String,
    pub(super) admin_state: u32,
    pub(super) check_result: String,
    pub(super) check_health: String,
    pub(super) agent_state: String,
}

impl StateRow {
    /// Whether the state is the one `action` asks for, as far as this socket can decide it.
    ///
    /// Inherited maintenance or draining (a tracked server, DNS) is not undone by `ready` and does not count here.
    pub(super) fn obeys(&self, action: AdminAction) -> bool {
        match action {
            AdminAction::Ready => self.admin_state & (FORCED_MAINT | FORCED_DRAIN) == 0,
            AdminAction::Drain => self.admin_state & FORCED_DRAIN != 0,
            AdminAction::Maint => self.admin_state & FORCED_MAINT != 0,
        }
    }
}

/// Reads the answer of `show servers state`; `None` if it is not such a table.
///
/// The first line is the version of the format, the second names the columns. `srv_admin_state` is **decimal**;
/// reading it as hexadecimal turns an inherited drain (16) into maintenance.
pub(super) fn parse(text: &str) -> Option<Vec<StateRow>> {
    let mut lines = text.lines();
    lines.next()?.trim().parse::<u32>().ok()?;
    let columns: HashMap<&str, usize> = lines
        .next()?
        .strip_prefix("# ")?
        .split(' ')
        .enumerate()
        .map(|(at, name)| (name, at))
        .collect();
    let mut rows = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(' ').collect();
        let field = |column: &str| columns.get(column).and_then(|at| fields.get(*at)).copied();
        rows.push(StateRow {
            backend_id: field("be_id")?.parse().ok()?,
            backend: field("be_name")?.to_owned(),
            server: field("srv_name")?.to_owned(),
            op_state: field("srv_op_state")?.to_owned(),
            admin_state: field("srv_admin_state")?.parse().ok()?,
            check_result: field("srv_check_result").unwrap_or_default().to_owned(),
            check_health: field("srv_check_health").unwrap_or_default().to_owned(),
            agent_state: field("srv_agent_state").unwrap_or_default().to_owned(),
        });
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    // An answer of HAProxy 2.6.12: `b` is `disabled` in the configuration, `t` tracks a drained server.
    const RECORDED: &str = "\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port
3 web 1 a 127.0.0.1 2 8 1 1 2 15 3 4 6 0 0 0 - 28412 - 0 0 - - 0
3 web 2 b 127.0.0.1 0 5 1 1 2 1 0 0 14 0 0 0 - 28413 - 0 0 - - 0
3 web 3 t 127.0.0.1 2 16 1 1 2 1 0 0 0 0 0 0 - 28414 - 0 0 - - 0

";

    #[test]
    fn masks_are_decimal_and_joined_to_names() {
        let rows = parse(RECORDED).unwrap();
        assert_eq!(
            rows.iter()
                .map(|row| (row.server.as_str(), row.admin_state, row.backend_id))
                .collect::<Vec<_>>(),
            [("a", 8, 3), ("b", 5, 3), ("t", 16, 3)]
        );
        assert_eq!(
            (rows[0].check_result.as_str(), rows[0].check_health.as_str()),
            ("3", "4")
        );
    }

    #[test]
    fn a_state_obeys_only_its_own_action() {
        let obeyed = |mask: u32| {
            let row = StateRow {
                admin_state: mask,
                ..parse(RECORDED).unwrap()[0].clone()
            };
            [AdminAction::Ready, AdminAction::Drain, AdminAction::Maint]
                .map(|action| row.obeys(action))
        };
        assert_eq!(obeyed(0), [true, false, false]);
        assert_eq!(obeyed(8), [false, true, false]);
        assert_eq!(obeyed(1), [false, false, true]);
        assert_eq!(obeyed(5), [false, false, true]);
        // `ready` after a configured `disabled` leaves bit 4, which takes no traffic away.
        assert_eq!(obeyed(4), [true, false, false]);
        // A tracked server's drain and maintenance are not this socket's to undo.
        assert_eq!(obeyed(16), [true, false, false]);
        assert_eq!(obeyed(2), [true, false, false]);
    }

    #[test]
    fn an_error_text_is_not_a_table() {
        for text in [
            "",
            "Can't find backend.\n",
            "1\nno header\n",
            "1\n# be_id be_name\nx y\n",
        ] {
            assert!(parse(text).is_none(), "{text:?} was read as a table");
        }
    }
}
