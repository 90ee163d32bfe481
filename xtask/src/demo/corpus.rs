//! Which files are counted, and that they stay as they were meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cargo::{Cargo, workspace};
use crate::{Failure, Outcome, failed};

/// Text files by absolute path, sorted, each once.
#[derive(Debug)]
pub(super) struct Corpus {
    files: Vec<String>,
    stamps: Vec<(u64, SystemTime)>,
}

impl Corpus {
    /// Every `.rs` and `.md` file of this project and of the dependencies that cargo has downloaded. The
    /// project's are copied into `folder` first, since somebody may be writing them right now.
    pub(super) fn downloaded(folder: &Path) -> Result<Self, Failure> {
        let metadata = Cargo::new(["metadata", "--format-version", "1", "--offline"])
            .output()
            .or_else(|_| Cargo::new(["metadata", "--format-version", "1"]).output())?;
        let folders: BTreeSet<PathBuf> = manifest_paths(&metadata)
            .iter()
            .filter_map(|manifest| Path::new(manifest).parent())
            .filter(|folder| !folder.starts_with(workspace()) && folder.is_dir())
            .map(Path::to_owned)
            .collect();
        let mut files = copies(&folder.join("project"))?;
        for folder in folders {
            collect(&folder, &mut files)?;
        }
        Self::with_stamps(files)
    }

    /// These files, which must exist.
    pub(super) fn of(files: &[String]) -> Result<Self, Failure> {
        let mut absolute = BTreeSet::new();
        for file in files {
            let path = Path::new(file).canonicalize().map_err(failed(file))?;
            absolute.extend(path.into_os_string().into_string());
        }
        Self::with_stamps(absolute)
    }

    fn with_stamps(files: BTreeSet<String>) -> Result<Self, Failure> {
        let files: Vec<String> = files.into_iter().collect();
        let stamps = files.iter().map(|file| stamp(file)).collect::<Result<_, _>>()?;
        Ok(Self { files, stamps })
    }

    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// An error that names a file which somebody changed since: no count of it means anything.
    pub(super) fn check_unchanged(&self) -> Outcome {
        for (file, before) in self.files.iter().zip(&self.stamps) {
            if stamp(file)? != *before {
                return Err(Failure::Task(format!(
                    "{file} was changed while it was counted: run again"
                )));
            }
        }
        Ok(())
    }
}

fn stamp(file: &str) -> Result<(u64, SystemTime), Failure> {
    let metadata = std::fs::metadata(file).map_err(failed(file))?;
    let modified = metadata.modified().map_err(failed(file))?;
    Ok((metadata.len(), modified))
}

/// The values of `"manifest_path":"..."` in what `cargo metadata` printed.
fn manifest_paths(metadata: &str) -> Vec<String> {
    let values = metadata.split("\"manifest_path\":\"").skip(1);
    values.filter_map(|rest| Some(rest.split_once('"')?.0.replace("\\\\", "\\"))).collect()
}

/// Copies the project's text files to `folder`; returns the copies.
fn copies(folder: &Path) -> Result<BTreeSet<String>, Failure> {
    let mut originals = BTreeSet::new();
    collect(workspace(), &mut originals)?;
    let mut copies = BTreeSet::new();
    for original in originals {
        let below = Path::new(&original).strip_prefix(workspace()).map_err(failed(&original))?;
        let copy = folder.join(below);
        std::fs::create_dir_all(copy.parent().unwrap_or(folder))
            .map_err(failed(folder.display()))?;
        std::fs::copy(&original, &copy).map_err(failed(&original))?;
        copies.extend(copy.into_os_string().into_string());
    }
    Ok(copies)
}

/// Adds the text files below a folder; built things, hidden things and links are left out.
fn collect(folder: &Path, files: &mut BTreeSet<String>) -> Outcome {
    for entry in std::fs::read_dir(folder).map_err(failed(folder.display()))? {
        let entry = entry.map_err(failed(folder.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().map_err(failed(folder.display()))?;
        let path = entry.path();
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, files)?;
        } else if kind.is_file() && matches!(name.rsplit_once('.'), Some((_, "rs" | "md"))) {
            files.extend(path.into_os_string().into_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_found_in_what_cargo_prints() {
        let metadata = r#"{"packages":[{"name":"a","manifest_path":"/x/a/Cargo.toml"},{"manifest_path":"C:\\b\\Cargo.toml"}]}"#;
        assert_eq!(manifest_paths(metadata), ["/x/a/Cargo.toml", r"C:\b\Cargo.toml"]);
    }
}
