//! Rules about the words of our comments and about the size of our ports.

use std::collections::BTreeMap;

use crate::source::code;
use crate::workspace::{packages, read, shown};

/// Words that make a sentence hard to read: each has a plain one in `docs/glossary.md`.
const HARD_WORDS: [&str; 12] = [
    "told", "tell", "tells", "nobody", "somebody", "whoever", "wish", "wishes", "shall",
    "any more", "so long", "in vain",
];

/// Packages whose comments stay as they are: a migration that landed never changes.
const UNFINISHED: [&str; 1] = ["drover-migrations"];

/// The most comment lines of 1,000 that may have such a word.
const PER_MILLE_MAX: usize = 5;

/// The most methods of a port.
const METHODS_MAX: usize = 7;

/// Ports with more methods, and how many they have; the numbers only get smaller.
const LARGE_PORTS: &[(&str, usize)] = &[
    ("HaproxyStore", 9),
    ("PlaybookRunner", 8),
    ("WebhookStore", 13),
];

/// Whether a comment has this word as a whole.
fn has_word(comment: &str, word: &str) -> bool {
    let words = comment.split(|found: char| !found.is_alphanumeric());
    let padded = format!(" {} ", words.collect::<Vec<_>>().join(" "));
    padded.contains(&format!(" {word} "))
}

#[test]
fn comments_are_plain() {
    let mut faults = Vec::new();
    for package in packages() {
        if UNFINISHED.contains(&package.name.as_str()) {
            continue;
        }
        let (mut lines, mut hard) = (0, Vec::new());
        for path in package.files(&["src", "tests", "examples", "benches"]) {
            let text = read(&path);
            for (number, line) in text.lines().enumerate() {
                let Some(comment) = line.trim_start().strip_prefix("//") else {
                    continue;
                };
                lines += 1;
                let comment = comment.to_lowercase();
                if HARD_WORDS.iter().any(|word| has_word(&comment, word)) {
                    hard.push(format!("{}:{}", shown(&path), number + 1));
                }
            }
        }
        if hard.len() * 1_000 > lines * PER_MILLE_MAX {
            faults.push(format!("{}: {}", package.name, hard.join(", ")));
        }
    }
    assert!(
        faults.is_empty(),
        "say it with the plain word of docs/glossary.md:\n{}",
        faults.join("\n")
    );
}

#[test]
fn a_port_is_small() {
    let ports = packages()
        .iter()
        .find(|package| package.name == "drover-ports")
        .expect("there are ports");
    let mut large = BTreeMap::new();
    for path in ports.files(&["src"]) {
        let code = code(&read(&path));
        for part in code.split("pub trait ").skip(1) {
            let name: String = part
                .chars()
                .take_while(|found| found.is_alphanumeric())
                .collect();
            let body = part.split("\n}").next().unwrap_or_default();
            let methods = body.matches("fn ").count();
            if methods > METHODS_MAX {
                large.insert(name, methods);
            }
        }
    }
    let known: BTreeMap<String, usize> = LARGE_PORTS
        .iter()
        .map(|(name, methods)| ((*name).to_owned(), *methods))
        .collect();
    assert_eq!(
        large, known,
        "a port has at most {METHODS_MAX} methods; split it by need, and make LARGE_PORTS shorter where one got smaller"
    );
}
