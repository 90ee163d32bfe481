//! The crash explorer of the store's tests, optimised, with as many states as asked for.

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cargo::Cargo;

/// How many times as many disk states as in `cargo test`; the tests read it from this variable.
const SCALE_VARIABLE: &str = "PKV_CRASH_SCALE";
/// About a hundred thousand states.
const SCALE: &str = "20";
/// About ten million.
const SCALE_LONG: &str = "2000";

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let scale = if arguments.flag("--long") { SCALE_LONG } else { SCALE };
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
    .env(SCALE_VARIABLE, scale)
    .run()
}
