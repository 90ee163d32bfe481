//! One shard file of a full snapshot: every block, every record, the index, the counts in its footer.

use std::path::Path;

use pkv_format::layout::block_header;
use pkv_format::{
    BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BLOCKS_OFFSET, BlockScanner, BlockStep,
    FOOTER_BYTES, FileHeader, FileSeed, Footer, INDEX_COUNT_BYTES, IndexEntry, Records,
    index_bytes,
};
use pkv_fs::File;

use super::log::Flaw;
use super::window::{Buffer, Window, wide};
use super::{FAULTS_LISTED_MAX, Result};

/// What a shard file holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardFacts {
    pub(crate) footer: Option<Footer>,
    pub(crate) blocks: u64,
    pub(crate) records: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) file_bytes: u64,
    /// All of them are damage: a snapshot that counts was synced before.
    pub(crate) flaws: Vec<Flaw>,
    pub(crate) flaws_unlisted: u64,
    /// The hashes with which its first and its last span begin, by its index.
    pub(crate) hashes: Option<(u64, u64)>,
    /// What the index says of the blocks that come: the next one last. `None`: there is none, or nothing to compare.
    index: Option<Vec<IndexEntry>>,
}

/// Reads a whole shard file.
pub(crate) fn read_shard(
    file: &dyn File,
    path: &Path,
    header: &FileHeader,
    buffer: &mut Buffer<'_>,
) -> Result<ShardFacts> {
    let mut window = Window::new(file, path, file.len()?, buffer);
    let mut facts = ShardFacts { file_bytes: window.file_bytes(), ..ShardFacts::default() };
    let seed = header.seed();
    facts.index = read_index(&mut window, seed)?;
    facts.hashes = facts
        .index
        .as_ref()
        .and_then(|index| Some((index.last()?.first_hash, index.first()?.first_hash)));
    let mut offset = BLOCKS_OFFSET;
    let mut bytes_min = 0;
    loop {
        window.load(offset, bytes_min)?;
        bytes_min = 0;
        match blocks(&window, seed, offset, &mut facts) {
            Stop::Done => return Ok(facts),
            Stop::More(at, bytes) => (offset, bytes_min) = (at, bytes),
            Stop::Bad(at, reason) => {
                let Some(next) = behind(&mut window, seed, at)? else {
                    let left = window.file_bytes().saturating_sub(at);
                    facts.flaw(at, format!("{reason} ({left} bytes from here on cannot be read)"));
                    return Ok(facts);
                };
                facts.flaw(at, reason);
                offset = next;
            }
        }
    }
}

/// The entries of the file's index, the first one last. `None`: it has none, or a bad one, which is found when it comes
/// behind the blocks.
fn read_index(window: &mut Window<'_>, seed: FileSeed) -> Result<Option<Vec<IndexEntry>>> {
    let footer_at = window.file_bytes().saturating_sub(wide(FOOTER_BYTES));
    let Some(count_at) = footer_at.checked_sub(wide(INDEX_COUNT_BYTES)) else {
        return Ok(None);
    };
    window.load(count_at, wide(INDEX_COUNT_BYTES))?;
    let Some(bytes) = window.bytes().first_chunk().and_then(|count| index_bytes(*count)) else {
        return Ok(None);
    };
    let Some(at) = footer_at.checked_sub(bytes).filter(|at| *at >= BLOCKS_OFFSET) else {
        return Ok(None);
    };
    window.load(at, bytes)?;
    match BlockScanner::new(seed, at, window.bytes()).next_block() {
        BlockStep::Index { entries, .. } => {
            let mut entries: Vec<IndexEntry> = entries.collect();
            entries.reverse();
            Ok(Some(entries))
        }
        _ => Ok(None),
    }
}

/// Why the blocks of a window end.
enum Stop {
    Done,
    /// So many bytes from this offset are needed.
    More(u64, u64),
    Bad(u64, String),
}

fn blocks(window: &Window<'_>, seed: FileSeed, offset: u64, facts: &mut ShardFacts) -> Stop {
    let mut scanner = BlockScanner::new(seed, offset, window.bytes());
    loop {
        match scanner.next_block() {
            BlockStep::Block { offset: at, records } => facts.block(at, records),
            BlockStep::Index { offset: at, .. } => facts.end_blocks(at, scanner.offset()),
            BlockStep::Footer { offset: at, footer } => {
                facts.end(at, footer, window.file_bytes());
                return Stop::Done;
            }
            BlockStep::Partial { offset: at, bytes } => {
                return if at.saturating_add(wide(bytes)) <= window.file_bytes() && !window.at_end()
                {
                    Stop::More(at, wide(bytes))
                } else {
                    Stop::Bad(at, "the snapshot ends without a footer: it was cut short".to_owned())
                };
            }
            BlockStep::Bad { offset: at, why } => return Stop::Bad(at, why.to_string()),
            // Only behind a footer, where the walk has ended.
            BlockStep::End { .. } => return Stop::Done,
        }
    }
}

