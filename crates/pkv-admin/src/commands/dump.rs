//! `pkv dump`: the entries of a store as JSON lines, or its logs frame by frame.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use pkv_format::{
    FileHeader, Frame, FrameKind, HEADER_BYTES, HeaderError, Link, Mark, Operation,
    SUCCESSOR_BYTES, SUCCESSOR_OFFSET, Seal, Successor,
};
use pkv_fs::Access;
use pkv_snapshot_set::SnapshotType;
use pkv_store::codec::{StoredValue, without_deadlines};

use super::scan::{Scan, scan};
use crate::check::walk::{Gap, Place, walk};
use crate::check::window::Buffer;
use crate::entries::{Format, Types};
use crate::error::{Exit, Result};
use crate::folder::{Folder, Listed};
use crate::json::{Fields, Json, append, object};
use crate::output::Output;
use crate::text::Plain;

/// Arguments of `pkv dump`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The store's folder
    path: PathBuf,
    /// Print the frames of all logs, in order, instead of the entries
    #[arg(long)]
    log: bool,
    /// How entries are written
    #[arg(long, value_enum, default_value_t, conflicts_with = "log")]
    format: Format,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let folder = out.folder(&self.path);
        if self.log { dump_log(&folder, out) } else { dump_entries(&folder, self.format, out) }
    }
}

/// Prints every entry in this format, in no order, whether or not `out` was made for JSON. As [`scan`] without a
/// prefix.
///
/// # Errors
/// Those of opening the store. Nothing was printed then.
pub fn dump_entries(folder: &Folder, format: Format, out: &mut Output<'_>) -> Result<Exit> {
    scan(folder, &Scan { format, ..Scan::default() }, out)
}

/// Prints the logs of a folder, oldest first: each header, successor record, frame and bad place, a line each.
///
/// Whether a bad place is torn or damaged is not judged here; [`crate::verify`] does. Says [`Exit::Faults`] when a
/// log's header cannot be read, since nothing behind it can be then.
///
/// Cost: one read of all logs; memory for the longest frame, and for printing it.
///
/// # Errors
/// Those of the file system and of printing.
pub fn dump_log(folder: &Folder, out: &mut Output<'_>) -> Result<Exit> {
    let listing = folder.list()?;
    let mut exit = Exit::Good;
    let bytes_done = AtomicU64::new(0);
    let on_read = |bytes| {
        let before = bytes_done.fetch_add(bytes, Ordering::Relaxed);
        folder.tell("reading the logs", before.saturating_add(bytes), None);
    };
    let mut buffer = Buffer::new(&on_read);
    let is_log =
        |listed: &&Listed| listed.is_file && listed.name.snapshot_type() == SnapshotType::Diff;
    for listed in listing.files.iter().filter(is_log) {
        if out.is_closed() {
            break;
        }
        if !dump_file(folder, listed, &mut buffer, out)? {
            exit = Exit::Faults;
        }
    }
    Ok(exit)
}

/// Prints one log. False: its header cannot be read.
fn dump_file(
    folder: &Folder,
    listed: &Listed,
    buffer: &mut Buffer<'_>,
    out: &mut Output<'_>,
) -> Result<bool> {
    let Listed { name, path, .. } = listed;
    let file = match folder.fs().open(path, Access::Read) {
        Ok(file) => file,
        // A writer removed it since it was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let name = name.to_string();
    let mut bytes = [0; HEADER_BYTES];
    let got = file.read_at(0, &mut bytes)?;
    let header = match FileHeader::decode(bytes.get(..got).unwrap_or_default()) {
        Ok(header) => header,
        Err(why) => {
            let what = What::Bad { bytes: None, reason: &why.to_string() };
            Line { file: &name, offset: 0, what }.print(out)?;
            return Ok(why == HeaderError::Empty);
        }
    };
    Line { file: &name, offset: 0, what: What::Header(&header) }.print(out)?;
    let mut record = [0; SUCCESSOR_BYTES];
    let got = file.read_at(SUCCESSOR_OFFSET, &mut record)?;
    if let Some(next) = Successor::decode(header.seed(), record.get(..got).unwrap_or_default()) {
        let what = What::Successor(next);
        Line { file: &name, offset: SUCCESSOR_OFFSET, what }.print(out)?;
    }
    let inner = without_deadlines(&header.value_schema);
    let types = Types::of((&header.key_schema, inner.unwrap_or(&header.value_schema)))
        .expiring(inner.is_some());
    let mut printed = Ok(());
    walk(&*file, path, header.seed(), buffer, &mut |place| {
        let (offset, what) = match &place {
            Place::Frame(frame) => (frame.offset, What::Frame(frame, types)),
            Place::Gap(Gap { offset, end, reason }) => {
                (*offset, What::Bad { bytes: Some(end.saturating_sub(*offset)), reason })
            }
        };
        printed = Line { file: &name, offset, what }.print(out);
        printed.is_ok() && !out.is_closed()
    })?;
    printed?;
    Ok(true)
}

/// One line of a log's dump.
struct Line<'a> {
    file: &'a str,
    offset: u64,
    what: What<'a>,
}

