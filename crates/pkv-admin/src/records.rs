//! Entries read from JSON lines or CSV, one after the other, with the place where each began.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::entries::{CSV_COLUMNS, CSV_HEAD, Types};
use crate::parse::{BadField, front};

/// How entries that are imported are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[non_exhaustive]
pub enum InputFormat {
    /// A line {"key":..,"value":..} for each
    Json,
    /// Comma-separated values behind a first line key,value
    Csv,
}

/// How much is read at a time.
const BUFFER_BYTES: usize = 1024 * 1024;

/// No line is longer: the longest value, escaped or in hexadecimal digits.
const LINE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Reads entries, as the bytes of their keys and values.
pub(crate) enum RecordReader<R> {
    Json { input: BufReader<R>, line: Vec<u8>, offset: u64, types: Types },
    Csv { input: Box<csv::Reader<R>>, record: csv::ByteRecord, base: u64, types: Types },
}

/// Why an input is not read further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadInput {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it is no JSON object with a key and a value: {0}")]
    Json(serde_json::Error),
    #[error("it is no CSV record with a key and a value: {0}")]
    Csv(csv::Error),
    #[error("the first line must be key,value or key,value,expires_ms")]
    Head,
    #[error("a record has two or three columns")]
    Columns,
    #[error("`{0}` is no number of milliseconds since 1970")]
    Deadline(String),
    #[error(
        "the entry expires (`expires_ms`), and the store was made without expiry: import it into one that was made with \
         it (--types with --expiry), or take `expires_ms` out"
    )]
    NoExpiry,
    #[error("it is not UTF-8")]
    NotText,
    #[error("the line has over {LINE_BYTES_MAX} bytes")]
    Long,
    #[error("the {0}: {1}")]
    Field(&'static str, BadField),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    expires_ms: Option<u64>,
}

/// An entry as bytes of the encodings.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// When it expires; `None`: never.
    pub(crate) expires_ms: Option<u64>,
}

impl<R: Read> RecordReader<R> {
    /// Reads what begins at `offset` of the input; the reader stands there.
    pub(crate) fn new(
        format: InputFormat,
        types: Types,
        input: R,
        offset: u64,
    ) -> Result<Self, BadInput> {
        match format {
            InputFormat::Json => {
                let input = BufReader::with_capacity(BUFFER_BYTES, input);
                Ok(Self::Json { input, line: Vec::new(), offset, types })
            }
            InputFormat::Csv => {
                let mut input = csv::ReaderBuilder::new()
                    .has_headers(offset == 0)
                    .buffer_capacity(BUFFER_BYTES)
                    .from_reader(input);
                if offset == 0 {
                    let head = input.byte_headers().map_err(BadInput::Csv)?;
                    let names = CSV_HEAD.iter().map(|name| name.as_bytes());
                    if !head.is_empty()
                        && head.iter().ne(names.clone())
                        && head.iter().ne(names.take(CSV_COLUMNS))
                    {
                        return Err(BadInput::Head);
                    }
                }
                let record = csv::ByteRecord::new();
                Ok(Self::Csv { input: Box::new(input), record, base: offset, types })
            }
        }
    }

    /// Where the next entry begins.
    pub(crate) fn offset(&self) -> u64 {
        match self {
            Self::Json { offset, .. } => *offset,
            Self::Csv { input, base, .. } => base.saturating_add(input.position().byte()),
        }
    }

    /// Puts the next entry into `record`. False: there is none.
    pub(crate) fn next(&mut self, record: &mut Record) -> Result<bool, BadInput> {
        let Record { key, value, expires_ms } = record;
        key.clear();
        value.clear();
        *expires_ms = None;
        match self {
            Self::Json { input, line, offset, types } => loop {
                line.clear();
                let got = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)?;
                let got = u64::try_from(got).unwrap_or(u64::MAX);
                if got == 0 {
                    return Ok(false);
                }
                if got == LINE_BYTES_MAX {
                    return Err(BadInput::Long);
                }
                let text = std::str::from_utf8(line).map_err(|_| BadInput::NotText)?.trim();
                if text.is_empty() {
                    *offset = offset.saturating_add(got);
                    continue;
                }
                let entry: Line<'_> = serde_json::from_str(text).map_err(BadInput::Json)?;
                *expires_ms = types.deadline(entry.expires_ms)?;
                types.key.push_json(entry.key, key).map_err(|why| BadInput::Field("key", why))?;
                types
                    .value
                    .push_json(entry.value, value)
                    .map_err(|why| BadInput::Field("value", why))?;
                *offset = offset.saturating_add(got);
                return Ok(true);
            },
            Self::Csv { input, record, types, .. } => {
                if !input.read_byte_record(record).map_err(BadInput::Csv)? {
                    return Ok(false);
                }
                let text = |index: usize| {
                    let field = record.get(index).unwrap_or_default();
                    std::str::from_utf8(field).map_err(|_| BadInput::NotText)
                };
                if !(CSV_COLUMNS..=CSV_HEAD.len()).contains(&record.len()) {
                    return Err(BadInput::Columns);
                }
                let deadline = match text(CSV_COLUMNS)? {
                    "" => None,
                    text => match text.parse() {
                        Ok(deadline) => Some(deadline),
                        Err(_) => return Err(BadInput::Deadline(front(text))),
                    },
                };
                *expires_ms = types.deadline(deadline)?;
                types.key.push_text(text(0)?, key).map_err(|why| BadInput::Field("key", why))?;
                types
                    .value
                    .push_text(text(1)?, value)
                    .map_err(|why| BadInput::Field("value", why))?;
                Ok(true)
            }
        }
    }
}

