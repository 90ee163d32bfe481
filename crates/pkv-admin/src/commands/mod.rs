//! The commands, a file each: arguments, the operation as a library function, and how its result is printed.
//!
//! A new command is a file here, a variant of [`Command`] and its line in `run`.

pub(crate) mod delete_failed_pending;
pub(crate) mod dump;
pub(crate) mod prune;
pub(crate) mod prune_backups;
pub(crate) mod stat;
pub(crate) mod verify;

use crate::error::{Exit, Result};
use crate::output::Output;

/// What `pkv` can do.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say what is in a folder and what opening it would bring
    ///
    /// Lists the files by ordinal with type, role, shards and bytes, and reads the contents as opening would: entries,
    /// payload bytes, types, the last write, how far all is synced, the torn end if there is one. Takes no lock and
    /// changes nothing, so it works beside a program that has the store open. A folder that would not open is
    /// listed all the same, with the reason (exit code 1). Needs the memory that opening needs.
    Stat(stat::Args),
    /// Check every byte of every file, and the files against each other
    ///
    /// Reads all files, backups included: headers against names, all checksums, counts, links and seals, and the
    /// chain from log to log. Each fault is a line: torn (what a crash leaves of unsynced writes; opening cuts it
    /// off) or damaged (bytes that had been synced), with file, offset and reason. The last line is the summary.
    /// Damage is exit code 1; a torn end is not, but for --strict. Takes no lock and changes nothing.
    Verify(verify::Args),
    /// Print all entries as JSON lines, or the logs frame by frame
    ///
    /// Each entry is a line {"key":..,"value":..}, in no order: text where the type is string, a number where it is an
    /// integer, else hexadecimal digits. With --log the frames of all logs are printed instead, as text or (--json)
    /// as JSON lines, bad places among them. Takes no lock and changes nothing.
    Dump(dump::Args),
    /// Remove all but the newest backups
    ///
    /// Keeps what opening needs and MAX full snapshots below it, with the logs that lead on from them; removes what is
    /// older. Takes the lock, so no program may have the store open (exit code 4). Verifies what is kept first, and
    /// removes nothing if that is damaged (exit code 1). Opening the folder also finishes or drops snapshots
    /// that a crash left half done, as every opening does; that is listed, too.
    PruneBackups(prune_backups::Args),
    /// Remove snapshots that were never finished
    ///
    /// Removes pending snapshots, and what is not whole below the latest full one. Takes the lock, so no program may
    /// have the store open (exit code 4). Nothing that opening needs is touched.
    DeleteFailedPendingSnapshots(delete_failed_pending::Args),
}

impl Command {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        match self {
            Self::Stat(args) => args.run(out),
            Self::Verify(args) => args.run(out),
            Self::Dump(args) => args.run(out),
            Self::PruneBackups(args) => args.run(out),
            Self::DeleteFailedPendingSnapshots(args) => args.run(out),
        }
    }
}
