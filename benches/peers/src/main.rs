//! The report: the store beside its peers, on this machine, in one run.
//!
//! `cargo xtask bench [ROW].. [--quick]` builds and runs it. Every measurement is one process ("job"), so that no engine
//! inherits the memory of another; the jobs of a row are interleaved over rounds, and ratios are taken
//! within a round, so that a machine that slows down for a while slows both sides.
// Not forbidden: one of the peers can be opened in no other way.
#![deny(unsafe_code)]

mod engines;
mod jobs;
mod machine;
mod measure;
mod report;
mod rows;
mod statistics;
mod workload;

use std::process::ExitCode;

/// What went wrong, for people. Every job ends at its first error: half a figure is none.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.split_first() {
        Some((first, rest)) if first == jobs::COMMAND => jobs::run(rest),
        _ => report::run(&words),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pkv-peers: {error}");
            ExitCode::FAILURE
        }
    }
}
