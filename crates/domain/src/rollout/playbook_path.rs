//! The path of an update playbook with its parameters: `update.yml {server} {unpack=true}`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::parameter::{is_known, is_name, is_owned, is_reserved};

/// A playbook path taken apart.
///
/// A parameter is `{`, at least one character but `}`, `}`; it may stand anywhere. What is left is
/// the path, its blanks collapsed. `{}` and a brace without its partner are refused (the predecessor
/// took them for a part of the file's name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaybookPath {
    path: String,
    parameters: Vec<PathParameter>,
}

/// A parameter of a playbook path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathParameter {
    /// `{name}`: its value comes from the update.
    Dynamic {
        /// The variable's name.
        name: String,
    },
    /// `{name=value}`: its value is given; perhaps empty.
    Explicit {
        /// The variable's name.
        name: String,
        /// The value; `true` and `false` in lower case.
        value: String,
    },
}

impl PathParameter {
    /// The variable's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Dynamic { name } | Self::Explicit { name, .. } => name,
        }
    }
}

impl fmt::Display for PathParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dynamic { name } => write!(f, "{{{name}}}"),
            Self::Explicit { name, value } => write!(f, "{{{name}={value}}}"),
        }
    }
}

/// A playbook path that cannot be used; the message goes to the user unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaybookPathError {
    /// There is nothing but parameters, or nothing at all.
    #[error("the playbook path `{text}` names no playbook")]
    NoPath {
        /// The whole text.
        text: String,
    },
    /// It is longer than [`PlaybookPath::LENGTH_MAX`] characters.
    #[error(
        "the playbook path has {length} characters; at most {} are allowed",
        PlaybookPath::LENGTH_MAX
    )]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// A brace has no partner, or nothing in it.
    #[error(
        "the playbook path `{path}` has a brace without its partner, or an empty pair; a parameter is {{name}} or {{name=value}}"
    )]
    Brace {
        /// What is left of the path.
        path: String,
    },
    /// It climbs out of the playbook folder, looks like an option, or has hidden characters.
    #[error(
        "the playbook path `{path}` is not allowed: no `..`, no leading `-`, no control characters"
    )]
    Unsafe {
        /// The path, hidden characters made visible.
        path: String,
    },
    /// It names a file below the playbook folder.
    #[error(
        "the playbook path `{path}` names a folder, and only files of the playbook folder itself are run; put the file there and write `{file}`"
    )]
    Below {
        /// The path.
        path: String,
        /// Its last part.
        file: String,
    },
    /// It names a file of another folder.
    #[error(
        "the playbook path `{path}` is not in the playbook folder `{folder}` of the control host; put the file there and write its name"
    )]
    Outside {
        /// The path.
        path: String,
        /// The playbook folder.
        folder: String,
    },
    /// A parameter's name is no variable name.
    #[error(
        "the parameter `{name}` of the playbook path is no variable name: a letter or _, then letters, digits, _"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// Ansible keeps the name for itself.
    #[error("the parameter `{name}` of the playbook path is reserved by Ansible")]
    Reserved {
        /// The name.
        name: String,
    },
    /// Drover sets the variable itself: another value would make the play do something else than Drover records.
    #[error(
        "the parameter `{name}` of the playbook path is set by Drover and takes no value here; leave out {{{name}=…}}"
    )]
    Owned {
        /// The name.
        name: String,
    },
    /// A name stands twice, and only one of the two could hold.
    #[error("the parameter `{name}` stands twice in the playbook path; leave one of the two")]
    Repeated {
        /// The name.
        name: String,
    },
    /// A parameter without a value that Drover does not know.
    #[error(
        "the parameter `{name}` of the playbook path has no value and Drover knows none; write {{{name}=value}}"
    )]
    UnknownName {
        /// The name.
        name: String,
    },
    /// A value has a character that is not allowed.
    #[error(
        "the value of the parameter `{name}` of the playbook path has {found:?}; allowed: letters, digits, blanks and _ - . / : @ ="
    )]
    BadValue {
        /// The name.
        name: String,
        /// The first offending character.
        found: char,
    },
}

impl PlaybookPath {
    /// The most characters, parameters included.
    pub const LENGTH_MAX: usize = 1_024;

    /// Takes a path apart and checks every part.
    ///
    /// # Errors
    ///
    /// [`PlaybookPathError`], naming the part.
    pub fn parse(text: &str) -> Result<Self, PlaybookPathError> {
        let length = text.chars().count();
        if length > Self::LENGTH_MAX {
            return Err(PlaybookPathError::TooLong { length });
        }
        let (rest, groups) = split(text);
        let path = rest.split_whitespace().collect::<Vec<_>>().join(" ");
        if path.is_empty() {
            return Err(PlaybookPathError::NoPath {
                text: text.to_owned(),
            });
        }
        if path.contains(['{', '}']) {
            return Err(PlaybookPathError::Brace {
                path: crate::text::visible(&path, 200),
            });
        }
        let climbs = path.split('/').any(|segment| segment.trim() == "..");
        if climbs || path.starts_with('-') || path.chars().any(crate::text::is_hidden) {
            return Err(PlaybookPathError::Unsafe {
                path: crate::text::visible(&path, 200),
            });
        }
        // A name of a folder alone, or a folder in front of the name.
        let file = path.rsplit('/').next().unwrap_or_default();
        if file.is_empty() || file == "." {
            return Err(PlaybookPathError::NoPath {
                text: crate::text::visible(text, 200),
            });
        }
        if !path.starts_with('/') && segments(&path).count() > 1 {
            return Err(PlaybookPathError::Below {
                file: file.to_owned(),
                path,
            });
        }
        let parameters = groups
            .into_iter()
            .filter_map(parameter)
            .collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(again) = parameters.iter().find(|it| !names.insert(it.name())) {
            return Err(PlaybookPathError::Repeated {
                name: again.name().to_owned(),
            });
        }
        Ok(Self { path, parameters })
    }

