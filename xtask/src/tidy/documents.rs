//! Rules that hold documents, manifests and sources together.

use super::manifest::entries;
use super::{Finding, TextFile, Tree};

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const CHANGELOG: &str = "CHANGELOG.md";
const FORMAT: &str = "crates/pkv-format/FORMAT.md";
/// The constant that FORMAT.md speaks for.
const FORMAT_CONSTANT: &str = "FORMAT_VERSION";
/// The heading of FORMAT.md below which each version of the format has an entry.
const FORMAT_HISTORY: &str = "versions";

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    check_architecture(tree, findings);
    check_changelog(tree, findings);
    check_format_version(tree, findings);
    check_published_crates(tree, findings);
}

/// A newcomer finds every source in ARCHITECTURE.md by its name; `log/mod.rs` by its folder, `log/`.
/// Modules that only hold tests need no place on the map.
fn check_architecture(tree: &Tree, findings: &mut Vec<Finding>) {
    let Some(map) = tree.get(ARCHITECTURE) else {
        findings.push(Finding::new(ARCHITECTURE, 0, "missing"));
        return;
    };
    for file in &tree.files {
        let Some((_, below)) =
            file.path.strip_prefix("crates/").and_then(|path| path.split_once("/src/"))
        else {
            continue;
        };
        let mut names = below.rsplit('/');
        let name = match (names.next(), names.next()) {
            (None | Some("tests.rs"), _) => continue,
            (Some("mod.rs"), Some(folder)) => format!("{folder}/"),
            (Some(name), _) => name.to_owned(),
        };
        if !names_file(&map.text, &name) {
            findings.push(Finding::new(
                &file.path,
                0,
                format!("{ARCHITECTURE} does not name `{name}`"),
            ));
        }
    }
}

/// Whether `name` stands in the text and is not only the end of another file's name.
fn names_file(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).unwrap_or("");
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-')
    })
}

/// The newest release in CHANGELOG.md is the version in the workspace's manifest.
fn check_changelog(tree: &Tree, findings: &mut Vec<Finding>) {
    let version = tree.get("Cargo.toml").and_then(|manifest| {
        let all = entries(&manifest.text);
        let entry = all
            .iter()
            .find(|entry| entry.section == "workspace.package" && entry.key == "version")?;
        Some(entry.string().to_owned())
    });
    let top = tree.get(CHANGELOG).and_then(|changelog| changelog.text.lines().find_map(release));
    if version.is_none() || version.as_deref() != top {
        let what = format!("newest release {top:?}, version in Cargo.toml {version:?}");
        findings.push(Finding::new(CHANGELOG, 0, what));
    }
}

/// The version of a heading such as `## [0.2.0] - 2025-01-31` or `## 0.2.0`.
fn release(line: &str) -> Option<&str> {
    let title = line.strip_prefix("## ")?.trim_start_matches('[');
    let version = title.split([']', ' ']).next()?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
}

/// FORMAT.md and the code speak of the same version: the newest of its history is the constant.
fn check_format_version(tree: &Tree, findings: &mut Vec<Finding>) {
    let documented = tree.get(FORMAT).and_then(|document| newest_version(&document.text));
    let constant = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with("crates/pkv-format/src/"))
        .find_map(|file| file.text.lines().find_map(constant_version));
    if documented.is_none() || documented != constant {
        let what = format!("newest version {documented:?}, {FORMAT_CONSTANT} {constant:?}");
        findings.push(Finding::new(FORMAT, 0, what));
    }
}

/// The number in `pub const FORMAT_VERSION: u32 = 1;`.
fn constant_version(line: &str) -> Option<u32> {
    let rest = line.trim_start().strip_prefix("pub const ")?.strip_prefix(FORMAT_CONSTANT)?;
    rest.split_once('=')?.1.trim().trim_end_matches(';').parse().ok()
}

/// The highest number that begins an entry (`- 1: ...`, `| 1 | ...`, `### 1`) of the history.
fn newest_version(text: &str) -> Option<u32> {
    let is_heading =
        |line: &&str| line.starts_with('#') && line.to_ascii_lowercase().contains(FORMAT_HISTORY);
    let lines = text.lines().skip_while(|line| !is_heading(line)).skip(1);
    let section = lines.take_while(|line| !line.starts_with("## "));
    section.filter_map(entry_number).max()
}

