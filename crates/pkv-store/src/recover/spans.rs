//! Instant opening: the records of the full snapshot stay in their files, and come into the map by spans of hashes, each
//! when the first of its keys is asked for, or when the loading thread comes to it.
//!
//! Opening reads footers and indexes, and replays the logs into a map that lacks the snapshot. What the logs say of a key
//! counts, so a span leaves out the keys that the map has by then, and those that the logs have removed. From the end of
//! the opening on, nobody looks for a key before its span is loaded.

use std::collections::{HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pkv_format::{
    BLOCKS_OFFSET, BlockScanner, BlockStep, FOOTER_BYTES, Footer, IndexEntry, index_bytes,
};

use super::ReadOptions;
use super::load::{Base, Filler, INDEX_IS_WRONG, RECORD_BYTES_MIN, ShardFile};
use super::upgrade::FileUpgrade;
use super::window::Window;
use crate::error::{Error, Result};
use crate::frame::bytes_u64;
use crate::health::Cause;
use crate::map::Map;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex};

/// Two lengths and padding.
const RECORD_OVERHEAD_BYTES: u64 = 8;

/// So much of a file's end is read at once: footer and index, where they are no longer.
const TAIL_BYTES: u64 = 4096;

/// How much of a file is read at a time; a longer block gets what it needs.
const READ_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The spans of a full snapshot, in the order of their hashes; none, where everything was loaded at once.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    all: Box<[Span]>,
    /// How many are not loaded.
    left: AtomicUsize,
    records_left: AtomicU64,
    payload_bytes_left: AtomicU64,
    /// The logs had writes: the map may have a key that a span has, too.
    is_changed: AtomicBool,
    /// The store closes: the loading thread is to end.
    is_stopped: AtomicBool,
    /// What was found when a span was loaded, the first of it.
    damage: OnceLock<Damage>,
    /// Nobody was told of it yet.
    is_damage_untold: AtomicBool,
    /// Why the loading thread could not read a span; it tries again.
    failing: Mutex<Option<Cause>>,
    pause: Mutex<()>,
    wake: Condvar,
}

/// Where, and what.
#[derive(Clone, Debug)]
struct Damage {
    path: PathBuf,
    offset: u64,
    reason: String,
}

impl Damage {
    fn to_error(&self) -> Error {
        Error::damaged(&self.path, self.offset, self.reason.clone())
    }
}

/// The records of one snapshot file whose hashes are in a range.
#[derive(Debug)]
struct Span {
    hashes: RangeInclusive<u64>,
    /// Where its blocks stand in the file.
    offset: u64,
    end: u64,
    is_loaded: AtomicBool,
    /// `None`: it is loaded. Locked while it is being loaded.
    waiting: Mutex<Option<Waiting>>,
}

/// What a span needs that is not loaded.
#[derive(Debug)]
struct Waiting {
    file: Arc<SpanFile>,
    superseded: Superseded,
    /// It was begun and failed: the map may have some of its keys.
    is_begun: bool,
    /// It is damaged, and stays so: what is read another time may be something else, and what was refused until then
    /// would not fit it.
    damage: Option<Damage>,
}

/// What the logs have taken out of a span.
#[derive(Debug, Default)]
pub(super) struct Superseded {
    removed: HashSet<Box<[u8]>>,
    /// Hashes of which all keys were removed.
    cleared: Vec<RangeInclusive<u64>>,
}

impl Superseded {
    fn clear(&mut self, hashes: &RangeInclusive<u64>) {
        let (first, last) = (*hashes.start(), *hashes.end());
        if self.cleared.iter().any(|known| *known.start() <= first && last <= *known.end()) {
            return;
        }
        // A thread comes to its shards in ascending order.
        let before =
            self.cleared.iter_mut().find(|known| known.end().checked_add(1) == Some(first));
        match before {
            Some(known) => *known = *known.start()..=last,
            None => self.cleared.push(hashes.clone()),
        }
    }

    /// Whether a record is to be left out.
    pub(super) fn has(&self, hash: u64, key: &[u8]) -> bool {
        self.cleared.iter().any(|hashes| hashes.contains(&hash))
            || (!self.removed.is_empty() && self.removed.contains(key))
    }
}

