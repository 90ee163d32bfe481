//! The file header, one sector of identity at the start of every file, and a log's successor record.

use alloc::string::String;

use crate::bytes::{get, get_u8, get_u16, get_u32, get_u64, is_zero, put};
use crate::checksum::{FileSeed, body_checksum};
use crate::error::{EncodeError, HeaderError};
use crate::layout::{
    CODEC_PLAIN, FILE_KIND_LOG, FILE_KIND_SNAPSHOT, FORMAT_VERSION, HEADER_BYTES, LOG_VERSION,
    MAGIC, SCHEMAS_BYTES_MAX, SUCCESSOR_BYTES, file_header as at, successor,
};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Frames, appended.
    Log,
    /// Blocks of records and a footer, written once.
    Snapshot,
}

/// The identity of a file: it never changes after the file was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Log or snapshot.
    pub kind: FileKind,
    /// The file's ordinal, at least 1.
    pub ordinal: u64,
    /// The file's shard, below `shard_count`.
    pub shard: u32,
    /// The number of shards that the ordinal is split into, at least 1.
    pub shard_count: u32,
    /// Random, the same in all files of a store.
    pub store_id: [u8; 16],
    /// Random, another in each file.
    pub salt: u64,
    /// Random, the same in all files of a store: the seed of the hash that assigns keys to shards.
    pub hash_seed: u64,
    /// The preallocated size of a log in bytes, or 0 if it grows by appending; 0 in a snapshot.
    pub segment_bytes: u64,
    /// The name of the keys' encoding.
    pub key_schema: String,
    /// The name of the values' encoding; with `key_schema` at most [`SCHEMAS_BYTES_MAX`] bytes.
    pub value_schema: String,
}

impl FileHeader {
    /// The header as the first 512 bytes of a file.
    ///
    /// # Errors
    /// When a field holds what [`FileHeader::decode`] would refuse.
    pub fn encode(&self) -> Result<[u8; HEADER_BYTES], EncodeError> {
        let schemas_bytes = self.key_schema.len().saturating_add(self.value_schema.len());
        if schemas_bytes > SCHEMAS_BYTES_MAX {
            return Err(EncodeError::TooLong {
                what: "the names of the key and value schemas",
                bytes: crate::bytes::wide(schemas_bytes),
                bytes_max: crate::bytes::wide(SCHEMAS_BYTES_MAX),
            });
        }
        self.check().map_err(EncodeError::Invalid)?;
        let length = |name: &str| u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
        let (kind, version) = match self.kind {
            FileKind::Log => (FILE_KIND_LOG, LOG_VERSION),
            FileKind::Snapshot => (FILE_KIND_SNAPSHOT, FORMAT_VERSION),
        };

        let mut out = [0; HEADER_BYTES];
        put(&mut out, at::MAGIC, MAGIC);
        put(&mut out, at::VERSION, version.to_le_bytes());
        put(&mut out, at::KIND, [kind]);
        put(&mut out, at::CODEC, [CODEC_PLAIN]);
        put(&mut out, at::ORDINAL, self.ordinal.to_le_bytes());
        put(&mut out, at::SHARD, self.shard.to_le_bytes());
        put(&mut out, at::SHARD_COUNT, self.shard_count.to_le_bytes());
        put(&mut out, at::STORE_ID, self.store_id);
        put(&mut out, at::SALT, self.salt.to_le_bytes());
        put(&mut out, at::HASH_SEED, self.hash_seed.to_le_bytes());
        put(&mut out, at::SEGMENT_BYTES, self.segment_bytes.to_le_bytes());
        put(&mut out, at::KEY_SCHEMA_BYTES, length(&self.key_schema));
        put(&mut out, at::VALUE_SCHEMA_BYTES, length(&self.value_schema));
        let names = self.key_schema.bytes().chain(self.value_schema.bytes());
        for (slot, byte) in out.iter_mut().skip(at::SCHEMAS.offset).zip(names) {
            *slot = byte;
        }
        let checksum = body_checksum(out.split_at(at::CHECKSUM.offset).0);
        put(&mut out, at::CHECKSUM, checksum.to_le_bytes());
        Ok(out)
    }

