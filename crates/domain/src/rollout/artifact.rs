//! The version an artifact's address tells.

use crate::fleet::ApplicationKind;

/// The version that the address of an artifact names, if it names one.
///
/// For a docker application the address is an image reference and the version its tag; a
/// reference by digest names none. Otherwise it is the first dotted number in the file name,
/// with a `-SNAPSHOT` or `-rc` ending: `app-1.4.0-rc2.tar.gz` is `1.4.0-rc2`.
#[must_use]
pub fn artifact_version(kind: ApplicationKind, url: &str) -> Option<String> {
    match kind {
        ApplicationKind::Docker => image_tag(url),
        ApplicationKind::Site | ApplicationKind::Service => file_version(file_name(url)),
    }
}

fn image_tag(reference: &str) -> Option<String> {
    // Only in the last segment is a colon no registry port.
    let last = reference.rsplit('/').next().unwrap_or_default();
    if last.contains('@') {
        return None;
    }
    let (_, tag) = last.rsplit_once(':')?;
    let fits = tag
        .chars()
        .all(|found| found.is_ascii_alphanumeric() || "_.-".contains(found));
    (fits && !tag.is_empty() && tag.len() <= 128).then(|| tag.to_owned())
}

fn file_name(url: &str) -> &str {
    let address = url.split(['?', '#']).next().unwrap_or_default();
    let path = match address.split_once("://") {
        // Without a path the rest is a host, and the numbers of an address are no version.
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address,
    };
    path.rsplit('/').next().unwrap_or_default()
}

fn file_version(name: &str) -> Option<String> {
    let mut rest = name;
    loop {
        rest = rest.get(rest.find(|found: char| found.is_ascii_digit())?..)?;
        let number = dotted_number(rest);
        let after = rest.get(number.len()..)?;
        if number.contains('.') {
            return Some(format!("{number}{}", qualifier(after)));
        }
        rest = after;
    }
}

/// The longest `digits(.digits)*` at the start of `text`, which starts with a digit.
fn dotted_number(text: &str) -> &str {
    let run = text
        .find(|found: char| !found.is_ascii_digit() && found != '.')
        .unwrap_or(text.len());
    let run = text.get(..run).unwrap_or_default();
    // Stops before a dot that no digit follows, as in `1.2.tar` and `1..2`.
    let end = run.find("..").unwrap_or(run.len());
    run.get(..end).unwrap_or_default().trim_end_matches('.')
}

/// The `-SNAPSHOT` or `-rcN` at the start of `text`, any case; empty if there is none.
fn qualifier(text: &str) -> &str {
    const SNAPSHOT: usize = "-snapshot".len();
    const CANDIDATE: usize = "-rc".len();
    let starts = |length: usize, word: &str| {
        text.get(..length)
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let length = if starts(SNAPSHOT, "-snapshot") {
        SNAPSHOT
    } else if starts(CANDIDATE, "-rc") {
        let digits = text
            .bytes()
            .skip(CANDIDATE)
            .take_while(u8::is_ascii_digit)
            .count();
        CANDIDATE + digits
    } else {
        0
    };
    let goes_on = text
        .get(length..)
        .and_then(|rest| rest.chars().next())
        .is_some_and(char::is_alphanumeric);
    if goes_on {
        ""
    } else {
        text.get(..length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_image_tells_its_tag() {
        for (reference, expected) in [
            ("registry.example:5000/team/app:1.4.0", Some("1.4.0")),
            ("app:latest", Some("latest")),
            ("app:2.0-rc1", Some("2.0-rc1")),
            ("registry.example:5000/team/app", None),
            ("app", None),
            ("app:", None),
            ("team/app@sha256:0123456789abcdef", None),
            ("team/app:1.0@sha256:0123456789abcdef", None),
            ("", None),
        ] {
            assert_eq!(
                artifact_version(ApplicationKind::Docker, reference).as_deref(),
                expected,
                "{reference}"
            );
        }
    }

    #[test]
    fn a_file_tells_its_dotted_number() {
        for (url, expected) in [
            (
                "http://repo.example/app/1.0.0/app-1.4.0.tar.gz",
                Some("1.4.0"),
            ),
            (
                "https://repo/app-1.4.0-SNAPSHOT.jar",
                Some("1.4.0-SNAPSHOT"),
            ),
            (
                "https://repo/app-1.4.0-rc2.jar?token=9.9",
                Some("1.4.0-rc2"),
            ),
            ("https://repo/app-1.4.0-rcx.jar", Some("1.4.0")),
            ("https://repo/app-1.4.0-release.jar", Some("1.4.0")),
            ("https://repo/app2-1.4#v3.0", Some("1.4")),
            ("https://repo/app_20240115.zip", None),
            ("https://repo/1.2/app.zip", None),
            ("https://repo/app-1..2.zip", None),
            ("http://10.0.0.1", None),
            ("http://10.0.0.1:8080?x=/1.2", None),
            ("ftp://repo/дистр-3.7.zip", Some("3.7")),
            ("/opt/distr/app-0.9.war", Some("0.9")),
            ("", None),
        ] {
            assert_eq!(
                artifact_version(ApplicationKind::Service, url).as_deref(),
                expected,
                "{url}"
            );
            assert_eq!(
                artifact_version(ApplicationKind::Site, url).as_deref(),
                expected,
                "{url}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_address_is_answered_with_a_part_of_itself(url in "\\PC{0,60}") {
            for kind in [ApplicationKind::Docker, ApplicationKind::Site, ApplicationKind::Service] {
                if let Some(version) = artifact_version(kind, &url) {
                    prop_assert!(!version.is_empty() && url.contains(&version));
                }
            }
        }

        #[test]
        fn a_version_in_the_file_name_is_found(major in 0_u32..100, minor in 0_u32..100, rest in "[a-z]{0,5}") {
            let url = format!("http://host:8081/repository/9.9/app-{major}.{minor}.{rest}");
            let expected = format!("{major}.{minor}");
            prop_assert_eq!(artifact_version(ApplicationKind::Site, &url), Some(expected));
        }
    }
}