/// A file with spans, closed behind the last of them.
#[derive(Debug)]
struct SpanFile {
    shard: ShardFile,
    footer_at: u64,
    left: Mutex<FileLeft>,
}

/// What of a file is not loaded, as the footer counts it.
#[derive(Clone, Copy, Debug)]
struct FileLeft {
    spans: usize,
    records: u64,
    payload_bytes: u64,
}

/// For an instant opening: what is to be loaded, without a record. `None`: a file has no index, or values of an older
/// version, and everything is to be loaded at once.
pub(super) fn open(
    options: &ReadOptions<'_>,
    shards: &[ShardFile],
) -> Result<Option<(Base, Spans)>> {
    let has_older_values = |file: &ShardFile| {
        FileUpgrade::of(options, &file.path, &file.header.value_schema).is_some()
    };
    if shards.iter().any(has_older_values) {
        return Ok(None);
    }
    let Some(ends) = read_ends(shards)? else { return Ok(None) };
    let all = spans_of(shards, &ends)?;
    // From here on they are believed before the records were counted.
    for (shard, FileEnd { footer, footer_at, .. }) in shards.iter().zip(&ends) {
        let bytes = shard.file_bytes;
        if footer.records > bytes / RECORD_BYTES_MIN || footer.payload_bytes > bytes {
            let why = "the footer counts more than the file can hold";
            return Err(Error::damaged(&shard.path, *footer_at, why));
        }
    }
    let footers: Vec<Footer> = ends.iter().map(|end| end.footer).collect();
    let base = Base::of(options, shards, &footers)?;
    let payload_bytes = footers.iter().map(|footer| footer.payload_bytes).sum();
    let spans = Spans {
        left: AtomicUsize::new(all.len()),
        records_left: AtomicU64::new(base.records),
        payload_bytes_left: AtomicU64::new(payload_bytes),
        all: all.into_boxed_slice(),
        ..Spans::default()
    };
    Ok(Some((base, spans)))
}

/// The indexes of all files, checked as far as they can be without the blocks; for who reads those, and compares. Empty
/// ones where there is none. `ends`: from [`read_ends`].
pub(super) fn indexes_of(shards: &[ShardFile], ends: Option<&[FileEnd]>) -> Result<Vec<IndexWalk>> {
    let Some(ends) = ends else {
        return Ok(shards.iter().map(|_| IndexWalk::default()).collect());
    };
    let mut all = spans_of(shards, ends)?.into_iter().map(|span| (span.offset, span.hashes));
    let walk = |end: &FileEnd| IndexWalk { spans: all.by_ref().take(end.index.len()).collect() };
    Ok(ends.iter().map(walk).collect())
}

/// `None`: not all files have an index.
pub(super) fn read_ends(shards: &[ShardFile]) -> Result<Option<Vec<FileEnd>>> {
    shards.iter().map(read_end).collect()
}

/// The spans of all files, or that an index says what cannot be.
fn spans_of(shards: &[ShardFile], ends: &[FileEnd]) -> Result<Vec<Span>> {
    let mut all: Vec<Span> = Vec::new();
    for (shard, end) in shards.iter().zip(ends) {
        if !push_spans(&mut all, shard, end) {
            return Err(Error::damaged(&shard.path, end.index_at, INDEX_IS_WRONG));
        }
    }
    Ok(all)
}

/// What stands at the end of a file.
pub(super) struct FileEnd {
    index_at: u64,
    index: Vec<IndexEntry>,
    footer_at: u64,
    pub(super) footer: Footer,
}

