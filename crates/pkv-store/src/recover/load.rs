//! Loading the full snapshot: every shard file checked block by block and copied into the map, in parallel.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pkv_format::{
    BlockScanner, BlockStep, FOOTER_BYTES, FileHeader, FileKind, Footer, HEADER_BYTES, Records,
};
use pkv_fs::File;
use pkv_snapshot_set::SnapshotInfo;

use super::file::{NameSays, check_name, check_store, header_error, read_header};
use super::spans::{self, IndexWalk, Superseded};
use super::upgrade::FileUpgrade;
use super::window::Window;
use super::{Phase, Progress, ReadOptions, open_for_reading};
use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::map::{Garbage, Map, NewValue, OutOfMemory, WriteGuard};

/// How much of a shard file is in memory at a time.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// The shortest record: two lengths, padded.
pub(super) const RECORD_BYTES_MIN: u64 = 4;
/// A record with a longer value keeps it elsewhere.
const RECORD_BYTES_USUAL_MAX: u64 = 1200;

/// What is said of an index that does not fit the blocks.
pub(super) const INDEX_IS_WRONG: &str =
    "the index does not fit the blocks or the other files: it was made up";

/// No store comes so far: what claims more was made up, and must not make numbers overflow.
const SEQ_MAX: u64 = 1 << 62;

/// A shard file whose header stands.
#[derive(Clone, Debug)]
pub(super) struct ShardFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) file_bytes: u64,
    pub(super) header: FileHeader,
}

/// What the loaded snapshot says of itself.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) start_seq: u64,
    pub(super) end_seq: u64,
    pub(super) log_ordinal: u64,
    pub(super) log_salt: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Opens all shard files of a full snapshot and checks their headers.
pub(super) fn open_shards(
    options: &ReadOptions<'_>,
    info: &SnapshotInfo,
) -> Result<Vec<ShardFile>> {
    let shard_count = u32::try_from(info.shard_paths.len()).unwrap_or(u32::MAX);
    let mut shards: Vec<ShardFile> = Vec::new();
    for (shard, path) in (0..).zip(&info.shard_paths) {
        let file = open_for_reading(options.fs, path)?;
        let file_bytes = file.len()?;
        let header = read_header(&*file)?.map_err(|error| header_error(path, &error))?;
        let name =
            NameSays { kind: FileKind::Snapshot, ordinal: info.ordinal.0, shard, shard_count };
        check_name(path, &header, name)?;
        check_store(
            path,
            &header,
            shards.first().map_or(&header, |first| &first.header),
            options.types,
        )?;
        shards.push(ShardFile { path: path.clone(), file, file_bytes, header });
    }
    Ok(shards)
}

/// Loads all shard files into the map.
pub(super) fn load(options: &ReadOptions<'_>, map: &Map, shards: &[ShardFile]) -> Result<Base> {
    let bytes_total = shards.iter().map(|shard| shard.file_bytes).sum();
    let bytes_done = AtomicU64::new(0);
    let tell = |bytes: u64| {
        let bytes_done = bytes_done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(observer) = options.progress {
            observer.tell(Progress { phase: Phase::Load, bytes_done, bytes_total });
        }
    };
    let ends = spans::read_ends(shards)?;
    // A hint: each is checked where its file ends.
    let records = match &ends {
        Some(ends) => announced(ends.iter().map(|end| Some(end.footer)).zip(shards)),
        None => announced(shards.iter().map(read_footer).zip(shards)),
    };
    map.expect(records, record_bytes(records, shards)).map_err(|_| Error::OutOfMemory)?;
    // Nothing here needs them; but who opens at once another time believes them.
    let indexes = spans::indexes_of(shards, ends.as_deref())?;
    let files: Vec<_> = shards.iter().zip(indexes).collect();
    let footers = options
        .pool
        .map(&files, |(shard, index)| load_shard(options, map, shard, index.clone(), &tell));
    let footers = footers.into_iter().collect::<Result<Vec<Footer>>>()?;
    Base::of(options, shards, &footers)
}

impl Base {
    /// What the footers of all shard files say together.
    pub(super) fn of(
        options: &ReadOptions<'_>,
        shards: &[ShardFile],
        footers: &[Footer],
    ) -> Result<Self> {
        let mut base: Option<Base> = None;
        for (footer, shard) in footers.iter().zip(shards) {
            let base = base.get_or_insert(Base {
                start_seq: footer.start_seq,
                end_seq: footer.end_seq,
                log_ordinal: footer.log_ordinal,
                log_salt: footer.log_salt,
                records: 0,
                bytes: shards.iter().map(|shard| shard.file_bytes).sum(),
            });
            let same = (base.start_seq, base.log_ordinal, base.log_salt)
                == (footer.start_seq, footer.log_ordinal, footer.log_salt);
            if !same {
                let at = shard.file_bytes.saturating_sub(bytes_u64(FOOTER_BYTES));
                return Err(Error::damaged(
                    &shard.path,
                    at,
                    "the footer speaks of another snapshot than the first shard's",
                ));
            }
            base.end_seq = base.end_seq.max(footer.end_seq);
            base.records = base.records.saturating_add(footer.records);
        }
        if let Some(base) = &base
            && (base.start_seq > base.end_seq || base.end_seq > SEQ_MAX)
        {
            let path = shards.first().map_or(options.dir, |shard| &shard.path);
            return Err(Error::damaged(
                path,
                0,
                "the footer's sequence numbers are none that writes had",
            ));
        }
        base.ok_or_else(|| Error::damaged(options.dir, 0, "a snapshot without shards"))
    }
}

