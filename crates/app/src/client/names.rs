//! Things by the names that people use: HAProxy instances, servers in HAProxy, applications.
//!
//! A number is always a number. Names are looked up in the lists of the API with their filters, and a name that several
//! have is refused with the full names of all of them.

use serde_json::Value;

use super::failure::{Code, Failure};
use super::output::{NOTHING, cell, text};
use super::service::Service;

/// The most HAProxy backends that are searched for a name.
const BACKENDS_MAX: usize = 500;

/// The most candidates that a refusal lists.
const CANDIDATES_MAX: usize = 10;

/// The longest part of a name that lists can be filtered by, characters.
const FILTER_MAX: usize = 64;

/// A thing as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Number(i64),
    Name(String),
}

/// Reads a number from 1, or a name.
pub(crate) fn reference(text: &str) -> Result<Reference, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a name or a number is expected".to_owned());
    }
    // Drover prints no number with a zero before it, so `01` is what a thing is called.
    let is_padded = text.len() > 1 && text.starts_with('0');
    if is_padded || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Reference::Name(text.to_owned()));
    }
    match text.parse() {
        Ok(number) if number > 0 => Ok(Reference::Number(number)),
        Ok(_) | Err(_) => Err("numbers begin with 1".to_owned()),
    }
}

/// What was found under a name: its number, and the name that means nothing else.
#[derive(Debug)]
struct Candidate {
    id: i64,
    name: String,
}

/// The HAProxy instance as the API shows it: by number, `NAME` or `NAME@SERVER`.
pub(crate) async fn instance(wanted: &Reference, service: &Service) -> Result<Value, Failure> {
    let known = match wanted {
        Reference::Number(_) => service.all("haproxy/instances", &[]).await?,
        Reference::Name(name) => instances(name, service).await?,
    };
    let shown = match wanted {
        Reference::Number(number) => number.to_string(),
        Reference::Name(name) => name.clone(),
    };
    let found: Vec<Value> = known
        .into_iter()
        .filter(|instance| match wanted {
            Reference::Number(number) => id(instance) == Some(*number),
            Reference::Name(_) => true,
        })
        .collect();
    let candidates = found.iter().filter_map(|instance| {
        Some(Candidate {
            id: id(instance)?,
            name: full_instance(instance),
        })
    });
    let chosen = one(
        "HAProxy instance",
        "drover haproxy list",
        &shown,
        candidates,
    )?;
    let mut found = found.into_iter();
    // `chosen` comes from this list.
    Ok(found
        .find(|instance| id(instance) == Some(chosen))
        .unwrap_or_default())
}

/// The number of an HAProxy instance.
pub(crate) async fn instance_id(wanted: &Reference, service: &Service) -> Result<i64, Failure> {
    if let Reference::Number(number) = wanted {
        return Ok(*number);
    }
    Ok(id(&instance(wanted, service).await?).unwrap_or_default())
}

/// The number of a server in HAProxy: by number, `SERVER`, `BACKEND/SERVER` or `INSTANCE/BACKEND/SERVER`.
pub(crate) async fn haproxy_server(wanted: &Reference, service: &Service) -> Result<i64, Failure> {
    let name = match wanted {
        Reference::Number(number) => return Ok(*number),
        Reference::Name(name) => name,
    };
    let parts: Vec<&str> = name.split('/').collect();
    let (instance, backend, server) = match parts.as_slice() {
        [server] => (None, None, *server),
        [backend, server] => (None, Some(*backend), *server),
        [instance, backend, server] => (Some(*instance), Some(*backend), *server),
        _ => {
            let message = format!(
                "`{}` is no server in HAProxy; SERVER, BACKEND/SERVER or INSTANCE/BACKEND/SERVER is expected",
                name.escape_debug()
            );
            return Err(Failure::new(Code::Usage, message));
        }
    };
    let instances = match instance {
        Some(instance) => instances(instance, service).await?,
        None => service.all("haproxy/instances", &[]).await?,
    };
    let mut candidates = Vec::new();
    let mut searched = 0;
    for instance in &instances {
        let path = format!("haproxy/instances/{}/backends", cell(instance, "id"));
        for found in named(&path, backend, service).await? {
            searched += 1;
            if searched > BACKENDS_MAX {
                let message = format!(
                    "there are more than {BACKENDS_MAX} HAProxy backends to search for `{}`; name its backend as well: BACKEND/SERVER",
                    name.escape_debug()
                );
                return Err(Failure::new(Code::Usage, message));
            }
            let path = format!("haproxy/backends/{}/servers", cell(&found, "id"));
            for found_server in named(&path, Some(server), service).await? {
                candidates.extend(id(&found_server).map(|id| Candidate {
                    id,
                    name: format!(
                        "{}/{}/{}",
                        full_instance(instance),
                        cell(&found, "name"),
                        cell(&found_server, "name")
                    ),
                }));
            }
        }
    }
    one(
        "server in HAProxy",
        "drover haproxy show INSTANCE",
        name,
        candidates.into_iter(),
    )
}

