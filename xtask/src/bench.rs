//! Measuring: the report against peers (a program and workspace of its own), and the micro-benchmarks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arguments::Arguments;
use crate::cargo::{Cargo, target_directory, workspace};
use crate::{Failure, Outcome, failed};

const PEERS: &str = "benches/peers";
const README: &str = "README.md";
/// README's table lies between these lines.
const MARKS: [&str; 2] = ["<!-- figures -->", "<!-- /figures -->"];

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let is_quick = arguments.flag("--quick");
    let is_light = arguments.flag("--light");
    let writes_readme = arguments.flag("--readme");
    let lists = arguments.flag("--list");
    let trial = arguments.value::<u64>("--try")?;
    let minutes = arguments.value::<u64>("--minutes")?;
    let names = arguments.names();
    arguments.finish()?;
    let target = target_directory(PEERS);
    let out = target.join("report");
    if names.first().is_some_and(|name| name == "micro") {
        let words = if is_quick { vec!["--", "--quick"] } else { Vec::new() };
        return Cargo::new(["bench", "--package", "pkv-benches", "--bench", "micro"])
            .arguments(words.into_iter().map(str::to_owned))
            .run();
    }
    if writes_readme {
        let has_other = is_quick || is_light || lists || trial.is_some() || minutes.is_some();
        if has_other || !names.is_empty() {
            let what = "--readme takes the figures of the last report, and no other word";
            return Err(Failure::Usage(what.to_owned()));
        }
        return write_readme(&out);
    }
    let mut words = names;
    words.extend(is_quick.then(|| "--quick".to_owned()));
    words.extend(is_light.then(|| "--light".to_owned()));
    words.extend(lists.then(|| "--list".to_owned()));
    words.extend(trial.iter().flat_map(|entries| ["--try".to_owned(), entries.to_string()]));
    words.extend(minutes.iter().flat_map(|n| ["--minutes".to_owned(), n.to_string()]));
    // The report names what was measured, and what built it.
    let revision = printed("git", &["describe", "--always", "--dirty"]);
    let compiler = printed("rustc", &["--version"]);
    let mut cargo = Cargo::new(["run", "--release", "--quiet"])
        .directory(PEERS)
        .env("CARGO_TARGET_DIR", &target.to_string_lossy())
        .env("PKV_REVISION", &revision)
        .env("PKV_COMPILER", &compiler);
    let rocksdb = if is_quick || is_light { None } else { RocksDb::find() };
    if let Some(rocksdb) = &rocksdb {
        cargo = cargo
            .env("ROCKSDB_LIB_DIR", &rocksdb.libraries.to_string_lossy())
            .env("ROCKSDB_INCLUDE_DIR", &rocksdb.headers.to_string_lossy());
    }
    let features = features(is_quick, is_light, rocksdb.is_some());
    cargo
        .arguments(features.into_iter().map(str::to_owned))
        .arguments(["--".to_owned()])
        .arguments(words)
        .arguments(["--out".to_owned(), out.to_string_lossy().into_owned()])
        .run()
}

/// What a program prints, or that it is unknown.
fn printed(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).current_dir(workspace()).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// Which peers are built. The short report needs no more than a Rust compiler, the light one almost no time to build.
fn features(is_quick: bool, is_light: bool, has_rocksdb: bool) -> Vec<&'static str> {
    match (is_light, is_quick) {
        (true, _) => vec!["--no-default-features"],
        (false, true) => Vec::new(),
        (false, false) if has_rocksdb => vec!["--features", "lmdb,redis,rocksdb"],
        (false, false) => vec!["--features", "lmdb,redis"],
    }
}

/// Where the system has `RocksDB`. Without it the crate would build its own for a quarter of an hour.
struct RocksDb {
    libraries: PathBuf,
    headers: PathBuf,
}

