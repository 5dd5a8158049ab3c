//! The files of a job: its variables and hosts, checked and neutralized.

use std::collections::BTreeMap;

use drover_domain::rollout::job::{InventoryHost, PlaybookJob, Variable};
use drover_domain::rollout::parameter::{is_name, is_reserved};
use drover_domain::text::visible;
use serde_json::{Map, Value, json};

use crate::protocol::{CALLBACK, CONFIGURATION};

/// Most hosts of a job.
const HOSTS_MAX: usize = 10_000;

/// The name by which plays know the control host itself.
const CONTROL_HOST: &str = "localhost";

/// The files by name, or what is wrong with the job.
pub(crate) fn files(job: &PlaybookJob) -> Result<BTreeMap<&'static str, String>, String> {
    Ok(BTreeMap::from([
        ("vars.json", variables(&job.variables)?.to_string()),
        ("inventory.json", inventory(&job.hosts)?.to_string()),
        ("ansible.cfg", CONFIGURATION.to_owned()),
        ("callback/drover_events.py", CALLBACK.to_owned()),
    ]))
}

fn variables(variables: &BTreeMap<String, Variable>) -> Result<Value, String> {
    let mut found = Map::new();
    for (name, value) in variables {
        if !is_name(name) {
            return Err(format!(
                "`{}` cannot be the name of a variable",
                visible(name, 64)
            ));
        }
        if is_reserved(name) {
            return Err(format!("the variable `{name}` is reserved by Ansible"));
        }
        let value = match value {
            // Ansible takes every text for a template unless it is tagged so.
            Variable::Text(text) => json!({ "__ansible_unsafe": text }),
            Variable::Integer(number) => json!(number),
            Variable::Boolean(truth) => json!(truth),
        };
        found.insert(name.clone(), value);
    }
    Ok(Value::Object(found))
}

fn inventory(hosts: &[InventoryHost]) -> Result<Value, String> {
    if hosts.len() > HOSTS_MAX {
        return Err(format!(
            "it has {} hosts; at most {HOSTS_MAX} are possible",
            hosts.len()
        ));
    }
    let mut found = Map::new();
    for host in hosts {
        // A name may be used as a pattern by plays, an address ends up in an argument list.
        if !is_plain(&host.name, "._-") || ["all", "ungrouped"].contains(&host.name.as_str()) {
            return Err(format!(
                "`{}` cannot be the name of a host",
                visible(&host.name, 128)
            ));
        }
        if !is_plain(&host.address, "._-:%") {
            return Err(format!(
                "`{}` cannot be the address of a host",
                visible(&host.address, 128)
            ));
        }
        found.insert(host.name.clone(), json!({ "ansible_host": host.address }));
    }
    found.insert(
        CONTROL_HOST.to_owned(),
        json!({ "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}" }),
    );
    Ok(json!({ "all": { "hosts": found } }))
}

/// Letters, digits and `also`, starting with a letter, a digit, `_` or `:`.
fn is_plain(text: &str, also: &str) -> bool {
    let starts_well = !text.starts_with(['-', '.', '%']);
    starts_well
        && !text.is_empty()
        && text
            .chars()
            .all(|found| found.is_ascii_alphanumeric() || also.contains(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        variables(&BTreeMap::from([(
            name.to_owned(),
            Variable::Boolean(true),
        )]))
        .unwrap_err()
    }

    #[test]
    fn texts_are_tagged_and_types_are_kept() {
        let given = BTreeMap::from([
            ("a".to_owned(), Variable::Text("{{ 1 }}".to_owned())),
            ("b".to_owned(), Variable::Integer(-7)),
            ("c".to_owned(), Variable::Boolean(false)),
        ]);
        let written = variables(&given).unwrap();
        assert_eq!(
            written,
            json!({ "a": { "__ansible_unsafe": "{{ 1 }}" }, "b": -7, "c": false })
        );
    }

    #[test]
    fn names_that_redirect_a_play_are_refused() {
        for name in ["ansible_connection", "hostvars", "groups", "omit", "vars"] {
            assert_eq!(
                refusal(name),
                format!("the variable `{name}` is reserved by Ansible")
            );
        }
        assert_eq!(refusal("a b"), "`a b` cannot be the name of a variable");
    }

    #[test]
    fn hosts_that_are_patterns_or_options_are_refused() {
        let host = |name: &str, address: &str| InventoryHost {
            name: name.to_owned(),
            address: address.to_owned(),
        };
        for bad in [
            host("all", "h"),
            host("a:b", "h"),
            host("!a", "h"),
            host("a", "-oX"),
            host("a", "{{ x }}"),
            host("", "h"),
        ] {
            assert!(inventory(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        for good in [
            host("web01", "10.0.0.1"),
            host("10.0.0.1", "fe80::1%eth0"),
            host("a_b.c", "::1"),
        ] {
            assert!(inventory(std::slice::from_ref(&good)).is_ok(), "{good:?}");
        }
    }
}