/// Where the block behind a bad one starts, if the bad one's length still leads to a valid block.
fn behind(window: &mut Window<'_>, seed: FileSeed, at: u64) -> Result<Option<u64>> {
    window.load(at, 0)?;
    let field = block_header::PAYLOAD_BYTES.offset;
    let length = window.bytes().get(field..).and_then(|bytes| bytes.first_chunk());
    let Some(payload_bytes) = length.map(|bytes| u64::from(u32::from_le_bytes(*bytes))) else {
        return Ok(None);
    };
    if payload_bytes > wide(BLOCK_PAYLOAD_BYTES_MAX) {
        return Ok(None);
    }
    let next = at.saturating_add(wide(BLOCK_HEADER_BYTES)).saturating_add(payload_bytes);
    let mut bytes_min = 0;
    while next < window.file_bytes() {
        window.load(next, bytes_min)?;
        match BlockScanner::new(seed, next, window.bytes()).next_block() {
            BlockStep::Block { .. } | BlockStep::Index { .. } | BlockStep::Footer { .. } => {
                return Ok(Some(next));
            }
            BlockStep::Partial { bytes, .. }
                if next.saturating_add(wide(bytes)) <= window.file_bytes() && !window.at_end() =>
            {
                bytes_min = wide(bytes);
            }
            BlockStep::Partial { .. } | BlockStep::Bad { .. } | BlockStep::End { .. } => break,
        }
    }
    Ok(None)
}

impl ShardFacts {
    fn flaw(&mut self, offset: u64, reason: String) {
        if self.flaws.len() < FAULTS_LISTED_MAX {
            self.flaws.push(Flaw { offset, reason, seq: None });
        } else {
            self.flaws_unlisted = self.flaws_unlisted.saturating_add(1);
        }
    }

    fn block(&mut self, offset: u64, records: Records<'_>) {
        self.begin_block(offset);
        self.blocks = self.blocks.saturating_add(1);
        for record in records {
            match record {
                Ok(record) => {
                    self.records = self.records.saturating_add(1);
                    let bytes = wide(record.key.len()).saturating_add(wide(record.value.len()));
                    self.payload_bytes = self.payload_bytes.saturating_add(bytes);
                }
                Err(why) => self.flaw(offset, format!("a bad record in the block: {why}")),
            }
        }
    }

    /// Compares the index with a block that begins here. Whether its records have the hashes that the index says is found
    /// by who opens the store.
    fn begin_block(&mut self, offset: u64) {
        let is_first = self.blocks == 0;
        // Behind a bad block, which may be one that the index names, nothing is compared.
        let Some(index) = self.index.as_mut().filter(|_| self.flaws.is_empty()) else { return };
        let begun = index.pop_if(|next| next.offset == offset);
        let next = index.last().copied();
        let is_in_order = |begun: &IndexEntry| next.is_none_or(|n| n.first_hash > begun.first_hash);
        let is_right = match &begun {
            Some(begun) => is_in_order(begun),
            None => !is_first,
        };
        if !is_right || next.is_some_and(|next| next.offset <= offset) {
            self.flaw(offset, "the index does not fit the blocks".to_owned());
            self.index = None;
        }
    }

    /// Compares the index with the end of the blocks of records.
    fn end_blocks(&mut self, offset: u64, index_end: u64) {
        if !self.flaws.is_empty() {
            return;
        }
        let mut index = self.index.take().unwrap_or_default();
        // The last entry may be one without records.
        index.pop_if(|last| last.offset == offset);
        let footer_at = self.file_bytes.saturating_sub(wide(FOOTER_BYTES));
        if !index.is_empty() || index_end != footer_at {
            self.flaw(offset, "the index does not fit the blocks".to_owned());
        }
    }

    fn end(&mut self, offset: u64, footer: Footer, file_bytes: u64) {
        // Where a block is bad, the counts cannot agree and say nothing new.
        let is_whole = self.flaws.is_empty();
        if is_whole && (footer.records, footer.payload_bytes) != (self.records, self.payload_bytes)
        {
            self.flaw(
                offset,
                format!(
                    "the footer counts {} records of {} bytes, the file holds {} of {}",
                    footer.records, footer.payload_bytes, self.records, self.payload_bytes
                ),
            );
        }
        let end = offset.saturating_add(wide(FOOTER_BYTES));
        if end != file_bytes {
            self.flaw(end, format!("{} bytes behind the footer", file_bytes.saturating_sub(end)));
        }
        self.footer = Some(footer);
    }
}
