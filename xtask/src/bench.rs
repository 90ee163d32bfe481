//! Measuring: the report against peers (a program and workspace of its own), and the micro-benchmarks.

use crate::Outcome;
use crate::arguments::Arguments;
use crate::cargo::{Cargo, target_directory};

const PEERS: &str = "benches/peers";

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let is_quick = arguments.flag("--quick");
    let name = arguments.name();
    arguments.finish()?;
    if name.as_deref() == Some("micro") {
        let words = if is_quick { vec!["--", "--quick"] } else { Vec::new() };
        return Cargo::new(["bench", "--package", "pkv-benches"])
            .arguments(words.into_iter().map(str::to_owned))
            .run();
    }
    let target = target_directory(PEERS);
    let quick = is_quick.then(|| "--quick".to_owned());
    Cargo::new(["run", "--release", "--quiet", "--"])
        .directory(PEERS)
        .env("CARGO_TARGET_DIR", &target.to_string_lossy())
        .arguments(name.into_iter().chain(quick))
        .run()
}
