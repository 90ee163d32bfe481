//! The crash and fault tests of the store, optimised, with as many states as asked for, counted.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::cargo::Cargo;
use crate::{Failure, Outcome, failed};

/// How many times as many disk states as in `cargo test`; the tests read it from this variable. Any
/// number above 1 also makes the sweeps over faults and damage leave nothing out.
const SCALE_VARIABLE: &str = "PKV_CRASH_SCALE";
const SCALE: u32 = 2;
const STATES: u64 = 100_000;
/// What one more step of the scale adds is some twenty thousand states: 11.2 million in all, as a part
/// may have fewer than its share.
const SCALE_LONG: u32 = 520;
const STATES_LONG: u64 = 10_000_000;

/// Where the seeds of the runs begin.
const SEED_VARIABLE: &str = "PKV_CRASH_SEED";
/// The tests whose states grow with the scale, and those that are done after one time.
const SEARCHES: &str = "crash_";
const SWEEPS: [&str; 2] = ["faults::", "corrupt::"];

/// The line that a test prints for each search, and the summary.
const TRIED: &str = "tried ";

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let is_long = arguments.flag("--long");
    let part = arguments.value::<Part>("--part")?;
    arguments.finish()?;
    let is_long = is_long || part.is_some();
    let (scale, wanted) = if is_long { (SCALE_LONG, STATES_LONG) } else { (SCALE, STATES) };
    let Part { number, of } = part.unwrap_or(Part { number: 1, of: 1 });
    let (scale, wanted) = (scale.div_ceil(of), wanted / u64::from(of));
    let sweeps = if number == 1 { SWEEPS.as_slice() } else { &[] };
    let start = Instant::now();
    let mut child = Cargo::new([
        "test",
        "--release",
        "--package",
        "pkv-store",
        "--test",
        "it",
        "--",
        "--nocapture",
        SEARCHES,
    ])
    .arguments(sweeps.iter().map(|&sweep| sweep.to_owned()))
    .env(SEED_VARIABLE, &(1 + (number - 1) * scale).to_string())
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

/// One of so many parts of a long run, each with seeds of its own: `3/40`.
#[derive(Clone, Copy)]
struct Part {
    number: u32,
    of: u32,
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, of) = text.split_once('/').ok_or(())?;
        let part = Part { number: number.parse().map_err(drop)?, of: of.parse().map_err(drop)? };
        if (1..=part.of).contains(&part.number) { Ok(part) } else { Err(()) }
    }
}

/// The number in a line such as `tried 540 states: linux Mapped`.
fn states_in(line: &str) -> Option<u64> {
    let (number, rest) = line.strip_prefix(TRIED)?.split_once(' ')?;
    rest.starts_with("states").then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{Part, states_in};

    #[test]
    fn parts_are_counted_from_one() {
        let part: Part = "3/40".parse().unwrap();
        assert_eq!((part.number, part.of), (3, 40));
        for wrong in ["0/4", "5/4", "3", "/", "1/0", "a/b"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_lines_of_the_searches_count() {
        assert_eq!(states_in("tried 540 states: linux Mapped"), Some(540));
        assert_eq!(states_in("test crash_sim::kill ... ok"), None);
        assert_eq!(states_in("tried some states"), None);
    }
}