/// The number of an application: by number, `NAME` or `NAME@SERVER`.
pub(crate) async fn application(wanted: &Reference, service: &Service) -> Result<i64, Failure> {
    let typed = match wanted {
        Reference::Number(number) => return Ok(*number),
        Reference::Name(name) => name,
    };
    let (name, server) = on_server(typed);
    let found = service.all("applications", &[("name", name)]).await?;
    let found = on(found, server, "server_name");
    let candidates = found.iter().filter_map(|application| {
        Some(Candidate {
            id: id(application)?,
            name: format!(
                "{}@{}",
                cell(application, "name"),
                cell(application, "server_name")
            ),
        })
    });
    one("application", "drover apps list", typed, candidates)
}

/// The numbers of servers in HAProxy, each once, in the order they were typed.
pub(crate) async fn haproxy_servers(
    wanted: &[Reference],
    service: &Service,
) -> Result<Vec<i64>, Failure> {
    let mut numbers = Vec::new();
    for wanted in wanted {
        once(&mut numbers, haproxy_server(wanted, service).await?);
    }
    // Of one server the action itself says that it does not exist; of several, none is touched before all are known.
    if let [_, _, ..] = numbers.as_slice() {
        let typed = wanted.iter().filter_map(|wanted| match wanted {
            Reference::Number(number) => Some(number),
            Reference::Name(_) => None,
        });
        for number in typed {
            service
                .get(&format!("haproxy/servers/{number}/mapping"), &[])
                .await?;
        }
    }
    Ok(numbers)
}

/// The numbers of applications, each once, in the order they were typed.
pub(crate) async fn applications(
    wanted: &[Reference],
    service: &Service,
) -> Result<Vec<i64>, Failure> {
    let mut numbers = Vec::new();
    for wanted in wanted {
        once(&mut numbers, application(wanted, service).await?);
    }
    Ok(numbers)
}

fn once(numbers: &mut Vec<i64>, number: i64) {
    if !numbers.contains(&number) {
        numbers.push(number);
    }
}

/// The instances with this name, `NAME` or `NAME@SERVER`.
async fn instances(typed: &str, service: &Service) -> Result<Vec<Value>, Failure> {
    let (name, server) = on_server(typed);
    let found = named("haproxy/instances", Some(name), service).await?;
    Ok(on(found, server, "server_name"))
}

/// The items of a list with exactly this name; all where none is given.
async fn named(path: &str, name: Option<&str>, service: &Service) -> Result<Vec<Value>, Failure> {
    let filter = name.filter(|name| !name.is_empty() && name.chars().count() <= FILTER_MAX);
    let query: Vec<(&str, &str)> = filter.map(|name| ("q", name)).into_iter().collect();
    let items = service.all(path, &query).await?;
    Ok(items
        .into_iter()
        .filter(|item| name.is_none_or(|name| text(item, "name") == name))
        .collect())
}

/// A name and the server behind its `@`.
fn on_server(typed: &str) -> (&str, Option<&str>) {
    match typed.rsplit_once('@') {
        Some((name, server)) => (name, Some(server)),
        None => (typed, None),
    }
}

