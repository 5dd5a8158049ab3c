//! Orchestrator playbooks: what their headers tell. Three formats, as the predecessor's playbooks use them.

use crate::{Key, Timestamp};

use super::job::Variable;
use super::parameter::is_name;

/// Marks the keys of orchestrator playbooks.
#[derive(Debug)]
pub enum OrchestratorKind {}
/// The key of an orchestrator playbook.
pub type OrchestratorKey = Key<OrchestratorKind>;

/// How many lines of a playbook are read for its header.
pub const HEAD_LINES: usize = 150;
/// The most characters of a playbook's name.
pub const NAME_MAX: usize = 128;
/// The most characters of a description.
pub const DESCRIPTION_MAX: usize = 1_000;

/// A known orchestrator playbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrchestratorPlaybook {
    /// Its key.
    pub key: OrchestratorKey,
    /// What its header tells.
    pub metadata: OrchestratorMetadata,
    /// Whether it may be used.
    pub is_active: bool,
    /// When its header was last read.
    pub last_scanned: Timestamp,
}

/// What a playbook's header tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrchestratorMetadata {
    /// The file, inside the playbook folder; unique.
    pub file_path: String,
    /// What it is called.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it cannot do without.
    pub required: Vec<Parameter>,
    /// What it can use.
    pub optional: Vec<Parameter>,
}

/// A parameter a playbook declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The variable's name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its value when none is given.
    pub default: Option<Variable>,
}

/// Whether a file of the playbook folder is an orchestrator playbook: `*orchestrator*.yml` or `.yaml`.
#[must_use]
pub fn is_orchestrator_file(name: &str) -> bool {
    name.strip_suffix(".yml")
        .or_else(|| name.strip_suffix(".yaml"))
        .is_some_and(|stem| stem.to_lowercase().contains("orchestrator"))
}

/// Reads the header of a playbook; total.
///
/// A `# name:` line makes it structured: `# name:`, `# version:`, `# description:` and the sections
/// `# required_params:` and `# optional_params:` with indented `param:` entries that may have
/// `description:` and `default:`. Otherwise comment lines make it simple: the first is the name,
/// sections begin with `Required parameters:` (or the Russian or snake-case form), entries read
/// `name - description (default VALUE)`. Without comments the file name is all there is.
#[must_use]
pub fn read_header(file_name: &str, head: &str) -> OrchestratorMetadata {
    let comments: Vec<&str> = head
        .lines()
        .take(HEAD_LINES)
        .filter(|line| !line.starts_with("#!"))
        .filter_map(|line| line.trim_start().strip_prefix('#'))
        .collect();
    let fields = Fields::read(&comments);
    let is_structured = fields.name.is_some();
    let mut sections = Sections::default();
    for line in &comments {
        sections.take(line, is_structured);
    }
    let stem = file_name
        .rsplit_once('.')
        .map_or(file_name, |(stem, _)| stem);
    let texts: Vec<&str> = comments
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.chars().any(char::is_alphanumeric))
        .collect();
    let simple = !is_structured
        && texts
            .first()
            .is_some_and(|first| section_of(first).is_none());
    let name = match (&fields.name, texts.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(first)) if simple => (*first).to_owned(),
        (None, _) => title(stem),
    };
    let description = if is_structured {
        fields.description
    } else if simple {
        let lines = texts
            .iter()
            .take(2)
            .take_while(|line| section_of(line).is_none());
        Some(lines.copied().collect::<Vec<_>>().join(" "))
    } else {
        None
    };
    OrchestratorMetadata {
        file_path: file_name.to_owned(),
        name: name.chars().take(NAME_MAX).collect(),
        description: description.map(|text| text.chars().take(DESCRIPTION_MAX).collect()),
        version: fields.version.or_else(|| version_of(stem)),
        required: sections.required,
        optional: sections.optional,
    }
}

#[derive(Default)]
struct Fields {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
}

