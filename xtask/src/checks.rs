//! What the toolchain can check: tests, examples, formatting, lints, documents.

use std::path::Path;

use crate::arguments::Arguments;
use crate::cargo::{Cargo, workspace};
use crate::{Failure, Outcome, failed};

/// `test`: the examples first, then all tests, so that a log ends with the lines of `cargo test`.
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
