//! Do the tests notice? Plants one bug at a time into a copy of the workspace and runs the quick tests
//! that should catch it.

mod planted;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::cargo::{target_directory, workspace};
use crate::{Failure, Outcome, failed};
use planted::{MUTANTS, Mutant, Tests};

/// A run of tests that takes longer hangs, which is as good as a failure.
const SECONDS_MAX: u64 = 300;

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let wanted = arguments.name();
    arguments.finish()?;
    let chosen: Vec<&Mutant> = MUTANTS
        .iter()
        .filter(|mutant| wanted.as_ref().is_none_or(|wanted| mutant.name.contains(wanted)))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        return Err(Failure::Usage(format!("mutants: none of these: {}", names.join(", "))));
    }
    let copy = std::env::temp_dir().join("pkv-mutants");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).map_err(failed(copy.display()))?;
    }
    copy_tree(workspace(), &copy)?;
    let mut passed: Vec<&Tests> = Vec::new();
    for mutant in &chosen {
        if passed.contains(&&mutant.catch) {
            continue;
        }
        if let Verdict::Failed(how) = test(&copy, &mutant.catch)? {
            let what = format!("the tests for `{}` fail without it: {how}", mutant.name);
            return Err(Failure::Task(what));
        }
        passed.push(&mutant.catch);
    }
    let mut missed = Vec::new();
    for mutant in &chosen {
        let start = Instant::now();
        let path = copy.join(mutant.file);
        let whole = std::fs::read_to_string(&path).map_err(failed(path.display()))?;
        let planted = plant(mutant, &whole).map_err(Failure::Task)?;
        std::fs::write(&path, planted).map_err(failed(path.display()))?;
        let verdict = test(&copy, &mutant.catch);
        std::fs::write(&path, whole).map_err(failed(path.display()))?;
        let seconds = start.elapsed().as_secs();
        match verdict? {
            Verdict::Failed(how) => println!("caught  {} ({how}, {seconds} s)", mutant.name),
            Verdict::Passed => {
                println!("MISSED  {} ({seconds} s)", mutant.name);
                missed.push(mutant.name);
            }
        }
    }
    println!("mutants: {} of {} caught", chosen.len() - missed.len(), chosen.len());
    std::fs::remove_dir_all(&copy).map_err(failed(copy.display()))?;
    if missed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Task(format!("missed: {}", missed.join(", "))))
    }
}

fn plant(mutant: &Mutant, text: &str) -> Result<String, String> {
    match text.matches(mutant.find).count() {
        1 => Ok(text.replacen(mutant.find, mutant.replace, 1)),
        n => Err(format!(
            "`{}` cannot be planted: its text stands {n} times in {}; the code has changed, so change the mutant",
            mutant.name, mutant.file
        )),
    }
}

enum Verdict {
    Passed,
    Failed(String),
}

/// Builds and runs these tests in the copy. A planted bug that does not compile is an error.
fn test(copy: &Path, tests: &Tests) -> Result<Verdict, Failure> {
    let program = build(copy, tests)?;
    let mut command = Command::new(&program);
    command.args(tests.names).env("RUST_BACKTRACE", "0");
    command.current_dir(copy.join("crates").join(tests.package));
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed(program.display()))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(failed(program.display()))? {
            return Ok(match status.code() {
                Some(0) => Verdict::Passed,
                Some(_) => Verdict::Failed("a test failed".into()),
                None => Verdict::Failed(status.to_string()),
            });
        }
        if start.elapsed().as_secs() > SECONDS_MAX {
            child.kill().and_then(|()| child.wait()).map_err(failed(program.display()))?;
            return Ok(Verdict::Failed("a test hangs".into()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn build(copy: &Path, tests: &Tests) -> Result<PathBuf, Failure> {
    let target: &[&str] =
        if tests.target == "--lib" { &["--lib"] } else { &["--test", tests.target] };
    let mut child = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--no-run", "--package", tests.package])
        .args(target)
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target_directory("target/mutants"))
        .env("CARGO_TERM_COLOR", "never")
        .env("RUSTFLAGS", tests.cfg.map_or(String::new(), |cfg| format!("--cfg {cfg}")))
        .env_remove("CARGO_MANIFEST_DIR")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("cargo test --no-run"))?;
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        stderr.read_to_string(&mut said).map_err(failed("cargo test --no-run"))?;
    }
    let status = child.wait().map_err(failed("cargo test --no-run"))?;
    let program = said.lines().rev().find_map(|line| {
        let path = line.trim().strip_prefix("Executable")?.split_once('(')?.1;
        Some(PathBuf::from(path.strip_suffix(')')?))
    });
    match program {
        Some(program) if status.success() => Ok(program),
        _ => Err(Failure::Task(format!("the copy does not compile:\n{said}"))),
    }
}

/// What is built or found is left behind.
const NOT_COPIED: [&str; 4] = ["target", ".git", "corpus", "artifacts"];

fn copy_tree(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to).map_err(failed(to.display()))?;
    for entry in std::fs::read_dir(from).map_err(failed(from.display()))? {
        let entry = entry.map_err(failed(from.display()))?;
        let name = entry.file_name();
        if NOT_COPIED.iter().any(|left| name == *left) {
            continue;
        }
        let (source, place) = (entry.path(), to.join(&name));
        if entry.file_type().map_err(failed(source.display()))?.is_dir() {
            copy_tree(&source, &place)?;
        } else {
            std::fs::copy(&source, &place).map_err(failed(source.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_can_be_planted() {
        for mutant in MUTANTS {
            let text = std::fs::read_to_string(workspace().join(mutant.file)).unwrap();
            let planted = plant(mutant, &text).unwrap();
            assert_ne!(planted, text, "{}", mutant.name);
        }
    }

    #[test]
    fn what_is_built_is_not_copied() {
        let root = std::env::temp_dir().join(format!("pkv-mutants-test-{}", std::process::id()));
        std::fs::create_dir_all(root.join("from/target")).unwrap();
        std::fs::create_dir_all(root.join("from/src")).unwrap();
        std::fs::write(root.join("from/src/lib.rs"), "text").unwrap();
        copy_tree(&root.join("from"), &root.join("to")).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("to/src/lib.rs")).unwrap(), "text");
        assert!(!root.join("to/target").exists());
        std::fs::remove_dir_all(root).unwrap();
    }
}