/// `None`: index or footer are not there; who reads the whole file tells whether that is damage.
fn read_end(shard: &ShardFile) -> Result<Option<FileEnd>> {
    let ShardFile { path, file, file_bytes, header } = shard;
    let mut window = Window::new(&**file, path, *file_bytes);
    let tail_bytes = TAIL_BYTES.min(*file_bytes);
    let tail_at = file_bytes - tail_bytes;
    window.read(tail_at, tail_bytes)?;
    let Some((before, footer_block)) = window.bytes().split_last_chunk::<FOOTER_BYTES>() else {
        return Ok(None);
    };
    let footer_at = file_bytes - bytes_u64(FOOTER_BYTES);
    let BlockStep::Footer { footer, .. } =
        BlockScanner::new(header.seed(), footer_at, footer_block).next_block()
    else {
        return Ok(None);
    };
    let bytes = before.last_chunk().and_then(|count| index_bytes(*count));
    let index_at = bytes.and_then(|bytes| footer_at.checked_sub(bytes));
    let Some(index_at) = index_at.filter(|at| *at >= BLOCKS_OFFSET) else { return Ok(None) };
    if index_at < tail_at {
        window.read(index_at, footer_at - index_at)?;
    }
    let skipped = usize::try_from(index_at.saturating_sub(tail_at)).unwrap_or(usize::MAX);
    let block = window.bytes().get(skipped..).unwrap_or_default();
    let mut scanner = BlockScanner::new(header.seed(), index_at, block);
    match scanner.next_block() {
        BlockStep::Index { entries, .. } if scanner.offset() == footer_at => {
            Ok(Some(FileEnd { index_at, index: entries.collect(), footer_at, footer }))
        }
        _ => Ok(None),
    }
}

/// The index of a file that is read from the first block to the last.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexWalk {
    /// Where they begin, and their hashes.
    spans: VecDeque<(u64, RangeInclusive<u64>)>,
}

impl IndexWalk {
    /// Comes to the block that stands there, and says which hashes its records may have; the same as before, where no
    /// span begins. False: a span begins where no block does.
    pub(super) fn enter(&mut self, offset: u64, hashes: &mut RangeInclusive<u64>) -> bool {
        if let Some(begun) = self.begin(offset) {
            *hashes = begun;
        }
        self.spans.front().is_none_or(|(next, _)| *next > offset)
    }

    /// Comes to the end of the blocks. False: a span begins where no block does.
    pub(super) fn leave(&mut self, offset: u64) -> bool {
        // That of a file without records stands here.
        let _ = self.begin(offset);
        self.spans.is_empty()
    }

    /// The hashes of the span that begins there.
    fn begin(&mut self, offset: u64) -> Option<RangeInclusive<u64>> {
        let (next, _) = self.spans.front()?;
        if *next == offset { self.spans.pop_front().map(|(_, hashes)| hashes) } else { None }
    }
}

/// Adds the spans of the next file. False: its index says what cannot be.
fn push_spans(all: &mut Vec<Span>, shard: &ShardFile, file_end: &FileEnd) -> bool {
    let FileEnd { index_at, index, footer_at, footer } = file_end;
    let file = Arc::new(SpanFile {
        shard: shard.clone(),
        footer_at: *footer_at,
        left: Mutex::new(FileLeft {
            spans: index.len(),
            records: footer.records,
            payload_bytes: footer.payload_bytes,
        }),
    });
    let begins_right = match index.first() {
        Some(first) => first.offset == BLOCKS_OFFSET && (!all.is_empty() || first.first_hash == 0),
        None => *index_at == BLOCKS_OFFSET && footer.records == 0,
    };
    if !begins_right {
        return false;
    }
    let ends = index.iter().skip(1).map(|next| next.offset).chain([*index_at]);
    for (number, (entry, end)) in (1..).zip(index.iter().zip(ends)) {
        let IndexEntry { first_hash, offset } = *entry;
        // The last one may be without records.
        if offset > end || (offset == end && number < index.len()) {
            return false;
        }
        if let Some(before) = all.last_mut() {
            let before_first = *before.hashes.start();
            if before_first >= first_hash {
                return false;
            }
            before.hashes = before_first..=first_hash - 1;
        }
        all.push(Span {
            hashes: first_hash..=u64::MAX,
            offset,
            end,
            is_loaded: AtomicBool::new(false),
            waiting: Mutex::new(Some(Waiting {
                file: Arc::clone(&file),
                superseded: Superseded::default(),
                is_begun: false,
                damage: None,
            })),
        });
    }
    true
}

impl Spans {
    /// Whether everything is in the map.
    #[inline]
    pub(crate) fn are_loaded(&self) -> bool {
        // Who sees this sees what was loaded before.
        self.left.load(Ordering::Acquire) == 0
    }

