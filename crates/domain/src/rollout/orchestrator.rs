//! Orchestrator playbooks and their comment headers.

use crate::rollout::job::Variable;
use crate::rollout::parameter;
use crate::text::is_hidden;
use crate::{Key, Timestamp};

/// How many lines of a playbook may hold its header.
pub const HEAD_LINES: usize = 150;

const NAME_MAX: usize = 128;
const VERSION_MAX: usize = 32;
const DESCRIPTION_MAX: usize = 500;
const DEFAULT_MAX: usize = 500;

/// Marks keys of orchestrator playbooks.
#[derive(Debug)]
pub enum OrchestratorKind {}
/// The key of an orchestrator playbook.
pub type OrchestratorKey = Key<OrchestratorKind>;

/// An orchestrator playbook as Drover knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrchestratorPlaybook {
    /// Its key.
    pub key: OrchestratorKey,
    /// The content of its header.
    pub metadata: OrchestratorMetadata,
    /// Whether it is offered for updates; a scan never changes this.
    pub is_active: bool,
    /// When a scan last saw it.
    pub last_scanned: Timestamp,
}

/// What an orchestrator playbook says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrchestratorMetadata {
    /// Its file name in the playbook folder.
    pub file_path: String,
    /// Its name; at most 128 characters, never empty.
    pub name: String,
    /// What it does; at most 500 characters.
    pub description: Option<String>,
    /// Its version; at most 32 characters.
    pub version: Option<String>,
    /// The parameters it cannot do without, in the order of the header.
    pub required: Vec<Parameter>,
    /// The parameters it can do without, in the order of the header.
    pub optional: Vec<Parameter>,
}

/// A parameter of a playbook, as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name: a variable name.
    pub name: String,
    /// What it is for; at most 500 characters.
    pub description: Option<String>,
    /// The default value.
    pub default: Option<Variable>,
}

/// Whether a file of the playbook folder is an orchestrator playbook: `*orchestrator*.yml` or
/// `.yaml`, and not hidden.
#[must_use]
pub fn is_orchestrator_file(name: &str) -> bool {
    let stem = name
        .strip_suffix(".yml")
        .or_else(|| name.strip_suffix(".yaml"));
    stem.is_some_and(|stem| {
        stem.contains("orchestrator") && !stem.starts_with('.') && !stem.contains('/')
    })
}

/// Reads the metadata from the first [`HEAD_LINES`] lines of a playbook. Total: what the header
/// leaves out comes from the file name.
///
/// A header is made of comment lines that start in the first column:
///
/// * `# name:`, `# version:` and `# description:`; or the first comment line is the name and the
///   first two are the description;
/// * the sections `# Required parameters:` and `# Optional parameters:` (also `required_params:`,
///   `Обязательные параметры:` and so on) with lines `name - description (default VALUE)`, ended
///   by a blank line; with an indented `name:` and below it `description:`, `default:` and `required:`;
///   or with a YAML list of names, `- name`, `- name: app` or `[app, url]`. `# parameters:` begins
///   optional ones.
///
/// A text goes on in the lines below it that are indented deeper, also behind `>` and `|`. Tabs count as four blanks.
/// A default is a whole number, a truth value, or a text: `1.50` stays as it is written.
#[must_use]
pub fn read_header(file_name: &str, head: &str) -> OrchestratorMetadata {
    let mut header = Header::default();
    let mut before_content = true;
    for line in head.trim_start_matches('\u{feff}').lines().take(HEAD_LINES) {
        match line.strip_prefix('#') {
            Some(comment) if !comment.starts_with('!') => header.comment(comment, before_content),
            Some(_) => {}
            None if line.trim().is_empty() || line.trim_end() == "---" => header.blank(),
            None => {
                header.section = None;
                before_content = false;
            }
        }
    }
    header.into_metadata(file_name)
}

#[derive(Default)]
struct Header {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    /// The first two comment lines that are neither key nor section.
    prose: Vec<String>,
    required: Vec<Parameter>,
    optional: Vec<Parameter>,
    section: Option<Section>,
    /// The text that deeper lines go on with, and its indent.
    open: Option<(Open, usize)>,
}

/// A text that may go on in the next line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// The description of the playbook.
    Description,
    /// The description of the last parameter of the section, with or without its default.
    Parameter,
}

#[derive(Clone, Copy)]
struct Section {
    need: Need,
    indent: usize,
    layout: Layout,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
}

