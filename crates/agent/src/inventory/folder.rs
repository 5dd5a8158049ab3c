//! Small files of the applications folder, read with bounds. Everything here blocks.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::APPLICATIONS_MAX;

/// Most bytes of one description.
pub(super) const DESCRIPTION_BYTES_MAX: u64 = 64 * 1024;

/// Most bytes looked at for a first line.
const FIRST_LINE_BYTES_MAX: u64 = 4096;

/// The descriptions of a folder, sorted by name.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) files: Vec<PathBuf>,
    /// Whether there were more than [`APPLICATIONS_MAX`] and the rest was left out.
    pub(super) cut: bool,
}

/// Lists the `*.yml` files of a folder, not of its subfolders.
pub(super) fn list(folder: &Path) -> Result<Listing, FolderError> {
    let wrong = |source| FolderError {
        folder: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|extension| extension == "yml") {
            files.push(path);
        }
    }
    files.sort_unstable();
    let cut = files.len() > APPLICATIONS_MAX;
    files.truncate(APPLICATIONS_MAX);
    Ok(Listing { files, cut })
}

/// The text of a regular file of at most `bytes_max` bytes.
pub(super) fn read(file: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    open(file)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {bytes_max} bytes"),
        ));
    }
    Ok(text)
}

/// The first line of a file without the blanks around it; empty for an empty file.
pub(super) fn first_line(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    open(file)?
        .take(FIRST_LINE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Opens a regular file only: opening a pipe would wait for its writer for ever.
fn open(file: &Path) -> io::Result<File> {
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    File::open(file)
}

/// The folder cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("folder `{}` cannot be listed", .folder.display())]
pub(crate) struct FolderError {
    folder: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yml_files_are_listed_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.yaml", "d.yml.bak", ".hidden"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let listing = list(folder.path()).unwrap();
        let names: Vec<_> = listing
            .files
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!((names, listing.cut), (vec!["a.yml", "b.yml"], false));
    }

    #[test]
    fn more_than_the_largest_number_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=APPLICATIONS_MAX {
            File::create(folder.path().join(format!("{number}.yml"))).unwrap();
        }
        let listing = list(folder.path()).unwrap();
        assert_eq!((listing.files.len(), listing.cut), (APPLICATIONS_MAX, true));
    }

    #[test]
    fn large_files_and_things_that_are_no_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "123456").unwrap();
        assert_eq!(read(&file, 6).unwrap(), "123456");
        assert_eq!(
            read(&file, 5).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert_eq!(
            read(folder.path(), 5).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(
            read(Path::new("/dev/zero"), 5).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn the_first_line_is_trimmed_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        for (text, line) in [("", ""), (" 1.2.3 \r\nnext\n", "1.2.3"), ("\n1.2.3", "")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(first_line(&file).unwrap(), line);
        }
        std::fs::write(&file, "x".repeat(100_000)).unwrap();
        assert_eq!(first_line(&file).unwrap().len(), 4096);
    }
}