    /// Records of the snapshot that are not in the map. Some will not come, since the logs have other words of their keys.
    pub(crate) fn records_left(&self) -> u64 {
        if self.are_loaded() { 0 } else { self.records_left.load(Ordering::Relaxed) }
    }

    /// Bytes of their keys and values.
    pub(crate) fn payload_bytes_left(&self) -> u64 {
        if self.are_loaded() { 0 } else { self.payload_bytes_left.load(Ordering::Relaxed) }
    }

    /// Bytes of those records in memory or in a file, about.
    pub(crate) fn record_bytes_left(&self) -> u64 {
        self.payload_bytes_left() + self.records_left() * RECORD_OVERHEAD_BYTES
    }

    /// While logs are replayed: they have writes, so a key may be there before its span.
    pub(super) fn note_writes(&self) {
        self.is_changed.store(true, Ordering::Relaxed);
    }

    /// While logs are replayed: this key was removed.
    pub(super) fn note_removed(&self, hash: u64, key: &[u8]) {
        if let Some(span) = self.span_of(hash)
            && let Some(waiting) = &mut *span.waiting.lock()
        {
            waiting.superseded.removed.insert(key.into());
        }
    }

    /// While logs are replayed: all keys with these hashes were removed. (Each thread that replays comes to a clear in its
    /// own time, with shards of its own; so a span may be cleared by parts.)
    pub(super) fn note_cleared(&self, hashes: &RangeInclusive<u64>) {
        let first = self.all.partition_point(|span| span.hashes.end() < hashes.start());
        let spans = self.all.get(first..).unwrap_or_default().iter();
        for span in spans.take_while(|span| span.hashes.start() <= hashes.end()) {
            let Some(Waiting { superseded, .. }) = &mut *span.waiting.lock() else { continue };
            superseded.clear(hashes);
        }
    }

    fn span_of(&self, hash: u64) -> Option<&Span> {
        let behind = self.all.partition_point(|span| *span.hashes.start() <= hash);
        self.all.get(behind.checked_sub(1)?)
    }

    /// Loads the span of a key with this hash, unless it is loaded; waits for who does. Nothing of the map is locked by
    /// the caller.
    #[cold]
    pub(crate) fn load_for(&self, map: &Map, hash: u64) -> Result<()> {
        self.span_of(hash).map_or(Ok(()), |span| self.load(map, span))
    }

    /// Bytes of all blocks.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.all.iter().map(|span| span.end - span.offset).sum()
    }

    /// The damage that was met, again.
    pub(crate) fn damage(&self) -> Option<Error> {
        self.damage.get().map(Damage::to_error)
    }

    /// Whether damage was met that nobody was told of; from here on somebody was.
    pub(crate) fn take_untold(&self) -> bool {
        self.is_damage_untold.swap(false, Ordering::AcqRel)
    }

    /// Why the loading thread cannot read a span.
    pub(crate) fn failing(&self) -> Option<Cause> {
        self.failing.lock().clone()
    }

    pub(crate) fn set_failing(&self, cause: Option<Cause>) {
        *self.failing.lock() = cause;
    }

    /// Sleeps so long, or until the store closes.
    pub(crate) fn rest(&self, time: Duration) {
        let mut pause = self.pause.lock();
        if !self.is_stopped() {
            self.wake.wait_for(&mut pause, time);
        }
    }

    /// Has the loading thread end.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        drop(self.pause.lock());
        self.wake.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    fn note_damage(&self, error: &Error) -> Option<Damage> {
        let Error::Damaged { path, offset, reason } = error else { return None };
        let damage = Damage { path: path.clone(), offset: *offset, reason: reason.clone() };
        if self.damage.set(damage.clone()).is_ok() {
            self.is_damage_untold.store(true, Ordering::Release);
        }
        Some(damage)
    }

    /// How many there are, loaded or not.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// The same for a span by its number. Returns how many bytes of its file it takes.
    pub(crate) fn load_nth(&self, map: &Map, number: usize) -> Result<u64> {
        let Some(span) = self.all.get(number) else { return Ok(0) };
        self.load(map, span)?;
        Ok(span.end - span.offset)
    }

    fn load(&self, map: &Map, span: &Span) -> Result<()> {
        if span.is_loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut locked = span.waiting.lock();
        let Some(waiting) = &mut *locked else { return Ok(()) };
        if let Some(damage) = &waiting.damage {
            return Err(damage.to_error());
        }
        let may_exist = self.is_changed.load(Ordering::Relaxed) || waiting.is_begun;
        waiting.is_begun = true;
        let counted = span.fill(map, waiting, may_exist).and_then(|(records, payload_bytes)| {
            waiting.file.count(records, payload_bytes).map(|()| (records, payload_bytes))
        });
        let (records, payload_bytes) = counted.inspect_err(|error| {
            waiting.damage = self.note_damage(error);
        })?;
        *locked = None;
        self.records_left.fetch_sub(records, Ordering::Relaxed);
        self.payload_bytes_left.fetch_sub(payload_bytes, Ordering::Relaxed);
        span.is_loaded.store(true, Ordering::Release);
        self.left.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }
}

