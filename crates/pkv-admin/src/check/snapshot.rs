//! One shard file of a full snapshot: every block, every record, the counts in its footer.

use std::path::Path;

use pkv_format::layout::block_header;
use pkv_format::{
    BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BLOCKS_OFFSET, BlockScanner, BlockStep,
    FOOTER_BYTES, FileHeader, FileSeed, Footer, Records,
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
            BlockStep::Block { .. } | BlockStep::Footer { .. } => return Ok(Some(next)),
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
