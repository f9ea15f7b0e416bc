//! An action's code: from a file, a directory (which becomes a zip), or the manifest itself.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use zip::write::SimpleFileOptions;

/// The largest code, in bytes: the hub's own limit (contract §1.4.2).
const CODE_BYTES_MAX: u64 = 48 << 20;
/// The most files of a directory, so that a wrong path (`/`) ends soon.
const FILES_MAX: usize = 20_000;

/// What a kind is taken to be where the manifest names none (contract §8.1).
const KINDS: [(&str, &str); 8] = [
    ("js", "nodejs:default"),
    ("py", "python:default"),
    ("php", "php:default"),
    ("rb", "ruby:default"),
    ("rs", "rust:default"),
    ("go", "go:default"),
    ("swift", "swift:default"),
    ("jar", "java:default"),
];

/// The kind that a file's name stands for.
pub(super) fn kind_of(path: &Path) -> Option<&'static str> {
    let extension = path.extension()?.to_str()?;
    KINDS.iter().find(|(of, _)| *of == extension).map(|(_, kind)| *kind)
}

/// The code at `path`, as the API takes it: text, or base64 of an archive. `Err` says what is wrong.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let name = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    if metadata.is_dir() {
        return Ok(encode(&zipped(path)?));
    }
    if metadata.len() > CODE_BYTES_MAX {
        return Err(format!("{name} has {} bytes, more than the {CODE_BYTES_MAX} of code", metadata.len()));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let is_archive = path.extension().is_some_and(|of| of == "zip" || of == "jar");
    if is_archive {
        return Ok(encode(&bytes));
    }
    String::from_utf8(bytes).map_err(|_| format!("{name} is no UTF-8 text; only .zip and .jar are binary"))
}

fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A zip of all files below `directory`, the same for the same files: in order, and without their times.
fn zipped(directory: &Path) -> Result<Vec<u8>, String> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(format!("the directory {} has no files", directory.display()));
    }
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    let mut bytes = 0;
    for path in &files {
        let failed = |error: &dyn std::fmt::Display| format!("cannot pack {}: {error}", path.display());
        let content = std::fs::read(path).map_err(|error| failed(&error))?;
        bytes += content.len() as u64;
        if bytes > CODE_BYTES_MAX {
            return Err(format!(
                "{} holds more than the {CODE_BYTES_MAX} bytes of code",
                directory.display()
            ));
        }
        let name = path.strip_prefix(directory).unwrap_or(path).to_string_lossy().into_owned();
        zip.start_file(name, options).map_err(|error| failed(&error))?;
        zip.write_all(&content).map_err(|error| failed(&error))?;
    }
    zip.finish().map(Cursor::into_inner).map_err(|error| error.to_string())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        // Links are left out: they may lead out of the directory, or round in it.
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
        if files.len() > FILES_MAX {
            return Err(format!("{} holds more than {FILES_MAX} files", directory.display()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_text_and_directories_zips() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("act");
        std::fs::create_dir_all(root.join("lib")).unwrap();
        std::fs::write(root.join("index.js"), "x").unwrap();
        std::fs::write(root.join("lib/b.js"), "y").unwrap();
        assert_eq!(read(&root.join("index.js")).unwrap(), "x");
        let code = read(&root).unwrap();
        assert_eq!(code, read(&root).unwrap(), "the same files give the same zip");
        let bytes = base64::engine::general_purpose::STANDARD.decode(code).unwrap();
        let zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(zip.file_names().collect::<Vec<_>>(), ["index.js", "lib/b.js"]);
        assert!(read(&root.join("gone.py")).unwrap_err().contains("gone.py: No such file"));
        assert_eq!(kind_of(Path::new("a/b.py")), Some("python:default"));
        assert_eq!(kind_of(Path::new("a/b.zip")), None);
    }
}