impl Span {
    /// Reads the span's blocks and puts their records into the map, but for keys that are there where that may be. Returns
    /// how many records the blocks have, and the bytes of their keys and values.
    fn fill(&self, map: &Map, waiting: &Waiting, may_exist: bool) -> Result<(u64, u64)> {
        let ShardFile { path, file, header, .. } = &waiting.file.shard;
        let mut window = Window::new(&**file, path, self.end);
        let mut filler = Filler::of_span(map, &self.hashes, &waiting.superseded, may_exist);
        let mut offset = self.offset;
        // Mostly the whole span.
        let mut want = READ_BYTES_MAX;
        let (mut records, mut payload_bytes) = (0, 0);
        while offset < self.end {
            window.read(offset, want)?;
            want = READ_BYTES_MAX;
            let mut scanner = BlockScanner::new(header.seed(), offset, window.bytes());
            loop {
                match scanner.next_block() {
                    BlockStep::Block { offset: at, records: block } => {
                        let (count, bytes) = filler.fill(block).map_err(|bad| bad.at(path, at))?;
                        records += count;
                        payload_bytes += bytes;
                        // Others need the shard, for keys of other spans.
                        filler.unlock();
                    }
                    BlockStep::Partial { offset: at, bytes } if at < self.end => {
                        if window.at_end() {
                            return Err(Error::damaged(
                                path,
                                at,
                                "a block goes on where the index has another begin",
                            ));
                        }
                        want = want.max(bytes_u64(bytes));
                        break;
                    }
                    BlockStep::Partial { .. } => break,
                    BlockStep::Bad { offset: at, why } => {
                        return Err(Error::damaged(path, at, format!("snapshot block: {why}")));
                    }
                    BlockStep::Index { offset: at, .. }
                    | BlockStep::Footer { offset: at, .. }
                    | BlockStep::End { offset: at } => {
                        return Err(Error::damaged(
                            path,
                            at,
                            "no block of records where the index has one",
                        ));
                    }
                }
            }
            offset = scanner.offset();
        }
        Ok((records, payload_bytes))
    }
}

impl SpanFile {
    /// Counts what a span had, all of them together what the footer counts. Nothing is counted where that cannot be.
    fn count(&self, records: u64, payload_bytes: u64) -> Result<()> {
        let mut left = self.left.lock();
        let counted = left.without(records, payload_bytes);
        *left = counted.ok_or_else(|| {
            let why = "the footer counts other records than the file holds";
            Error::damaged(&self.shard.path, self.footer_at, why)
        })?;
        Ok(())
    }
}

impl FileLeft {
    /// `None`: more than that, or something else than nothing behind the last span.
    fn without(self, records: u64, payload_bytes: u64) -> Option<Self> {
        let left = Self {
            spans: self.spans.checked_sub(1)?,
            records: self.records.checked_sub(records)?,
            payload_bytes: self.payload_bytes.checked_sub(payload_bytes)?,
        };
        let is_all = left.spans == 0;
        (!is_all || (left.records, left.payload_bytes) == (0, 0)).then_some(left)
    }
}
