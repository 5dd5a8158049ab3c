//! The three shapes of an agent's no.

use drover_domain::text::lenient_json;
use serde::Deserialize;

use super::entry::Entry;
use super::field::Field;

/// A controller's `{"success":false,"status_code":N,"error":…}`, a refused command's
/// `{"success":false,…,"data":{"error":…}}`, or the router's `{"error":…}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    success: Field,
    status_code: Field,
    error: Field,
    message: Field,
    data: Option<Entry<Data>>,
    server: Option<Entry<Data>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    error: Field,
}

impl Refusal {
    fn words(&self) -> Option<String> {
        let inner = match &self.data {
            Some(Entry::Object(data)) => data.error.word(),
            Some(Entry::Strange) | None => None,
        };
        self.error
            .word()
            .or(inner)
            .or_else(|| self.message.word())
            .map(str::to_owned)
    }
}

fn read(body: &str) -> Option<Refusal> {
    serde_json::from_str::<Entry<Refusal>>(body).ok()?.object()
}

/// An agent's own words about why not, if `body` has any.
pub(crate) fn words(body: &[u8]) -> Option<String> {
    read(&lenient_json(body))?.words()
}

/// The status and the words of a no that came with the HTTP status 200.
pub(crate) fn disguised(body: &str) -> Option<(u16, String)> {
    let refusal = read(body)?;
    let status = refusal.status_code.word();
    let status = status.and_then(|word| word.parse::<u16>().ok());
    let is_refusal = match refusal.success.word() {
        Some("false" | "False" | "0") => true,
        // An answer that calls itself both is no success.
        _ if status.is_some_and(|status| status >= 400) => true,
        Some(_) => false,
        None => {
            refusal.error.word().is_some() && refusal.data.is_none() && refusal.server.is_none()
        }
    };
    is_refusal.then(|| {
        let status = status.unwrap_or(200);
        (
            status,
            refusal
                .words()
                .unwrap_or_else(|| "it does not say why".to_owned()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_shapes_are_understood() {
        for (body, expected) in [
            (
                r#"{"success":false,"status_code":502,"error":"no"}"#,
                Some("no"),
            ),
            (
                r#"{"success":false,"status_code":500,"data":{"instance_id":"i","error":"no"}}"#,
                Some("no"),
            ),
            (r#"{"error":"no"}"#, Some("no")),
            (r#"{"success":false,"message":"no"}"#, Some("no")),
            (r#"{"error":{"deep":1}}"#, None),
            ("[]", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(words(body.as_bytes()).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn a_no_may_be_dressed_as_a_200() {
        for (body, expected) in [
            (
                r#"{"success":false,"status_code":"503","error":"no"}"#,
                Some((503, "no")),
            ),
            (r#"{"success":"false"}"#, Some((200, "it does not say why"))),
            (r#"{"error":"no"}"#, Some((200, "no"))),
            (r#"{"success":true,"error":"left over","data":{}}"#, None),
            (
                r#"{"success":true,"status_code":503,"data":{"servers":[],"count":0}}"#,
                Some((503, "it does not say why")),
            ),
            (
                r#"{"status_code":"500","data":{"error":"boom"}}"#,
                Some((500, "boom")),
            ),
            (r#"{"success":true,"status_code":200,"data":{}}"#, None),
            (r#"{"success":true,"status_code":"odd","data":{}}"#, None),
            (r#"{"server":{},"error":"stale"}"#, None),
            (r#"{"data":{"error":"x"}}"#, None),
        ] {
            let found = disguised(body);
            assert_eq!(
                found
                    .as_ref()
                    .map(|(status, words)| (*status, words.as_str())),
                expected,
                "{body}"
            );
        }
    }
}
