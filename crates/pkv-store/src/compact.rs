//! Compaction: from the map to a full snapshot, while writes go on.
//!
//! The snapshot is fuzzy: each slice is copied at its own instant. Whatever changes meanwhile is in the
//! log that was taken into use before the first copy, and every logged operation is absolute, so that
//! replaying that log makes the snapshot exact.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pkv_format::{
    BLOCK_HEADER_BYTES, FileKind, Footer, HEADER_BYTES, IndexEntry, finish_block, push_index,
    push_record,
};
use pkv_fs::{Access, File};
use pkv_snapshot_set::{SnapshotInfo, SnapshotOrdinal, SnapshotSet, SnapshotType};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::events;
use crate::frame::bytes_u64;
use crate::health::Cause;
use crate::histogram::{Histogram, Timings};
use crate::log::{Rotated, SnapshotSpace};
use crate::map::{Cursor, SliceCopy, SliceSize, Usage};
use crate::pace::{Pace, Turn};
use crate::recover::{Phase, Progress, RecoveryProgress};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// The file system is handed pieces of this size, each at a multiple of it.
const WRITE_BYTES: usize = 512 * 1024;

/// A block ends behind the slice with which it has so much: most slices have 10 to 30 KiB, or 30 to 60 where nobody writes.
const BLOCK_BYTES_ENOUGH: usize = 48 * 1024;

/// A span of a file has so many bytes, or somewhat more: what an instant opening loads at once, in some tenths of a
/// millisecond. Less, where files are meant to be small: so many spans a file.
const SPAN_BYTES_MAX: u64 = 256 * 1024;
const SPANS_PER_FILE: u64 = 128;

/// A piece that is nearly whole, and the block and the slice that end it.
const READY_BYTES: usize = WRITE_BYTES + BLOCK_BYTES_ENOUGH + 80 * 1024;

/// Beside writers a shard file is synced each time it grew by this much, so that the disk is never flooded by
/// one large sync that a writer's sync would have to wait behind.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// What a file takes at most beside its records and blocks: header, footer, pages in part, and what the file system
/// needs to find them.
const FILE_SPACE_BYTES: u64 = 16 * 1024;

/// The first pause after a compaction failed, and the longest; the longest while writers wait for one.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(60);
const RETRY_MAX_WAITED_FOR: Duration = Duration::from_secs(2);

/// What compactions are doing and have done.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// One at a time.
    running: Mutex<()>,
    /// A background compaction was started and has not ended.
    started: AtomicBool,
    /// The store is closing: no further attempt.
    closing: AtomicBool,
    /// The store is closing and does not wait for the one under way.
    cancelled: AtomicBool,
    pause: Mutex<()>,
    wake: Condvar,
    /// A snapshot has its log and is being written, so much of it by now.
    under_way: AtomicBool,
    written_bytes: AtomicU64,
    done: AtomicU64,
    last_micros: AtomicU64,
    last_bytes: AtomicU64,
    times: Timings,
}

impl Compaction {
    /// Asks a running compaction to give up, soon.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Ends the pauses and repetitions of a compaction that fails.
    pub(crate) fn stop_retrying(&self) {
        self.closing.store(true, Ordering::Release);
        drop(self.pause.lock());
        self.wake.notify_all();
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Snapshots written since the store was opened, the time the last one took, and its bytes.
    pub(crate) fn figures(&self) -> (u64, Duration, u64) {
        (
            self.done.load(Ordering::Relaxed),
            Duration::from_micros(self.last_micros.load(Ordering::Relaxed)),
            self.last_bytes.load(Ordering::Relaxed),
        )
    }

    /// How long the snapshots took.
    pub(crate) fn times(&self) -> Histogram {
        self.times.get()
    }

    fn begin(&self) -> UnderWay<'_> {
        self.written_bytes.store(0, Ordering::Relaxed);
        self.under_way.store(true, Ordering::Release);
        UnderWay(&self.under_way)
    }

    fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }
}

/// That a snapshot is being written, until this is dropped.
struct UnderWay<'a>(&'a AtomicBool);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A full snapshot in the making.
struct Pending<'a> {
    under_way: UnderWay<'a>,
    info: SnapshotInfo,
    rotated: Rotated,
    /// The last write when the work began, some milliseconds before the copy does.
    seq_before: u64,
}

