//! The commands, a file each: arguments, the operation as a library function, and how its result is printed.
//!
//! A new command is a file here, a variant of [`Command`] and its line in `run`.

pub(crate) mod backup;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod del;
pub(crate) mod delete_failed_pending;
pub(crate) mod dump;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod incr;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod prune;
pub(crate) mod prune_backups;
pub(crate) mod put;
pub(crate) mod restore;
pub(crate) mod salvage;
pub(crate) mod scan;
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
    #[command(visible_alias = "info")]
    Stat(stat::Args),
    /// Check every byte of every file, and the files against each other
    ///
    /// Reads all files, backups included: headers against names, all checksums, counts, links and seals, and the
    /// chain from log to log. Each fault is a line: torn (what a crash leaves of unsynced writes; opening cuts it
    /// off) or damaged (bytes that had been synced), with file, offset and reason. The last line is the summary.
    /// Damage is exit code 1; a torn end is not, but for --strict. Takes no lock and changes nothing.
    #[command(visible_alias = "check")]
    Verify(verify::Args),
    /// Print all entries as JSON lines, CSV, hex or raw, or the logs frame by frame
    ///
    /// Each entry is a line {"key":..,"value":..}, in no order: text where the type is string, a number where it is an
    /// integer, else hexadecimal digits. With --log the frames of all logs are printed instead, as text or (--json)
    /// as JSON lines, bad places among them. Takes no lock and changes nothing.
    Dump(dump::Args),
    /// Print the value of one key
    ///
    /// Prints text as it is, integers in decimal, all others as hexadecimal digits. A key that is not there is exit
    /// code 5. Reads the whole store as opening would; takes no lock and changes nothing, so it works beside a
    /// program that has the store open.
    Get(get::Args),
    /// Print entries, all or those whose keys begin with a prefix
    ///
    /// As dump, with a choice of entries. In no order. Takes no lock and changes nothing.
    Scan(scan::Args),
    /// Set a key
    ///
    /// Takes the lock, so no program may have the store open (exit code 4). The write survives a power cut when the
    /// command ends. The store must have been written to before, since its types say how KEY and VALUE are read.
    #[command(visible_alias = "set")]
    Put(put::Args),
    /// Remove keys, and print how many there were
    ///
    /// All of them in one write, or none. Takes the lock (exit code 4); the write survives a power cut when the
    /// command ends. Keys that are not there are no error.
    #[command(visible_alias = "delete")]
    Del(del::Args),
    /// Add to the integer of a key, and print the sum
    ///
    /// A key that is not there counts as 0. A sum that does not fit the type changes nothing (exit code 2). Takes the
    /// lock (exit code 4); the write survives a power cut when the command ends.
    Incr(incr::Args),
    /// Read entries from a file of JSON lines or CSV
    ///
    /// Sets each key to its value, as dump and export write them; a key that is there gets the new value. Takes the
    /// lock (exit code 4). All of it survives a power cut when the command ends. An import that was cut off
    /// can be done again, or go on with --resume where the last note of it says.
    Import(import::Args),
    /// Write all entries to a file of JSON lines or CSV
    ///
    /// The file is there whole or not at all: until then it has a name of its own, from which --resume goes on. In no
    /// order. Takes no lock and changes nothing, so it works beside a program that has the store open.
    Export(export::Args),
    /// Make a store of what another key-value store has written
    Migrate(migrate::Args),
    /// Copy a store, as it is at one write, to a new folder
    ///
    /// Works beside a program that writes: whatever was acknowledged before is in the backup. The backup is a store's
    /// folder, closed, which opens and can be verified; and is, unless --no-verify (exit code 1 for damage).
    /// Files that never change again become second names of the same bytes where that is possible. Copies all
    /// whole snapshots, so that restore --at can go back to the oldest one.
    Backup(backup::Args),
    /// Make a new store's folder from a backup, at its end, at a write or at a time
    ///
    /// Goes back to any write from the end of the oldest full snapshot on, never before it (exit code 5). A time leads
    /// to the last state that is known to be no later: the last sync before it.
    Restore(restore::Args),
    /// Save everything that is whole out of a damaged folder into a new one
    ///
    /// For a folder that does not open and has no backup. Reports what is lost: places in files, and gaps between
    /// writes (exit code 1 if anything had been synced). SRC is only read, and must not be in use (exit code 4).
    Salvage(salvage::Args),
    /// Write a full snapshot, and remove what it replaces
    ///
    /// As stores do by themselves when their logs have grown. Afterwards the store opens as fast as it can. Takes the
    /// lock, so no program may have the store open (exit code 4).
    Compact(compact::Args),
    /// Print a script with which a shell completes commands and options
    ///
    /// For bash: pkv completions bash > ~/.local/share/bash-completion/completions/pkv
    Completions(completions::Args),
    /// Print a manual page, or write all of them
    ///
    /// To read one: pkv man stat | man -l -
    Man(man::Args),
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
            Self::Get(args) => args.run(out),
            Self::Scan(args) => args.run(out),
            Self::Put(args) => args.run(out),
            Self::Del(args) => args.run(out),
            Self::Incr(args) => args.run(out),
            Self::Import(args) => args.run(out),
            Self::Export(args) => args.run(out),
            Self::Migrate(args) => args.run(out),
            Self::Backup(args) => args.run(out),
            Self::Restore(args) => args.run(out),
            Self::Salvage(args) => args.run(out),
            Self::Compact(args) => args.run(out),
            Self::Completions(args) => args.run(out),
            Self::Man(args) => args.run(out),
            Self::PruneBackups(args) => args.run(out),
            Self::DeleteFailedPendingSnapshots(args) => args.run(out),
        }
    }
}
