//! Entries as text: the formats that `dump`, `scan` and `export` write.

use pkv_store::Inspection;

use crate::error::{Error, Result};
use crate::field::{FieldType, FieldValue};
use crate::json::{Hex, append, object};

/// How entries are written.
///
/// Where entries may expire each has its deadline behind the value, in milliseconds since 1970: a field `expires_ms`
/// (`null`: it does not expire), or a column (empty). The form `Raw` leaves it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[non_exhaustive]
pub enum Format {
    /// A line {"key":..,"value":..} for each
    #[default]
    Json,
    /// Comma-separated values behind a first line key,value
    Csv,
    /// Hexadecimal digits of key and value, whatever their types, with a tab between them
    Hex,
    /// The bytes of key and value as they are, with a tab between them and a newline behind
    Raw,
}

/// The two types of a store, as far as they have a form of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Types {
    pub(crate) key: FieldType,
    pub(crate) value: FieldType,
    /// Entries may expire.
    pub(crate) has_expiry: bool,
}

impl Types {
    pub(crate) fn of((key, value): (&str, &str)) -> Self {
        Self { key: FieldType::of(key), value: FieldType::of(value), has_expiry: false }
    }

    /// Those of a store that was read.
    pub(crate) fn of_look(look: &Inspection) -> Self {
        Self::of(look.schema().unwrap_or_default()).expiring(look.has_deadlines())
    }

    pub(crate) fn expiring(self, has_expiry: bool) -> Self {
        Self { has_expiry, ..self }
    }
}

/// The first line of a CSV file; the last column only where entries may expire.
pub(crate) const CSV_HEAD: [&str; 3] = ["key", "value", "expires_ms"];
/// Its columns where entries do not expire.
pub(crate) const CSV_COLUMNS: usize = 2;

/// Turns entries into text, which collects here until it is taken.
#[derive(Debug)]
pub(crate) struct EntryWriter {
    format: Format,
    types: Types,
    /// Print keys alone.
    keys_only: bool,
    text: Vec<u8>,
    csv: csv::Writer<Vec<u8>>,
}

impl EntryWriter {
    pub(crate) fn new(format: Format, types: Types, keys_only: bool) -> Self {
        Self {
            format,
            types,
            keys_only,
            text: Vec::new(),
            csv: csv::Writer::from_writer(Vec::new()),
        }
    }

    /// What stands before the first entry.
    pub(crate) fn head(&mut self) -> Result<()> {
        if self.format != Format::Csv {
            return Ok(());
        }
        let fields = match (self.keys_only, self.types.has_expiry) {
            (true, _) => &CSV_HEAD[..1],
            (false, false) => &CSV_HEAD[..CSV_COLUMNS],
            (false, true) => &CSV_HEAD[..],
        };
        self.csv.write_record(fields).map_err(|error| Error::Output(error.into()))?;
        self.end_csv_record()
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], expires_ms: Option<u64>) -> Result<()> {
        match self.format {
            Format::Json => {
                let mut line = String::new();
                object(&mut line, |fields| {
                    fields.field("key", &self.types.key.value(key));
                    if !self.keys_only {
                        fields.field("value", &self.types.value.value(value));
                    }
                    if !self.keys_only && self.types.has_expiry {
                        fields.field("expires_ms", &expires_ms);
                    }
                });
                self.text.extend_from_slice(line.as_bytes());
            }
            Format::Hex => {
                let mut line = Hex(key).to_string();
                if !self.keys_only {
                    append(&mut line, format_args!("\t{}", Hex(value)));
                }
                if !self.keys_only && self.types.has_expiry {
                    append(&mut line, format_args!("\t{}", Column(expires_ms)));
                }
                self.text.extend_from_slice(line.as_bytes());
            }
            Format::Raw => {
                self.text.extend_from_slice(key);
                if !self.keys_only {
                    self.text.push(b'\t');
                    self.text.extend_from_slice(value);
                }
            }
            Format::Csv => {
                let key = plain(self.types.key.value(key))?;
                if self.keys_only {
                    self.csv.write_field(key)
                } else {
                    let value = plain(self.types.value.value(value))?;
                    let csv = &mut self.csv;
                    csv.write_field(key).and_then(|()| csv.write_field(value)).and_then(|()| {
                        if !self.types.has_expiry {
                            return Ok(());
                        }
                        csv.write_field(Column(expires_ms).to_string())
                    })
                }
                .and_then(|()| self.csv.write_record(None::<&[u8]>))
                .map_err(|error| Error::Output(error.into()))?;
                return self.end_csv_record();
            }
        }
        self.text.push(b'\n');
        Ok(())
    }

    fn end_csv_record(&mut self) -> Result<()> {
        self.csv.flush().map_err(Error::Output)?;
        // The writer of the `csv` crate does not give its buffer back in parts.
        if self.csv.get_ref().len() >= CHUNK_BYTES { self.move_csv() } else { Ok(()) }
    }

    fn move_csv(&mut self) -> Result<()> {
        let full = std::mem::replace(&mut self.csv, csv::Writer::from_writer(Vec::new()));
        let bytes = full.into_inner().map_err(|error| Error::Output(error.into_error()))?;
        if self.text.is_empty() {
            self.text = bytes;
        } else {
            self.text.extend_from_slice(&bytes);
        }
        Ok(())
    }

    /// How much has collected.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len().saturating_add(self.csv.get_ref().len())
    }

    /// Takes what has collected.
    pub(crate) fn take(&mut self) -> Result<Vec<u8>> {
        if !self.csv.get_ref().is_empty() {
            self.move_csv()?;
        }
        Ok(std::mem::take(&mut self.text))
    }
}