impl Fields {
    fn read(comments: &[&str]) -> Self {
        let mut fields = Self::default();
        for line in comments {
            // Only lines at the margin: indented ones belong to a section.
            let Some((key, value)) = line.strip_prefix(' ').unwrap_or(line).split_once(':') else {
                continue;
            };
            let slot = match key.to_lowercase().as_str() {
                "name" => &mut fields.name,
                "version" => &mut fields.version,
                "description" => &mut fields.description,
                _ => continue,
            };
            let value = unquoted(value);
            if slot.is_none() && !value.is_empty() {
                *slot = Some(value.to_owned());
            }
        }
        fields
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Required,
    Optional,
}

#[derive(Default)]
struct Sections {
    current: Option<Section>,
    required: Vec<Parameter>,
    optional: Vec<Parameter>,
}

impl Sections {
    fn take(&mut self, line: &str, is_structured: bool) {
        let text = line.trim();
        if let Some(section) = section_of(text) {
            self.current = Some(section);
        } else if text.is_empty() {
            // In the simple form a blank comment line ends a section, unless nothing was listed yet.
            if !is_structured && self.list().is_some_and(|list| !list.is_empty()) {
                self.current = None;
            }
        } else if is_structured {
            self.take_structured(line, text);
        } else {
            self.take_simple(text);
        }
    }

    fn list(&mut self) -> Option<&mut Vec<Parameter>> {
        match self.current? {
            Section::Required => Some(&mut self.required),
            Section::Optional => Some(&mut self.optional),
        }
    }

    fn take_structured(&mut self, line: &str, text: &str) {
        let is_margin = !line
            .strip_prefix(' ')
            .unwrap_or(line)
            .starts_with([' ', '\t', '-']);
        if is_margin {
            self.current = None;
            return;
        }
        let Some(list) = self.list() else { return };
        let Some((key, value)) = text.trim_start_matches(['-', ' ']).split_once(':') else {
            return;
        };
        let (key, value) = (key.trim(), unquoted(value));
        match (key, list.last_mut()) {
            ("type", Some(_)) => {}
            ("description", Some(parameter)) => parameter.description = Some(value.to_owned()),
            ("default", Some(parameter)) => parameter.default = Some(typed(value)),
            _ if is_name(key) => {
                let description = (!value.is_empty()).then(|| value.to_owned());
                list.push(Parameter {
                    name: key.to_owned(),
                    description,
                    default: None,
                });
            }
            _ => {}
        }
    }

    fn take_simple(&mut self, text: &str) {
        let Some(list) = self.list() else { return };
        let entry = text.trim_start_matches(['*', '-', '•', ' ']);
        let (name, rest) = entry
            .split_once(|found: char| !found.is_ascii_alphanumeric() && found != '_')
            .unwrap_or((entry, ""));
        if !is_name(name) {
            return;
        }
        let rest = rest.trim_start_matches([' ', '-', '–', '—', ':']);
        let (description, default) = split_default(rest);
        let description = (!description.is_empty()).then(|| description.to_owned());
        list.push(Parameter {
            name: name.to_owned(),
            description,
            default,
        });
    }
}

fn section_of(text: &str) -> Option<Section> {
    let lower = text.to_lowercase();
    let starts = |words: [&str; 3]| words.into_iter().any(|word| lower.starts_with(word));
    if starts([
        "обязательные параметры:",
        "required parameters:",
        "required_params:",
    ]) {
        Some(Section::Required)
    } else if starts([
        "опциональные параметры:",
        "optional parameters:",
        "optional_params:",
    ]) || starts([
        "необязательные параметры:",
        "дополнительные параметры:",
        "optional params:",
    ]) {
        Some(Section::Optional)
    } else {
        None
    }
}

fn split_default(text: &str) -> (&str, Option<Variable>) {
    for marker in ["(по умолчанию", "(default"] {
        if let Some((before, behind)) = text.rsplit_once(marker)
            && let Some((value, _)) = behind.split_once(')')
        {
            return (
                before.trim(),
                Some(typed(unquoted(value.trim_start_matches([':', '=', ' '])))),
            );
        }
    }
    (text.trim(), None)
}

fn typed(value: &str) -> Variable {
    if let Ok(number) = value.parse() {
        return Variable::Integer(number);
    }
    match value.to_lowercase().as_str() {
        "true" | "yes" | "да" => Variable::Boolean(true),
        "false" | "no" | "нет" => Variable::Boolean(false),
        _ => Variable::Text(value.to_owned()),
    }
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

fn title(stem: &str) -> String {
    let words = stem
        .split(['-', '_', '.', ' '])
        .filter(|word| !word.is_empty());
    let titled = words.map(|word| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_uppercase().chain(letters).collect()
        })
    });
    titled.collect::<Vec<_>>().join(" ")
}

