//! The crash explorer of the store's tests, optimised, with as many states as asked for.

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cargo::Cargo;

/// How many disk states the tests explore; they read it from this variable.
const STATES_VARIABLE: &str = "PKV_CRASH_STATES";
const STATES: &str = "100000";
const STATES_LONG: &str = "10000000";

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let states = if arguments.flag("--long") { STATES_LONG } else { STATES };
    arguments.finish()?;
    Cargo::new([
        "test",
        "--release",
        "--package",
        "pkv-store",
        "--test",
        "it",
        "crash_sim",
        "--",
        "--nocapture",
    ])
    .env(STATES_VARIABLE, states)
    .run()
}