impl Core {
    /// Writes a full snapshot and drops what it replaces. Returns its ordinal.
    ///
    /// 1. The pending files get their names, above every ordinal so far.
    /// 2. A fresh log above them is taken into use. From here on every change is in a log that is
    ///    replayed on top of this snapshot.
    /// 3. The map is copied, slice by slice, and written, shard files in parallel, each with its footer.
    /// 4. The log is synced up to the last write that the copies may contain: a snapshot must never be
    ///    ahead of the log that leads to it.
    /// 5. The set renames the files; its first rename is **the commit point**.
    /// 6. What is obsolete is removed, some files at a time. The space of the last ones is still held when this returns:
    ///    to give back that of a large snapshot takes long, up to seconds, in which logs must be made and writers may need one.
    ///    So it is done with nothing locked that they wait for, by the caller.
    ///
    /// What an instant opening has left for later is loaded before, and space that is still held is given back. A failure before the commit point drops the pending files; the logs are all still there.
    pub(crate) fn compact(&self) -> Result<u64> {
        let _one_at_a_time = self.compaction.running.lock();
        self.check_going_on()?;
        // Of what the one before has replaced, and of what opening left: else three snapshots would be on the disk.
        self.purge_dropped();
        self.folder.space.give_back();
        self.load_all(|| self.check_going_on())?;
        let started = Instant::now();
        // 1. and 2.
        let pending = self.begin_snapshot()?;
        let ordinal = pending.info.ordinal;
        let written = self
            // 3.
            .write_snapshot(&pending)
            // 4.
            .and_then(|bytes| self.log.sync_all().map(|()| bytes));
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                // From here on the next one needs its whole space again.
                drop(pending);
                self.give_up_snapshot(ordinal);
                return Err(error);
            }
        };
        // 5.
        self.publish(ordinal)?;
        // 6.
        self.purge();
        let Pending { under_way, rotated, .. } = pending;
        drop(under_way);
        self.log.snapshot_published(&rotated);
        let time = started.elapsed();
        self.compaction.times.count(time);
        events::compacted(&self.folder.dir, ordinal.0, bytes, time);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.compaction.last_micros.store(micros, Ordering::Relaxed);
        self.compaction.last_bytes.store(bytes, Ordering::Relaxed);
        self.compaction.done.fetch_add(1, Ordering::Relaxed);
        Ok(ordinal.0)
    }

    /// Steps 1 and 2. No log may be made or taken into use between the two by anybody else: it would
    /// stand above the snapshot and begin before it, or below it and end after it.
    fn begin_snapshot(&self) -> Result<Pending<'_>> {
        let _creation = self.folder.creation();
        let seq_before = self.log.last_seq();
        let shard_count = self.snapshot_shard_count(&self.map.usage());
        // 1.
        let created = self.folder.with_set(|set| {
            Ok(set.create_or_get_snapshot(SnapshotType::Pending, shard_count.into(), false)?)
        });
        let info = created.map_err(|error| self.log.note_failure(error))?;
        // 2.
        let segment_bytes = self.log.fresh_segment_bytes(&self.snapshot_space());
        let rotated = self.log.prepare(segment_bytes).and_then(|fresh| self.log.rotate_to(fresh));
        match rotated {
            Ok(rotated) => {
                Ok(Pending { under_way: self.compaction.begin(), info, rotated, seq_before })
            }
            Err(error) => {
                self.log.give_up(info.ordinal.0);
                Err(error)
            }
        }
    }

    fn snapshot_shard_count(&self, usage: &Usage) -> u32 {
        let by_size =
            usage.payload_bytes.div_ceil(self.options.snapshot_shard_bytes).clamp(1, 1024);
        let count = self.options.snapshot_shards.unwrap_or(u32::try_from(by_size).unwrap_or(1));
        count.min(u32::try_from(self.map.shards()).unwrap_or(u32::MAX))
    }

    /// What the next snapshot takes of the disk, or what is not written yet of the one under way: records in files are
    /// as long as in memory, and a 64th more is enough for the blocks.
    pub(crate) fn snapshot_space(&self) -> SnapshotSpace {
        let is_under_way = self.compaction.under_way.load(Ordering::Acquire);
        let usage = self.map.usage();
        let records_bytes = usage.live_bytes + usage.large_bytes + self.spans.record_bytes_left();
        let files_bytes = u64::from(self.snapshot_shard_count(&usage)) * FILE_SPACE_BYTES;
        let all_bytes = records_bytes + records_bytes / 64 + files_bytes;
        let written_bytes =
            if is_under_way { self.compaction.written_bytes.load(Ordering::Relaxed) } else { 0 };
        SnapshotSpace { bytes: all_bytes.saturating_sub(written_bytes), is_under_way }
    }

    /// Step 3: each file takes an equal run of the map's shards, which is a range of hashes.
    fn write_snapshot(&self, pending: &Pending<'_>) -> Result<u64> {
        let files: Vec<(usize, &Path)> = pending
            .info
            .shard_paths
            .iter()
            .enumerate()
            .map(|(i, path)| (i, path.as_path()))
            .collect();
        let count = files.len();
        let told = Told {
            observer: self.options.progress.as_ref(),
            bytes_total: self.map.usage().payload_bytes,
            bytes_done: AtomicU64::new(0),
        };
        let pace = Pace::new(self.pool.threads(), pending.seq_before);
        let written = self.pool.map(&files, |(index, path)| {
            let turn = pace.begin(|| self.log.last_seq());
            // So that little of the log is left to sync in step 4.
            self.log.begin_sync();
            let shards = self.map.shards();
            let range = index * shards / count..(index + 1) * shards / count;
            let mut writer = ShardWriter::create(self, pending, *index, count, path, turn)?;
            let mut told_bytes = 0;
            for shard in range {
                writer.write_map_shard(shard)?;
                told.more(
                    writer.payload_bytes - std::mem::replace(&mut told_bytes, writer.payload_bytes),
                );
            }
            writer.finish(&pending.rotated)
        });
        written.into_iter().sum()
    }

    /// Step 5.
    fn publish(&self, ordinal: SnapshotOrdinal) -> Result<()> {
        self.check_going_on()?;
        let published = self.folder.with_set(|set| Ok(set.publish(ordinal, false, false)?));
        published.map(drop).map_err(|error| {
            // The set stops when only the disk knows what is there: then nobody may write any more.
            let error = self.log.note_failure(error);
            self.give_up_snapshot(ordinal);
            error
        })
    }

    /// Neither closed nor poisoned: after a poisoning nothing is written any more.
    fn check_going_on(&self) -> Result<()> {
        self.compaction.check()?;
        self.log.poisoned().map_or(Ok(()), |cause| Err(Error::Poisoned(cause)))
    }

    /// Whether the logs are worth a compaction.
    pub(crate) fn compaction_due(&self) -> bool {
        let options = &self.options;
        let log = self.log.usage();
        let live = self.payload_bytes();
        let worth = (live.saturating_mul(options.compact_log_percent.into()) / 100)
            .max(options.compact_log_bytes_min);
        let explained = log.bytes / options.segment_bytes_max.max(1);
        if self.log.writes_since_snapshot() == 0 {
            // Nothing but the empty log that the last one began with, or logs as empty.
            return false;
        }
        log.bytes >= worth
            || self.log.is_compaction_waited_for()
            || u64::from(log.count) >= u64::from(options.compact_log_count) + explained
            || options
                .snapshot_interval
                .is_some_and(|writes| self.log.writes_since_snapshot() >= writes)
            || options.max_log_bytes.is_some_and(|max| log.bytes >= max / 2)
    }

    /// Starts a compaction on a thread of its own if one is due and none is under way.
    pub(crate) fn compact_if_due(self: &Arc<Self>) {
        if !self.compaction_due() || self.compaction.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = Arc::clone(self);
        let spawned = self.spawn("pkv-compact", move || {
            core.compact_in_background();
            core.compaction.started.store(false, Ordering::Release);
            // What became due between the last look and this moment found a compaction under way.
            core.log.ask_for_compaction();
        });
        if let Err(error) = spawned {
            self.compaction.started.store(false, Ordering::Release);
            self.log.compaction_failed(Cause::other(error.to_string()));
        }
    }

    /// Compacts until none is due, pausing longer after each failure.
    fn compact_in_background(&self) {
        let mut retry = RETRY_MIN;
        while self.compaction_due() {
            if self.compaction.is_closing() {
                return;
            }
            let compacted = self.compact();
            self.folder.space.give_back();
            match compacted {
                Ok(_) => retry = RETRY_MIN,
                Err(_) if self.compaction.check().is_err() || self.log.poisoned().is_some() => {
                    return;
                }
                Err(error) => {
                    events::compaction_failed(&self.folder.dir, &error);
                    self.log.compaction_failed(Cause::other(error.to_string()));
                    let mut pause = self.compaction.pause.lock();
                    if !self.compaction.is_closing() {
                        self.compaction.wake.wait_for(&mut pause, retry);
                    }
                    let is_waited_for = self.log.is_compaction_waited_for();
                    retry = (retry * 2).min(if is_waited_for {
                        RETRY_MAX_WAITED_FOR
                    } else {
                        RETRY_MAX
                    });
                }
            }
        }
        self.log.compaction_not_due();
    }
}

