#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod change;
mod check;
mod cli;
mod commands;
mod entries;
mod error;
mod field;
mod folder;
mod json;
mod migrate;
mod output;
mod parse;
mod progress;
mod records;
mod stream;
mod text;
mod words;

pub use cli::Cli;
pub use commands::backup::{backup, restore};
pub use commands::compact::{Compacted, compact, plan_compact};
pub use commands::del::{Deleted, del, plan_del};
pub use commands::delete_failed_pending::{delete_failed_pending, plan_delete_failed_pending};
pub use commands::dump::{dump_entries, dump_log};
pub use commands::export::{Exported, export};
pub use commands::get::get;
pub use commands::import::{Import, Imported, import};
pub use commands::incr::{Incremented, incr};
pub use commands::migrate::{Migrated, migrate_persistent_kv};
pub use commands::prune::Pruned;
pub use commands::prune_backups::{plan_prune_backups, prune_backups};
pub use commands::put::{Put, put};
pub use commands::salvage::{plan_salvage, salvage};
pub use commands::scan::{Scan, scan};
pub use commands::stat::{Contents, Role, SnapshotStat, Stat, stat};
pub use commands::verify::{Deep, Fault, Verdict, Verification, verify, verify_deep};
pub use entries::Format;
pub use error::{Error, Exit, Result};
pub use folder::{Folder, Opener};
pub use json::Json;
pub use migrate::persistent_kv::Unreadable;
pub use output::{Output, Report};
pub use progress::Progress;
pub use records::InputFormat;