    /// Reads the header from the start of a file; bytes behind the first 512 are not looked at.
    ///
    /// # Errors
    /// See [`HeaderError`]. A newer version is reported only when the whole sector is sound.
    pub fn decode(bytes: &[u8]) -> Result<FileHeader, HeaderError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(if is_zero(bytes) { HeaderError::Empty } else { HeaderError::Truncated });
        };
        if is_zero(header) {
            return Err(HeaderError::Empty);
        }
        if get(header, at::MAGIC) != MAGIC {
            return Err(HeaderError::Magic);
        }
        let checksum = body_checksum(header.split_at(at::CHECKSUM.offset).0);
        if get_u32(header, at::CHECKSUM) != checksum {
            return Err(HeaderError::Checksum);
        }
        match get_u32(header, at::VERSION) {
            0 => return Err(HeaderError::Invalid("the format version is 0")),
            1..=FORMAT_VERSION => {}
            found => return Err(HeaderError::Newer { found, known: FORMAT_VERSION }),
        }
        decode_fields(header)
    }

    /// The format version that a header says, of which nothing else was checked: of one that [`FileHeader::decode`] took,
    /// the version in which the file was written.
    #[must_use]
    pub fn version_of(bytes: &[u8]) -> Option<u32> {
        bytes.first_chunk::<HEADER_BYTES>().map(|header| get_u32(header, at::VERSION))
    }

    /// The initial checksum state of everything else in this file.
    #[must_use]
    pub fn seed(&self) -> FileSeed {
        FileSeed::new(self.store_id, self.salt, self.ordinal, self.shard, self.shard_count)
    }

    /// The rules that the fields obey among themselves, checked when writing and when reading.
    fn check(&self) -> Result<(), &'static str> {
        if self.ordinal == 0 {
            return Err("the ordinal is 0");
        }
        if self.shard >= self.shard_count {
            return Err("the shard is not below the shard count");
        }
        if self.kind == FileKind::Snapshot && self.segment_bytes != 0 {
            return Err("a snapshot has a segment size");
        }
        Ok(())
    }
}

/// The fields of a sector whose magic, checksum and version are right. They are the same in all versions.
fn decode_fields(header: &[u8; HEADER_BYTES]) -> Result<FileHeader, HeaderError> {
    let kind = match get_u8(header, at::KIND) {
        FILE_KIND_LOG => FileKind::Log,
        FILE_KIND_SNAPSHOT => FileKind::Snapshot,
        _ => return Err(HeaderError::Invalid("the file kind is unknown")),
    };
    if get_u8(header, at::CODEC) != CODEC_PLAIN {
        return Err(HeaderError::Invalid("the codec is unknown"));
    }
    let key_bytes = usize::from(get_u16(header, at::KEY_SCHEMA_BYTES));
    let value_bytes = usize::from(get_u16(header, at::VALUE_SCHEMA_BYTES));
    let schemas: [u8; SCHEMAS_BYTES_MAX] = get(header, at::SCHEMAS);
    let (key_schema, value_schema, unused) = schemas
        .split_at_checked(key_bytes)
        .and_then(|(key, rest)| {
            rest.split_at_checked(value_bytes).map(|(value, unused)| (key, value, unused))
        })
        .ok_or(HeaderError::Invalid("the schema names are too long"))?;
    if get_u16(header, at::ZERO_1) != 0
        || get_u64(header, at::ZERO_2) != 0
        || get_u32(header, at::ZERO_3) != 0
        || !is_zero(unused)
    {
        return Err(HeaderError::Invalid("reserved bytes are not zero"));
    }
    let name = |bytes| {
        str::from_utf8(bytes)
            .map(String::from)
            .map_err(|_| HeaderError::Invalid("a schema name is not UTF-8"))
    };
    let decoded = FileHeader {
        kind,
        ordinal: get_u64(header, at::ORDINAL),
        shard: get_u32(header, at::SHARD),
        shard_count: get_u32(header, at::SHARD_COUNT),
        store_id: get(header, at::STORE_ID),
        salt: get_u64(header, at::SALT),
        hash_seed: get_u64(header, at::HASH_SEED),
        segment_bytes: get_u64(header, at::SEGMENT_BYTES),
        key_schema: name(key_schema)?,
        value_schema: name(value_schema)?,
    };
    decoded.check().map_err(HeaderError::Invalid)?;
    Ok(decoded)
}

/// The log that was taken into use after this one, written into a log's second sector when it is rotated.
///
/// It is a hint with the authority of a link and may be written long before either log is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Successor {
    /// The next log's ordinal, at least 1.
    pub ordinal: u64,
    /// The next log's salt.
    pub salt: u64,
}

impl Successor {
    /// The record as it stands at [`crate::SUCCESSOR_OFFSET`]; `seed` is that of the log that holds it.
    #[must_use]
    pub fn encode(&self, seed: FileSeed) -> [u8; SUCCESSOR_BYTES] {
        let mut out = [0; SUCCESSOR_BYTES];
        put(&mut out, successor::ORDINAL, self.ordinal.to_le_bytes());
        put(&mut out, successor::SALT, self.salt.to_le_bytes());
        let checksum = seed.checksum(out.split_at(successor::CHECKSUM.offset).0);
        put(&mut out, successor::CHECKSUM, checksum.to_le_bytes());
        out
    }

    /// Reads the record; `None` if there is none or its bytes are bad.
    ///
    /// Bad bytes are no error: the record only tells that a next log was made, and whatever was
    /// acknowledged from there is also bound to this log by the next log's link, by this log's seal
    /// and by the watermarks. A record lost in a power cut loses no more than the cut itself did.
    #[must_use]
    pub fn decode(seed: FileSeed, bytes: &[u8]) -> Option<Successor> {
        let record = bytes.first_chunk::<SUCCESSOR_BYTES>()?;
        let found = Successor {
            ordinal: get_u64(record, successor::ORDINAL),
            salt: get_u64(record, successor::SALT),
        };
        // Equal to its own encoding: checksum and zero bytes are right.
        (found.ordinal != 0 && found.encode(seed) == *record).then_some(found)
    }
}
