//! The version that an artifact's address names, and whether the artifact is there.

use crate::fleet::ApplicationKind;

/// What stands at the address of an artifact, as the control host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSight {
    /// It is there.
    Found {
        /// Its size in bytes, if the server names it.
        size: Option<u64>,
    },
    /// The server says that it is not there: HTTP status 404 or 410.
    Absent {
        /// The server's answer.
        reason: String,
    },
    /// It is unknown: no answer, no right to read it, or an error of the server.
    Unknown {
        /// Why.
        reason: String,
    },
    /// The address is none of `http` or `https`, such as the name of an image or a path.
    NotChecked,
}

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

/// The image of a reference without its tag and digest, as agents show it.
#[must_use]
pub fn image_name(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or_default();
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let tag = name.get(last..).and_then(|segment| segment.rfind(':'));
    let end = tag.map_or(name.len(), |colon| last + colon);
    name.get(..end).unwrap_or(name)
}

/// Whether an agent that shows the version `shown` shows that of the artifact `url`; `None` where the two cannot be
/// compared, as a build's name with a number.
///
/// Tags of images are compared letter by letter. Other versions agree if their first three numbers do (a missing one is
/// 0, a fourth one counts if both have it) and if both or neither are a release candidate or a snapshot; an artifact that
/// is a snapshot may show its release. A file name may have several dotted numbers, such as that of a platform: one that
/// agrees is enough.
#[must_use]
pub fn shows_version(kind: ApplicationKind, url: &str, shown: &str) -> Option<bool> {
    if kind == ApplicationKind::Docker {
        return image_tag(url).map(|tag| tag == shown);
    }
    let (wanted, shown) = (file_versions(file_name(url)), file_versions(shown));
    if wanted.is_empty() || shown.is_empty() {
        return None;
    }
    // Repositories give snapshots the time of their build: `app-1.4.0-20260115.101010-1.war`.
    let is_timed = wanted.iter().any(|number| is_build_time(number));
    let agree = |wanted: &String| {
        shown
            .iter()
            .any(|shown| is_same_version(wanted, shown, is_timed))
    };
    Some(wanted.iter().any(agree))
}

fn is_build_time(number: &str) -> bool {
    number
        .split_once('.')
        .is_some_and(|(day, time)| day.len() == 8 && time.len() == 6)
}

fn is_same_version(wanted: &str, shown: &str, is_snapshot: bool) -> bool {
    let (wanted, wanted_build) = wanted.split_once('-').unwrap_or((wanted, ""));
    let (shown, shown_build) = shown.split_once('-').unwrap_or((shown, ""));
    let snapshot = |build: &str| build.eq_ignore_ascii_case("snapshot");
    let fits = wanted_build.eq_ignore_ascii_case(shown_build)
        || (snapshot(wanted_build) && shown_build.is_empty())
        || (is_snapshot && snapshot(shown_build));
    fits && same_numbers(wanted, shown)
}

fn same_numbers(one: &str, other: &str) -> bool {
    let numbers = |text: &str| -> Vec<String> {
        let trimmed = |number: &str| number.trim_start_matches('0').to_owned();
        text.split('.').map(trimmed).collect()
    };
    let (one, other) = (numbers(one), numbers(other));
    let most = if one.len() > 3 && other.len() > 3 {
        one.len().max(other.len())
    } else {
        3
    };
    let nothing = String::new();
    (0..most)
        .all(|place| one.get(place).unwrap_or(&nothing) == other.get(place).unwrap_or(&nothing))
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
    file_versions(name).into_iter().next()
}