/// How much text is handed on at a time.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// A deadline in a column: nothing where there is none.
struct Column(Option<u64>);

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |expires_ms| expires_ms.fmt(f))
    }
}

/// A field of a CSV file. Bytes that are not what their type says have no form there.
fn plain(value: FieldValue<'_>) -> Result<String> {
    match value {
        FieldValue::Text(text) => Ok(text.to_owned()),
        FieldValue::Signed(number) => Ok(number.to_string()),
        FieldValue::Unsigned(number) => Ok(number.to_string()),
        FieldValue::Bytes(bytes) => Ok(Hex(bytes).to_string()),
        FieldValue::Undecodable(bytes) => Err(Error::NoCsv { bytes: Hex(bytes).to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, schema: (&str, &str), keys_only: bool) -> String {
        let mut writer = EntryWriter::new(format, Types::of(schema), keys_only);
        writer.head().unwrap();
        writer.push(b"a,\"b\"\n", &7_u32.to_le_bytes(), None).unwrap();
        writer.push(b"", &[0; 4], None).unwrap();
        String::from_utf8(writer.take().unwrap()).unwrap()
    }

    #[test]
    fn where_entries_may_expire_each_form_but_the_raw_one_says_when() {
        let written = |format| {
            let types = Types::of(("string", "u8")).expiring(true);
            let mut writer = EntryWriter::new(format, types, false);
            writer.head().unwrap();
            writer.push(b"a", &[1], Some(99)).unwrap();
            writer.push(b"b", &[2], None).unwrap();
            String::from_utf8(writer.take().unwrap()).unwrap()
        };
        assert_eq!(
            written(Format::Json),
            "{\"key\":\"a\",\"value\":1,\"expires_ms\":99}\n\
             {\"key\":\"b\",\"value\":2,\"expires_ms\":null}\n"
        );
        assert_eq!(written(Format::Csv), "key,value,expires_ms\na,1,99\nb,2,\n");
        assert_eq!(written(Format::Hex), "61\t01\t99\n62\t02\t\n");
        assert_eq!(written(Format::Raw), "a\t\x01\nb\t\x02\n");
    }

    #[test]
    fn each_format_has_its_form() {
        let schema = ("string", "u32");
        assert_eq!(
            written(Format::Json, schema, false),
            "{\"key\":\"a,\\\"b\\\"\\n\",\"value\":7}\n{\"key\":\"\",\"value\":0}\n"
        );
        assert_eq!(written(Format::Csv, schema, false), "key,value\n\"a,\"\"b\"\"\n\",7\n,0\n");
        assert_eq!(written(Format::Hex, schema, false), "612c2262220a\t07000000\n\t00000000\n");
        assert_eq!(written(Format::Raw, schema, false), "a,\"b\"\n\t\x07\0\0\0\n\t\0\0\0\0\n");
        assert_eq!(written(Format::Csv, ("bytes", "u32"), true), "key\n612c2262220a\n\"\"\n");
    }

    #[test]
    fn what_is_not_of_its_type_has_no_form_in_csv() {
        let mut writer = EntryWriter::new(Format::Csv, Types::of(("string", "u32")), false);
        assert!(matches!(writer.push(b"a", b"abc", None), Err(Error::NoCsv { .. })));
    }

    #[test]
    fn everything_that_collects_is_taken_once() {
        for format in [Format::Json, Format::Csv] {
            let mut writer = EntryWriter::new(format, Types::of(("u64", "u64")), false);
            let mut text = Vec::new();
            for i in 0_u64..50_000 {
                writer.push(&i.to_le_bytes(), &i.to_le_bytes(), None).unwrap();
                if writer.bytes() > CHUNK_BYTES {
                    text.extend(writer.take().unwrap());
                }
            }
            text.extend(writer.take().unwrap());
            assert_eq!(std::str::from_utf8(&text).unwrap().lines().count(), 50_000);
        }
    }
}
