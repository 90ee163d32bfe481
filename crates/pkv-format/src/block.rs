//! Blocks of records, and the footer that proves a snapshot file complete.

use alloc::vec::Vec;

use crate::bytes::{get_u32, get_u64, narrow, put, wide};
use crate::checksum::FileSeed;
use crate::error::{BadBlock, EncodeError};
use crate::index::{self, IndexEntries};
use crate::layout::{
    BLOCK_BYTES_TARGET, BLOCK_HEADER_BYTES, BLOCK_KIND_FOOTER, BLOCK_KIND_INDEX,
    BLOCK_KIND_RECORDS, BLOCK_PAYLOAD_BYTES_MAX, FOOTER_BYTES, FRAME_BODY_BYTES_MAX, KEY_BYTES_MAX,
    RECORD_ALIGN_BYTES, block_header as at, footer,
};
use crate::record::{Records, push_record, record_bytes};

/// Collects records into one block at a time, in a buffer that is used again for the next.
///
/// Write the block out when the next record no longer [`fits`](BlockBuilder::fits): a record too long
/// for a block of the usual size then gets a block of its own.
#[derive(Clone, Debug)]
pub struct BlockBuilder {
    /// Room for the header, then the payload.
    block: Vec<u8>,
    records: u32,
    /// Whether the block was handed out; the next push starts a new one.
    finished: bool,
}

impl Default for BlockBuilder {
    fn default() -> Self {
        BlockBuilder::new()
    }
}

impl BlockBuilder {
    /// An empty block, with a buffer of the usual size.
    #[must_use]
    pub fn new() -> BlockBuilder {
        let mut block = Vec::with_capacity(BLOCK_BYTES_TARGET);
        block.resize(BLOCK_HEADER_BYTES, 0);
        BlockBuilder { block, records: 0, finished: false }
    }

    /// Appends a record.
    ///
    /// # Errors
    /// When key, value or the whole block would be over its limit; the block is as before then.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), EncodeError> {
        check("the key", key.len(), KEY_BYTES_MAX)?;
        check("the value", value.len(), FRAME_BODY_BYTES_MAX)?;
        self.begin(1, record_bytes(key.len(), value.len()))?;
        push_record(&mut self.block, key, value);
        Ok(())
    }

    /// Appends records that are encoded already, back to back, with flags 0.
    ///
    /// Their bytes are copied and not looked into; a reader refuses them if they are not so many records.
    ///
    /// # Errors
    /// When the whole block would be over its limit, or `encoded` cannot be so many records (each takes at
    /// least 4 bytes, and all a multiple of 4); the block is as before then.
    pub fn push_encoded(&mut self, records: u32, encoded: &[u8]) -> Result<(), EncodeError> {
        if !count_is_possible(records, encoded.len())
            || !encoded.len().is_multiple_of(RECORD_ALIGN_BYTES)
        {
            return Err(EncodeError::Invalid("the bytes cannot be so many records"));
        }
        self.begin(records, encoded.len())?;
        self.block.extend_from_slice(encoded);
        Ok(())
    }

    /// Whether this many bytes of records still fit into a block of the usual size. Everything fits into
    /// an empty one.
    #[must_use]
    pub fn fits(&self, record_bytes: usize) -> bool {
        self.is_empty() || self.block.len().saturating_add(record_bytes) <= BLOCK_BYTES_TARGET
    }

    /// Whether the block has reached the usual size.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.finished && self.block.len() >= BLOCK_BYTES_TARGET
    }

    /// Whether nothing was pushed since the last block was finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.finished || self.records == 0
    }

    /// The block as it is to be written at `offset` of the file with this seed: the checksum is computed here.
    ///
    /// The next push starts a new block; until then the same block can be finished again, for a retry. Where
    /// nothing was ever pushed there is no block, and nothing to write: the slice is empty.
    pub fn finish(&mut self, seed: FileSeed, offset: u64) -> &[u8] {
        if self.records == 0 {
            return &[];
        }
        self.finished = true;
        if let Some((header, payload)) = self.block.split_first_chunk_mut::<BLOCK_HEADER_BYTES>() {
            *header = encode_header(seed, offset, payload, self.records, BLOCK_KIND_RECORDS);
        }
        &self.block
    }

    /// Makes room for records, in a new block if the last one was handed out.
    fn begin(&mut self, records: u32, bytes: usize) -> Result<(), EncodeError> {
        let (held_bytes, held_records) =
            if self.finished { (BLOCK_HEADER_BYTES, 0) } else { (self.block.len(), self.records) };
        let block_bytes = held_bytes.saturating_add(bytes);
        check("the block's payload", block_bytes - BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX)?;
        if self.finished {
            self.block.truncate(BLOCK_HEADER_BYTES);
            // A block of one huge record must not hold its memory for ever.
            self.block.shrink_to(BLOCK_BYTES_TARGET);
            self.finished = false;
        }
        // The payload's limit keeps the count far below 2^32.
        self.records = held_records.saturating_add(records);
        Ok(())
    }
}

