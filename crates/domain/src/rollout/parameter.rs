//! The names of playbook variables: which are possible, which are known, which are refused.

/// The variables whose values Drover knows; a playbook path may name them without a value.
pub const KNOWN: [&str; 16] = [
    "server",
    "app",
    "app_name",
    "catalog_name",
    "action",
    "image_url",
    "distr_url",
    "mode",
    "app_id",
    "server_id",
    "app_instances",
    "drain_delay",
    "update_playbook",
    "wait_after_update",
    "haproxy_api_url",
    "haproxy_backend",
];

/// Whether Drover knows the value of this variable.
#[must_use]
pub fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Names that mean something to Ansible in every play and every template.
const RESERVED: [&str; 20] = [
    "environment",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "item",
    "lookup",
    "omit",
    "parent_role_names",
    "parent_role_paths",
    "play_hosts",
    "playbook_dir",
    "query",
    "role_name",
    "role_names",
    "role_path",
    "vars",
];

/// The variables that only Drover may set, besides all that begin with `drover_`: they say whom a play is for, what it
/// brings and does, what is drained, which file it runs and with whose secret.
const OWNED: [&str; 14] = [
    "app",
    "app_id",
    "app_instances",
    "app_name",
    "distr_url",
    "haproxy_api_url",
    "haproxy_backend",
    "haproxy_token_file",
    "image_url",
    "mode",
    "server",
    "server_id",
    "update_parameters",
    "update_playbook",
];

/// Whether Ansible keeps this name for itself: passing it would redirect or break the play.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("ansible_") || RESERVED.contains(&name)
}

/// Whether only Drover gives this variable its value; a playbook path may name it, and give no value.
#[must_use]
pub fn is_owned(name: &str) -> bool {
    name.starts_with("drover_") || OWNED.contains(&name)
}

/// Whether this is a variable name: a letter or `_`, then letters, digits and `_`; ASCII, at most 64.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    starts_well
        && name.len() <= 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        for name in ["a", "_x", "drain_delay", "A1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1a", "a-b", "a b", "é", "a;b"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(
            is_reserved("ansible_connection") && is_reserved("hostvars") && !is_reserved("server")
        );
        for name in [
            "app_instances",
            "server",
            "drover_x",
            "update_playbook",
            "mode",
            "distr_url",
            "image_url",
            "haproxy_backend",
            "haproxy_api_url",
        ] {
            assert!(is_owned(name), "{name}");
        }
        for name in [
            "drain_delay",
            "wait_after_update",
            "min_ready",
            "start_timeout",
        ] {
            assert!(!is_owned(name) && !is_reserved(name), "{name}");
        }
        for name in KNOWN {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(is_known("haproxy_backend") && is_known("server") && !is_known("unpack"));
    }
}
