#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod backup;
mod batch;
mod bytes;
pub mod codec;
mod compact;
mod core;
mod error;
mod folder;
mod frame;
mod health;
mod inspect;
mod iter;
mod log;
mod map;
mod options;
mod pool;
mod recover;
mod reentry;
mod salvage;
mod stats;
mod store;
mod write;

pub use backup::{Backup, BackupProgress, BackupReport, RestorePoint};
pub use bytes::{ByteBatch, ByteStore, Update};
pub use error::{Error, Holder, Result};
pub use health::{Cause, Health};
pub use inspect::Inspection;
pub use iter::ByteIter;
pub use options::{Durability, LogWay, Options, RecoveryMode};
pub use recover::{Phase, Progress, RecoveryReport, TornEnd};
pub use salvage::{Gap, Lost, SalvageReport, salvage};
pub use stats::Stats;
pub use store::{Batch, Iter, Store};
pub use write::Written;
