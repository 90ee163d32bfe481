//! The house rules that neither the compiler nor clippy knows, checked over the text of the tree.
//!
//! `cargo xtask tidy` prints every finding; the tests run it, too. Each rule has a test of its own
//! that feeds it bad text: a rule that finds nothing would look like a clean tree.

mod documents;
mod layers;
pub(crate) mod manifest;
mod rust;
mod sources;

use std::fmt;
use std::path::Path;

use crate::arguments::Arguments;
use crate::cargo::workspace;
use crate::checks::names_in;
use crate::{Failure, Outcome, failed};

/// The texts of the project, by path below the workspace, with `/` between names.
#[derive(Debug, Default)]
struct Tree {
    /// `*.rs`, `*.toml`, `*.md`, sorted by path.
    files: Vec<TextFile>,
}

#[derive(Debug)]
struct TextFile {
    path: String,
    text: String,
}

/// One place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// What is not ours to tidy: built, fetched, or found by a fuzzer.
const SKIPPED_FOLDERS: &[&str] =
    &["target", "corpus", "artifacts", "seeds", "golden", "node_modules"];
const EXTENSIONS: &[&str] = &[".rs", ".toml", ".md"];

pub(crate) fn run(arguments: Arguments) -> Outcome {
    arguments.finish()?;
    let tree = Tree::load(workspace())?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to say", tree.files.len());
            Ok(())
        }
        n => Err(Failure::Task(format!("{n} findings"))),
    }
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    layers::check(tree, &mut findings);
    sources::check(tree, &mut findings);
    documents::check(tree, &mut findings);
    findings
}

impl Tree {
    fn load(root: &Path) -> Result<Self, Failure> {
        let mut tree = Self::default();
        tree.load_folder(root, "")?;
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn load_folder(&mut self, root: &Path, below: &str) -> Outcome {
        for name in names_in(&root.join(below))? {
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            let full = root.join(&path);
            let kind = std::fs::symlink_metadata(&full).map_err(failed(&path))?.file_type();
            if kind.is_dir() {
                if !SKIPPED_FOLDERS.contains(&name.as_str()) && name != ".git" {
                    self.load_folder(root, &path)?;
                }
            } else if kind.is_file() && EXTENSIONS.iter().any(|end| name.ends_with(end)) {
                let text = std::fs::read_to_string(&full).map_err(failed(&path))?;
                self.files.push(TextFile { path, text });
            }
        }
        Ok(())
    }

    fn get(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The folders below crates/, each with its manifest.
    fn crates(&self) -> impl Iterator<Item = (&str, &TextFile)> {
        self.files.iter().filter_map(|file| {
            let name = file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
            (!name.contains('/')).then_some((name, file))
        })
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let files =
            files.iter().map(|&(path, text)| TextFile { path: path.into(), text: text.into() });
        Self { files: files.collect() }
    }
}

impl TextFile {
    fn is_rust(&self) -> bool {
        is_rust(&self.path)
    }
}

fn is_rust(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extension == "rs")
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

/// Says that exactly these lines of one file were found.
#[cfg(test)]
fn lines_found(check: fn(&Tree, &mut Vec<Finding>), path: &str, text: &str) -> Vec<usize> {
    let mut findings = Vec::new();
    check(&Tree::of(&[(path, text)]), &mut findings);
    findings.iter().filter(|finding| finding.path == path).map(|finding| finding.line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let tree = Tree::load(workspace()).unwrap();
        assert!(tree.get("Cargo.toml").is_some() && tree.get("xtask/src/tidy.rs").is_some());
        let findings = check(&tree);
        let list = findings.iter().map(Finding::to_string).collect::<Vec<_>>();
        assert!(findings.is_empty(), "\n{}", list.join("\n"));
    }
}
