#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod acks;
mod call;
mod choice;
mod content;
mod crash;
mod disk;
mod fault;
mod file;
mod fs;
mod journal;
mod linear;
mod model;
mod names;
mod place;
mod rng;
mod state;

pub use acks::{AckLog, Acked};
pub use choice::{Choice, Crash};
pub use crash::{Cuts, Explorer, REPLAY_VARIABLE, Report, Violation};
pub use disk::SimFs;
pub use fault::{Fault, FaultKind};
pub use journal::{Journal, Replay};
pub use linear::{NotLinearizable, Operation, Recorder, Recording, Specification};
pub use model::{Change, Condition, Durability, History, WriteEvent, WriteId};
