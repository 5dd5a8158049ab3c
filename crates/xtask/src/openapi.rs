//! `cargo xtask openapi`: the committed description of the HTTP interface.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::workspace::{self, cargo};

const FILE: &str = "docs/reference/openapi.json";

fn file() -> PathBuf {
    workspace::root().join(FILE)
}

/// Writes the description as the routes have it.
pub(crate) fn write() -> Result<()> {
    let generated = generate()?;
    std::fs::write(file(), generated).with_context(|| format!("{FILE} cannot be written"))?;
    eprintln!("xtask: wrote {FILE}");
    Ok(())
}

/// Refuses a committed description that is not the one of the routes.
pub(crate) fn check() -> Result<()> {
    let generated = generate()?;
    let committed =
        std::fs::read_to_string(file()).with_context(|| format!("{FILE} cannot be read"))?;
    match first_difference(&committed, &generated) {
        None => Ok(()),
        Some(line) => bail!(
            "{FILE} differs from the routes at line {line}; run `cargo xtask openapi` and commit it"
        ),
    }
}

fn generate() -> Result<String> {
    let mut command = cargo("run --quiet --package drover-http-api --example openapi");
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("the example `openapi` of drover-http-api failed");
    }
    let text = String::from_utf8(output.stdout).context("the description is not UTF-8")?;
    serde_json::from_str::<serde_json::Value>(&text).context("the description is not JSON")?;
    Ok(format!("{}\n", text.trim_end()))
}

/// The first line, from 1, where the texts differ.
fn first_difference(committed: &str, generated: &str) -> Option<usize> {
    if committed == generated {
        return None;
    }
    let (mut ours, mut theirs) = (committed.lines(), generated.lines());
    let mut line = 1;
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Some(line - 1), // only the end of the last line differs
            (ours, theirs) if ours != theirs => return Some(line),
            (_, _) => line += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_line_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a\nb", "a\nb\n"), Some(2));
    }
}
