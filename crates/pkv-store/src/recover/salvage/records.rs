//! The whole blocks of a full snapshot that has others.

use pkv_format::{
    BLOCK_HEADER_BYTES, BlockScanner, BlockStep, FOOTER_BYTES, FileHeader, FileSeed, Footer,
    HEADER_BYTES, RECORD_ALIGN_BYTES, Records,
};
use pkv_snapshot_set::SnapshotFileName;

use super::window::SalvageWindow;
use super::{Named, Salvage};
use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::recover::ReadOptions;
use crate::recover::load::set;
use crate::recover::upgrade::FileUpgrade;
use crate::salvage::Lost;

const WINDOW_BYTES: u64 = 1024 * 1024;

/// Missing shards that are named singly; a name can claim any count.
const MISSING_NAMED_MAX: u64 = 64;

/// Bytes of the candidates of a search are checked up to so many times the file's size: a made-up file
/// could claim a long block at every fourth byte.
const SEARCH_FACTOR: u64 = 16;

/// The footer at the end of a shard file, if it stands.
pub(super) fn read_footer(
    options: &ReadOptions<'_>,
    file: &Named,
    header: &FileHeader,
) -> Option<Footer> {
    let file = options.fs.open(&file.path, pkv_fs::Access::Read).ok()?;
    let at = file.len().ok()?.checked_sub(bytes_u64(FOOTER_BYTES))?;
    let mut bytes = [0; FOOTER_BYTES];
    let got = file.read_at(at, &mut bytes).ok()?;
    match BlockScanner::new(header.seed(), at, bytes.get(..got)?).next_block() {
        BlockStep::Footer { footer, .. } => Some(footer),
        _ => None,
    }
}