impl Types {
    /// A deadline, if the store can hold one.
    fn deadline(self, expires_ms: Option<u64>) -> Result<Option<u64>, BadInput> {
        if expires_ms.is_some() && !self.has_expiry {
            return Err(BadInput::NoExpiry);
        }
        Ok(expires_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entries = Vec<(u64, Vec<u8>, Vec<u8>)>;

    /// When the only entry expires, read into a store with or without expiry.
    fn deadline(
        format: InputFormat,
        text: &str,
        has_expiry: bool,
    ) -> Result<Option<u64>, BadInput> {
        let types = Types::of(("string", "u8")).expiring(has_expiry);
        let mut reader = RecordReader::new(format, types, text.as_bytes(), 0)?;
        let mut record = Record::default();
        assert!(reader.next(&mut record)?);
        Ok(record.expires_ms)
    }

    #[test]
    fn deadlines_are_taken_back_and_refused_where_there_is_no_room_for_them() {
        use InputFormat::{Csv, Json};
        for (format, text, expected) in [
            (Json, "{\"key\":\"a\",\"value\":1,\"expires_ms\":99}", Some(99)),
            (Json, "{\"key\":\"a\",\"value\":1,\"expires_ms\":null}", None),
            (Json, "{\"key\":\"a\",\"value\":1}", None),
            (Csv, "key,value,expires_ms\na,1,99\n", Some(99)),
            (Csv, "key,value,expires_ms\na,1,\n", None),
            (Csv, "key,value\na,1\n", None),
        ] {
            assert_eq!(deadline(format, text, true).unwrap(), expected, "{text}");
            match deadline(format, text, false) {
                Ok(found) => assert_eq!((found, expected), (None, None), "{text}"),
                Err(why) => assert!(matches!(why, BadInput::NoExpiry) && expected.is_some()),
            }
        }
        for (format, text) in [
            (Json, "{\"key\":\"a\",\"value\":1,\"expires_ms\":-1}"),
            (Json, "{\"key\":\"a\",\"value\":1,\"expires_ms\":\"soon\"}"),
            (Csv, "key,value,expires_ms\na,1,soon\n"),
            (Csv, "key,value,expires_ms\na,1,-1\n"),
        ] {
            assert!(deadline(format, text, true).is_err(), "{text}");
        }
    }

    fn read(format: InputFormat, text: &str, from: u64) -> Result<Entries, BadInput> {
        let rest = &text.as_bytes()[usize::try_from(from).unwrap()..];
        let mut reader = RecordReader::new(format, Types::of(("string", "u8")), rest, from)?;
        let (mut entries, mut record) = (Vec::new(), Record::default());
        loop {
            let at = reader.offset();
            if !reader.next(&mut record)? {
                return Ok(entries);
            }
            entries.push((at, record.key.clone(), record.value.clone()));
        }
    }

    #[test]
    fn both_formats_give_the_same_and_can_be_taken_up_at_each_entry() {
        let json = "{\"key\":\"a\\nb\",\"value\":1}\n\n{\"value\":2,\"key\":\"\"}\n{\"key\":\"c\",\"value\":3}";
        let csv = "key,value\n\"a\nb\",1\n,2\nc,3\n";
        for (format, text) in [(InputFormat::Json, json), (InputFormat::Csv, csv)] {
            let all = read(format, text, 0).unwrap();
            let entries: Vec<_> =
                all.iter().map(|(_, key, value)| (key.as_slice(), value.as_slice())).collect();
            assert_eq!(entries, [(&b"a\nb"[..], &[1][..]), (b"", &[2]), (b"c", &[3])]);
            for (index, (at, ..)) in all.iter().enumerate().skip(1) {
                let rest: Vec<_> = read(format, text, *at).unwrap();
                assert_eq!(rest.len(), all.len() - index, "{format:?} from {at}");
                assert_eq!(rest.last().unwrap().1, b"c");
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        for text in [
            "{",
            "[]",
            "{\"key\":\"a\"}",
            "{\"key\":\"a\",\"value\":256}",
            "{\"key\":1,\"value\":1}",
            "{\"key\":\"a\",\"value\":1,\"more\":1}",
            "{\"key\":\"a\",\"value\":\"1\"}",
            "{\"key\":\"a\",\"value\":1} x",
        ] {
            assert!(read(InputFormat::Json, text, 0).is_err(), "{text}");
        }
        for text in [
            "a,b\n",
            "key,value\na\n",
            "key,value\na,b\n",
            "key,value\na,1,2\n",
            "value,key\n1,a\n",
        ] {
            assert!(read(InputFormat::Csv, text, 0).is_err(), "{text}");
        }
        assert_eq!(read(InputFormat::Csv, "", 0).unwrap().len(), 0);
    }
}
