//! The tests of the two crates that see raw memory, with `AddressSanitizer`: `pkv-fs` has the unsafe code, and
//! `pkv-store` is what drives it. Any toolchain does: a variable lets stable take the flag.

use crate::arguments::Arguments;
use crate::cargo::{Cargo, target_directory};
use crate::{Outcome, host_triple};

/// Tests forget stores on purpose, as a killed process does; and one child is to die of a SIGBUS.
const ASAN_OPTIONS: &str = "detect_leaks=0:handle_sigbus=0";

/// They count page faults, of which the sanitizer has its own.
const NOT_HERE: [&str; 2] = ["without_page_faults", "released_pages_leave"];

pub(crate) fn run(arguments: Arguments) -> Outcome {
    arguments.finish()?;
    let host = host_triple()?;
    // Naming the target triple keeps the flags away from build scripts and procedural macros.
    let words = ["test", "--release", "--no-fail-fast", "--lib", "--tests", "--target", &host];
    let packages = ["--package", "pkv-fs", "--package", "pkv-store", "--"].map(str::to_owned);
    let skipped = NOT_HERE.iter().flat_map(|test| ["--skip", test]).map(str::to_owned);
    Cargo::new(words)
        .arguments(packages.into_iter().chain(skipped))
        .env("CARGO_TARGET_DIR", &target_directory("target/asan").to_string_lossy())
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("ASAN_OPTIONS", ASAN_OPTIONS)
        .run()
}