/// Prepares the map's index for so many records of these files, which takes no time that grows with them.
pub(super) fn expect_entries(map: &Map, records: u64, shards: &[ShardFile]) -> Result<()> {
    map.expect_entries(records, record_bytes(records, shards)).map_err(|_| Error::OutOfMemory)
}

/// How many records the footers announce. No file holds more of them than it has words, whatever it says.
fn announced<'a>(footers: impl Iterator<Item = (Option<Footer>, &'a ShardFile)>) -> u64 {
    let of_file = |(footer, shard): (Option<Footer>, &ShardFile)| {
        footer.map_or(0, |footer| footer.records.min(shard.file_bytes / RECORD_BYTES_MIN))
    };
    footers.map(of_file).sum()
}

/// How many bytes so many records of these files take in chunks at the most: large values do not lie with them.
fn record_bytes(records: u64, shards: &[ShardFile]) -> u64 {
    let file_bytes = shards.iter().map(|shard| shard.file_bytes).sum::<u64>();
    file_bytes.min(records.saturating_mul(RECORD_BYTES_USUAL_MAX))
}

/// What cannot be read now is told when it is read in its turn.
fn read_footer(shard: &ShardFile) -> Option<Footer> {
    let mut footer = [0; FOOTER_BYTES];
    let offset = shard.file_bytes.checked_sub(bytes_u64(footer.len()))?;
    let got = shard.file.read_at(offset, &mut footer).ok()?;
    match BlockScanner::new(shard.header.seed(), offset, footer.get(..got)?).next_block() {
        BlockStep::Footer { footer, .. } => Some(footer),
        _ => None,
    }
}

/// Loads one shard file: blocks, perhaps the index, then the footer, then nothing.
fn load_shard(
    options: &ReadOptions<'_>,
    map: &Map,
    shard: &ShardFile,
    mut index: IndexWalk,
    tell: &dyn Fn(u64),
) -> Result<Footer> {
    let ShardFile { path, file, file_bytes, header } = shard;
    let seed = header.seed();
    let mut window = Window::new(&**file, path, *file_bytes);
    let mut offset = bytes_u64(HEADER_BYTES);
    let mut want = WINDOW_BYTES;
    let upgrade = FileUpgrade::of(options, path, &header.value_schema);
    let mut filler = Filler::of_file(map, upgrade);
    let (mut records, mut payload_bytes) = (0, 0);
    loop {
        window.read(offset, want)?;
        tell(bytes_u64(window.bytes().len()));
        want = WINDOW_BYTES;
        let mut scanner = BlockScanner::new(seed, offset, window.bytes());
        loop {
            match scanner.next_block() {
                BlockStep::Block { offset: at, records: block } => {
                    if !index.enter(at, &mut filler.hashes) {
                        return Err(Error::damaged(path, at, INDEX_IS_WRONG));
                    }
                    let (count, bytes) = filler.fill(block).map_err(|bad| bad.at(path, at))?;
                    records += count;
                    payload_bytes += bytes;
                }
                BlockStep::Index { offset: at, .. } => {
                    let footer_at = file_bytes.saturating_sub(bytes_u64(FOOTER_BYTES));
                    if !index.leave(at) || scanner.offset() != footer_at {
                        return Err(Error::damaged(path, at, INDEX_IS_WRONG));
                    }
                }
                BlockStep::Footer { offset: at, footer } => {
                    if at + bytes_u64(FOOTER_BYTES) != *file_bytes {
                        return Err(Error::damaged(path, at, "bytes behind the footer"));
                    }
                    if (footer.records, footer.payload_bytes) != (records, payload_bytes) {
                        return Err(Error::damaged(
                            path,
                            at,
                            "the footer counts other records than the file holds",
                        ));
                    }
                    return Ok(footer);
                }
                BlockStep::Partial { offset: at, bytes } => {
                    if window.at_end() {
                        return Err(Error::damaged(
                            path,
                            at,
                            "the snapshot ends without a footer: it was cut short",
                        ));
                    }
                    offset = at;
                    want = want.max(bytes_u64(bytes));
                    break;
                }
                BlockStep::Bad { offset: at, why } => {
                    return Err(Error::damaged(path, at, format!("snapshot block: {why}")));
                }
                BlockStep::End { offset: at } => {
                    return Err(Error::damaged(path, at, "the snapshot ends without a footer"));
                }
            }
        }
    }
}