/// How a section writes its parameters; its first parameter shows it.
#[derive(Clone, Copy)]
enum Layout {
    Open,
    Dashed,
    Keyed { indent: usize },
}

impl Header {
    fn comment(&mut self, comment: &str, before_content: bool) {
        let text = comment.trim_start_matches('#').trim();
        if !text.chars().any(char::is_alphanumeric) {
            return self.blank();
        }
        let text = &text.replace('\t', " ");
        let indent = indent_of(comment);
        if self.goes_on(indent, text) {
            return;
        }
        if let Some((need, names)) = section_need(text) {
            self.section = Some(Section {
                need,
                indent,
                layout: Layout::Open,
            });
            for name in listed(names) {
                insert(self.list(need), described(name, ""));
            }
        } else if !self.parameter(indent, text)
            && !self.key(indent, text)
            && before_content
            && self.prose.len() < 2
        {
            self.prose.push(text.to_owned());
        }
    }

    /// Takes a line that is indented deeper than the text it goes on with.
    fn goes_on(&mut self, indent: usize, text: &str) -> bool {
        let Some((open, outer)) = self.open else {
            return false;
        };
        let is_new =
            dashed(text).is_some() || keyed(text).is_some() || section_need(text).is_some();
        if indent <= outer || (is_new && open == Open::Parameter) {
            self.open = None;
            return false;
        }
        match (open, self.section) {
            (Open::Description, _) => append(&mut self.description, text),
            (Open::Parameter, Some(section)) => {
                if let Some(parameter) = self.list(section.need).last_mut() {
                    append(&mut parameter.description, text);
                    let joined = parameter.description.clone().unwrap_or_default();
                    if let Some((description, value)) = split_default(&joined) {
                        parameter.default = default_value(value);
                        parameter.description = bounded(description, DESCRIPTION_MAX);
                    }
                }
            }
            (Open::Parameter, None) => {}
        }
        true
    }

    const fn list(&mut self, need: Need) -> &mut Vec<Parameter> {
        match need {
            Need::Required => &mut self.required,
            Need::Optional => &mut self.optional,
        }
    }

    /// A blank line ends a list of `name - description`.
    fn blank(&mut self) {
        self.open = None;
        if let Some(Section {
            layout: Layout::Dashed,
            ..
        }) = self.section
        {
            self.section = None;
        }
    }

    /// Takes a line inside a section; false if the line is outside of any.
    fn parameter(&mut self, indent: usize, text: &str) -> bool {
        let Some(section) = self.section else {
            return false;
        };
        // An item of a YAML list of names begins a parameter; what belongs to it is indented deeper.
        if let Some(name) = item(text)
            && !matches!(section.layout, Layout::Dashed)
            && indent > section.indent
        {
            insert(self.list(section.need), described(name, ""));
            let layout = Layout::Keyed { indent };
            self.section = Some(Section { layout, ..section });
            self.open = None;
            return true;
        }
        let list = match section.need {
            Need::Required => &mut self.required,
            Need::Optional => &mut self.optional,
        };
        let layout = match (section.layout, dashed(text), keyed(text)) {
            (Layout::Open | Layout::Dashed, Some(parameter), _) => {
                insert(list, parameter);
                self.open = Some((Open::Parameter, indent));
                Layout::Dashed
            }
            (Layout::Open | Layout::Keyed { .. }, _, Some(_)) if indent <= section.indent => {
                self.section = None;
                return false;
            }
            (Layout::Keyed { indent: outer }, _, Some((key, value))) if indent > outer => {
                if let Some(parameter) = list.last_mut() {
                    match key.to_lowercase().as_str() {
                        "description" => {
                            parameter.description = text_of(value);
                            self.open = Some((Open::Parameter, indent));
                        }
                        "default" => parameter.default = default_value(value),
                        "required" => {
                            let is_required = default_value(value) == Some(Variable::Boolean(true));
                            self.move_last(section.need, is_required);
                        }
                        _ => {}
                    }
                }
                section.layout
            }
            (Layout::Open | Layout::Keyed { .. }, _, Some((name, value)))
                if parameter::is_name(name) =>
            {
                insert(list, described(name, value));
                Layout::Keyed { indent }
            }
            (layout, _, _) => layout,
        };
        self.section = Some(Section { layout, ..section });
        true
    }

