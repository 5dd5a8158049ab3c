//! What must not be shown: which names mean a secret, and how a text looks without its secrets.
//!
//! The one rule for logs, events and answers. It masks for readers; what is stored and sent stays as it is.

use std::borrow::Cow;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// The longest name in front of a value, bytes.
const NAME_BYTES_MAX: usize = 64;

/// Whether a member, header, parameter or variable of this name holds a secret: `api_token`, `X-Api-Key`, `dbPassword`.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    const PARTS: [&str; 22] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "accesskey",
        "privatekey",
        "secretkey",
        "signingkey",
        "encryptionkey",
        "sshkey",
        "masterkey",
        "credential",
        "authorization",
        "cookie",
        "bearer",
        "signature",
        "sessionid",
        "пароль",
        "токен",
        "секрет",
    ];
    const WORDS: [&str; 7] = ["auth", "pass", "pwd", "sig", "otp", "passcode", "jwt"];
    let lower = name.to_lowercase();
    let letters: String = lower
        .chars()
        .filter(|found| found.is_alphanumeric())
        .collect();
    PARTS.iter().any(|part| letters.contains(part))
        || lower
            .split(|found: char| !found.is_alphanumeric())
            .any(|word| WORDS.contains(&word))
}

/// Whether a text shows the mark of a secret that was masked: it was read from an answer and is not the real value.
#[must_use]
pub fn is_masked(text: &str) -> bool {
    text == MASK
        || ["://***@", "?***", "#***", "=***", ": ***"]
            .iter()
            .any(|mark| text.contains(mark))
}

/// The text without its secrets: user and password, query and fragment of URLs; values behind names of secrets; words that
/// look like keys. What has none is returned as it is.
#[must_use]
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let urls = mask_urls(text);
    let pairs = mask(&urls, pair);
    let words = mask(&pairs, word);
    if words == text {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(words)
    }
}

/// Finds the next secret at or behind `from`: its range, in bytes, and where to go on.
type Find = fn(text: &str, from: usize) -> Option<(usize, usize)>;