/// Puts records into the map and keeps the shard locked as long as the next record goes there, too:
/// snapshots are written in the order of hashes.
pub(super) struct Filler<'a> {
    map: &'a Map,
    shard: Option<(usize, WriteGuard<'a>)>,
    upgrade: Option<FileUpgrade<'a>>,
    /// A value that was upgraded.
    value: Vec<u8>,
    /// What the records' hashes must be in.
    hashes: RangeInclusive<u64>,
    /// What was replayed before.
    superseded: Option<&'a Superseded>,
    /// Keys may be there already, and stay as they are.
    may_exist: bool,
}

pub(super) enum BadBlock {
    Bad(String),
    NotUpgraded(Error),
    OutOfMemory,
}

impl BadBlock {
    pub(super) fn at(self, path: &std::path::Path, offset: u64) -> Error {
        match self {
            BadBlock::NotUpgraded(error) => error,
            BadBlock::Bad(reason) => Error::damaged(path, offset, reason),
            BadBlock::OutOfMemory => Error::OutOfMemory,
        }
    }
}

/// Sets a key; whether it was there.
pub(super) fn set(
    shard: &mut WriteGuard<'_>,
    hash: u64,
    key: &[u8],
    value: &[u8],
) -> Result<bool, OutOfMemory> {
    let value = NewValue::new(value)?;
    shard.reserve(hash, key.len(), &value)?;
    Ok(shard.set(hash, key, &value, &mut Garbage::default()))
}

impl<'a> Filler<'a> {
    /// For the records of a whole file.
    fn of_file(map: &'a Map, upgrade: Option<FileUpgrade<'a>>) -> Self {
        let hashes = 0..=u64::MAX;
        Self {
            map,
            shard: None,
            upgrade,
            value: Vec::new(),
            hashes,
            superseded: None,
            may_exist: false,
        }
    }

    /// For the records of one span, behind the replay of the logs.
    pub(super) fn of_span(
        map: &'a Map,
        hashes: &RangeInclusive<u64>,
        superseded: &'a Superseded,
        may_exist: bool,
    ) -> Self {
        let filler = Self::of_file(map, None);
        Self { hashes: hashes.clone(), superseded: Some(superseded), may_exist, ..filler }
    }

    /// Lets go of the shard that is locked.
    pub(super) fn unlock(&mut self) {
        self.shard = None;
    }

    /// Returns the number of records and the bytes of their keys and values.
    pub(super) fn fill(&mut self, records: Records<'_>) -> Result<(u64, u64), BadBlock> {
        let (mut count, mut payload_bytes) = (0, 0);
        let mut rest = records.payload();
        for record in records {
            let record =
                record.map_err(|why| BadBlock::Bad(format!("record in a block: {why}")))?;
            let hash = self.map.hash(record.key);
            if !self.hashes.contains(&hash) {
                let why = "a record stands where the index has other hashes";
                return Err(BadBlock::Bad(why.into()));
            }
            // A long copy, and memory from the system, for which nobody is to wait.
            let is_kept = NewValue::is_inline(record.value.len()) || self.upgrade.is_some();
            let large = if is_kept {
                None
            } else {
                self.unlock();
                Some(NewValue::new(record.value).map_err(|_| BadBlock::OutOfMemory)?)
            };
            let index = self.map.shard_index(hash);
            if self.shard.as_ref().is_none_or(|(held, _)| *held != index) {
                // Let go first: two loaders that each hold a shard and want the other's would wait for ever.
                self.shard = None;
                self.shard = Some((index, self.map.write(index)));
            }
            let Some((_, shard)) = &mut self.shard else { continue };
            let (encoded, behind) = rest.split_at_checked(record.bytes_used).unwrap_or_default();
            rest = behind;
            count += 1;
            payload_bytes += bytes_u64(record.key.len() + record.value.len());
            if self.superseded.is_some_and(|superseded| superseded.has(hash, record.key)) {
                continue;
            }
            let loaded = match (&self.upgrade, large) {
                (None, Some(value)) => shard.load_value(hash, record.key, &value),
                (None, None) => shard.load(hash, encoded),
                (Some(upgrade), _) => {
                    upgrade
                        .convert(record.value, &mut self.value)
                        .map_err(BadBlock::NotUpgraded)?;
                    set(shard, hash, record.key, &self.value).map(|existed| !existed)
                }
            };
            match loaded {
                Ok(true) => {}
                Ok(false) if self.may_exist => {}
                Ok(false) => {
                    return Err(BadBlock::Bad("a key stands twice in the snapshot".into()));
                }
                Err(_) => return Err(BadBlock::OutOfMemory),
            }
        }
        Ok((count, payload_bytes))
    }
}