impl Salvage<'_> {
    /// Loads what is whole of a full snapshot. Returns what its footers say, if one stands.
    pub(super) fn base(&mut self, shards: &[&Named]) -> Result<Option<Footer>> {
        self.last_seq = None;
        let count = shards.first().map_or(0, |first| first.name.shard_count());
        let mut expected = 0;
        let mut base: Option<Footer> = None;
        for shard in shards.iter().filter(|shard| shard.name.shard_count() == count) {
            self.name_missing(shard.name, expected..shard.name.shard());
            if shard.name.shard() < expected {
                self.lose_file(&shard.path, 0, "a second file for the same shard");
                continue;
            }
            expected = shard.name.shard().saturating_add(1);
            let before = self.report.snapshot_records;
            let footer = self.shard(shard)?;
            let kept = self.report.snapshot_records - before;
            match (&footer, &base) {
                (None, _) => self.report.records_lost_unknown = true,
                (Some(footer), Some(base))
                    if (footer.start_seq, footer.log_ordinal, footer.log_salt)
                        != (base.start_seq, base.log_ordinal, base.log_salt) =>
                {
                    let reason = "the footer speaks of another snapshot than the first one does";
                    self.lose_file(&shard.path, 0, reason);
                }
                (Some(footer), _) => {
                    self.report.records_lost += footer.records.saturating_sub(kept);
                    self.report.watermark = self.report.watermark.max(footer.end_seq);
                    base = base.or(Some(*footer));
                }
            }
        }
        if let Some(first) = shards.first() {
            self.name_missing(first.name, expected..count);
        }
        for other in shards.iter().filter(|shard| shard.name.shard_count() != count) {
            self.lose_file(&other.path, 0, "its name has another shard count than the others");
        }
        self.last_seq = base.as_ref().map(|base| base.start_seq);
        Ok(base)
    }

    fn name_missing(&mut self, like: SnapshotFileName, missing: std::ops::Range<u64>) {
        if missing.is_empty() {
            return;
        }
        self.report.records_lost_unknown = true;
        let named = missing.start..missing.end.min(missing.start.saturating_add(MISSING_NAMED_MAX));
        for shard in named {
            let name = SnapshotFileName::new(
                pkv_snapshot_set::SnapshotType::FullCompleted,
                like.ordinal(),
                shard,
                like.shard_count(),
            );
            if let Some(name) = name {
                self.report.miss(self.options.dir.join(name.to_string()), "the file is missing");
            }
        }
    }

    /// Loads the whole blocks of one shard file. Returns the footer, if it stands.
    fn shard(&mut self, shard: &Named) -> Result<Option<Footer>> {
        if !shard.is_file {
            self.lose_file(&shard.path, 0, "not a file");
            return Ok(None);
        }
        let (file, header) = shard.open(self.options)?;
        let file_bytes = file.len()?;
        self.bytes_read += file_bytes;
        let header = match header {
            Ok(header) => self.check(&shard.path, &header)?.map(|()| header),
            Err(reason) => Err(reason),
        };
        let header = match header {
            Ok(header) => header,
            Err(reason) => {
                // Without its salt no checksum of the file can be computed.
                self.lose_file(&shard.path, file_bytes, reason);
                return Ok(None);
            }
        };
        let mut window = SalvageWindow::new(&*file, file_bytes);
        let footer = self.blocks(shard, &header, &mut window)?;
        self.lose_unreadable(&shard.path, &window);
        Ok(footer)
    }

    fn blocks(
        &mut self,
        shard: &Named,
        header: &FileHeader,
        window: &mut SalvageWindow<'_>,
    ) -> Result<Option<Footer>> {
        let seed = header.seed();
        let upgrade = FileUpgrade::of(self.options, &shard.path, &header.value_schema);
        let mut offset = bytes_u64(HEADER_BYTES);
        let mut want = WINDOW_BYTES;
        let mut budget = window.file_bytes().saturating_mul(SEARCH_FACTOR).max(WINDOW_BYTES);
        // Where whole blocks ended, and why.
        let mut lost: Option<(u64, String)> = None;
        let mut found = None;
        while offset < window.file_bytes() {
            window.read(offset, want)?;
            want = WINDOW_BYTES;
            let mut scanner = BlockScanner::new(seed, offset, window.bytes());
            let (at, reason) = loop {
                match scanner.next_block() {
                    BlockStep::Block { offset: at, records } => {
                        self.lose_in_shard(shard, &mut lost, at);
                        self.fill(shard, at, records, upgrade)?;
                    }
                    BlockStep::Index { offset: at, .. } => {
                        self.lose_in_shard(shard, &mut lost, at);
                    }
                    BlockStep::Footer { offset: at, footer } => {
                        self.lose_in_shard(shard, &mut lost, at);
                        found = Some(footer);
                        let end = at + bytes_u64(FOOTER_BYTES);
                        if end < window.file_bytes() {
                            lost = Some((end, "bytes behind the footer".to_owned()));
                            self.lose_in_shard(shard, &mut lost, window.file_bytes());
                        }
                        return Ok(found);
                    }
                    BlockStep::Partial { offset: at, bytes } => {
                        break (at, Err(bytes_u64(bytes)));
                    }
                    BlockStep::Bad { offset: at, why } => {
                        break (at, Ok(format!("snapshot block: {why}")));
                    }
                    BlockStep::End { offset: at } => break (at, Ok("no block".to_owned())),
                }
            };
            let reason = match reason {
                Err(bytes) if at.saturating_add(bytes) <= window.file_bytes() => {
                    offset = at;
                    want = want.max(bytes);
                    continue;
                }
                Err(_) => "the file ends within a block: it was cut short".to_owned(),
                Ok(reason) => reason,
            };
            lost.get_or_insert((at, reason));
            match search(seed, window, at, &mut budget)? {
                Some(next) => offset = next,
                None => break,
            }
        }
        if found.is_none() {
            lost.get_or_insert((
                window.file_bytes(),
                "the snapshot ends without a footer: it was cut short".to_owned(),
            ));
        }
        self.lose_in_shard(shard, &mut lost, window.file_bytes());
        Ok(found)
    }

    fn lose_in_shard(&mut self, shard: &Named, lost: &mut Option<(u64, String)>, end: u64) {
        if let Some((offset, reason)) = lost.take() {
            let (path, bytes) = (shard.path.clone(), end.saturating_sub(offset));
            self.report.lose(Lost { path, offset, bytes, reason, is_torn: false });
        }
    }

    /// Puts the records of a block into the map.
    fn fill(
        &mut self,
        shard: &Named,
        offset: u64,
        records: Records<'_>,
        upgrade: Option<FileUpgrade<'_>>,
    ) -> Result<()> {
        let mut upgraded = Vec::new();
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(why) => {
                    // The checksum is right: this was written so. What follows cannot be told apart.
                    let reason = format!("record in a block: {why}");
                    let path = shard.path.clone();
                    self.report.lose(Lost { path, offset, bytes: 0, reason, is_torn: false });
                    return Ok(());
                }
            };
            let hash = self.map.hash(record.key);
            let value = match upgrade {
                None => record.value,
                Some(upgrade) => {
                    upgrade.convert(record.value, &mut upgraded)?;
                    &upgraded
                }
            };
            let mut locked = self.map.write(self.map.shard_index(hash));
            set(&mut locked, hash, record.key, value).map_err(|_| Error::OutOfMemory)?;
            self.report.snapshot_records += 1;
        }
        Ok(())
    }
}

