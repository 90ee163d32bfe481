//! An append-only log of events in a file of one's own, on nothing but this crate and `std`.
//!
//! Each run opens the log, cuts a torn end, adds one event and prints all:
//! `cargo run -p pkv-format --example event_log -- events.log "it rained"`.

#![expect(
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a program of its own: it opens its file itself and prints"
)]

use std::error::Error;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use pkv_format::{
    FRAMES_OFFSET, FileHeader, FileKind, FrameKind, Operation, Scanner, Step, push_frame, push_set,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().map_or_else(
        || std::env::temp_dir().join(format!("events-{}.log", std::process::id())),
        PathBuf::from,
    );
    let event = arguments.next().unwrap_or_else(|| "started".to_owned());

    let mut log = EventLog::open(&path)?;
    log.append(&event)?;
    for (index, event) in log.events.iter().enumerate() {
        println!("{}: {event}", index + 1);
    }
    Ok(())
}

/// Numbered events in a file.
struct EventLog {
    file: File,
    header: FileHeader,
    events: Vec<String>,
    end_offset: u64,
}

impl EventLog {
    /// Reads the log, or makes one if the file is new.
    fn open(path: &Path) -> Result<EventLog, Box<dyn Error>> {
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            bytes.extend(new_header().encode()?);
            bytes.resize(usize::try_from(FRAMES_OFFSET)?, 0);
            file.write_all(&bytes)?;
        }

        let header = FileHeader::decode(&bytes)?;
        let mut events = Vec::new();
        let frames = bytes.get(usize::try_from(FRAMES_OFFSET)?..).unwrap_or_default();
        let mut scanner = Scanner::new(header.seed(), FRAMES_OFFSET, frames);
        loop {
            match scanner.next_frame() {
                Step::Frame(frame) => {
                    for operation in frame.operations() {
                        if let Operation::Set { value, .. } = operation? {
                            events.push(String::from_utf8_lossy(value).into_owned());
                        }
                    }
                }
                Step::End { .. } => break,
                Step::Partial { offset, .. } => {
                    println!("the last event, at offset {offset}, was cut short: dropped");
                    file.set_len(offset)?;
                    break;
                }
                // Each event is synced before the next is written: this is no torn end, but damage.
                Step::Bad { offset, why } => return Err(format!("offset {offset}: {why}").into()),
            }
        }
        Ok(EventLog { file, header, events, end_offset: scanner.offset() })
    }

    /// Adds an event behind the last one; it survives a power cut when this has returned.
    fn append(&mut self, event: &str) -> Result<(), Box<dyn Error>> {
        let seq = u64::try_from(self.events.len())? + 1;
        let mut body = Vec::new();
        push_set(&mut body, &seq.to_le_bytes(), event.as_bytes());
        let mut frame = Vec::new();
        let seed = self.header.seed();
        push_frame(&mut frame, seed, self.end_offset, FrameKind::Data, seq, &body)?;

        self.file.seek(SeekFrom::Start(self.end_offset))?;
        self.file.write_all(&frame)?;
        self.file.sync_all()?;
        self.end_offset += u64::try_from(frame.len())?;
        self.events.push(event.to_owned());
        Ok(())
    }
}

/// A header with an identity that no other file has.
fn new_header() -> FileHeader {
    // The standard library has no other source of random numbers; take a real one where one is at hand.
    let random = |n: u64| RandomState::new().hash_one(n);
    let store_id = (u128::from(random(0)) << 64) | u128::from(random(1));
    FileHeader {
        kind: FileKind::Log,
        ordinal: 1,
        shard: 0,
        shard_count: 1,
        store_id: store_id.to_le_bytes(),
        salt: random(2),
        hash_seed: random(3),
        segment_bytes: 0,
        key_schema: "u64".into(),
        value_schema: "str".into(),
    }
}