fn mask(text: &str, find: Find) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some((start, end)) = find(text, at) {
        out.push_str(text.get(at..start).unwrap_or_default());
        out.push_str(MASK);
        at = end.max(start).max(at);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn ends_url(found: char) -> bool {
    found.is_whitespace() || "\"'<>`{}|".contains(found)
}

/// The text whose URLs have neither user nor password, query nor fragment.
fn mask_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((front, back)) = rest.split_once("://") {
        let end = back.find(ends_url).unwrap_or(back.len());
        let (body, behind) = back.split_at(end);
        out.push_str(front);
        out.push_str("://");
        mask_body(body, &mut out);
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn mask_body(body: &str, out: &mut String) {
    let public = userinfo(body).map_or(body, |end| {
        out.push_str(MASK);
        body.get(end..).unwrap_or_default()
    });
    match public.find(['?', '#']) {
        Some(mark) if mark + 1 < public.len() => {
            out.push_str(public.get(..=mark).unwrap_or_default());
            out.push_str(MASK);
        }
        Some(_) | None => out.push_str(public),
    }
}

/// Where the userinfo of a URL ends, if it has one. Passwords are written in raw, too.
fn userinfo(body: &str) -> Option<usize> {
    let authority = body.get(..body.find(['/', '?', '#']).unwrap_or(body.len()))?;
    if let Some(end) = authority.rfind('@') {
        return Some(end);
    }
    // `host:port` has a number; anything else behind a colon is the beginning of a password with a mark in it.
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || authority.starts_with('[');
    if is_port { None } else { body.rfind('@') }
}

fn is_of_name(found: char) -> bool {
    found.is_alphanumeric() || "_-.".contains(found)
}

/// The value behind the next name of a secret: `name=value`, `name: value`, `"name": "value"`, `{name=value}`.
fn pair(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let sign = at + text.get(at..)?.find(['=', ':'])?;
        at = sign + 1;
        let before = text.get(..sign)?;
        let quoted = before.trim_end_matches(['"', '\'']);
        let name_start = quoted
            .char_indices()
            .rev()
            .take(NAME_BYTES_MAX)
            .take_while(|(_, found)| is_of_name(*found))
            .last()
            .map(|(start, _)| start);
        let Some(name_start) = name_start else {
            continue;
        };
        if !quoted.get(name_start..).is_some_and(is_secret_name) {
            continue;
        }
        let is_parameter = before
            .get(..name_start)
            .is_some_and(|front| front.ends_with('{'));
        let rest = text.get(at..)?;
        let value = rest.trim_start_matches([' ', '\t']);
        let start = at + (rest.len() - value.len());
        let end = start + value_length(value, is_parameter);
        let (start, end) = inner(text, start, end);
        if end > start && text.get(start..end) != Some(MASK) {
            return Some((start, end));
        }
    }
}

fn value_length(value: &str, is_parameter: bool) -> usize {
    if let Some(quote) = value.chars().next().filter(|found| "\"'".contains(*found)) {
        let inside = value.get(1..).unwrap_or_default();
        return inside.find(quote).map_or(value.len(), |end| end + 2);
    }
    if is_parameter {
        return value.find('}').unwrap_or(value.len());
    }
    let ends = |found: char| found.is_whitespace() || ",;&\"')]}<>".contains(found);
    let first = value.find(ends).unwrap_or(value.len());
    let scheme = value.get(..first).unwrap_or_default();
    // `Authorization: Bearer x`: the secret is the second word.
    let is_scheme = ["bearer", "basic", "digest", "token", "negotiate"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    if !is_scheme {
        return first;
    }
    let rest = value.get(first..).unwrap_or_default();
    let credential = rest.trim_start_matches([' ', '\t']);
    let gap = rest.len() - credential.len();
    first + gap + credential.find(ends).unwrap_or(credential.len())
}

/// A range without the quotes at its ends.
fn inner(text: &str, start: usize, end: usize) -> (usize, usize) {
    let found = text.get(start..end).unwrap_or_default();
    let is_quoted =
        found.len() >= 2 && found.starts_with(['"', '\'']) && found.ends_with(['"', '\'']);
    if is_quoted {
        (start + 1, end - 1)
    } else {
        (start, end)
    }
}

/// The next word that looks like a key: known beginnings, bearer credentials, JSON web tokens.
fn word(text: &str, from: usize) -> Option<(usize, usize)> {
    const BEGINNINGS: [&str; 11] = [
        "ghp_",
        "gho_",
        "ghs_",
        "ghu_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "AKIA",
        "hvs.",
        "sk_live_",
    ];
    const LENGTH_MIN: usize = 16;
    let is_part = |found: char| found.is_ascii_alphanumeric() || "_-.+/=~".contains(found);
    let mut at = from;
    let mut after_scheme = false;
    loop {
        let rest = text.get(at..)?;
        let start = at + rest.find(is_part)?;
        let rest = text.get(start..)?;
        let found = rest.get(..rest.find(|other| !is_part(other)).unwrap_or(rest.len()))?;
        let end = start + found.len();
        let is_key =
            found.len() >= LENGTH_MIN && BEGINNINGS.iter().any(|begin| found.starts_with(begin));
        let is_token = found.len() >= LENGTH_MIN && found.starts_with("eyJ") && found.contains('.');
        let is_credential = after_scheme && found.len() >= 8;
        if is_key || is_token || is_credential {
            return Some((start, end));
        }
        after_scheme = ["bearer", "basic"]
            .iter()
            .any(|scheme| found.eq_ignore_ascii_case(scheme));
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in [
            "password",
            "db_password",
            "DBPassword",
            "api_token",
            "X-Api-Key",
            "apiKey",
            "Authorization",
            "Set-Cookie",
            "client_secret",
            "aws_secret_access_key",
            "auth",
            "basic-auth",
            "pwd",
            "X-Amz-Signature",
            "sig",
            "пароль",
            "ssh_key",
            "private-key",
            "credentials",
            "TOKEN",
            "jwt",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "key",
            "task_key",
            "idempotency_key",
            "author",
            "authority",
            "passed",
            "bypass",
            "design",
            "spin",
            "name",
            "server",
            "distr_url",
            "next_cursor",
            "lease_id",
            "monkey",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_of_texts_are_masked() {
        for (text, shown) in [
            ("https://ann:pw@host/a?token=1#x", "https://***@host/a?***"),
            ("https://ann@host/a", "https://***@host/a"),
            (
                "from https://u:p@h/x.zip, then http://h2/y?z=1 and on",
                "from https://***@h/x.zip, then http://h2/y?*** and on",
            ),
            ("https://h/a#access", "https://h/a#***"),
            ("https://u:p/w@h/a", "https://***@h/a"),
            ("https://u:p?w@h/a", "https://***@h/a"),
            ("https://u:p@w@h:80/a", "https://***@h:80/a"),
            ("postgres://drover:pw@db/drover", "postgres://***@db/drover"),
            (
                "update.yml {api_token=abc def} {server}",
                "update.yml {api_token=***} {server}",
            ),
            (
                "update.yml {distr_url=https://u:p@h/a?b} {app}",
                "update.yml {distr_url=https://***@h/a?***} {app}",
            ),
            ("password=hunter2 user=ann", "password=*** user=ann"),
            ("Authorization: Bearer abc.def", "Authorization: ***"),
            (
                r#"{"password": "a b", "user": "ann"}"#,
                r#"{"password": "***", "user": "ann"}"#,
            ),
            ("curl -H 'X-Api-Key: k1'", "curl -H 'X-Api-Key: ***'"),
            ("sent Bearer abcdefgh1234", "sent Bearer ***"),
            (
                "the key ghp_0123456789abcdefAAAAAAAAAAAAAAAAAAAA is gone",
                "the key *** is gone",
            ),
            ("пароль: хитрый", "пароль: ***"),
        ] {
            assert_eq!(without_secrets(text), shown);
            assert_eq!(without_secrets(shown), shown, "masking twice");
            assert!(is_masked(shown) || shown.contains("***"), "{shown}");
        }
    }

    #[test]
    fn texts_without_secrets_stay() {
        for text in [
            "",
            "http://nexus.example/jurws-1.1.0.zip",
            "http://[::1]:8080/ping",
            "registry.example:5000/team/app:1.4.0",
            "https://registry/@scope/x",
            "app@sha256:0505a58f",
            "12:30:01 failed: exit code 3",
            "update-app.yml {server} {app} {mode}",
            "a = b",
            "token",
            "secret:",
            "***",
            "https://h/?",
        ] {
            assert!(
                matches!(without_secrets(text), Cow::Borrowed(_)),
                "{text}: {}",
                without_secrets(text)
            );
        }
    }
}
