//! `pkv export`: all entries to a file of JSON lines or CSV, which is there whole or not at all.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pkv_fs::{Access, Fs};
use pkv_store::Inspection;

use crate::entries::{EntryWriter, Format, Types};
use crate::error::{Error, Exit, Result};
use crate::folder::Folder;
use crate::json::{Json, append, object};
use crate::output::{Output, Report};
use crate::records::{InputFormat, Record, RecordReader};
use crate::stream::{FileReader, FileWriter};
use crate::text::{Count, Shown};

/// Arguments of `pkv export`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// The file to make, which must not be there, or - for stdout
    file: PathBuf,
    /// How entries are written [default: by the end of the file's name, else JSON lines]
    #[arg(long, value_enum)]
    format: Option<InputFormat>,
    /// Go on with what an export of the same state to the same file left when it was cut off
    #[arg(long)]
    resume: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let is_csv = self.file.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        let format =
            self.format.unwrap_or(if is_csv { InputFormat::Csv } else { InputFormat::Json });
        if self.file == Path::new("-") {
            let format = form(format);
            return super::dump::dump_entries(&folder, format, out);
        }
        out.report(&export(&folder, &self.file, format, self.resume)?)?;
        Ok(Exit::Good)
    }
}

/// What [`export`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The file that was made.
    pub file: PathBuf,
    /// The last write of the state that it holds.
    pub seq: u64,
    /// Entries in it.
    pub records: u64,
    /// Of these, those that an earlier run had written.
    pub records_resumed: u64,
    /// Its size.
    pub bytes: u64,
    /// How long it took.
    pub time: Duration,
}

/// How much is written at a time.
const WRITE_BYTES: usize = 1024 * 1024;

/// Writes all entries to a new file. Reads the folder as opening would, without the lock and without a change.
///
/// 1. The store is read; a file of its own name and of the state's last write is begun, or taken up with `resume`: what
///    is whole in it stays.
/// 2. All entries are written that it lacks, in no order, and synced.
/// 3. It gets its name: **the commit point**. A file under that name is always whole.
///
/// Cost: the memory that opening needs; with `resume` some 40 bytes more for each entry that is there.
///
/// # Errors
/// [`Error::FileExists`]; those of opening the store and of writing. What was written stays under its own name.
pub fn export(folder: &Folder, file: &Path, format: InputFormat, resume: bool) -> Result<Exported> {
    let started = Instant::now();
    let fs = &**folder.fs();
    if fs.open(file, Access::Read).is_ok() {
        return Err(Error::FileExists { path: file.to_path_buf() });
    }
    // 1.
    let look = folder.inspect()?;
    let seq = look.report().last_seq;
    folder.one_version()?;
    let types = Types::of_look(&look);
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{seq}.partial"));
    let partial = file.with_file_name(name);
    let begun = begin(fs, &partial, format, types, resume)?;
    // 2.
    let records_resumed = begun.seen.count;
    let (records, bytes) = write(folder, &look, begun, format, types)
        .map_err(|error| Error::Unfinished { error: Box::new(error), path: partial.clone() })?;
    // 3.
    fs.rename(&partial, file)?;
    if let Some(parent) = file.parent() {
        fs.sync_dir(parent)?;
    }
    let time = started.elapsed();
    Ok(Exported { file: file.to_path_buf(), seq, records, records_resumed, bytes, time })
}

fn form(format: InputFormat) -> Format {
    match format {
        InputFormat::Json => Format::Json,
        InputFormat::Csv => Format::Csv,
    }
}

/// A file that is begun, and what stands in it.
struct Begun {
    writer: FileWriter,
    offset: u64,
    seen: Seen,
}

fn begin(
    fs: &dyn Fs,
    partial: &Path,
    format: InputFormat,
    types: Types,
    resume: bool,
) -> Result<Begun> {
    let (file, is_there) = match fs.create_new(partial) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            (fs.open(partial, Access::Write)?, true)
        }
        created => (created?, false),
    };
    let (mut seen, mut offset) = (Seen::default(), 0);
    if is_there && resume {
        // The last entry may be cut off, at a place where that cannot be seen: it is written again.
        let mut last: Option<Vec<u8>> = None;
        let input = FileReader::new(std::sync::Arc::clone(&file), 0);
        if let Ok(mut reader) = RecordReader::new(format, types, input, 0) {
            let mut record = Record::default();
            loop {
                let at = reader.offset();
                if !matches!(reader.next(&mut record), Ok(true)) {
                    break;
                }
                if let Some(last) = last.replace(record.key.clone()) {
                    seen.add(&last);
                }
                offset = at;
            }
        }
    }
    file.set_len(offset)?;
    Ok(Begun { writer: FileWriter::new(file, offset), offset, seen })
}

/// Writes what is missing; returns the entries and bytes of the whole file.
fn write(
    folder: &Folder,
    look: &Inspection,
    begun: Begun,
    format: InputFormat,
    types: Types,
) -> Result<(u64, u64)> {
    let Begun { mut writer, offset, seen } = begun;
    let mut entries = EntryWriter::new(form(format), types, false);
    if offset == 0 {
        entries.head()?;
    }
    let (mut records, mut payload_bytes) = (0_u64, 0_u64);
    for entry in look.iter_entries() {
        let entry = entry?;
        records += 1;
        payload_bytes += u64::try_from(entry.key.len() + entry.value.len()).unwrap_or(u64::MAX);
        if seen.has(&entry.key) {
            continue;
        }
        entries.push(&entry.key, &entry.value, entry.expires_ms)?;
        if entries.bytes() >= WRITE_BYTES {
            writer.write(&entries.take()?)?;
            folder.tell("exporting", payload_bytes, Some(look.payload_bytes()));
        }
    }
    writer.write(&entries.take()?)?;
    Ok((records, writer.finish()?))
}

/// The keys that stand in a file already, as hashes so wide that no two keys share one.
#[derive(Debug, Default)]
struct Seen {
    hashes: HashSet<(u64, u64)>,
    hashers: (RandomState, RandomState),
    count: u64,
}

impl Seen {
    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    fn add(&mut self, key: &[u8]) {
        self.hashes.insert(self.hash(key));
        self.count += 1;
    }

    fn has(&self, key: &[u8]) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.hash(key))
    }
}

impl Json for Exported {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("file", &self.file)
                .field("seq", &self.seq)
                .field("records", &self.records)
                .field("records_resumed", &self.records_resumed)
                .field("bytes", &self.bytes)
                .field("millis", &self.time.as_millis());
        });
    }
}

impl Report for Exported {
    fn text(&self, out: &mut String) {
        append(
            out,
            format_args!(
                "{}: {} in {} bytes",
                Shown(&self.file),
                Count(self.records, "record"),
                self.bytes
            ),
        );
        if self.records_resumed > 0 {
            append(out, format_args!(", {} of them were there", self.records_resumed));
        }
        append(
            out,
            format_args!("; all writes up to {}, in {:.1} s\n", self.seq, self.time.as_secs_f64()),
        );
    }
}