    /// Moves the last parameter of a section to where its own `required:` puts it.
    fn move_last(&mut self, from: Need, is_required: bool) {
        let to = if is_required {
            Need::Required
        } else {
            Need::Optional
        };
        if from != to
            && let Some(parameter) = self.list(from).pop()
        {
            insert(self.list(to), parameter);
        }
    }

    /// Takes a `name:`, `version:` or `description:` line; the first of each counts.
    fn key(&mut self, indent: usize, text: &str) -> bool {
        let Some((key, value)) = keyed(text) else {
            return false;
        };
        let key = key.trim_start_matches(['@', '\\']);
        let (place, most) = match key.to_lowercase().as_str() {
            "name" => (&mut self.name, NAME_MAX),
            "version" => (&mut self.version, VERSION_MAX),
            "description" => (&mut self.description, DESCRIPTION_MAX),
            _ => return false,
        };
        if place.is_none() {
            *place = text_of(value).and_then(|text| bounded(&text, most));
            if key.eq_ignore_ascii_case("description") {
                self.open = Some((Open::Description, indent));
            }
        }
        true
    }

    fn into_metadata(mut self, file_name: &str) -> OrchestratorMetadata {
        let required = &self.required;
        self.optional
            .retain(|optional| required.iter().all(|known| known.name != optional.name));
        let stem = file_name
            .strip_suffix(".yml")
            .or_else(|| file_name.strip_suffix(".yaml"))
            .unwrap_or(file_name);
        let is_structured = self.name.is_some();
        let stated = self.prose.iter().find_map(|line| stated_version(line));
        let prose: Vec<&str> = self
            .prose
            .iter()
            .map(String::as_str)
            .filter(|line| stated_version(line).is_none())
            .collect();
        let has_prose = !prose.is_empty();
        let fallback_version =
            || (!is_structured && !has_prose).then(|| first_number(stem).unwrap_or("1.0"));
        let name = self.name.or_else(|| bounded(prose.first()?, NAME_MAX));
        let described = if is_structured {
            None
        } else {
            bounded(&prose.join(" "), DESCRIPTION_MAX)
        };
        let in_name = name.as_deref().and_then(named_version).map(str::to_owned);
        let version = stem_version(stem)
            .or(stated)
            .or(in_name.as_deref())
            .or_else(fallback_version);
        OrchestratorMetadata {
            file_path: file_name.to_owned(),
            name: name
                .or_else(|| bounded(&title(stem), NAME_MAX))
                .unwrap_or_else(|| "orchestrator".to_owned()),
            description: self.description.or(described),
            version: self.version.or_else(|| bounded(version?, VERSION_MAX)),
            required: self.required,
            optional: self.optional,
        }
    }
}

/// Which section begins here, and what follows its heading.
fn section_need(text: &str) -> Option<(Need, &str)> {
    const REQUIRED: [&str; 4] = [
        "required parameters",
        "required params",
        "required_params",
        "обязательные параметры",
    ];
    const OPTIONAL: [&str; 8] = [
        "optional parameters",
        "optional params",
        "optional_params",
        "опциональные параметры",
        "необязательные параметры",
        "parameters",
        "params",
        "параметры",
    ];
    let behind = |heading: &&str| {
        let rest = strip_word(text, heading)?.trim_start();
        let names = rest.strip_prefix(':');
        names.or_else(|| rest.is_empty().then_some(""))
    };
    let found = |headings: &[&'static str]| headings.iter().find_map(behind);
    found(&REQUIRED)
        .map(|rest| (Need::Required, rest))
        .or_else(|| found(&OPTIONAL).map(|rest| (Need::Optional, rest)))
}

/// Blanks and tabs at the start of a comment, a tab as four.
fn indent_of(comment: &str) -> usize {
    comment
        .chars()
        .take_while(|found| found.is_whitespace())
        .map(|found| if found == '\t' { 4 } else { 1 })
        .sum()
}

/// The names of `[a, b]`.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    let inside = text
        .trim()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inside
        .unwrap_or_default()
        .split(',')
        .map(|name| unquoted(name.trim()))
        .filter(|name| parameter::is_name(name))
}

/// The name in an item of a YAML list: `- app` or `- name: app`.
fn item(text: &str) -> Option<&str> {
    let text = text.strip_prefix('-')?.trim();
    let name = match keyed(text) {
        Some((key, value)) if key.eq_ignore_ascii_case("name") => value,
        Some((key, "")) => key,
        Some(_) => return None,
        None => text,
    };
    let name = unquoted(name);
    parameter::is_name(name).then_some(name)
}

