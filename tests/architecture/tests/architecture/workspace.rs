//! The packages of the workspace, as cargo sees them, and their source files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// One package.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// What it is built with, optional and platform-specific ones included.
    pub(crate) dependencies: BTreeSet<String>,
    /// What only its tests are built with.
    pub(crate) test_dependencies: BTreeSet<String>,
    /// The features it asks for in `dependencies`, as `crate/feature`.
    pub(crate) requested_features: BTreeSet<String>,
    /// The one line in its manifest.
    pub(crate) description: String,
}

impl Package {
    /// The dependencies that are crates of this workspace.
    pub(crate) fn ours(dependencies: &BTreeSet<String>) -> BTreeSet<&str> {
        dependencies
            .iter()
            .map(String::as_str)
            .filter(|name| name.starts_with("drover-"))
            .collect()
    }

    /// The dependencies that are not.
    pub(crate) fn theirs(dependencies: &BTreeSet<String>) -> BTreeSet<&str> {
        dependencies
            .iter()
            .map(String::as_str)
            .filter(|name| !name.starts_with("drover-"))
            .collect()
    }

    /// Its Rust files below `folders` (such as `src`), by path.
    pub(crate) fn files(&self, folders: &[&str]) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in folders {
            collect(&self.folder.join(folder), &mut files);
        }
        files.sort();
        files
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("the package is two folders deep")
        .to_path_buf()
}

/// A path as it is named in messages: relative to the root.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// A file of the workspace.
pub(crate) fn read(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => panic!("{} cannot be read: {error}", shown(path)),
    }
}

/// All packages; cargo is asked once.
pub(crate) fn packages() -> &'static [Package] {
    static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(load);
    &PACKAGES
}

fn load() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo is the one who knows the packages"
    )]
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    let document: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON");
    let packages = document["packages"].as_array().expect("it lists packages");
    packages.iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed: Vec<&Value> = value["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let of_kind = |test: bool| -> BTreeSet<String> {
        let wanted = |dependency: &&&Value| (dependency["kind"].as_str() == Some("dev")) == test;
        listed
            .iter()
            .filter(wanted)
            .map(|dependency| text(&dependency["name"]))
            .collect()
    };
    let requested_features = listed
        .iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .flat_map(|dependency| {
            let features = dependency["features"].as_array().into_iter().flatten();
            features.map(|feature| format!("{}/{}", text(&dependency["name"]), text(feature)))
        })
        .collect();
    Package {
        name: text(&value["name"]),
        folder: PathBuf::from(text(&value["manifest_path"]))
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default(),
        dependencies: of_kind(false),
        test_dependencies: of_kind(true),
        requested_features,
        description: text(&value["description"]),
    }
}
