#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod check;
mod cli;
mod commands;
mod error;
mod field;
mod folder;
mod json;
mod output;
mod text;

pub use cli::Cli;
pub use commands::delete_failed_pending::{delete_failed_pending, plan_delete_failed_pending};
pub use commands::dump::{dump_entries, dump_log};
pub use commands::prune::Pruned;
pub use commands::prune_backups::{plan_prune_backups, prune_backups};
pub use commands::stat::{Contents, Role, SnapshotStat, Stat, stat};
pub use commands::verify::{Fault, Verdict, Verification, verify};
pub use error::{Error, Exit, Result};
pub use folder::{Folder, Opener};
pub use json::Json;
pub use output::{Output, Report};