// `1.1` of `docker-orchestrator.v1.1`; without one it is not known.
fn version_of(stem: &str) -> Option<String> {
    let (_, behind) = stem.rsplit_once(".v").or_else(|| stem.rsplit_once("-v"))?;
    let version: String = behind
        .chars()
        .take_while(|found| found.is_ascii_digit() || *found == '.')
        .collect();
    let version = version.trim_end_matches('.');
    (!version.is_empty()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(parameters: &[Parameter]) -> Vec<&str> {
        parameters
            .iter()
            .map(|parameter| parameter.name.as_str())
            .collect()
    }

    #[test]
    fn a_structured_header_has_its_parameters() {
        let head = "---\n# name: \"Even and odd\"\n# version: 2.0\n# description: Two halves\n# required_params:\n\
                    #   app_instances:\n#     type: string\n#     description: the instances\n#   drain_delay:\n\
                    #     default: 300\n# optional_params:\n#   wait_after_update:\n#     default: \"180\"\n\
                    - hosts: localhost\n  vars:\n    x: 1\n";
        let metadata = read_header("orchestrator.yml", head);
        assert_eq!(
            (metadata.name.as_str(), metadata.version.as_deref()),
            ("Even and odd", Some("2.0"))
        );
        assert_eq!(metadata.description.as_deref(), Some("Two halves"));
        assert_eq!(names(&metadata.required), ["app_instances", "drain_delay"]);
        assert_eq!(
            metadata.required[0].description.as_deref(),
            Some("the instances")
        );
        assert_eq!(metadata.required[1].default, Some(Variable::Integer(300)));
        assert_eq!(names(&metadata.optional), ["wait_after_update"]);
    }

    #[test]
    fn a_simple_header_reads_in_both_languages() {
        for (required, optional, default) in [
            (
                "Required parameters:",
                "Optional parameters:",
                "(default 180)",
            ),
            (
                "Обязательные параметры:",
                "Опциональные параметры:",
                "(по умолчанию 180)",
            ),
        ] {
            let head = format!(
                "#!/usr/bin/ansible-playbook\n# Even and odd\n# Two halves, one after the other\n#\n# {required}\n\
                 #   app_instances - the instances\n#   * drain_delay - seconds\n#\n# {optional}\n\
                 #   - wait_after_update - seconds {default}\n#\n# The end - nothing more\n---\n"
            );
            let metadata = read_header("my-orchestrator.v1.1.yml", &head);
            assert_eq!(metadata.name, "Even and odd");
            assert_eq!(
                metadata.description.as_deref(),
                Some("Even and odd Two halves, one after the other")
            );
            assert_eq!(metadata.version.as_deref(), Some("1.1"));
            assert_eq!(names(&metadata.required), ["app_instances", "drain_delay"]);
            assert_eq!(names(&metadata.optional), ["wait_after_update"]);
            assert_eq!(metadata.optional[0].description.as_deref(), Some("seconds"));
            assert_eq!(metadata.optional[0].default, Some(Variable::Integer(180)));
        }
    }

    #[test]
    fn without_comments_the_file_name_is_the_name() {
        let metadata = read_header("docker-orchestrator_all.yml", "---\n- hosts: all\n");
        assert_eq!(metadata.name, "Docker Orchestrator All");
        assert_eq!((metadata.description, metadata.version), (None, None));
    }

    #[test]
    fn defaults_are_typed() {
        for (text, value) in [
            ("3", Variable::Integer(3)),
            ("да", Variable::Boolean(true)),
            ("no", Variable::Boolean(false)),
            ("1.5 s", Variable::Text("1.5 s".to_owned())),
        ] {
            assert_eq!(typed(text), value);
        }
    }

    #[test]
    fn orchestrator_files_are_told_by_name() {
        assert!(
            is_orchestrator_file("orchestrator-even-odd.yml")
                && is_orchestrator_file("my-Orchestrator.yaml")
        );
        assert!(
            !is_orchestrator_file("update-app.yml") && !is_orchestrator_file("orchestrator.txt")
        );
    }

    proptest! {
        #[test]
        fn reading_is_total_and_bounded(head in "([#a-z:_ (\\-]{0,30}\n){0,20}") {
            let metadata = read_header("x-orchestrator.yml", &head);
            prop_assert!(metadata.name.chars().count() <= NAME_MAX);
            prop_assert!(metadata.required.iter().chain(&metadata.optional).all(|parameter| is_name(&parameter.name)));
        }
    }
}
