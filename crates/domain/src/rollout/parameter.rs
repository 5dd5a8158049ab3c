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

/// Whether Ansible keeps this name for itself: passing it would redirect or break the play.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with("ansible_") || matches!(name, "hostvars" | "groups" | "omit" | "vars")
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
        assert!(is_known("haproxy_backend") && is_known("server") && !is_known("unpack"));
    }
}
