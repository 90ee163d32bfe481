//! `pkv migrate` on a large folder that the real persistent-kv has written, compared line by line.

use std::fs;
use std::path::Path;

use crate::arguments::Arguments;
use crate::cargo::Cargo;
use crate::{Failure, Outcome, failed};

/// How many entries are written unless the command line says otherwise.
const ENTRIES: u64 = 1_000_000;

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let entries = arguments.value("--entries")?.unwrap_or(ENTRIES);
    arguments.finish()?;
    let folder = crate::cargo::target_directory("xtask-migrate");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed(folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(failed(folder.display()))?;
    let outcome = compare(&folder, entries);
    // What was compared and found equal is of no more use.
    if outcome.is_ok() {
        fs::remove_dir_all(&folder).map_err(failed(folder.display()))?;
    }
    outcome
}

fn compare(folder: &Path, entries: u64) -> Outcome {
    let text = |path: &Path| path.display().to_string();
    let (migrated, dump) = (folder.join("migrated"), folder.join("dump.hex"));
    Cargo::new(["run", "--release", "--example", "persistent_kv_folder", "--"])
        .directory("benches/peers")
        .arguments([text(folder), entries.to_string(), (entries / 2).max(1).to_string()])
        .run()?;
    let pkv = || Cargo::new(["run", "--release", "--package", "pkv-admin", "--bin", "pkv", "--"]);
    pkv()
        .arguments(["migrate", "persistent-kv", "--types", "string,string"].map(str::to_owned))
        .arguments([text(&folder.join("store")), text(&migrated)])
        .run()?;
    let out = fs::File::create(&dump).map_err(failed(dump.display()))?;
    let status = pkv()
        .arguments(["dump", "--format", "hex"].map(str::to_owned))
        .arguments([text(&migrated)])
        .spawn(out.into(), std::process::Stdio::inherit())?
        .wait()
        .map_err(failed("waiting for pkv"))?;
    if !status.success() {
        return Err(Failure::Task(format!("pkv dump failed: {status}")));
    }
    let lines = |path: &Path| fs::read_to_string(path).map_err(failed(path.display()));
    let (expected, found) = (lines(&folder.join("expected.hex"))?, lines(&dump)?);
    let expected: Vec<&str> = expected.lines().collect();
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    if let Some((one, other)) = expected.iter().zip(&found).find(|(one, other)| one != other) {
        return Err(Failure::Task(format!("persistent-kv has {one}, the new store {other}")));
    }
    if expected.len() != found.len() {
        let (one, other) = (expected.len(), found.len());
        return Err(Failure::Task(format!(
            "persistent-kv has {one} entries, the new store {other}"
        )));
    }
    println!("migrate: {} entries, each the same byte for byte", found.len());
    Ok(())
}
