#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod admin;
mod error;
mod file_snapshot_set;
mod name;
mod ordinal;
mod prune;
mod publish;
mod report;
mod set;
mod snapshot;

pub use error::{Error, Inconsistency};
pub use file_snapshot_set::{FileSnapshotSet, MAX_SHARD_COUNT, Options};
pub use name::{LOCK_FILE_NAME, SnapshotFileName};
pub use ordinal::SnapshotOrdinal;
pub use report::{HeldSpace, PublishReport, Purged, Report, Scan};
pub use snapshot::{SnapshotInfo, SnapshotSet, SnapshotType};
