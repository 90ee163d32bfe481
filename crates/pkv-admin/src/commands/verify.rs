//! `pkv verify`: every byte of every file against its checksum, and the files against each other.

use std::path::PathBuf;

use anstyle::AnsiColor;
use pkv_snapshot_set::FileSnapshotSet;

use crate::check::judge::Judge;
use crate::check::read_files;
use crate::check::window::wide;
use crate::entries::Types;
use crate::error::{Error, Exit, Result};
use crate::field::{FieldType, FieldValue};
use crate::folder::{Folder, Listing, Opener, PAUSE, ROUNDS};
use crate::json::{Hex, Json, append, object};
use crate::output::{Output, Report};
use crate::text::{Count, Painted, Shown};

/// Arguments of `pkv verify`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// A torn end counts as a fault, too (exit code 1)
    #[arg(long)]
    strict: bool,
    /// Read the contents as opening does, too: no key twice in a snapshot, and every key and value of its type.
    /// Needs the memory that opening needs
    #[arg(long)]
    deep: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let verification = if self.deep { verify_deep(&folder)? } else { verify(&folder)? };
        out.report(&verification)?;
        let is_bad =
            if self.strict { !verification.faults.is_empty() } else { verification.is_damaged() };
        Ok(if is_bad { Exit::Faults } else { Exit::Good })
    }
}

/// What a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// What a crash leaves of writes that were not synced. Opening cuts it off; nothing is lost that was
    /// acknowledged as durable.
    Torn,
    /// Bytes that had been synced are wrong or gone.
    Damaged,
    /// Written by a newer version of the software, and not looked at.
    NewerFormat,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Damaged => "damaged",
            Self::NewerFormat => "newer-format",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The file, or the folder where a file is missing.
    pub path: PathBuf,
    /// Where in the file, in bytes from its start.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
    /// What it means.
    pub verdict: Verdict,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Verification {
    /// The folder.
    pub dir: PathBuf,
    /// Files read; pending ones are not.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Valid frames in all logs.
    pub frames: u64,
    /// Writes among them.
    pub writes: u64,
    /// Operations of these.
    pub operations: u64,
    /// Valid blocks in all full snapshots.
    pub blocks: u64,
    /// Records in them.
    pub records: u64,
    /// The last write that opening would keep.
    pub last_seq: u64,
    /// Everything up to this write is known to have been synced.
    pub watermark: u64,
    /// What is wrong, by file and offset; of each file at most 100.
    pub faults: Vec<Fault>,
    /// Faults beyond those listed.
    pub faults_unlisted: u64,
    /// What is not wrong but worth knowing: what opening would drop or finish.
    pub notes: Vec<String>,
    /// Who opened the store last.
    pub opener: Option<Opener>,
    /// What [`verify_deep`] found besides.
    pub deep: Option<Deep>,
}

/// What reading the contents as opening does shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deep {
    /// Entries that are shown.
    pub entries: u64,
    /// Entries whose key or value is not of its type, where the type is one that this crate knows: `string` and
    /// integers.
    pub undecodable: u64,
    /// The first of them, as hexadecimal digits of its key.
    pub first_undecodable: Option<String>,
    /// Why opening would fail although nothing else is wrong.
    pub problem: Option<String>,
}

impl Deep {
    /// Whether anything is wrong.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.problem.is_some() || self.undecodable > 0
    }
}

impl Verification {
    /// Whether anything is wrong that a crash does not explain.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.faults.iter().any(|fault| fault.verdict != Verdict::Torn)
            || self.deep.as_ref().is_some_and(Deep::is_damaged)
    }

    fn count(&self, verdict: Verdict) -> u64 {
        wide(self.faults.iter().filter(|fault| fault.verdict == verdict).count())
    }
}

/// Reads every file of a folder and checks every header against its name, every checksum, every count, and the
/// chain from log to log. Takes no lock and changes nothing; beside a writer it reads again what was in motion.
///
/// Not checked: that no key stands twice in a snapshot, for which all keys would have to be in memory.
///
/// Cost: one read of all bytes, one thread for each processor, about 1 MiB of memory for each thread, or the longest
/// frame or block.
///
/// # Errors
/// Only when files cannot be read. What is wrong with them is in the result.
pub fn verify(folder: &Folder) -> Result<Verification> {
    let mut before: Vec<Fault> = Vec::new();
    for _ in 0..ROUNDS {
        let listing = folder.list()?;
        let mut found = match verify_once(folder, &listing) {
            Ok(found) => found,
            // A writer removed a file, or renamed it, since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if found.faults.is_empty() || folder.is_still(&listing)? {
            return Ok(found);
        }
        // What was read of one file may be older than what was read of another: beside a writer, only what is
        // found twice is a fault.
        // Twice means with the same reason: two moments of one file may each look wrong in another way.
        let is_known = |fault: &Fault| before.contains(fault);
        if found.faults.iter().any(is_known) {
            found.faults.retain(is_known);
            return Ok(found);
        }
        before = found.faults;
        std::thread::sleep(PAUSE);
    }
    Err(Error::Changing { path: folder.dir().to_path_buf() })
}