    /// The path without parameters.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The playbook's file name in the playbook folder `folder`; a path with a folder must name that one.
    ///
    /// # Errors
    ///
    /// [`PlaybookPathError::Outside`].
    pub fn file_in(&self, folder: &str) -> Result<&str, PlaybookPathError> {
        let file = self.file_name();
        let is_in_folder = || {
            let mut named = segments(&self.path).collect::<Vec<_>>();
            named.pop();
            named.into_iter().eq(segments(folder))
        };
        if self.path.starts_with('/') && !is_in_folder() {
            return Err(PlaybookPathError::Outside {
                path: self.path.clone(),
                folder: folder.to_owned(),
            });
        }
        Ok(file)
    }

    /// The playbook's file name: what stands behind the last `/` of the path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The parameters in their order, each name once.
    #[must_use]
    pub fn parameters(&self) -> &[PathParameter] {
        &self.parameters
    }

    /// The given values by name.
    #[must_use]
    pub fn explicit(&self) -> BTreeMap<&str, &str> {
        self.parameters
            .iter()
            .filter_map(|parameter| match parameter {
                PathParameter::Explicit { name, value } => Some((name.as_str(), value.as_str())),
                PathParameter::Dynamic { .. } => None,
            })
            .collect()
    }
}

impl fmt::Display for PlaybookPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.parameters
            .iter()
            .try_for_each(|parameter| write!(f, " {parameter}"))
    }
}

/// The parts of a path; `//` and `/./` are the same as `/`.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|segment| !segment.is_empty() && *segment != ".")
}

// The text outside the groups, and what stands inside each.
fn split(text: &str) -> (String, Vec<&str>) {
    let (mut rest, mut groups) = (String::new(), Vec::new());
    let mut left = text;
    while let Some((before, behind)) = left.split_once('{') {
        rest.push_str(before);
        match behind.split_once('}') {
            Some(("", after)) => {
                rest.push_str("{}");
                left = after;
            }
            Some((group, after)) => {
                groups.push(group);
                left = after;
            }
            None => {
                rest.push('{');
                left = behind;
            }
        }
    }
    rest.push_str(left);
    (rest, groups)
}

fn parameter(group: &str) -> Option<Result<PathParameter, PlaybookPathError>> {
    if group.trim().is_empty() {
        return None;
    }
    let (name, value) = match group.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), Some(value.trim())),
        None => (group.trim().to_owned(), None),
    };
    Some(check(name, value))
}