impl RocksDb {
    /// What the environment says (`ROCKSDB_LIB_DIR`, `ROCKSDB_INCLUDE_DIR`), else where Debian has it.
    fn find() -> Option<Self> {
        let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let debian = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
        let libraries = given("ROCKSDB_LIB_DIR").or_else(|| {
            let folders = debian.iter().map(PathBuf::from);
            folders.into_iter().find(|folder| folder.join("librocksdb.so").exists())
        })?;
        let headers = given("ROCKSDB_INCLUDE_DIR").unwrap_or_else(|| "/usr/include".into());
        let is_complete = headers.join("rocksdb/c.h").exists() && has_libclang();
        is_complete.then_some(Self { libraries, headers })
    }
}

/// The crate reads `RocksDB`'s header with libclang; without it, it would not compile, and no report would be.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let Ok(folders) = std::fs::read_dir("/usr/lib") else { return false };
    let of_llvm = folders
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("llvm-")));
    of_llvm
        .map(|entry| entry.path().join("lib"))
        .any(|lib| ["libclang.so", "libclang.so.1"].iter().any(|name| lib.join(name).exists()))
}

/// Puts the last report's table into README.
fn write_readme(out: &Path) -> Outcome {
    let figures = std::fs::read_to_string(out.join("figures.md"))
        .map_err(failed("no report was written yet (`cargo xtask bench --quick`)"))?;
    let path = workspace().join(README);
    let readme = std::fs::read_to_string(&path).map_err(failed(README))?;
    let text = between_marks(&readme, &figures).map_err(Failure::Task)?;
    std::fs::write(&path, text).map_err(failed(README))?;
    println!("{README}: the figures are those of the last report");
    Ok(())
}

fn between_marks(readme: &str, figures: &str) -> Result<String, String> {
    let missing = |mark: &str| format!("{README} has no line `{mark}`");
    let (before, rest) = readme.split_once(MARKS[0]).ok_or_else(|| missing(MARKS[0]))?;
    let (_, after) = rest.split_once(MARKS[1]).ok_or_else(|| missing(MARKS[1]))?;
    if figures.contains("these figures mean nothing") {
        return Err("the last report was a trial: its figures mean nothing".to_owned());
    }
    if figures.contains("not all goals are in it") {
        return Err("the last report has not all rows: run `cargo xtask bench`".to_owned());
    }
    Ok(format!("{before}{}\n\n{}\n\n{}{after}", MARKS[0], figures.trim(), MARKS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let readme = "a\n<!-- figures -->\nold\n<!-- /figures -->\nb\n";
        let written = between_marks(readme, "new\n").unwrap();
        assert_eq!(written, "a\n<!-- figures -->\n\nnew\n\n<!-- /figures -->\nb\n");
        assert_eq!(between_marks(&written, "new\n").unwrap(), written, "twice is once");
        assert!(between_marks("a\n<!-- figures -->\n", "new").is_err());
        assert!(between_marks("no marks", "new").is_err());
    }

    #[test]
    fn the_figures_of_a_trial_or_of_a_part_are_refused() {
        let readme = "<!-- figures --><!-- /figures -->";
        assert!(between_marks(readme, "A trial: these figures mean nothing.").is_err());
        assert!(between_marks(readme, "A part: not all goals are in it.").is_err());
    }

    #[test]
    fn the_light_report_builds_no_heavy_peer() {
        assert_eq!(features(true, true, true), ["--no-default-features"]);
        assert_eq!(features(false, true, true), ["--no-default-features"]);
        assert!(features(true, false, true).is_empty());
        assert_eq!(features(false, false, true), ["--features", "lmdb,redis,rocksdb"]);
        assert_eq!(features(false, false, false), ["--features", "lmdb,redis"]);
    }

    #[test]
    fn the_readme_has_the_marks() {
        let readme = std::fs::read_to_string(workspace().join(README)).unwrap();
        assert!(between_marks(&readme, "new").is_ok());
    }
}