enum What<'a> {
    Header(&'a FileHeader),
    Successor(Successor),
    Frame(&'a Frame<'a>, Types),
    Bad { bytes: Option<u64>, reason: &'a str },
}

impl Line<'_> {
    fn print(&self, out: &mut Output<'_>) -> Result<()> {
        let mut text = String::new();
        if out.is_json() {
            self.json(&mut text);
        } else {
            append(&mut text, format_args!("{} {:>9} ", self.file, self.offset));
            self.what.text(&mut text);
        }
        text.push('\n');
        out.print(&text)
    }
}

impl Json for Line<'_> {
    fn json(&self, out: &mut String) {
        object(out, |fields| {
            fields.field("file", self.file).field("offset", &self.offset);
            self.what.fields(fields);
        });
    }
}

impl What<'_> {
    fn fields(&self, fields: &mut Fields<'_>) {
        match self {
            Self::Header(header) => {
                fields
                    .field("kind", "header")
                    .field("ordinal", &header.ordinal)
                    .field("salt", &salt(header.salt))
                    .field("segment_bytes", &header.segment_bytes);
            }
            Self::Successor(next) => {
                fields
                    .field("kind", "successor")
                    .field("next_ordinal", &next.ordinal)
                    .field("next_salt", &salt(next.salt));
            }
            Self::Frame(frame, types) => frame_fields(fields, frame, *types),
            Self::Bad { bytes, reason } => {
                fields.field("kind", "bad").field("bytes", bytes).field("reason", *reason);
            }
        }
    }

    fn text(&self, out: &mut String) {
        match self {
            Self::Header(header) => append(
                out,
                format_args!(
                    "header: log {}, salt {}, segment of {} bytes",
                    header.ordinal,
                    salt(header.salt),
                    header.segment_bytes
                ),
            ),
            Self::Successor(next) => {
                append(
                    out,
                    format_args!("successor: log {}, salt {}", next.ordinal, salt(next.salt)),
                );
            }
            Self::Frame(frame, types) => frame_text(out, frame, *types),
            Self::Bad { bytes, reason } => {
                let bytes = bytes.map(|bytes| format!("{bytes} bytes, ")).unwrap_or_default();
                append(out, format_args!("BAD: {bytes}{}", Plain(reason)));
            }
        }
    }
}

/// Salts are identities and not numbers to count with.
fn salt(salt: u64) -> String {
    format!("{salt:016x}")
}