fn check(name: String, value: Option<&str>) -> Result<PathParameter, PlaybookPathError> {
    if !is_name(&name) {
        return Err(PlaybookPathError::BadName {
            name: crate::text::visible(&name, 64),
        });
    }
    if is_reserved(&name) {
        return Err(PlaybookPathError::Reserved { name });
    }
    let Some(value) = value else {
        return if is_known(&name) {
            Ok(PathParameter::Dynamic { name })
        } else {
            Err(PlaybookPathError::UnknownName { name })
        };
    };
    if is_owned(&name) {
        return Err(PlaybookPathError::Owned { name });
    }
    let allowed =
        |found: char| found.is_alphanumeric() || found == ' ' || "_-./:@=".contains(found);
    if let Some(found) = value.chars().find(|found| !allowed(*found)) {
        return Err(PlaybookPathError::BadValue { name, found });
    }
    let lower = value.to_ascii_lowercase();
    let value = if matches!(lower.as_str(), "true" | "false") {
        lower
    } else {
        value.to_owned()
    };
    Ok(PathParameter::Explicit { name, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn reads(text: &str, printed: &str, file_name: &str) {
        let path = PlaybookPath::parse(text).unwrap();
        assert_eq!(
            (path.to_string().as_str(), path.file_name()),
            (printed, file_name),
            "{text}"
        );
    }

    #[test]
    fn parameters_stand_anywhere() {
        reads("p.yml{server}", "p.yml {server}", "p.yml");
        reads(
            "{step=deliver} /a/b/p.yml  {server}",
            "/a/b/p.yml {step=deliver} {server}",
            "p.yml",
        );
        reads(
            "p.yml {unpack=TRUE} {note= a b }",
            "p.yml {unpack=true} {note=a b}",
            "p.yml",
        );
        reads("p.yml {x=a=b} { }", "p.yml {x=a=b}", "p.yml");
        reads("p.yml {x=}", "p.yml {x=}", "p.yml");
    }

    #[test]
    fn a_slash_in_a_value_does_not_move_the_file_name() {
        reads(
            "/a/up.yml {from=http://x/y/z.war}",
            "/a/up.yml {from=http://x/y/z.war}",
            "up.yml",
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, part) in [
            ("", "names no playbook"),
            ("{server}", "names no playbook"),
            ("p.yml {}", "empty pair"),
            ("{a=}{", "without its partner"),
            ("p.yml server}", "without its partner"),
            ("../p.yml", "`..`"),
            ("-e.yml", "leading `-`"),
            ("p.yml {1x=2}", "`1x`"),
            ("p.yml {ansible_host=x}", "`ansible_host`"),
            ("p.yml {unpack}", "`unpack`"),
            ("sub/p.yml {server}", "write `p.yml`"),
            ("./sub//p.yml", "write `p.yml`"),
            ("/a/b/ {server}", "names no playbook"),
            ("/", "names no playbook"),
            ("./.", "names no playbook"),
            (
                "p.yml {app_instances=web9::x}",
                "`app_instances` of the playbook path is set by Drover",
            ),
            (
                "p.yml { server = web9 }",
                "`server` of the playbook path is set by Drover",
            ),
            ("p.yml {drover_drains=false}", "`drover_drains`"),
            ("p.yml {update_playbook=other.yml}", "`update_playbook`"),
            (
                "p.yml {haproxy_token_file=/etc/shadow}",
                "`haproxy_token_file`",
            ),
            (
                "p.yml {inventory_hostname=x}",
                "`inventory_hostname` of the playbook path is reserved by Ansible",
            ),
            ("p.yml {group_names=x}", "reserved by Ansible"),
            ("p.yml {play_hosts=x}", "reserved by Ansible"),
            ("p.yml {environment=x}", "reserved by Ansible"),
            ("p.yml {playbook_dir=/tmp}", "reserved by Ansible"),
            ("p.yml {x=$(id)}", "'$'"),
            ("p.yml {x=a;b}", "';'"),
        ] {
            let refusal = PlaybookPath::parse(text).unwrap_err().to_string();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_folder_is_the_playbook_folder_or_refused() {
        let in_folder = |text: &str, folder: &str| {
            let path = PlaybookPath::parse(text).unwrap();
            path.file_in(folder).map(str::to_owned)
        };
        for text in [
            "u.yml {server}",
            "./u.yml",
            "/etc/ansible/u.yml",
            "/etc//ansible/./u.yml {from=http://x/y/z.war}",
        ] {
            for folder in ["/etc/ansible", "/etc/ansible/"] {
                assert_eq!(in_folder(text, folder), Ok("u.yml".to_owned()), "{text}");
            }
        }
        for text in [
            "/nonexistent/dir/u.yml",
            "/u.yml",
            "/etc/u.yml",
            "/etc/ansible/sub/u.yml",
            "/etc/ansible2/u.yml",
            "/var/etc/ansible/u.yml",
        ] {
            let refusal = in_folder(text, "/etc/ansible").unwrap_err().to_string();
            assert!(
                refusal.contains(text) && refusal.contains("`/etc/ansible`"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_name_stands_once() {
        for text in [
            "p.yml {x=1} {x=2}",
            "p.yml {x=1} {x=1}",
            "{server} p.yml {server}",
            "p.yml {drain_delay} { drain_delay = 3 }",
        ] {
            let refusal = PlaybookPath::parse(text).unwrap_err().to_string();
            assert!(
                refusal.contains("stands twice in the playbook path"),
                "{text}: {refusal}"
            );
        }
    }

    #[test]
    fn a_path_does_not_change_what_an_update_is() {
        for (name, value) in [
            ("mode", "deliver"),
            ("mode", "update"),
            ("mode", ""),
            ("distr_url", "http://x/other-9.9.9.war"),
            ("image_url", "nexus:5000/other:9"),
            ("haproxy_backend", ""),
            ("haproxy_backend", "other"),
            ("haproxy_api_url", ""),
        ] {
            let text = format!("p.yml {{server}} {{{name}={value}}}");
            let refusal = PlaybookPath::parse(&text).unwrap_err();
            assert_eq!(
                refusal,
                PlaybookPathError::Owned {
                    name: name.to_owned()
                },
                "{text}"
            );
            reads(
                &format!("p.yml {{{name}}}"),
                &format!("p.yml {{{name}}}"),
                "p.yml",
            );
        }
        reads(
            "p.yml {drain_delay=10} {min_ready=1}",
            "p.yml {drain_delay=10} {min_ready=1}",
            "p.yml",
        );
    }

    proptest! {
        #[test]
        fn parsing_is_total_and_prints_what_it_reads(text in "[a-z/.{}= ]{0,40}") {
            if let Ok(path) = PlaybookPath::parse(&text) {
                prop_assert_eq!(PlaybookPath::parse(&path.to_string()), Ok(path));
            }
        }
    }
}