/// Tells an observer how far a snapshot has come, after each shard of the map.
struct Told<'a> {
    observer: Option<&'a RecoveryProgress>,
    bytes_total: u64,
    bytes_done: AtomicU64,
}

impl Told<'_> {
    fn more(&self, bytes: u64) {
        let Some(observer) = self.observer else { return };
        let bytes_done = self.bytes_done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Others write meanwhile.
        let bytes_total = self.bytes_total.max(bytes_done);
        observer.tell(Progress { phase: Phase::Compact, bytes_done, bytes_total });
    }
}

/// Writes one shard file: header, blocks, footer.
struct ShardWriter<'a> {
    core: &'a Core,
    turn: Turn<'a>,
    /// When the last block ended.
    is_beside_writers: bool,
    file: Arc<dyn File>,
    seed: pkv_format::FileSeed,
    /// What is not in the file yet: the header, blocks, and the one to whose end slices of the map are copied. Its
    /// records are those of that block.
    ready: SliceCopy,
    /// Where that block begins in `ready`.
    block_at: usize,
    /// Where `ready` goes in the file.
    offset: u64,
    synced: u64,
    records: u64,
    payload_bytes: u64,
    /// Where each span of hashes begins.
    index: Vec<IndexEntry>,
}

impl<'a> ShardWriter<'a> {
    fn create(
        core: &'a Core,
        pending: &Pending<'_>,
        index: usize,
        count: usize,
        path: &Path,
        turn: Turn<'a>,
    ) -> Result<Self> {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let header = core.folder.header(
            FileKind::Snapshot,
            pending.info.ordinal.0,
            narrow(index),
            narrow(count),
            0,
        );
        let bytes = header.encode().map_err(|e| Error::damaged(path, 0, e.to_string()))?;
        let mut ready = SliceCopy::default();
        ready.bytes.reserve_exact(READY_BYTES);
        ready.bytes.extend_from_slice(&bytes);
        let mut writer = Self {
            core,
            turn,
            is_beside_writers: true,
            file: core.folder.fs.open(path, Access::Write)?,
            seed: header.seed(),
            ready,
            block_at: 0,
            offset: 0,
            synced: 0,
            records: 0,
            payload_bytes: 0,
            index: Vec::new(),
        };
        writer.begin_block();
        Ok(writer)
    }