/// The text of a key; one that begins with `>` or `|` stands in the lines below.
fn text_of(value: &str) -> Option<String> {
    let is_block = matches!(value, ">" | "|" | ">-" | "|-" | ">+" | "|+");
    if is_block {
        None
    } else {
        bounded(unquoted(value), DESCRIPTION_MAX)
    }
}

/// Joins one more line.
fn append(text: &mut Option<String>, line: &str) {
    let joined = text
        .take()
        .map_or_else(|| line.to_owned(), |text| format!("{text} {line}"));
    *text = bounded(&joined, DESCRIPTION_MAX);
}

/// `name - description`, perhaps behind a bullet or a number; the name may be quoted and have its type behind it in
/// parentheses. Without a description the name must look like one of a variable: behind a bullet, quoted, or with `_`.
fn dashed(text: &str) -> Option<Parameter> {
    let (text, is_item) = behind_bullet(text);
    let (name, rest, is_quoted) = name_in(text)?;
    if !parameter::is_name(name) {
        return None;
    }
    let rest = behind_type(rest.trim());
    if split_default(rest).is_some_and(|(before, _)| before.is_empty()) {
        return Some(described(name, rest));
    }
    if rest.is_empty() {
        let looks_like_one = is_item || is_quoted || name.contains('_');
        return looks_like_one.then(|| described(name, ""));
    }
    let description = ["-- ", "- ", "– ", "— "]
        .into_iter()
        .find_map(|dash| rest.strip_prefix(dash));
    let description = description.or_else(|| {
        // `name: description` alone is a key; with a bullet, quotes or a type it is a parameter.
        let is_marked = is_quoted || text.len() > name.len() + 1 + rest.len();
        rest.strip_prefix(": ").filter(|_| is_marked)
    })?;
    Some(described(name, description))
}

/// The text behind `*`, `-`, `+`, `•`, `1.` or `1)`, and whether there was one.
fn behind_bullet(text: &str) -> (&str, bool) {
    let number = text.trim_start_matches(|found: char| found.is_ascii_digit());
    let numbered = (number.len() < text.len())
        .then(|| number.strip_prefix(['.', ')']))
        .flatten();
    let rest = text.strip_prefix(['*', '-', '+', '•']).or(numbered);
    match rest {
        Some(rest) if rest.starts_with(' ') => (rest.trim_start(), true),
        _ => (text, false),
    }
}

/// The name at the start of a text, what follows it, and whether the name is quoted.
fn name_in(text: &str) -> Option<(&str, &str, bool)> {
    let quote = text.chars().next().filter(|first| "`'\"".contains(*first));
    if let Some(quote) = quote {
        let (name, rest) = text.get(1..)?.split_once(quote)?;
        return Some((name, rest, true));
    }
    let end = text
        .find(|found: char| !found.is_ascii_alphanumeric() && found != '_')
        .unwrap_or(text.len());
    Some((text.get(..end)?, text.get(end..)?, false))
}

/// The text behind a type such as `(string)`, but not behind `(default 5)`.
fn behind_type(text: &str) -> &str {
    let inside = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    match inside {
        Some((kind, _)) if split_default(&format!("({kind})")).is_some() => text,
        Some((kind, rest))
            if kind
                .chars()
                .all(|found| found.is_alphabetic() || found == ',' || found == ' ') =>
        {
            rest.trim_start()
        }
        _ => text,
    }
}

/// `key: value`; the key has no blank.
fn keyed(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(':')?;
    let fits = !key.is_empty()
        && !key.contains(char::is_whitespace)
        && (value.is_empty() || value.starts_with([' ', '\t']));
    fits.then_some((key, value.trim()))
}

fn described(name: &str, text: &str) -> Parameter {
    let (description, default) = match split_default(text.trim()) {
        Some((description, value)) => (description, default_value(value)),
        None => (text, None),
    };
    Parameter {
        name: name.to_owned(),
        description: bounded(description, DESCRIPTION_MAX),
        default,
    }
}

/// The first mention counts: a playbook that repeats itself still has each parameter once.
fn insert(list: &mut Vec<Parameter>, parameter: Parameter) {
    if list.iter().all(|known| known.name != parameter.name) {
        list.push(parameter);
    }
}

