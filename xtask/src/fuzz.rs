//! libFuzzer on any toolchain: its instrumentation is a pass of LLVM, which stable rustc runs when told
//! to by flags. No nightly, no cargo-fuzz; a C++ compiler is needed for libFuzzer itself.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::arguments::Arguments;
use crate::cargo::{Cargo, target_directory, workspace};
use crate::checks::names_in;
use crate::{Failure, Outcome, failed, host_triple};

const FUZZ: &str = "fuzz";

/// What cargo-fuzz passes, less the sanitizers: our crates hold no unsafe code that they could judge
/// but a mapping, and a sanitizer needs nightly.
const FLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// An input may not need more memory than this: a length field that allocates is a find.
const RSS_MIB_MAX: u32 = 512;
const INPUT_BYTES_MAX: u32 = 64 * 1024;

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let seconds = arguments.value::<u32>("--seconds")?.unwrap_or(60);
    let seed = arguments.value::<NonZeroU32>("--seed")?;
    let jobs = arguments.value::<NonZeroUsize>("--jobs")?.map_or(1, NonZeroUsize::get);
    let if_possible = arguments.flag("--if-possible");
    let name = arguments.name();
    arguments.finish()?;
    let targets = choose(targets()?, name)?;
    if !has_cxx() {
        let what = "libFuzzer needs a C++ compiler (c++, or the one named by CXX)";
        if if_possible {
            println!("fuzz: skipped: {what}");
            return Ok(());
        }
        return Err(Failure::Task(what.into()));
    }

    // Naming the target triple keeps the flags away from build scripts, which run without libFuzzer.
    let host = host_triple()?;
    let target_folder = target_directory(FUZZ);
    Cargo::new(["build", "--release", "--quiet", "--target", &host])
        .directory(FUZZ)
        .env("CARGO_TARGET_DIR", &target_folder.to_string_lossy())
        .env("RUSTFLAGS", FLAGS)
        .quiet()
        .run()?;
    let programs = target_folder.join(&host).join("release");
    in_parallel(&targets, jobs, |target| run_target(&programs.join(target), target, seconds, seed))
}

/// Runs so many at a time. After a find none is begun, and those under way go on to their end.
fn in_parallel(targets: &[String], jobs: usize, run: impl Fn(&str) -> Outcome + Sync) -> Outcome {
    let waiting = Mutex::new((targets.iter(), Ok(())));
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let target = {
                let (targets, outcome) = &mut *lock();
                if outcome.is_err() {
                    return;
                }
                let Some(target) = targets.next() else { return };
                target
            };
            if let Err(find) = run(target) {
                lock().1 = Err(find);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    waiting.into_inner().unwrap_or_else(PoisonError::into_inner).1
}

/// With a seed a run is repeatable as far as the code under it is: it begins with the seeds under version control, in
/// one order, and what earlier runs have found is not looked at. Without one it goes on from what earlier runs have
/// found, another way each time.
fn run_target(program: &Path, target: &str, seconds: u32, seed: Option<NonZeroU32>) -> Outcome {
    let fuzz = workspace().join(FUZZ);
    let found = match seed {
        None => fuzz.join("corpus").join(target),
        Some(_) => target_directory(FUZZ).join("seeded").join(target),
    };
    if seed.is_some() && found.exists() {
        std::fs::remove_dir_all(&found).map_err(failed(found.display()))?;
    }
    let artifacts = fuzz.join("artifacts").join(target);
    for folder in [&found, &artifacts] {
        std::fs::create_dir_all(folder).map_err(failed(folder.display()))?;
    }
    println!("\n> fuzz {target} for {seconds} s");
    let mut command = Command::new(program);
    // The input says more than forty lines of libFuzzer's own frames.
    command.env("RUST_BACKTRACE", "0");
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.arg(format!("-rss_limit_mb={RSS_MIB_MAX}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"]);
    if let Some(seed) = seed {
        // What is compared is not looked at: addresses are among it, which are others in each process.
        command.args([&format!("-seed={seed}"), "-use_cmp=0"]);
    }
    // New inputs go to this folder. The seeds are named one by one, and only read: the order of a folder's names is
    // the file system's.
    command.arg(&found);
    let seeds = fuzz.join("seeds").join(target);
    if seeds.is_dir() {
        let paths =
            names_in(&seeds)?.into_iter().map(|name| seeds.join(name).display().to_string());
        command.arg(format!("-seed_inputs={}", paths.collect::<Vec<_>>().join(",")));
    }
    let status = command.status().map_err(failed(program.display()))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Task(format!(
        "{target}: a find ({status}); its input is in {}. Repeat it by running {} with that file as its only argument.",
        artifacts.display(),
        program.display()
    )))
}

/// The targets are the programs in `fuzz/fuzz_targets`.
fn targets() -> Result<Vec<String>, Failure> {
    let names = names_in(&workspace().join(FUZZ).join("fuzz_targets"))?;
    Ok(names.iter().filter_map(|name| name.strip_suffix(".rs")).map(str::to_owned).collect())
}

fn choose(targets: Vec<String>, name: Option<String>) -> Result<Vec<String>, Failure> {
    match name {
        None => Ok(targets),
        Some(name) if targets.contains(&name) => Ok(vec![name]),
        Some(name) => Err(Failure::Usage(format!(
            "fuzz: no target `{name}`; there are {}",
            targets.join(", ")
        ))),
    }
}

fn has_cxx() -> bool {
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_a_usage_error() {
        let all = || vec!["scan".to_owned(), "file_name".to_owned()];
        assert_eq!(choose(all(), None).unwrap(), all());
        assert_eq!(choose(all(), Some("scan".into())).unwrap(), ["scan"]);
        assert!(matches!(choose(all(), Some("scam".into())), Err(Failure::Usage(_))));
    }

    #[test]
    fn each_target_is_run_once_and_none_begins_after_a_find() {
        let names: Vec<_> = ["a", "b", "c", "d"].map(str::to_owned).into();
        let run = Mutex::new(Vec::new());
        in_parallel(&names, 2, |name| {
            run.lock().unwrap().push(name.to_owned());
            Ok(())
        })
        .unwrap();
        let mut done = run.into_inner().unwrap();
        done.sort();
        assert_eq!(done, names);

        let run = Mutex::new(0);
        let outcome = in_parallel(&names, 1, |name| {
            *run.lock().unwrap() += 1;
            if name == "b" { Err(Failure::Task("a find".into())) } else { Ok(()) }
        });
        assert!(outcome.is_err());
        assert_eq!(run.into_inner().unwrap(), 2);
    }

    #[test]
    fn every_target_has_its_entry_in_the_manifest() {
        let manifest = std::fs::read_to_string(workspace().join(FUZZ).join("Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        assert!(!targets.is_empty());
        for target in targets {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
        }
    }
}
