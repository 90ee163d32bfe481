//! The arrows of ARCHITECTURE.md: which crate may use which, and who alone may use what of others.

use super::manifest::{DependencyKind, Entry, entries};
use super::{Finding, Tree};

/// Each crate of ours and those of ours that it may depend on. A crate that is not here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("pkv-fs", &[]),
    ("pkv-format", &[]),
    ("pkv-snapshot-set", &["pkv-fs"]),
    ("pkv-store", &["pkv-fs", "pkv-format", "pkv-snapshot-set"]),
    ("pkv-admin", &["pkv-fs", "pkv-format", "pkv-snapshot-set", "pkv-store"]),
    ("pkv-sim", &["pkv-fs"]),
];

/// Used by tests alone.
const SIMULATOR: &str = "pkv-sim";

/// What only these crates of ours may use as a normal dependency.
const OWNED: &[(&str, &str)] = &[
    ("anstream", "pkv-admin"),
    ("anstyle", "pkv-admin"),
    ("clap", "pkv-admin"),
    ("clap_complete", "pkv-admin"),
    ("clap_mangen", "pkv-admin"),
    ("comfy-table", "pkv-admin"),
    ("crc32fast", "pkv-format"),
    ("csv", "pkv-admin"),
    ("futures-core", "pkv-store"),
    ("humantime", "pkv-admin"),
    ("indicatif", "pkv-admin"),
    ("libc", "pkv-fs"),
    ("memmap2", "pkv-fs"),
    ("parking_lot", "pkv-fs"),
    ("parking_lot", "pkv-store"),
    ("postcard", "pkv-store"),
    ("prost", "pkv-store"),
    ("rapidhash", "pkv-store"),
    ("rayon", "pkv-store"),
    ("rustix", "pkv-fs"),
    ("serde_json", "pkv-admin"),
    ("tracing", "pkv-store"),
    ("shuttle", "pkv-store"),
];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for (name, manifest) in tree.crates() {
        let Some((_, below)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            findings.push(Finding::new(
                &manifest.path,
                0,
                "give this crate its arrows in xtask/src/tidy/layers.rs",
            ));
            continue;
        };
        for entry in entries(&manifest.text) {
            if let Some(kind) = entry.dependency()
                && let Some(what) = wrong(name, below, &entry, kind)
            {
                findings.push(Finding::new(&manifest.path, entry.line, what));
            }
        }
    }
}

fn wrong(name: &str, below: &[&str], entry: &Entry<'_>, kind: DependencyKind) -> Option<String> {
    let package = entry.package();
    if package == SIMULATOR {
        let is_normal = kind != DependencyKind::Dev;
        return is_normal.then(|| format!("{SIMULATOR} is for tests: a dev-dependency only"));
    }
    if ARROWS.iter().any(|(ours, _)| *ours == package) {
        return (!below.contains(&package)).then(|| format!("{name} must not know {package}"));
    }
    let mut owners = OWNED.iter().filter(|(owned, _)| *owned == package).map(|(_, owner)| *owner);
    let first = owners.next()?;
    (kind == DependencyKind::Normal && first != name && owners.all(|owner| owner != name))
        .then(|| format!("only {first} uses {package}"))
}

#[cfg(test)]
mod tests {
    use super::super::lines_found;
    use super::*;

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_found() {
        let path = "crates/pkv-snapshot-set/Cargo.toml";
        let good = "[dependencies]\npkv-fs.workspace = true\n[dev-dependencies]\npkv-sim.workspace = true\n";
        assert!(lines_found(check, path, good).is_empty());
        let bad = "[dependencies]\npkv-format.workspace = true\npkv-sim.workspace = true\n\
            [dev-dependencies]\npkv-store.workspace = true\n";
        assert_eq!(lines_found(check, path, bad), [2, 3, 5]);
    }

    #[test]
    fn a_crate_that_another_owns_is_found_unless_for_tests() {
        let path = "crates/pkv-store/Cargo.toml";
        let text = "[dependencies]\nrayon.workspace = true\nmemmap2 = \"1\"\n[dev-dependencies]\nrustix = \"1\"\n";
        assert_eq!(lines_found(check, path, text), [3]);
    }

    #[test]
    fn a_crate_without_arrows_is_found() {
        assert_eq!(lines_found(check, "crates/pkv-new/Cargo.toml", "[package]\n"), [0]);
    }
}
