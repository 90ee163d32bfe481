//! `pkv import`: entries from a file of JSON lines or CSV into a store, taken up again where it was cut off.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use pkv_fs::{Access, Fs};
use pkv_store::{ByteStore, Durability};
use serde::{Deserialize, Serialize};

use crate::change::{NewTypes, Opened, open, open_as, options};
use crate::error::{Error, Exit, Result};
use crate::folder::Folder;
use crate::json::{Json, append, object};
use crate::output::{Output, Report};
use crate::records::{BadInput, InputFormat, Record, RecordReader};
use crate::stream::FileReader;
use crate::text::{Count, Shown};

/// Arguments of `pkv import`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// The file to read, or - for stdin
    file: PathBuf,
    /// How entries are written [default: by the end of the file's name, else JSON lines]
    #[arg(long, value_enum)]
    format: Option<InputFormat>,
    /// Names of the types of keys and values, to create a store that is not there: --types string,u64
    #[arg(long, value_name = "KEY,VALUE", value_parser = crate::words::types)]
    types: Option<(String, String)>,
    /// The store that --types creates is one whose entries may expire
    #[arg(long, requires = "types")]
    expiry: bool,
    /// Go on where an import of the same file was cut off
    #[arg(long)]
    resume: bool,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        let is_csv = self.file.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        let format =
            self.format.unwrap_or(if is_csv { InputFormat::Csv } else { InputFormat::Json });
        let what = Import {
            file: (self.file != Path::new("-")).then(|| self.file.clone()),
            format,
            types: self.types.clone(),
            expiry: self.expiry,
            resume: self.resume,
        };
        out.report(&import(&folder, &what)?)?;
        Ok(Exit::Good)
    }
}

/// What is imported, and how.
#[derive(Clone, Debug)]
pub struct Import {
    /// The file, on the folder's file system; `None` for stdin.
    pub file: Option<PathBuf>,
    /// How entries are written.
    pub format: InputFormat,
    /// The schema names of keys and values, to create a store that is not there.
    pub types: Option<(String, String)>,
    /// Such a store's entries may expire.
    pub expiry: bool,
    /// Go on where an import of the same file was cut off.
    pub resume: bool,
}

/// What [`import`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The folder.
    pub dir: PathBuf,
    /// Entries read in this run.
    pub records: u64,
    /// Bytes of the input read in this run.
    pub bytes: u64,
    /// Where in the input it began: 0, or where an earlier run was cut off.
    pub bytes_skipped: u64,
    /// The last write.
    pub seq: u64,
    /// How long it took.
    pub time: Duration,
}

/// In the store's folder, while an import is under way: how far it is known to have come.
const RESUME_NAME: &str = "import.resume";

/// It is one sector, which a disk writes whole.
const RESUME_BYTES: usize = 512;

/// How much input is read between two syncs of the store, and notes of how far it has come.
const SYNC_BYTES: u64 = 64 * 1024 * 1024;

/// Entries and bytes of one write.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;

