//! The store's threads in orders that a machine takes once a year: all of them on one, with shuttle
//! choosing who goes on, and then many, with pauses at random before and after each lock.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::cargo::{Cargo, target_directory};
use crate::{Failure, Outcome, failed};

/// How many orders each test tries; the tests read it from this variable.
const SCHEDULES_VARIABLE: &str = "PKV_STRESS_SCHEDULES";
const SCHEDULES: u32 = 2000;

/// The line that a test prints for each search.
const TRIED: &str = "tried ";

/// The tests with threads, which are worth running with pauses.
const WITH_PAUSES: [&str; 6] =
    ["concurrency::", "crash_threads::", "linear::", "compaction::", "read_only::", "kill::"];

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let wanted = arguments.value::<u32>("--schedules")?.unwrap_or(SCHEDULES);
    arguments.finish()?;
    let start = Instant::now();
    let schedules = in_many_orders(wanted)?;
    Cargo::new(["test", "--release", "--package", "pkv-store", "--test", "it", "--"])
        .arguments(WITH_PAUSES.map(str::to_owned))
        .env("CARGO_TARGET_DIR", &target_directory("target/stress").to_string_lossy())
        .env("RUSTFLAGS", "--cfg pkv_stress")
        .run()?;
    let seconds = start.elapsed().as_secs();
    println!(
        "stress: {schedules} schedules in {seconds} s, building and the tests with pauses included"
    );
    Ok(())
}

/// Returns how many were tried.
fn in_many_orders(wanted: u32) -> Result<u64, Failure> {
    let words = ["test", "--release", "--package", "pkv-store", "--test", "orders", "--"];
    let mut child = Cargo::new(words)
        .arguments(["--nocapture".to_owned()])
        .env("CARGO_TARGET_DIR", &target_directory("target/stress").to_string_lossy())
        .env("RUSTFLAGS", "--cfg pkv_shuttle")
        .env(SCHEDULES_VARIABLE, &wanted.to_string())
        .spawn(Stdio::inherit(), Stdio::piped())?;
    let mut tried = 0;
    if let Some(lines) = child.stderr.take() {
        for line in BufReader::new(lines).lines() {
            let line = line.map_err(failed("reading what the tests say"))?;
            tried += schedules_in(&line).unwrap_or(0);
            eprintln!("{line}");
        }
    }
    let status = child.wait().map_err(failed("waiting for the tests"))?;
    if !status.success() {
        return Err(Failure::Task(
            "an order broke a promise. Its schedule stands above: with it in PKV_STRESS_REPLAY the same test takes that order again".into(),
        ));
    }
    if tried < u64::from(wanted) {
        return Err(Failure::Task(format!("only {tried} schedules were tried")));
    }
    Ok(tried)
}

/// The number in a line such as `tried 540 schedules: closing`.
fn schedules_in(line: &str) -> Option<u64> {
    let (number, rest) = line.strip_prefix(TRIED)?.split_once(' ')?;
    rest.starts_with("schedules").then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::schedules_in;

    #[test]
    fn only_the_lines_of_the_searches_count() {
        assert_eq!(schedules_in("tried 540 schedules: closing"), Some(540));
        assert_eq!(schedules_in("tried 540 states: linux Mapped"), None);
        assert_eq!(schedules_in("test closing ... ok"), None);
    }
}