/// The next offset behind `from` at which a whole block stands. The place where the block at `from` would
/// end, by the length that it claims, is tried first.
fn search(
    seed: FileSeed,
    window: &mut SalvageWindow<'_>,
    from: u64,
    budget: &mut u64,
) -> Result<Option<u64>> {
    window.read(from, bytes_u64(BLOCK_HEADER_BYTES))?;
    if let Some([a, b, c, d]) = window.bytes().get(4..8) {
        let claimed = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
        let next = from.saturating_add(bytes_u64(BLOCK_HEADER_BYTES)).saturating_add(claimed);
        if claimed.is_multiple_of(bytes_u64(RECORD_ALIGN_BYTES))
            && is_block(seed, window, next, budget)?
        {
            return Ok(Some(next));
        }
    }
    let step = bytes_u64(RECORD_ALIGN_BYTES);
    let mut offset = from + step;
    while offset < window.file_bytes() {
        window.read(offset, WINDOW_BYTES)?;
        let end = window.end();
        let mut candidate = None;
        while offset < end {
            match BlockScanner::new(seed, offset, window.from(offset)).next_block() {
                BlockStep::Block { .. } | BlockStep::Index { .. } | BlockStep::Footer { .. } => {
                    return Ok(Some(offset));
                }
                BlockStep::Partial { bytes, .. }
                    if bytes == BLOCK_HEADER_BYTES && !window.at_end() =>
                {
                    break;
                }
                BlockStep::Partial { bytes, .. }
                    if offset.saturating_add(bytes_u64(bytes)) <= window.file_bytes() =>
                {
                    candidate = Some(offset);
                    break;
                }
                BlockStep::Bad { why: pkv_format::BadBlock::Checksum, .. } => {
                    *budget = budget.saturating_sub(claimed_bytes(window.from(offset)));
                }
                _ => {}
            }
            if *budget == 0 {
                return Ok(None);
            }
            offset += step;
        }
        if let Some(at) = candidate {
            if is_block(seed, window, at, budget)? {
                return Ok(Some(at));
            }
            offset = at + step;
        }
        if *budget == 0 {
            return Ok(None);
        }
    }
    Ok(None)
}

fn claimed_bytes(header: &[u8]) -> u64 {
    match header.get(4..8) {
        Some([a, b, c, d]) => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => 0,
    }
}

/// Whether a whole block stands at this offset.
fn is_block(
    seed: FileSeed,
    window: &mut SalvageWindow<'_>,
    offset: u64,
    budget: &mut u64,
) -> Result<bool> {
    if offset >= window.file_bytes() {
        return Ok(false);
    }
    window.read(offset, bytes_u64(BLOCK_HEADER_BYTES))?;
    if let BlockStep::Partial { bytes, .. } =
        BlockScanner::new(seed, offset, window.bytes()).next_block()
    {
        let bytes = bytes_u64(bytes);
        if offset.saturating_add(bytes) > window.file_bytes() {
            return Ok(false);
        }
        *budget = budget.saturating_sub(bytes);
        window.read(offset, bytes)?;
    }
    Ok(matches!(
        BlockScanner::new(seed, offset, window.bytes()).next_block(),
        BlockStep::Block { .. } | BlockStep::Index { .. } | BlockStep::Footer { .. }
    ))
}
