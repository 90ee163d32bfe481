#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod choice;
mod content;
mod disk;
mod fault;
mod file;
mod journal;
mod names;
mod rng;
mod state;

pub use choice::{Choice, Crash};
pub use disk::SimFs;
pub use fault::{Fault, FaultKind};
pub use journal::{Journal, Replay};
