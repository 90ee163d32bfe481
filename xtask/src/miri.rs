//! What is read without a lock, under Miri: a load may return whatever the language's memory model allows, so that a fence
//! that is missing shows, on x86, too. (Shuttle runs everything in one order for all threads.)
//!
//! Needs the nightly toolchain with Miri: `rustup toolchain install nightly --component miri --component rust-src`.

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cargo::{Cargo, target_directory};

/// Each is another schedule with other values read. A fence left out was found by fewer than 32.
const SEEDS: u32 = 64;

/// The modules whose threads meet at atomics and fences.
const MODULES: [&str; 1] = ["map::hot"];

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let seeds = arguments.value::<u32>("--seeds")?.unwrap_or(SEEDS);
    arguments.finish()?;
    Cargo::nightly(["miri", "test", "--package", "pkv-store", "--lib", "--"])
        .arguments(MODULES.map(str::to_owned))
        .env("CARGO_TARGET_DIR", &target_directory("target/miri").to_string_lossy())
        .env("MIRIFLAGS", &format!("-Zmiri-many-seeds=0..{seeds}"))
        .run()
}