/// [`verify`] and, where that finds no damage, the contents as opening reads them: no key may stand twice in a
/// snapshot, and every key and value must be of its type, as far as this crate knows types.
///
/// Backups within the folder are not loaded: make a folder of one, with [`crate::restore`].
///
/// Cost: that of [`verify`], then the time and memory of opening the store.
///
/// # Errors
/// As [`verify`].
pub fn verify_deep(folder: &Folder) -> Result<Verification> {
    let mut found = verify(folder)?;
    if found.is_damaged() {
        return Ok(found);
    }
    let mut deep = Deep::default();
    match folder.inspect() {
        Ok(look) => {
            let types = Types::of_look(&look);
            let is_bad = |field: FieldType, bytes: &[u8]| {
                matches!(field.value(bytes), FieldValue::Undecodable(_))
            };
            for entry in look.iter_entries() {
                let entry = entry?;
                deep.entries += 1;
                if is_bad(types.key, &entry.key) || is_bad(types.value, &entry.value) {
                    deep.undecodable += 1;
                    deep.first_undecodable.get_or_insert_with(|| Hex(&entry.key).to_string());
                }
            }
        }
        Err(error) if error.exit() == Exit::Faults => deep.problem = Some(error.to_string()),
        Err(error) => return Err(error),
    }
    found.deep = Some(deep);
    Ok(found)
}

fn verify_once(
    folder: &Folder,
    listing: &Listing,
) -> Result<Verification, pkv_snapshot_set::Error> {
    let scan = FileSnapshotSet::scan(&**folder.fs(), folder.dir())?;
    let finishing = scan.report.rolled_forward.iter().map(|ordinal| ordinal.0).collect();
    let files = read_files(folder, &listing.files, &finishing)?;
    Ok(Judge::new(folder, &files).judge(&scan, listing))
}

impl Json for Fault {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.path)
                .field("offset", &self.offset)
                .field("verdict", self.verdict.word())
                .field("reason", &self.reason);
        });
    }
}

impl Json for Verification {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.dir)
                .field("damaged", &self.is_damaged())
                .field("files", &self.files)
                .field("bytes", &self.bytes)
                .field("frames", &self.frames)
                .field("writes", &self.writes)
                .field("operations", &self.operations)
                .field("blocks", &self.blocks)
                .field("records", &self.records)
                .field("last_seq", &self.last_seq)
                .field("watermark", &self.watermark)
                .field("faults", &self.faults)
                .field("faults_unlisted", &self.faults_unlisted)
                .field("notes", &self.notes)
                .field("deep", &self.deep);
        });
    }
}

impl Json for Deep {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("entries", &self.entries)
                .field("undecodable", &self.undecodable)
                .field("first_undecodable", &self.first_undecodable)
                .field("problem", &self.problem);
        });
    }
}

impl Report for Verification {
    fn text(&self, out: &mut String) {
        for fault in &self.faults {
            let (path, reason) = (Shown(&fault.path), crate::text::Plain(&fault.reason));
            let (word, offset) = (fault.verdict.word(), fault.offset);
            let colour = match fault.verdict {
                Verdict::Torn => AnsiColor::Yellow,
                _ => AnsiColor::Red,
            };
            let word = Painted(colour, word);
            append(out, format_args!("{word}: {path}: offset {offset}: {reason}\n"));
        }
        if self.faults_unlisted > 0 {
            append(
                out,
                format_args!("{} more are not listed\n", Count(self.faults_unlisted, "fault")),
            );
        }
        for note in &self.notes {
            append(out, format_args!("note: {}\n", crate::text::Plain(note)));
        }
        if let (Some(Opener { pid, is_running: Some(true) }), false) =
            (self.opener, self.faults.is_empty())
        {
            append(
                out,
                format_args!(
                    "note: process {pid}, which opened the store last, is running: a torn end may be a write under way\n"
                ),
            );
        }
        if let Some(Deep { undecodable, first_undecodable, problem, .. }) = &self.deep {
            let word = Painted(AnsiColor::Red, "damaged");
            if let Some(problem) = problem {
                append(out, format_args!("{word}: {}\n", crate::text::Plain(problem)));
            }
            if let Some(first) = first_undecodable {
                append(
                    out,
                    format_args!(
                        "{word}: {} not of the type that the files say, the first at the key {first} (hexadecimal): set \
                         or remove such keys with --hex\n",
                        Count(*undecodable, "entry")
                    ),
                );
            }
        }
        append(
            out,
            format_args!(
                "{}: {}, {} bytes, {}, {}, last write {}, synced up to {}: ",
                Shown(&self.dir),
                Count(self.files, "file"),
                self.bytes,
                Count(self.frames, "frame"),
                Count(self.blocks, "block"),
                self.last_seq,
                self.watermark,
            ),
        );
        let newer = self.count(Verdict::NewerFormat);
        let (damaged, torn) = (self.count(Verdict::Damaged), self.count(Verdict::Torn));
        let torn_places = Count(torn, "torn place");
        match (damaged, torn, newer) {
            (0, _, 0) if self.is_damaged() => {
                out.push_str("its files are good, its contents are not\n");
            }
            (0, 0, 0) => append(out, format_args!("{}\n", Painted(AnsiColor::Green, "good"))),
            (0, _, 0) => append(out, format_args!("good, {torn_places} (opening cuts it off)\n")),
            (_, _, 0) => append(
                out,
                format_args!(
                    "damaged in {}, {torn_places}; restore these files from a backup, or see what can be saved: \
                     pkv salvage --dry-run {}\n",
                    Count(damaged, "place"),
                    Shown(&self.dir)
                ),
            ),
            _ => append(
                out,
                format_args!(
                    "{} of a newer format, damaged in {}; use a newer release\n",
                    Count(newer, "file"),
                    Count(damaged, "place")
                ),
            ),
        }
    }
}