    /// Copies one shard of the map, a slice at a time under its read lock, and writes the copies.
    fn write_map_shard(&mut self, shard: usize) -> Result<()> {
        let mut cursor = Some(Cursor::default());
        let mut checked = None;
        while let Some(at) = cursor {
            // Looking is a lock that writers take, so not for each slice.
            if checked.replace(self.offset) != Some(self.offset) {
                self.core.check_going_on()?;
            }
            self.begin_span(self.core.map.first_hash(shard, at));
            let size =
                if self.is_beside_writers { SliceSize::BESIDE_WRITERS } else { SliceSize::ALONE };
            let copied = self.core.map.read(shard).append_slice(at, &mut self.ready, size);
            cursor = copied.map_err(|_| Error::OutOfMemory)?;
            self.payload_bytes += std::mem::take(&mut self.ready.payload_bytes);
            if self.ready.bytes.len() - self.block_at >= BLOCK_BYTES_ENOUGH {
                self.end_block()?;
            }
            let large = self.ready.take_large();
            for (key, value) in large.iter() {
                self.end_block()?;
                push_record(&mut self.ready.bytes, key, value);
                self.ready.records = 1;
                self.end_block()?;
            }
            self.ready.give_back(large);
        }
        Ok(())
    }

    /// Notes that what comes begins with this hash, if a block begins with it and the last span is long enough. The
    /// slices of a file come in the order of their hashes.
    fn begin_span(&mut self, first_hash: u64) {
        if self.ready.records > 0 {
            return;
        }
        let offset = self.offset + bytes_u64(self.block_at);
        let span_bytes = self.core.options.snapshot_shard_bytes / SPANS_PER_FILE;
        let span_bytes = span_bytes.min(SPAN_BYTES_MAX);
        let is_due = |last: &IndexEntry| offset - last.offset >= span_bytes;
        if self.index.last().is_none_or(is_due) {
            self.index.push(IndexEntry { first_hash, offset });
        }
    }