/// `description (default VALUE)` taken apart.
fn split_default(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_suffix(')')?;
    inside.match_indices('(').find_map(|(at, _)| {
        let (description, rest) = (inside.get(..at)?, inside.get(at + 1..)?);
        let value = ["default", "по умолчанию"]
            .into_iter()
            .find_map(|word| strip_word(rest, word))?;
        let value = value.strip_prefix([' ', ':', '='])?;
        Some((description, value.trim_start_matches([' ', ':', '='])))
    })
}

/// `text` behind `word`, which stands at its start in any case.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let mut rest = text.chars();
    word.chars()
        .all(|wanted| {
            rest.next()
                .is_some_and(|found| found.to_lowercase().eq([wanted]))
        })
        .then_some(rest.as_str())
}

fn default_value(text: &str) -> Option<Variable> {
    let text = text.trim();
    let plain = unquoted(text);
    if plain.len() < text.len() {
        return bounded(plain, DEFAULT_MAX).map(Variable::Text);
    }
    match text.to_lowercase().as_str() {
        "true" | "yes" | "да" => Some(Variable::Boolean(true)),
        "false" | "no" | "нет" => Some(Variable::Boolean(false)),
        _ => match text.parse::<i64>() {
            // `007` and `+7` are not meant as numbers: file modes, phone codes.
            Ok(number) if number.to_string() == text => Some(Variable::Integer(number)),
            Ok(_) | Err(_) => bounded(text, DEFAULT_MAX).map(Variable::Text),
        },
    }
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

fn bounded(text: &str, most: usize) -> Option<String> {
    let kept: String = text
        .trim()
        .chars()
        .filter(|found| !is_hidden(*found))
        .take(most)
        .collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// The number of a line that is only `Version 1.0`.
fn stated_version(line: &str) -> Option<&str> {
    let number = ["version", "версия"]
        .into_iter()
        .find_map(|word| strip_word(line, word))?;
    let number = number.trim_start_matches([' ', ':']);
    let number = number.strip_prefix(['v', 'V']).unwrap_or(number);
    (first_number(number) == Some(number)).then_some(number)
}

/// The `2.3` of `Half by half V2.3`.
fn named_version(name: &str) -> Option<&str> {
    name.split([' ', '(', ')', ',']).find_map(|word| {
        let number = word.strip_prefix(['v', 'V'])?;
        (number.contains('.') && first_number(number) == Some(number)).then_some(number)
    })
}

/// The `1.1` of `name.v1.1`.
fn stem_version(stem: &str) -> Option<&str> {
    stem.match_indices(['v', 'V']).find_map(|(at, mark)| {
        let before = stem.get(..at)?;
        if !before.ends_with(['.', '-', '_']) {
            return None;
        }
        let rest = stem.get(at + mark.len()..)?;
        rest.starts_with(|found: char| found.is_ascii_digit())
            .then(|| first_number(rest))?
    })
}

fn first_number(text: &str) -> Option<&str> {
    let rest = text.get(text.find(|found: char| found.is_ascii_digit())?..)?;
    let end = rest
        .find(|found: char| !found.is_ascii_digit() && found != '.')
        .unwrap_or(rest.len());
    Some(rest.get(..end)?.trim_end_matches('.'))
}

/// `orchestrator-50_50` as `Orchestrator 50 50`.
fn title(stem: &str) -> String {
    let capital = |word: &str| {
        let mut rest = word.chars();
        rest.next()
            .map(|first| first.to_uppercase().chain(rest).collect::<String>())
    };
    stem.split(['-', '_', '.', ' '])
        .filter_map(capital)
        .collect::<Vec<_>>()
        .join(" ")
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

    fn text(value: &str) -> Variable {
        Variable::Text(value.to_owned())
    }

    #[test]
    fn a_parameter_is_read_in_every_common_spelling() {
        for (line, expected) in [
            ("app_instances - the names", Some("the names")),
            ("* app_instances - the names", Some("the names")),
            ("1. app_instances - the names", Some("the names")),
            ("2) app_instances – the names", Some("the names")),
            ("`app_instances` - the names", Some("the names")),
            ("'app_instances': the names", Some("the names")),
            ("app_instances (string) - the names", Some("the names")),
            (
                "app_instances (list, required): the names",
                Some("the names"),
            ),
            ("app_instances -- the names", Some("the names")),
            ("+ app_instances — the names", Some("the names")),
            ("app_instances", None),
            ("- app_instances", None),
            ("`app_instances`", None),
            ("app_instances: the names", Some("the names")),
        ] {
            let head = format!("# Name\n#\n# Required parameters:\n#   {line}\n---\n");
            let required = read_header("orchestrator.yml", &head).required;
            let found: Vec<_> = required
                .iter()
                .map(|one| (one.name.as_str(), one.description.as_deref()))
                .collect();
            assert_eq!(found, [("app_instances", expected)], "{line}");
        }
        let head = "# Name\n#\n# Optional parameters:\n#   wait (default 5)\n#   colour (default red)\n---\n";
        let optional = read_header("orchestrator.yml", head).optional;
        let defaults: Vec<_> = optional.iter().map(|one| one.default.clone()).collect();
        assert_eq!(
            defaults,
            [
                Some(Variable::Integer(5)),
                Some(Variable::Text("red".to_owned()))
            ]
        );
        for line in [
            "none",
            "see the manual",
            "(nothing)",
            "see: the manual - page 3",
        ] {
            let head = format!("# Name\n#\n# Required parameters:\n#   {line}\n---\n");
            let required = read_header("orchestrator.yml", &head).required;
            assert!(
                required
                    .iter()
                    .all(|one| one.name == "see" || one.name.is_empty()),
                "{line}: {required:?}"
            );
        }
    }

    #[test]
    fn a_parameter_of_both_lists_is_required_and_stands_there_once() {
        let head = "# @name: Halves\n# Required parameters:\n#   app - names\n#\n# Optional parameters:\n#   app - names\n#   wait - time (default 5)\n";
        let found = read_header("orchestrator.yml", head);
        let names =
            |list: &[Parameter]| list.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(found.name, "Halves");
        assert_eq!(
            (names(&found.required), names(&found.optional)),
            (vec!["app".to_owned()], vec!["wait".to_owned()])
        );
    }

    #[test]
    fn orchestrator_files_are_told_by_their_name() {
        for name in [
            "orchestrator.yml",
            "my-orchestrator-50.yaml",
            "orchestrator.v1.1.yml",
        ] {
            assert!(is_orchestrator_file(name), "{name}");
        }
        for name in [
            "update.yml",
            "orchestrator.yml.bak",
            ".orchestrator.yml",
            "a/orchestrator.yml",
            "x.orchestrator",
        ] {
            assert!(!is_orchestrator_file(name), "{name}");
        }
    }

    #[test]
    fn a_structured_header_has_its_parameters() {
        let found = read_header(
            "orchestrator-x.yml",
            "---\n\
             # Something before\n\
             # Name: \"Even and odd\"\n\
             # version: '2.0'\n\
             # description: Half by half - with care\n\
             # required_params:\n\
             #   app_instances:\n\
             #     type: string\n\
             #     description: What to update - all of it\n\
             #\n\
             #   drain_delay:\n\
             #     type: int\n\
             #     default: 300\n\
             # optional_params:\n\
             #   unpack:\n\
             #     default: yes\n\
             #   label: shown in the log (default: 'none')\n\
             # author: somebody\n\
             - hosts: all\n",
        );
        assert_eq!(found.name, "Even and odd");
        assert_eq!(found.version.as_deref(), Some("2.0"));
        assert_eq!(
            found.description.as_deref(),
            Some("Half by half - with care")
        );
        assert_eq!(names(&found.required), ["app_instances", "drain_delay"]);
        assert_eq!(
            found.required[0].description.as_deref(),
            Some("What to update - all of it")
        );
        assert_eq!(found.required[1].default, Some(Variable::Integer(300)));
        assert_eq!(names(&found.optional), ["unpack", "label"]);
        assert_eq!(found.optional[0].default, Some(Variable::Boolean(true)));
        assert_eq!(
            found.optional[1].description.as_deref(),
            Some("shown in the log")
        );
        assert_eq!(found.optional[1].default, Some(text("none")));
    }

    #[test]
    fn a_simple_header_keeps_its_sections_apart() {
        let found = read_header(
            "orchestrator-50-50.v1.1.yml",
            "#!/usr/bin/env ansible-playbook\n\
             # ==========\n\
             # Обновление 50/50\n\
             # Сначала чётные, потом нечётные\n\
             # Третья строка\n\
             #\n\
             # Обязательные параметры:\n\
             #\n\
             #   * app_instances - список экземпляров\n\
             #   - distr_url - адрес (архив)\n\
             #   • drain_delay – ожидание (по умолчанию 300)\n\
             #\n\
             # Опциональные параметры:\n\
             #   wait_after_update - пауза (По умолчанию: 180.5)\n\
             #   unpack - распаковать (по умолчанию нет)\n\
             #   mode - режим (по умолчанию \"update\")\n\
             #\n\
             # note - this is no parameter\n",
        );
        assert_eq!(found.name, "Обновление 50/50");
        assert_eq!(
            found.description.as_deref(),
            Some("Обновление 50/50 Сначала чётные, потом нечётные")
        );
        assert_eq!(found.version.as_deref(), Some("1.1"));
        assert_eq!(
            names(&found.required),
            ["app_instances", "distr_url", "drain_delay"]
        );
        assert_eq!(
            found.required[1].description.as_deref(),
            Some("адрес (архив)")
        );
        assert_eq!(found.required[2].default, Some(Variable::Integer(300)));
        assert_eq!(
            names(&found.optional),
            ["wait_after_update", "unpack", "mode"]
        );
        assert_eq!(found.optional[0].default, Some(text("180.5")));
        assert_eq!(found.optional[1].default, Some(Variable::Boolean(false)));
        assert_eq!(found.optional[2].default, Some(text("update")));
    }

    #[test]
    fn a_section_right_after_another_begins_anew() {
        let head = "# X\n# Required parameters:\n# a - one\n# Optional parameters:\n# b - two\n";
        let found = read_header("orchestrator.yml", head);
        assert_eq!(
            (names(&found.required), names(&found.optional)),
            (vec!["a"], vec!["b"])
        );
        assert_eq!(found.version, None);
    }

    #[test]
    fn a_stated_version_is_no_description() {
        let found = read_header(
            "orchestrator-even-odd.yml",
            "---\n# Half by half\n# Version 1.0\n#\n# More\n",
        );
        assert_eq!(found.name, "Half by half");
        assert_eq!(found.version.as_deref(), Some("1.0"));
        assert_eq!(found.description.as_deref(), Some("Half by half"));
    }

    #[test]
    fn versions_stand_in_names_of_files_and_of_playbooks() {
        for (file, head, version) in [
            ("orchestrator.V2.3.yml", "# Half by half\n", Some("2.3")),
            ("orchestrator-v2.3.yml", "# Half by half\n", Some("2.3")),
            ("orchestrator_v2.yml", "# Half by half\n", Some("2")),
            ("orchestrator.yml", "# Half by half V2.3\n", Some("2.3")),
            (
                "orchestrator.yml",
                "# name: Обновление 50/50 (v1.10.2)\n",
                Some("1.10.2"),
            ),
            (
                "orchestrator.yml",
                "# Half by half\n# Version V2.3\n",
                Some("2.3"),
            ),
            (
                "orchestrator.yml",
                "# name: X\n# version: V2.3\n",
                Some("V2.3"),
            ),
            ("orchestrator.yml", "# Very 2.3 halves\n", None),
            ("orchestrator-move2.yml", "# Half by half\n", None),
        ] {
            let found = read_header(file, head);
            assert_eq!(found.version.as_deref(), version, "{file}: {head}");
            assert!(!found.name.is_empty());
        }
    }

    #[test]
    fn yaml_lists_name_parameters() {
        let found = read_header(
            "orchestrator.yml",
            "# name: Lists\n\
             # required_params:\n\
             #   - app_instances\n\
             #   - name: drain_delay\n\
             #     description: How long\n\
             #     default: 300\n\
             #   - distr_url:\n\
             #       description: Where from\n\
             # optional_params: [unpack, \"label\", 1x]\n",
        );
        assert_eq!(
            names(&found.required),
            ["app_instances", "drain_delay", "distr_url"]
        );
        assert_eq!(found.required[1].description.as_deref(), Some("How long"));
        assert_eq!(found.required[1].default, Some(Variable::Integer(300)));
        assert_eq!(found.required[2].description.as_deref(), Some("Where from"));
        assert_eq!(names(&found.optional), ["unpack", "label"]);
    }

    #[test]
    fn a_parameter_may_say_itself_whether_it_is_required() {
        let found = read_header(
            "orchestrator.yml",
            "# name: Own words\n\
             # parameters:\n\
             #   app_instances:\n\
             #     required: yes\n\
             #   unpack:\n\
             #     required: no\n\
             #     default: 1.50\n\
             #   distr_url:\n\
             #     required: true\n\
             #     description: Where from\n",
        );
        assert_eq!(names(&found.required), ["app_instances", "distr_url"]);
        assert_eq!(names(&found.optional), ["unpack"]);
        assert_eq!(found.optional[0].default, Some(text("1.50")));
    }

    #[test]
    fn texts_go_on_in_deeper_lines() {
        let found = read_header(
            "orchestrator.yml",
            "\u{feff}# name: Long\r\n\
             # description: >\r\n\
             #   First line: of two\r\n\
             #   second line\r\n\
             # required_params:\r\n\
             #\tdrain_delay:\r\n\
             #\t\tdescription: |\r\n\
             #\t\t  Seconds\r\n\
             #\t\t  of waiting\r\n\
             #\t\tdefault:\t300\r\n\
             # Необязательные параметры:\r\n\
             #   wait_after_update\t-\tпауза,\r\n\
             #       в секундах (по умолчанию 180)\r\n\
             #   unpack - распаковать (по умолчанию да)\r\n",
        );
        assert_eq!(
            found.description.as_deref(),
            Some("First line: of two second line")
        );
        assert_eq!(names(&found.required), ["drain_delay"]);
        assert_eq!(
            found.required[0].description.as_deref(),
            Some("Seconds of waiting")
        );
        assert_eq!(found.required[0].default, Some(Variable::Integer(300)));
        assert_eq!(names(&found.optional), ["wait_after_update", "unpack"]);
        assert_eq!(
            found.optional[0].description.as_deref(),
            Some("пауза, в секундах")
        );
        assert_eq!(found.optional[0].default, Some(Variable::Integer(180)));
        assert_eq!(found.optional[1].default, Some(Variable::Boolean(true)));
    }

    #[test]
    fn without_a_header_the_file_name_speaks() {
        for (file, name, version) in [
            (
                "orchestrator-rolling_2.5.yml",
                "Orchestrator Rolling 2 5",
                "2.5",
            ),
            ("my-orchestrator.yaml", "My Orchestrator", "1.0"),
            ("orchestrator.v3.1.yml", "Orchestrator V3 1", "3.1"),
        ] {
            let found = read_header(file, "- hosts: all\n# a late comment\n  tasks: []\n");
            assert_eq!(
                (found.name.as_str(), found.version.as_deref()),
                (name, Some(version)),
                "{file}"
            );
            assert_eq!(found.file_path, file);
            assert!(
                found.description.is_none()
                    && found.required.is_empty()
                    && found.optional.is_empty()
            );
        }
    }

    #[test]
    fn what_looks_like_a_number_and_is_none_stays_text() {
        for (written, expected) in [
            ("5", Some(Variable::Integer(5))),
            ("-5", Some(Variable::Integer(-5))),
            ("0644", Some(text("0644"))),
            ("\"5\"", Some(text("5"))),
            ("1.5", Some(text("1.5"))),
            ("NO", Some(Variable::Boolean(false))),
            ("", None),
            ("''", None),
        ] {
            assert_eq!(default_value(written), expected, "{written}");
        }
    }

    #[test]
    fn only_the_first_lines_count() {
        let head = format!("{}# name: late\n", "\n".repeat(HEAD_LINES));
        assert_eq!(read_header("orchestrator.yml", &head).name, "Orchestrator");
        let head = format!("{}# name: in time\n", "\n".repeat(HEAD_LINES - 1));
        assert_eq!(read_header("orchestrator.yml", &head).name, "in time");
    }

    proptest! {
        #[test]
        fn any_header_is_read_within_bounds(
            file in "[a-z.]{0,8}orchestrator[a-z0-9.-]{0,200}\\.yml",
            lines in prop::collection::vec(
                prop_oneof![
                    "\\PC{0,40}",
                    "# {0,4}(name|version|default|required_params|optional parameters|x): ?\\PC{0,20}",
                    "# {0,4}[a-c] - \\PC{0,10}\\(default [0-9]{0,3}\\)",
                    "# \\PC{0,200}",
                ],
                0..30,
            ),
        ) {
            let found = read_header(&file, &lines.join("\n"));
            let length = found.name.chars().count();
            prop_assert!((1..=NAME_MAX).contains(&length));
            prop_assert!(found.version.is_none_or(|version| version.chars().count() <= VERSION_MAX));
            for list in [&found.required, &found.optional] {
                let mut distinct = names(list);
                prop_assert!(distinct.iter().all(|name| parameter::is_name(name)));
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), list.len());
            }
        }
    }
}
