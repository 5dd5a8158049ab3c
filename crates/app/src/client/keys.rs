//! `drover keys`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::failure::{Code, Failure};
use super::output::{Column, Output, cell, line, note, table, text};
use super::service::Service;
use super::times::{moment, now};

const KEYS: &str = "access/keys";

const COLUMNS: &[Column] = &[
    ("NAME", "name"),
    ("ROLE", "role"),
    ("EXPIRES", "expires_at"),
    ("ORIGIN", "origin"),
    ("ISSUED BY", "created_by"),
    ("CREATED", "created_at"),
    ("ID", "id"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the API keys, without their secrets.
    List,
    /// Issue an API key and print it to standard output. It is not shown again.
    Add(Add),
    /// Revoke an API key: every node refuses it from now on.
    Revoke {
        /// The name or the id of the key.
        #[arg(value_name = "NAME")]
        key: String,
    },
}

/// What a key allows.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Reads.
    Viewer,
    /// Also starts updates and actions; what a worker needs.
    Operator,
    /// Also changes what Drover knows, and manages keys.
    Admin,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The person or program the key is for; the actor of its requests. Unique.
    name: String,
    /// What the key allows.
    #[arg(long, value_enum)]
    role: Role,
    /// How long the key is valid: a number with m, h or d, such as 90d. Without an end, until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "expires_at")]
    expires_in: Option<chrono::TimeDelta>,
    /// Until when the key is valid: a moment such as 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "MOMENT")]
    expires_at: Option<String>,
}

fn span(text: &str) -> Result<chrono::TimeDelta, String> {
    let refused = || "expected a number with m, h or d, such as 90d".to_owned();
    let unit = text.chars().next_back().ok_or_else(refused)?;
    let minutes = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        _ => return Err(refused()),
    };
    let count = text
        .strip_suffix(unit)
        .and_then(|count| count.parse::<i64>().ok());
    let count = count.filter(|count| *count > 0).ok_or_else(refused)?;
    let minutes = count.checked_mul(minutes).ok_or_else(refused)?;
    chrono::TimeDelta::try_minutes(minutes).ok_or_else(refused)
}

pub(crate) async fn run(
    command: Command,
    service: &Service,
    output: &Output,
) -> Result<Code, Failure> {
    match command {
        Command::List => {
            let keys = service.get(KEYS, &[]).await?;
            output.document(&keys, || table(&shown(&keys), COLUMNS));
        }
        Command::Add(add) => {
            let role = add.role.to_possible_value();
            let role = role.map(|role| role.get_name().to_owned());
            let end = match add.expires_in {
                Some(span) => Some(end_of(span)?),
                None => add.expires_at,
            };
            let body = json!({"name": add.name, "role": role, "expires_at": end});
            let issued = service.post(KEYS, &body).await?;
            output.document(&issued, || {
                line(text(&issued, "key"));
                note(&format!(
                    "this is the API key of {}; it is not shown again",
                    cell(&issued, "name")
                ));
            });
        }
        Command::Revoke { key } => {
            let known = service.get(KEYS, &[]).await?;
            let found = items(&known)
                .iter()
                .find(|item| text(item, "name") == key)
                .or_else(|| items(&known).iter().find(|item| text(item, "id") == key));
            let Some(found) = found else {
                let message = format!("there is no API key `{}`", key.escape_debug());
                return Err(Failure::new(Code::NotFound, message));
            };
            let path = format!("{KEYS}/{}", text(found, "id"));
            service.delete(&path).await?;
            note(&format!("the API key {} is revoked", cell(found, "name")));
        }
    }
    Ok(Code::Success)
}

fn end_of(span: chrono::TimeDelta) -> Result<String, Failure> {
    let end = now().checked_add_signed(span);
    let end = end.map(|end| end.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    end.ok_or_else(|| Failure::new(Code::Usage, "`--expires-in` is too long"))
}

fn items(keys: &Value) -> &[Value] {
    let items = keys.get("items").and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

// Expired keys are marked: they are refused.
fn shown(keys: &Value) -> Vec<Value> {
    let now = now();
    let mut items = items(keys).to_vec();
    for item in &mut items {
        if moment(item, "expires_at").is_some_and(|end| end <= now) {
            let end = format!("{} (expired)", text(item, "expires_at"));
            if let Some(members) = item.as_object_mut() {
                members.insert("expires_at".to_owned(), Value::from(end));
            }
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn spans_have_a_unit() {
        for (text, expected) in [
            ("90d", Ok(TimeDelta::days(90))),
            ("12h", Ok(TimeDelta::hours(12))),
            ("30m", Ok(TimeDelta::minutes(30))),
            ("", Err(())),
            ("d", Err(())),
            ("90", Err(())),
            ("0d", Err(())),
            ("-1d", Err(())),
            ("9é", Err(())),
            ("99999999999999999d", Err(())),
        ] {
            assert_eq!(span(text).map_err(drop), expected, "{text}");
        }
    }

    #[test]
    fn expired_keys_are_marked() {
        let keys = json!({"items": [
            {"name": "old", "expires_at": "2020-01-01T00:00:00.000Z"},
            {"name": "new", "expires_at": "2999-01-01T00:00:00.000Z"},
            {"name": "lasting", "expires_at": null},
        ]});
        let ends: Vec<String> = shown(&keys)
            .iter()
            .map(|key| cell(key, "expires_at"))
            .collect();
        assert_eq!(
            ends,
            [
                "2020-01-01T00:00:00.000Z (expired)",
                "2999-01-01T00:00:00.000Z",
                "-"
            ]
        );
    }
}
