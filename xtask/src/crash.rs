//! The crash and fault tests of the store, optimised, with as many states as asked for, counted.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::cargo::Cargo;
use crate::{Failure, Outcome, failed};

/// How many times as many disk states as in `cargo test`; the tests read it from this variable. Any
/// number above 1 also makes the sweeps over faults and damage leave nothing out.
const SCALE_VARIABLE: &str = "PKV_CRASH_SCALE";
const SCALE: u32 = 2;
const STATES: u64 = 100_000;
/// What one more step of the scale adds is some ten thousand states.
const SCALE_LONG: u32 = 850;
const STATES_LONG: u64 = 10_000_000;

/// The line that a test prints for each search, and the summary.
const TRIED: &str = "tried ";

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let is_long = arguments.flag("--long");
    arguments.finish()?;
    let (scale, wanted) = if is_long { (SCALE_LONG, STATES_LONG) } else { (SCALE, STATES) };
    let start = Instant::now();
    let mut child = Cargo::new([
        "test",
        "--release",
        "--package",
        "pkv-store",
        "--test",
        "it",
        "--",
        "crash_",
        "faults::",
        "corrupt::",
        "--nocapture",
    ])
    .env(SCALE_VARIABLE, &scale.to_string())
    .spawn(Stdio::inherit(), Stdio::piped())?;
    let mut states = 0;
    if let Some(lines) = child.stderr.take() {
        for line in BufReader::new(lines).lines() {
            let line = line.map_err(failed("reading what the tests say"))?;
            states += states_in(&line).unwrap_or(0);
            eprintln!("{line}");
        }
    }
    let status = child.wait().map_err(failed("waiting for the tests"))?;
    let seconds = start.elapsed().as_secs();
    println!("crash: {states} states in {seconds} s, building included");
    if !status.success() {
        return Err(Failure::Task("a promise was broken; the lines above say which".into()));
    }
    if states < wanted {
        return Err(Failure::Task(format!("{states} states were tried, {wanted} were wanted")));
    }
    Ok(())
}

/// The number in a line such as `tried 540 states: linux Mapped`.
fn states_in(line: &str) -> Option<u64> {
    let (number, rest) = line.strip_prefix(TRIED)?.split_once(' ')?;
    rest.starts_with("states").then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::states_in;

    #[test]
    fn only_the_lines_of_the_searches_count() {
        assert_eq!(states_in("tried 540 states: linux Mapped"), Some(540));
        assert_eq!(states_in("test crash_sim::kill ... ok"), None);
        assert_eq!(states_in("tried some states"), None);
    }
}