/// The dotted numbers of a name, each with a `-SNAPSHOT` or `-rc` ending.
fn file_versions(name: &str) -> Vec<String> {
    let mut versions = Vec::new();
    let mut rest = name;
    let digit = |text: &str| text.find(|found: char| found.is_ascii_digit());
    while let Some(begun) = digit(rest).and_then(|start| rest.get(start..)) {
        let number = dotted_number(begun);
        let after = begun.get(number.len()..).unwrap_or_default();
        if number.contains('.') {
            versions.push(format!("{number}{}", qualifier(after)));
        }
        rest = after;
    }
    versions
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
    fn the_image_of_a_reference_has_no_tag() {
        for (reference, expected) in [
            (
                "registry.example:5000/team/app:1.4.0",
                "registry.example:5000/team/app",
            ),
            ("app:2.0", "app"),
            ("app", "app"),
            ("registry.example:5000/app", "registry.example:5000/app"),
            ("team/app:1.0@sha256:0123", "team/app"),
            ("", ""),
        ] {
            assert_eq!(image_name(reference), expected, "{reference}");
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

    #[test]
    fn a_shown_version_is_compared_with_the_artifact() {
        use ApplicationKind::{Docker, Service, Site};
        for (kind, wanted, shown, expected) in [
            (Site, "2.0", "2.0", Some(true)),
            (Site, "2.0", "v2.0", Some(true)),
            (Site, "2.0", "2.0.0", Some(true)),
            (Service, "1.4.0", "1.4", Some(true)),
            (Service, "1.4.0", "1.4.0.RELEASE", Some(true)),
            (Service, "1.4.0", "1.4.0-b42", Some(true)),
            (Service, "1.4.0", "1.4.0+7", Some(true)),
            (Service, "1.4.0", "1.4.0.77", Some(true)),
            (Service, "1.4.0", "shop 1.4.0 (abc)", Some(true)),
            (Service, "1.4.0-rc2", "1.4.0-RC2", Some(true)),
            (Service, "1.4.0-SNAPSHOT", "1.4.0", Some(true)),
            (Service, "1.4.0-SNAPSHOT", "1.4.0-20260101.1", Some(true)),
            (Site, "2.0", "1.0.0", Some(false)),
            (Site, "2.0", "0.9.0", Some(false)),
            (Site, "2.0", "1.5", Some(false)),
            (Site, "2.0", "2.0.1", Some(false)),
            (Site, "2.0", "2.1", Some(false)),
            (Site, "2.0", "20.0", Some(false)),
            (Site, "1.2.3.4", "1.2.3.5", Some(false)),
            (Service, "1.4.0", "1.4.0-SNAPSHOT", Some(false)),
            (Service, "1.4.0", "1.4.0-rc1", Some(false)),
            (Service, "1.4.0-rc2", "1.4.0-rc1", Some(false)),
            (Service, "1.4.0-rc2", "1.4.0", Some(false)),
            (Site, "2.0", "release-42", None),
            (Site, "2.0", "master", None),
            (Docker, "nexus:5000/app:2.0", "2.0", Some(true)),
            (Docker, "nexus:5000/app:2.0", "latest", Some(false)),
            (Docker, "nexus:5000/app:2.0", "2.0-rc1", Some(false)),
            (Docker, "app:latest", "latest", Some(true)),
            (Docker, "app@sha256:0123", "2.0", None),
            (Site, "http://x/1.0/app-2.0.war", "2.0", Some(true)),
            (Site, "http://x/1.0/app-2.0.war", "1.0", Some(false)),
            (Site, "http://x/app.war", "1.0", None),
            (Site, "http://x/jdk17.0.1-app-2.0.war", "2.0", Some(true)),
            (
                Site,
                "http://x/app-2.0.war",
                "java 17.0.1, app 2.0",
                Some(true),
            ),
            (
                Site,
                "http://x/app-1.4.0-20260115.101010-1.war",
                "1.4.0-SNAPSHOT",
                Some(true),
            ),
            (
                Site,
                "http://x/app-1.4.0-20260115.101010-1.war",
                "1.3.0-SNAPSHOT",
                Some(false),
            ),
        ] {
            assert_eq!(
                shows_version(kind, wanted, shown),
                expected,
                "{wanted} and {shown}"
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