/// Reads entries and sets them: what a key had before is replaced. Takes the lock; all of it survives a power cut when
/// this returns. Doing it again changes nothing, so that an import that was cut off can be done again, or be
/// taken up where its last note says.
///
/// Cost: beside the store itself, the longest entry and some megabytes. Entries are read on a thread of their own.
///
/// # Errors
/// [`Error::BadInput`], with the place, for input that is no entry; those of reading, of opening and of writing. What
/// was read before stays.
pub fn import(folder: &Folder, what: &Import) -> Result<Imported> {
    let started = Instant::now();
    let fs = &**folder.fs();
    let file = what.file.as_ref().map(|path| fs.open(path, Access::Read)).transpose()?;
    let bytes_total = file.as_ref().map(|file| file.len()).transpose()?;
    let Opened { store, types } = open_for(folder, what)?;
    let note_path = folder.dir().join(RESUME_NAME);
    let from = match (what.resume, &what.file, bytes_total) {
        (false, ..) => 0,
        (true, Some(path), Some(bytes)) => {
            let note = Note::read(fs, &note_path).filter(|note| note.is_of(path, bytes));
            note.map(|note| note.offset)
                .ok_or_else(|| Error::NoResume { path: note_path.clone() })?
        }
        (true, ..) => return Err(Error::NoResume { path: note_path }),
    };
    let input: Box<dyn Read + Send> = match file {
        Some(file) => Box::new(FileReader::new(file, from)),
        None => Box::new(std::io::stdin()),
    };
    let reader = RecordReader::new(what.format, types, input, from);
    let mut reader = reader.map_err(|why| bad_input(what, from, &why))?;

    let (mut records, mut end, mut noted) = (0, from, from);
    let done: Result<()> = std::thread::scope(|scope| {
        let (give, take): (SyncSender<Batch>, Receiver<Batch>) = sync_channel(4);
        let reading = scope.spawn(move || read(&mut reader, &give));
        for batch in take {
            insert(&store, &batch)?;
            records += u64::try_from(batch.ends.len()).unwrap_or(u64::MAX);
            end = batch.offset;
            folder.tell("importing", end, bytes_total);
            if end - noted >= SYNC_BYTES {
                store.sync()?;
                if let (Some(path), Some(bytes)) = (&what.file, bytes_total) {
                    Note { input: path.clone(), bytes, offset: end }.write(fs, &note_path)?;
                }
                noted = end;
            }
        }
        match reading.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err((at, why))) => Err(bad_input(what, at, &why)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    let synced = store.sync();
    if let Err(error) = done {
        // So that the next run need not read again what is there.
        if let (Some(path), Some(bytes), Ok(())) = (&what.file, bytes_total, &synced) {
            Note { input: path.clone(), bytes, offset: end }.write(fs, &note_path)?;
        }
        return Err(error);
    }
    synced?;
    let seq = store.last_seq();
    store.close()?;
    match fs.remove(&note_path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(Imported {
        dir: folder.dir().to_path_buf(),
        records,
        bytes: end - from,
        bytes_skipped: from,
        seq,
        time: started.elapsed(),
    })
}

/// Opens the store, or creates it where types are given.
fn open_for(folder: &Folder, what: &Import) -> Result<Opened> {
    match &what.types {
        None => open(folder, true),
        Some((key, value)) => {
            let options = options(folder, true)?.create(true);
            open_as(folder, &options, NewTypes::new(key, value, what.expiry))
        }
    }
}

fn bad_input(what: &Import, at: u64, why: &BadInput) -> Error {
    let path = what.file.clone().unwrap_or_else(|| PathBuf::from("stdin"));
    Error::BadInput { path, offset: at, reason: why.to_string() }
}

/// Some entries, and where the next one begins.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where in `bytes` each key and each value ends, and when the entry expires.
    ends: Vec<(usize, usize, Option<u64>)>,
    offset: u64,
}

/// Reads all entries. An error comes with the place of the entry.
fn read<R: Read>(
    reader: &mut RecordReader<R>,
    give: &SyncSender<Batch>,
) -> Result<(), (u64, BadInput)> {
    let mut record = Record::default();
    let mut batch = Batch::default();
    loop {
        let at = reader.offset();
        let next = reader.next(&mut record);
        if matches!(next, Ok(true)) {
            batch.bytes.extend_from_slice(&record.key);
            let key_end = batch.bytes.len();
            batch.bytes.extend_from_slice(&record.value);
            batch.ends.push((key_end, batch.bytes.len(), record.expires_ms));
            batch.offset = reader.offset();
        }
        let is_full = batch.ends.len() >= BATCH_RECORDS || batch.bytes.len() >= BATCH_BYTES;
        if (is_full || !matches!(next, Ok(true))) && !batch.ends.is_empty() {
            // Nobody takes it when a write failed; that error is the one to tell.
            if give.send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
        match next {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(why) => return Err((at, why)),
        }
    }
}

/// Writes some entries as one write.
fn insert(store: &ByteStore, batch: &Batch) -> Result<()> {
    let mut write = store.batch();
    let mut start = 0;
    for (key_end, value_end, expires_ms) in &batch.ends {
        let key = batch.bytes.get(start..*key_end).unwrap_or_default();
        let value = batch.bytes.get(*key_end..*value_end).unwrap_or_default();
        write = match expires_ms {
            Some(expires_ms) => write.insert_until(key, value, *expires_ms),
            None => write.insert(key, value),
        };
        start = *value_end;
    }
    write.commit(Durability::Process)?;
    Ok(())
}

/// How far an import is known to have come: everything before `offset` is in the store, durably.
#[derive(Debug, Deserialize, Serialize)]
struct Note {
    input: PathBuf,
    /// The input's size.
    bytes: u64,
    offset: u64,
}

impl Note {
    fn is_of(&self, input: &Path, bytes: u64) -> bool {
        self.input == input && self.bytes == bytes && self.offset <= bytes
    }

    fn read(fs: &dyn Fs, path: &Path) -> Option<Self> {
        let mut bytes = [0; RESUME_BYTES];
        let file = fs.open(path, Access::Read).ok()?;
        let got = file.read_at(0, &mut bytes).ok()?;
        serde_json::from_slice(bytes.get(..got)?).ok()
    }

    /// One write of one sector: a crash leaves this note or the one before.
    fn write(&self, fs: &dyn Fs, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec(self).map_err(|error| Error::Output(error.into()))?;
        if text.len() >= RESUME_BYTES {
            // A path too long for a note: such an import begins anew.
            return Ok(());
        }
        text.resize(RESUME_BYTES - 1, b' ');
        text.push(b'\n');
        let file = match fs.create_new(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => fs.open(path, Access::Write),
            created => created,
        }?;
        file.write_at(0, &text)?;
        Ok(file.sync_data()?)
    }
}

impl Json for Imported {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields
                .field("path", &self.dir)
                .field("records", &self.records)
                .field("bytes", &self.bytes)
                .field("bytes_skipped", &self.bytes_skipped)
                .field("seq", &self.seq)
                .field("millis", &self.time.as_millis());
        });
    }
}

impl Report for Imported {
    fn text(&self, out: &mut String) {
        append(
            out,
            format_args!(
                "{}: {} from {} bytes",
                Shown(&self.dir),
                Count(self.records, "record"),
                self.bytes
            ),
        );
        if self.bytes_skipped > 0 {
            append(out, format_args!(" behind the {} that were there", self.bytes_skipped));
        }
        append(out, format_args!(" in {:.1} s\n", self.time.as_secs_f64()));
    }
}