/// A body that cannot be read is said in a field `error` in place of its own.
fn frame_fields(fields: &mut Fields<'_>, frame: &Frame<'_>, types: Types) {
    let kind = match frame.kind {
        FrameKind::Data => "data",
        FrameKind::Link => "link",
        FrameKind::Mark => "mark",
        FrameKind::Seal => "seal",
    };
    fields.field("kind", kind).field("seq", &frame.seq).field("bytes", &frame.body.len());
    let error = match frame.kind {
        FrameKind::Data => {
            let out = fields.name("operations");
            out.push('[');
            let mut error = None;
            for (index, operation) in frame.operations().enumerate() {
                match operation {
                    Ok(operation) => {
                        if index > 0 {
                            out.push(',');
                        }
                        Op(operation, types).json(out);
                    }
                    Err(why) => error = Some(why),
                }
            }
            out.push(']');
            error
        }
        FrameKind::Link => match Link::decode(frame.body) {
            Ok(link) => {
                fields
                    .field("watermark", &link.watermark)
                    .field("previous_ordinal", &link.previous_ordinal)
                    .field("previous_salt", &salt(link.previous_salt));
                None
            }
            Err(why) => Some(why),
        },
        FrameKind::Mark => match Mark::decode(frame.body) {
            Ok(mark) => {
                fields.field("watermark", &mark.watermark).field("unix_ms", &mark.unix_ms);
                None
            }
            Err(why) => Some(why),
        },
        FrameKind::Seal => match Seal::decode(frame.body) {
            Ok(seal) => {
                fields
                    .field("watermark", &seal.watermark)
                    .field("next_ordinal", &seal.next_ordinal)
                    .field("next_salt", &salt(seal.next_salt));
                None
            }
            Err(why) => Some(why),
        },
    };
    if let Some(why) = error {
        fields.field("error", &why.to_string());
    }
}

fn frame_text(out: &mut String, frame: &Frame<'_>, types: Types) {
    let seq = frame.seq;
    let done = match frame.kind {
        FrameKind::Data => {
            append(out, format_args!("data: write {seq}"));
            frame.operations().try_for_each(|operation| {
                match operation? {
                    Operation::Set { key, value } => match stored(types, key, value) {
                        StoredValue::Value { expires_ms, value } => {
                            append(out, format_args!("; set {} = ", types.key.short(key)));
                            out.push_str(&types.value.short(value));
                            if let Some(expires_ms) = expires_ms {
                                append(out, format_args!(" until {expires_ms} ms since 1970"));
                            }
                        }
                        StoredValue::Time { unix_ms } => {
                            append(out, format_args!("; time {unix_ms} ms since 1970"));
                        }
                    },
                    Operation::Remove { key } => {
                        append(out, format_args!("; remove {}", types.key.short(key)));
                    }
                    Operation::Clear => out.push_str("; clear"),
                }
                Ok(())
            })
        }
        FrameKind::Link => Link::decode(frame.body).map(|link| {
            append(out, format_args!("link: write {seq}, synced up to {}, ", link.watermark));
            match link.previous_ordinal {
                0 => out.push_str("the first log"),
                previous => append(out, format_args!("behind log {previous}")),
            }
        }),
        FrameKind::Mark => Mark::decode(frame.body).map(|mark| {
            append(out, format_args!("mark: write {seq}, synced up to {}, ", mark.watermark));
            append(out, format_args!("at {} ms since 1970", mark.unix_ms));
        }),
        FrameKind::Seal => Seal::decode(frame.body).map(|seal| {
            append(out, format_args!("seal: write {seq}, synced up to {}, ", seal.watermark));
            match seal.next_ordinal {
                0 => out.push_str("closed"),
                next => append(out, format_args!("before log {next}")),
            }
        }),
    };
    if let Err(why) = done {
        append(out, format_args!("; BAD: {why}"));
    }
}

/// What a set has in place of a value.
fn stored<'a>(types: Types, key: &[u8], value: &'a [u8]) -> StoredValue<'a> {
    if types.has_expiry {
        StoredValue::of(key, value)
    } else {
        StoredValue::Value { expires_ms: None, value }
    }
}

/// An operation, as JSON.
struct Op<'a>(Operation<'a>, Types);

impl Json for Op<'_> {
    fn json(&self, out: &mut String) {
        let Self(operation, types) = self;
        object(out, |fields| match operation {
            Operation::Set { key, value } => match stored(*types, key, value) {
                StoredValue::Value { expires_ms, value } => {
                    fields
                        .field("op", "set")
                        .field("key", &types.key.value(key))
                        .field("value", &types.value.value(value));
                    if types.has_expiry {
                        fields.field("expires_ms", &expires_ms);
                    }
                }
                StoredValue::Time { unix_ms } => {
                    fields.field("op", "time").field("unix_ms", &unix_ms);
                }
            },
            Operation::Remove { key } => {
                fields.field("op", "remove").field("key", &types.key.value(key));
            }
            Operation::Clear => {
                fields.field("op", "clear");
            }
        });
    }
}