fn entry_number(line: &str) -> Option<u32> {
    let entry = line.trim_start_matches(['-', '*', '|', '#', ' ']);
    if entry.len() == line.len() {
        return None;
    }
    let digits = entry.trim_start_matches(['v', '*', '`']);
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What a stranger who picks one crate needs: a README, an example, and a manifest that describes it.
fn check_published_crates(tree: &Tree, findings: &mut Vec<Finding>) {
    for (name, manifest) in tree.crates() {
        let all = entries(&manifest.text);
        let package =
            |key: &str| all.iter().find(|entry| entry.section == "package" && entry.key == key);
        if package("publish").is_some_and(|entry| entry.value == "false") {
            continue;
        }
        for key in ["description", "keywords", "categories", "license", "readme"] {
            if package(key).is_none() {
                findings.push(Finding::new(&manifest.path, 0, format!("lacks `{key}`")));
            }
        }
        let readme = format!("crates/{name}/README.md");
        if tree.get(&readme).is_none() {
            findings.push(Finding::new(&readme, 0, "missing"));
        }
        let examples = format!("crates/{name}/examples/");
        let is_example = |file: &TextFile| file.path.starts_with(&examples) && file.is_rust();
        if !tree.files.iter().any(is_example) {
            findings.push(Finding::new(&examples, 0, "no example"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [&str; 0] = [];

    fn paths(rule: fn(&Tree, &mut Vec<Finding>), files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        rule(&Tree::of(files), &mut findings);
        findings.into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn a_source_that_the_map_leaves_out_is_found() {
        let files = [
            (ARCHITECTURE, "`lib.rs`, src/log.rs, catalog.rs, `map/`"),
            ("crates/a/src/map/mod.rs", ""),
            ("crates/a/src/map/tests.rs", ""),
            ("crates/a/src/codec/mod.rs", ""),
            ("crates/a/src/lib.rs", ""),
            ("crates/a/src/log.rs", ""),
            ("crates/a/src/log/og.rs", ""),
            ("crates/a/src/scan.rs", ""),
        ];
        assert_eq!(
            paths(check_architecture, &files),
            ["crates/a/src/codec/mod.rs", "crates/a/src/log/og.rs", "crates/a/src/scan.rs"]
        );
        assert_eq!(paths(check_architecture, &[("crates/a/src/lib.rs", "")]), [ARCHITECTURE]);
    }

    #[test]
    fn a_changelog_of_another_version_is_found() {
        let manifest = ("Cargo.toml", "[workspace.package]\nversion = \"0.2.0\"\n");
        let with = |changelog| paths(check_changelog, &[manifest, (CHANGELOG, changelog)]);
        assert_eq!(with("# Changes\n## Unreleased\n## [0.2.0] - 2025-01-31\n## 0.1.0\n"), NOTHING);
        assert_eq!(with("## 0.1.0\n## 0.2.0\n"), [CHANGELOG]);
        assert_eq!(paths(check_changelog, &[manifest]), [CHANGELOG]);
    }

    #[test]
    fn a_format_document_of_another_version_is_found() {
        let source = ("crates/pkv-format/src/header.rs", "pub const FORMAT_VERSION: u32 = 2;\n");
        let with = |document| paths(check_format_version, &[source, (FORMAT, document)]);
        assert_eq!(
            with("3 x\n## 10. Versions\n| version | change |\n|---|---|\n| 1 | a |\n| 2 | b |\n"),
            NOTHING
        );
        assert_eq!(with("# Versions\n\n- **2**: new\n- 1\n## Next\n- 9\n"), NOTHING);
        assert_eq!(with("## 10. Versions\n- 1: 2 bytes\n"), [FORMAT]);
        assert_eq!(with("## History\n- 2\n"), [FORMAT]);
        assert_eq!(paths(check_format_version, &[(FORMAT, "## 10. Versions\n- 2\n")]), [FORMAT]);
    }

    #[test]
    fn a_crate_that_strangers_cannot_use_is_found() {
        let whole = "[package]\ndescription = \"x\"\nkeywords.workspace = true\ncategories.workspace = true\n\
            license.workspace = true\nreadme = \"README.md\"\n";
        let good = [
            ("crates/a/Cargo.toml", whole),
            ("crates/a/README.md", "x"),
            ("crates/a/examples/e.rs", ""),
        ];
        assert_eq!(paths(check_published_crates, &good), NOTHING);
        let bare = [("crates/a/Cargo.toml", whole)];
        assert_eq!(
            paths(check_published_crates, &bare),
            ["crates/a/README.md", "crates/a/examples/"]
        );
        let silent = [("crates/a/Cargo.toml", "[package]\npublish = false\n")];
        assert_eq!(paths(check_published_crates, &silent), NOTHING);
        let manifest = whole.replace("description = \"x\"\n", "");
        let without = [("crates/a/Cargo.toml", manifest.as_str()), good[1], good[2]];
        assert_eq!(paths(check_published_crates, &without), ["crates/a/Cargo.toml"]);
    }
}