/// Makes a block of bytes in place: `block` has [`BLOCK_HEADER_BYTES`] of room for the header and then so many
/// records, encoded as in a [`BlockBuilder`]; it is to be written at `offset` of the file with this seed.
///
/// For who collects records in a larger buffer of its own, and would copy each block to have a builder's. The
/// records are not looked into; a reader refuses them if they are not so many.
///
/// # Errors
/// When the block would be over its limit, or its bytes cannot be so many records (each takes at least 4 bytes,
/// and all a multiple of 4).
pub fn finish_block(
    block: &mut [u8],
    records: u32,
    seed: FileSeed,
    offset: u64,
) -> Result<(), EncodeError> {
    let impossible = EncodeError::Invalid("the bytes cannot be so many records");
    let Some((header, payload)) = block.split_first_chunk_mut::<BLOCK_HEADER_BYTES>() else {
        return Err(impossible);
    };
    check("the block's payload", payload.len(), BLOCK_PAYLOAD_BYTES_MAX)?;
    if !count_is_possible(records, payload.len())
        || !payload.len().is_multiple_of(RECORD_ALIGN_BYTES)
    {
        return Err(impossible);
    }
    *header = encode_header(seed, offset, payload, records, BLOCK_KIND_RECORDS);
    Ok(())
}

fn check(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), EncodeError> {
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(EncodeError::TooLong { what, bytes: wide(bytes), bytes_max: wide(bytes_max) })
}

/// Whether a payload of this length may hold so many records: at least one, each of at least 4 bytes.
fn count_is_possible(records: u32, payload_bytes: usize) -> bool {
    1 <= records && narrow(records) <= payload_bytes / RECORD_ALIGN_BYTES
}

/// The header of a block at `offset`. The payload is at most [`BLOCK_PAYLOAD_BYTES_MAX`] bytes long.
pub(crate) fn encode_header(
    seed: FileSeed,
    offset: u64,
    payload: &[u8],
    records: u32,
    kind: u32,
) -> [u8; BLOCK_HEADER_BYTES] {
    let payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut out = [0; BLOCK_HEADER_BYTES];
    put(&mut out, at::PAYLOAD_BYTES, payload_bytes.to_le_bytes());
    put(&mut out, at::RECORDS, records.to_le_bytes());
    put(&mut out, at::KIND, kind.to_le_bytes());
    let checksum = block_checksum(seed, offset, &out, payload);
    put(&mut out, at::CHECKSUM, checksum.to_le_bytes());
    out
}

/// The checksum over the block's offset, its header but for the checksum, and its payload.
fn block_checksum(
    seed: FileSeed,
    offset: u64,
    header: &[u8; BLOCK_HEADER_BYTES],
    payload: &[u8],
) -> u32 {
    let [_, _, _, _, covered @ ..] = header;
    let [o0, o1, o2, o3, o4, o5, o6, o7] = offset.to_le_bytes();
    let [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11] = *covered;
    let front = [o0, o1, o2, o3, o4, o5, o6, o7, h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11];
    seed.checksum_of_two(&front, payload)
}