    /// Room for the header of the block that comes.
    fn begin_block(&mut self) {
        self.block_at = self.ready.bytes.len();
        self.ready.bytes.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
    }

    /// Ends the block if it has records.
    fn end_block(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.ready.records);
        if records == 0 {
            return Ok(());
        }
        self.records += u64::from(records);
        let at = self.offset + bytes_u64(self.block_at);
        let block = self.ready.bytes.get_mut(self.block_at..).unwrap_or_default();
        finish_block(block, records, self.seed, at).map_err(|why| broken_map(&why))?;
        self.begin_block();
        // Else a writer that shares the processor waits for the system's next look at it, for milliseconds.
        crate::sync::thread::yield_now();
        self.is_beside_writers = self.turn.step(|| self.core.log.last_seq());
        if self.block_at < WRITE_BYTES {
            return Ok(());
        }
        self.write_pieces()?;
        if self.is_beside_writers && self.offset - self.synced >= SYNC_BYTES {
            self.file.sync_data()?;
            self.synced = self.offset;
        }
        Ok(())
    }

    /// Writes whole pieces of what is ready, so that each begins where a large page of the cache may begin.
    fn write_pieces(&mut self) -> Result<()> {
        let bytes = self.block_at / WRITE_BYTES * WRITE_BYTES;
        self.file.write_at(self.offset, self.ready.bytes.get(..bytes).unwrap_or_default())?;
        self.core.compaction.written_bytes.fetch_add(bytes_u64(bytes), Ordering::Relaxed);
        // Where it fails the sync has more to do, and it is the sync that tells whether the bytes are there.
        let _ = self.file.start_writeback(self.offset, bytes_u64(bytes));
        self.offset += bytes_u64(bytes);
        self.block_at -= bytes;
        self.ready.bytes.drain(..bytes);
        // A large value must not hold its size in memory until the file is done.
        self.ready.bytes.shrink_to(READY_BYTES);
        Ok(())
    }

    /// The index, the footer, which proves the file complete, and the sync. Returns the file's size.
    fn finish(mut self, rotated: &Rotated) -> Result<u64> {
        self.end_block()?;
        let footer = Footer {
            records: self.records,
            payload_bytes: self.payload_bytes,
            start_seq: rotated.start_seq,
            end_seq: self.core.log.last_seq(),
            log_ordinal: rotated.ordinal,
            log_salt: rotated.salt,
        };
        self.ready.bytes.truncate(self.block_at);
        let at = self.offset + bytes_u64(self.block_at);
        // Behind the last record there may have been slices without any.
        if self.index.len() > 1 {
            self.index.pop_if(|last| last.offset == at);
        }
        push_index(&mut self.ready.bytes, self.seed, at, &self.index)
            .map_err(|why| broken_map(&why))?;
        let at = self.offset + bytes_u64(self.ready.bytes.len());
        self.ready.bytes.extend_from_slice(&footer.encode(self.seed, at));
        self.file.write_at(self.offset, &self.ready.bytes)?;
        self.file.sync_data()?;
        Ok(self.offset + bytes_u64(self.ready.bytes.len()))
    }
}

fn broken_map(why: &dyn std::fmt::Display) -> Error {
    Error::Poisoned(Cause::other(format!(
        "a record in memory cannot be read: {why}; this is a defect or bad memory"
    )))
}

const _: () = assert!(HEADER_BYTES < WRITE_BYTES);