/// Those on a server, by its full name or by the part of it before the first dot.
fn on(items: Vec<Value>, server: Option<&str>, member: &str) -> Vec<Value> {
    let Some(server) = server else {
        return items;
    };
    let short = |item: &Value| {
        let name = text(item, member);
        name == server || name.split('.').next() == Some(server)
    };
    let exact: Vec<Value> = items
        .iter()
        .filter(|item| text(item, member) == server)
        .cloned()
        .collect();
    if exact.is_empty() {
        return items.into_iter().filter(short).collect();
    }
    exact
}

fn full_instance(instance: &Value) -> String {
    match cell(instance, "server_name") {
        server if server == NOTHING => cell(instance, "name"),
        server => format!("{}@{server}", cell(instance, "name")),
    }
}

fn id(item: &Value) -> Option<i64> {
    item.get("id").and_then(Value::as_i64)
}

/// The only candidate, or a refusal that says what there is.
fn one(
    what: &str,
    list: &str,
    wanted: &str,
    candidates: impl Iterator<Item = Candidate>,
) -> Result<i64, Failure> {
    let candidates: Vec<Candidate> = candidates.collect();
    match candidates.as_slice() {
        [found] => Ok(found.id),
        [] => {
            let message = format!(
                "there is no {what} `{}`; `{list}` shows what there is",
                wanted.escape_debug()
            );
            Err(Failure::new(Code::NotFound, message))
        }
        several => {
            let mut names: Vec<String> = several
                .iter()
                .take(CANDIDATES_MAX)
                .map(|candidate| format!("{} (number {})", candidate.name, candidate.id))
                .collect();
            if several.len() > names.len() {
                names.push(format!("{} more", several.len() - names.len()));
            }
            let message = format!(
                "`{}` can be any of these; use a full name or a number: {}",
                wanted.escape_debug(),
                names.join(", ")
            );
            Err(Failure::new(Code::Usage, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_a_number_and_all_else_a_name() {
        assert_eq!(reference("7"), Ok(Reference::Number(7)));
        for name in ["shop_1", "shop/shop_1", "7a", "1.5", "5s", "01", "00"] {
            assert_eq!(reference(name), Ok(Reference::Name(name.to_owned())));
        }
        for nothing in ["", " ", "0", "99999999999999999999"] {
            assert!(reference(nothing).is_err(), "{nothing:?}");
        }
    }

    #[test]
    fn a_server_is_meant_by_its_full_name_before_its_short_one() {
        let items = |names: &[&str]| {
            let items = names.iter().map(|name| json!({"server_name": name}));
            items.collect::<Vec<Value>>()
        };
        let all = items(&["web1", "web1.example", "web10.example"]);
        let found = |server| on(all.clone(), Some(server), "server_name");
        assert_eq!(found("web1"), items(&["web1"]));
        assert_eq!(found("web1.example"), items(&["web1.example"]));
        assert_eq!(found("web10"), items(&["web10.example"]));
        assert!(found("web").is_empty());
        assert_eq!(on(all.clone(), None, "server_name"), all);
    }

    #[test]
    fn a_refusal_lists_the_candidates() {
        let candidates = |count: i64| {
            (1..=count).map(|id| Candidate {
                id,
                name: format!("default@lb1/be{id}/shop_1"),
            })
        };
        let refusal = one("server", "list", "shop_1", candidates(2)).unwrap_err();
        assert_eq!(refusal.code, Code::Usage);
        assert_eq!(
            refusal.message,
            "`shop_1` can be any of these; use a full name or a number: \
             default@lb1/be1/shop_1 (number 1), default@lb1/be2/shop_1 (number 2)"
        );
        let many = one("server", "list", "shop_1", candidates(12)).unwrap_err();
        assert!(many.message.ends_with(", 2 more"), "{}", many.message);
        assert_eq!(one("server", "list", "x", candidates(1)).ok(), Some(1));
    }
}