/// The last block of a snapshot file. A snapshot file without one is not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Footer {
    /// How many records the file holds.
    pub records: u64,
    /// How many bytes their keys and values take.
    pub payload_bytes: u64,
    /// The last sequence number that the copy contains for certain: replay starts behind it.
    pub start_seq: u64,
    /// The last sequence number that the copy may contain. A watermark: everything up to it was synced
    /// before the snapshot counted.
    pub end_seq: u64,
    /// The ordinal of the log that was taken into use when the copy began.
    pub log_ordinal: u64,
    /// That log's salt.
    pub log_salt: u64,
}

impl Footer {
    /// The whole footer block as it is to be written at `offset` of the file with this seed.
    #[must_use]
    pub fn encode(&self, seed: FileSeed, offset: u64) -> [u8; FOOTER_BYTES] {
        let mut out = [0; FOOTER_BYTES];
        if let Some((header, payload)) = out.split_first_chunk_mut::<BLOCK_HEADER_BYTES>() {
            put(payload, footer::RECORDS, self.records.to_le_bytes());
            put(payload, footer::PAYLOAD_BYTES, self.payload_bytes.to_le_bytes());
            put(payload, footer::START_SEQ, self.start_seq.to_le_bytes());
            put(payload, footer::END_SEQ, self.end_seq.to_le_bytes());
            put(payload, footer::LOG_ORDINAL, self.log_ordinal.to_le_bytes());
            put(payload, footer::LOG_SALT, self.log_salt.to_le_bytes());
            *header = encode_header(seed, offset, payload, 0, BLOCK_KIND_FOOTER);
        }
        out
    }

    fn decode(payload: &[u8; footer::BYTES]) -> Footer {
        Footer {
            records: get_u64(payload, footer::RECORDS),
            payload_bytes: get_u64(payload, footer::PAYLOAD_BYTES),
            start_seq: get_u64(payload, footer::START_SEQ),
            end_seq: get_u64(payload, footer::END_SEQ),
            log_ordinal: get_u64(payload, footer::LOG_ORDINAL),
            log_salt: get_u64(payload, footer::LOG_SALT),
        }
    }
}

/// What stands at the scanner's offset.
#[derive(Clone, Debug)]
pub enum BlockStep<'a> {
    /// A block of records, its checksum right; the scanner stands behind it now.
    Block {
        /// Where the block starts in its file.
        offset: u64,
        /// Its records.
        records: Records<'a>,
    },
    /// The index, its checksum right; the scanner stands behind it now, and the footer must follow.
    Index {
        /// Where the index starts: behind the last block of records.
        offset: u64,
        /// What it says. That it says so of the blocks that are there is for its user to check.
        entries: IndexEntries<'a>,
    },
    /// The footer, its checksum right; the scanner stands behind it now.
    Footer {
        /// Where the footer starts; the file ends [`FOOTER_BYTES`] behind.
        offset: u64,
        /// What it says.
        footer: Footer,
    },
    /// The footer was the last of the slice, as it must be the last of the file.
    End {
        /// Where the file must end.
        offset: u64,
    },
    /// The slice ends before the footer, between blocks or within one.
    ///
    /// Where the file goes on, come back with a slice that holds `bytes` from `offset` on; where it does
    /// not, the file was cut short. The length was not covered by a checksum yet: compare it with what is
    /// left of the file before memory is taken for it.
    Partial {
        /// Where the block starts.
        offset: u64,
        /// How many bytes from `offset` on are needed to say more, at most [`BLOCK_HEADER_BYTES`] +
        /// [`BLOCK_PAYLOAD_BYTES_MAX`].
        bytes: usize,
    },
    /// Not a block.
    Bad {
        /// Where the block should start.
        offset: u64,
        /// What is wrong.
        why: BadBlock,
    },
}

/// Walks the blocks of a slice of a snapshot. Nothing is allocated; no step but `Block`, `Index` and `Footer` moves
/// the scanner.
#[derive(Clone, Debug)]
pub struct BlockScanner<'a> {
    seed: FileSeed,
    offset: u64,
    rest: &'a [u8],
    index_was_seen: bool,
    footer_was_seen: bool,
}

