//! Where the workspace is, and how its programs are started and built.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Folders with programs that the `PATH` of an ordinary Debian user leaves out.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A command in the workspace's root that finds programs in the system folders as well.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "starting programs is what xtask is for"
    )]
    let mut command = Command::new(program);
    command.current_dir(root()).env("PATH", search_path());
    command
}

/// The cargo that runs us, with the arguments of this line, which are separated by blanks.
pub(crate) fn cargo(line: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = command(cargo);
    command.args(line.split_whitespace());
    command
}

/// `PATH` with the system folders and the newest PostgreSQL of the distribution behind it.
pub(crate) fn search_path() -> OsString {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    for folder in SYSTEM_FOLDERS
        .iter()
        .map(PathBuf::from)
        .chain(postgresql_folder(Path::new("/usr/lib/postgresql")))
    {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    // A folder with a colon in its name cannot be part of PATH; then the user's own PATH has to do.
    std::env::join_paths(folders).unwrap_or_else(|_| std::env::var_os("PATH").unwrap_or_default())
}

/// The `bin` folder of the newest PostgreSQL under `versions` that can make a cluster. Debian keeps
/// the server's programs out of `PATH`, one folder for each major version.
fn postgresql_folder(versions: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(versions).ok()?;
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, folder)| folder.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder)
}

/// Whether a program of this name is found.
pub(crate) fn has_program(name: &str) -> bool {
    std::env::split_paths(&search_path()).any(|folder| folder.join(name).is_file())
}

/// Builds these programs and answers where they are, by name. Asking cargo instead of guessing `target/debug` keeps
/// `CARGO_TARGET_DIR` and `build.target-dir` working.
///
/// Libraries are built with the features that the tests of the workspace need, so that the tests do not build them
/// again. Cargo takes those features of the whole workspace only when a test is among what it builds; the one that is
/// named here depends on almost nothing.
pub(crate) fn build_programs(programs: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut build =
        cargo("build --workspace --test architecture --message-format=json-render-diagnostics");
    for program in programs {
        build.args(["--bin", program]);
    }
    let output = build
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("cargo build of {} failed", programs.join(", "));
    }
    Ok(found(&String::from_utf8_lossy(&output.stdout)))
}

/// The executables that cargo's JSON messages name.
fn found(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| {
            let name = message.get("target")?.get("name")?.as_str()?.to_owned();
            Some((name, PathBuf::from(message.get("executable")?.as_str()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_postgresql_that_can_make_a_cluster_is_taken() {
        let versions = tempfile::tempdir().unwrap();
        for (version, file) in [
            ("9", "initdb"),
            ("15", "initdb"),
            ("17", "psql"),
            ("notes", "initdb"),
        ] {
            let folder = versions.path().join(version).join("bin");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), "").unwrap();
        }
        assert_eq!(
            postgresql_folder(versions.path()),
            Some(versions.path().join("15/bin"))
        );
        assert_eq!(postgresql_folder(&versions.path().join("absent")), None);
    }

    #[test]
    fn programs_are_read_from_the_messages_of_cargo() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"drover_domain"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"drover"},"executable":"/t/debug/drover"}"#,
            "\nnot json\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = found(messages);
        assert_eq!(
            found,
            BTreeMap::from([("drover".to_owned(), PathBuf::from("/t/debug/drover"))])
        );
    }

    #[test]
    fn the_root_is_the_folder_of_the_workspace() {
        assert!(root().join("Cargo.lock").is_file(), "{}", root().display());
    }
}
