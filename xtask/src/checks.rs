//! What the toolchain can check: tests, examples, formatting, lints, documents.

use std::path::Path;

use crate::arguments::Arguments;
use crate::cargo::{Cargo, workspace};
use crate::tidy::manifest::entries;
use crate::{Failure, Outcome, failed};

/// The tests of pkv-store whose outcome a feature has a part in. The others run without features and with all; with
/// each feature alone all of them are compiled and these run.
const OF_FEATURES: [&str; 5] = ["codec::", "events", "upgrade::", "watching_tasks::", "wrappers::"];

/// `test`: the examples first, then each crate with each of its features alone and with none, then all
/// tests with all features, so that a log ends with the lines of `cargo test`.
pub(crate) fn test(mut arguments: Arguments) -> Outcome {
    let is_quick = arguments.flag("--quick");
    arguments.finish()?;
    // Criterion, which the benches need, stays out: `lint` compiles them.
    let all = ["test", "--workspace", "--exclude", "pkv-benches", "--all-features"];
    if is_quick {
        return Cargo::new(all).arguments(["--lib", "--bins", "--tests"].map(str::to_owned)).run();
    }
    for (package, example) in examples(workspace())? {
        Cargo::new([
            "run",
            "--quiet",
            "--all-features",
            "--package",
            &package,
            "--example",
            &example,
        ])
        .run()?;
    }
    for (package, feature) in features(workspace())? {
        let is_store = package == "pkv-store";
        let cargo = Cargo::new(["test", "--lib", "--bins", "--tests", "--no-default-features"])
            .arguments(["--package".to_owned(), package]);
        match feature {
            None => cargo.run()?,
            Some(feature) => {
                let names = if is_store { OF_FEATURES.as_slice() } else { &[] };
                cargo
                    .arguments(["--features".to_owned(), feature, "--".to_owned()])
                    .arguments(names.iter().map(|&name| name.to_owned()))
                    .run()?;
            }
        }
    }
    Cargo::new(all).run()
}

/// `lint`: nothing but silence is good enough.
pub(crate) fn lint(arguments: Arguments) -> Outcome {
    arguments.finish()?;
    Cargo::new(["fmt", "--all", "--check"]).run()?;
    for workspace_of_its_own in ["benches/peers", "fuzz"] {
        Cargo::new(["fmt", "--check"]).directory(workspace_of_its_own).run()?;
    }
    Cargo::new([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ])
    .run()?;
    Cargo::new(["doc", "--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Every example of the crates, as (package, example), sorted.
pub(crate) fn examples(root: &Path) -> Result<Vec<(String, String)>, Failure> {
    let mut found = Vec::new();
    for package in names_in(&root.join("crates"))? {
        let folder = root.join("crates").join(&package).join("examples");
        if !folder.is_dir() {
            continue;
        }
        for name in names_in(&folder)? {
            if let Some(example) = name.strip_suffix(".rs") {
                found.push((package.clone(), example.to_owned()));
            } else if folder.join(&name).join("main.rs").is_file() {
                found.push((package.clone(), name));
            }
        }
    }
    Ok(found)
}

/// Each crate that has features, with each of them and with none, as (package, feature).
pub(crate) fn features(root: &Path) -> Result<Vec<(String, Option<String>)>, Failure> {
    let mut found = Vec::new();
    for package in names_in(&root.join("crates"))? {
        let path = root.join("crates").join(&package).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).map_err(failed(path.display()))?;
        let entries = entries(&text);
        let of_package = entries.iter().filter(|entry| entry.section == "features");
        let alone = of_package.map(|entry| entry.key).filter(|key| *key != "default");
        let mut alone = alone.map(|key| (package.clone(), Some(key.to_owned()))).peekable();
        if alone.peek().is_some() {
            found.push((package.clone(), None));
        }
        found.extend(alone);
    }
    Ok(found)
}

/// The names in a folder, sorted; those that are not UTF-8 are nobody's here.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(failed(folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed(folder.display()))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_tested_alone_and_every_crate_with_features_without_them() {
        let found = features(workspace()).unwrap();
        let has = |package: &str, feature: Option<&str>| {
            found.contains(&(package.to_owned(), feature.map(str::to_owned)))
        };
        assert!(has("pkv-store", None) && has("pkv-store", Some("serde")), "{found:?}");
        assert!(has("pkv-store", Some("prost")) && has("pkv-fs", Some("mmap")), "{found:?}");
        assert!(!has("pkv-fs", Some("default")) && !has("pkv-sim", None), "{found:?}");
    }
}