impl<'a> BlockScanner<'a> {
    /// A scanner at the start of `bytes`, which stand at `base_offset` of the file with this seed.
    ///
    /// A block is expected at `base_offset`: [`crate::BLOCKS_OFFSET`], or where an earlier step said.
    #[must_use]
    pub fn new(seed: FileSeed, base_offset: u64, bytes: &'a [u8]) -> BlockScanner<'a> {
        BlockScanner {
            seed,
            offset: base_offset,
            rest: bytes,
            index_was_seen: false,
            footer_was_seen: false,
        }
    }

    /// Where the next block is expected.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next step.
    #[must_use = "a step that is not a block ends the walk"]
    pub fn next_block(&mut self) -> BlockStep<'a> {
        let offset = self.offset;
        if self.footer_was_seen {
            return if self.rest.is_empty() {
                BlockStep::End { offset }
            } else {
                BlockStep::Bad { offset, why: BadBlock::Trailing }
            };
        }
        let Some(header) = self.rest.first_chunk::<BLOCK_HEADER_BYTES>() else {
            return BlockStep::Partial { offset, bytes: BLOCK_HEADER_BYTES };
        };
        let payload_bytes = match payload_bytes(header) {
            Ok(bytes) => bytes,
            Err(why) => return BlockStep::Bad { offset, why },
        };
        let block_bytes = BLOCK_HEADER_BYTES.saturating_add(payload_bytes);
        let Some((block, rest)) = self.rest.split_at_checked(block_bytes) else {
            return BlockStep::Partial { offset, bytes: block_bytes };
        };
        let payload = block.get(BLOCK_HEADER_BYTES..).unwrap_or_default();
        if get_u32(header, at::CHECKSUM) != block_checksum(self.seed, offset, header, payload) {
            return BlockStep::Bad { offset, why: BadBlock::Checksum };
        }
        let kind = get_u32(header, at::KIND);
        if self.index_was_seen && kind != BLOCK_KIND_FOOTER {
            return BlockStep::Bad { offset, why: BadBlock::BehindIndex };
        }
        let entries = if kind == BLOCK_KIND_INDEX {
            let Some(entries) = IndexEntries::new(payload) else {
                return BlockStep::Bad { offset, why: BadBlock::Count };
            };
            Some(entries)
        } else {
            None
        };
        self.offset = offset.saturating_add(wide(block_bytes));
        self.rest = rest;
        if let Some(entries) = entries {
            self.index_was_seen = true;
            return BlockStep::Index { offset, entries };
        }
        // Only a footer's payload has a footer's kind: `payload_bytes` has checked both together.
        if kind == BLOCK_KIND_FOOTER
            && let Some(payload) = payload.first_chunk()
        {
            self.footer_was_seen = true;
            return BlockStep::Footer { offset, footer: Footer::decode(payload) };
        }
        let records = Records::new(payload, get_u32(header, at::RECORDS));
        BlockStep::Block { offset, records }
    }
}

/// The length of the payload according to a header of which the checksum is not known yet: rules (1) to (3) of
/// the validity rule in [`crate::spec`].
fn payload_bytes(header: &[u8; BLOCK_HEADER_BYTES]) -> Result<usize, BadBlock> {
    let payload_bytes = narrow(get_u32(header, at::PAYLOAD_BYTES));
    let records = get_u32(header, at::RECORDS);
    let (length_is_right, count_is_right) = match get_u32(header, at::KIND) {
        BLOCK_KIND_RECORDS => (
            payload_bytes.is_multiple_of(RECORD_ALIGN_BYTES)
                && (1..=BLOCK_PAYLOAD_BYTES_MAX).contains(&payload_bytes),
            count_is_possible(records, payload_bytes),
        ),
        BLOCK_KIND_INDEX => (index::is_payload_length(payload_bytes), records == 0),
        BLOCK_KIND_FOOTER => (payload_bytes == footer::BYTES, records == 0),
        _ => return Err(BadBlock::Kind),
    };
    if !length_is_right {
        return Err(BadBlock::Length);
    }
    if !count_is_right {
        return Err(BadBlock::Count);
    }
    Ok(payload_bytes)
}
