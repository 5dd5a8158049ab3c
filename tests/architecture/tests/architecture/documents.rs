//! Rules about the prose beside the code.

use std::path::Path;

use crate::workspace::{packages, read, root, shown};

/// The sections of a decision, in order.
const DECISION: [&str; 4] = [
    "## Situation",
    "## Choice",
    "## Not chosen",
    "## Consequences",
];

/// The most lines of a decision: one page.
const DECISION_LINES_MAX: usize = 60;

#[test]
fn the_code_map_names_every_crate() {
    let map = read(&root().join("docs/architecture.md"));
    for package in packages() {
        let folder = format!("`{}`", shown(&package.folder));
        assert!(
            map.contains(&folder),
            "docs/architecture.md does not name {folder}"
        );
    }
}

#[test]
fn decisions_are_numbered_without_gaps_and_have_every_section() {
    let folder = root().join("docs/adr");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("there are decisions")
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "docs/adr is empty");
    for (place, path) in files.iter().enumerate() {
        let number = format!("{:04}", place + 1);
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        assert!(
            name.starts_with(&format!("{number}-")),
            "{name} should have the number {number}"
        );
        let text = read(path);
        assert!(
            text.starts_with(&format!("# {number} ")),
            "{name} does not begin with its number and title"
        );
        let places: Vec<Option<usize>> =
            DECISION.iter().map(|section| text.find(section)).collect();
        assert!(
            places.iter().all(Option::is_some),
            "{name} lacks one of {DECISION:?}"
        );
        assert!(
            places.is_sorted(),
            "the sections of {name} are out of order"
        );
        assert!(
            text.lines().count() <= DECISION_LINES_MAX,
            "{name} is longer than a page"
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut documents = vec![root().join("README.md")];
    markdown(&root().join("docs"), &mut documents);
    for document in documents {
        let text = read(&document);
        let folder = document.parent().unwrap_or(Path::new("."));
        for (at, _) in text.match_indices("](") {
            let target = text
                .get(at + 2..)
                .and_then(|rest| rest.split([')', '#', ' ']).next())
                .unwrap_or_default();
            let elsewhere =
                target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            assert!(
                elsewhere || folder.join(target).exists(),
                "{} links to {target}, which does not exist",
                shown(&document)
            );
        }
    }
}

fn markdown(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            markdown(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}
