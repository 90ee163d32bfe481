//! Figures about an open store.

use std::time::Duration;

use crate::core::Core;
use crate::histogram::Histogram;
use crate::reentry;

/// The answer of [`crate::Store::stats`]. Sizes in bytes. What the last opening found and how long it took
/// is in [`crate::Store::recovery_report`].
///
/// Behind an instant opening entries and bytes are those that are loaded ([`crate::Store::is_loaded`]).
///
/// Asked for inside a closure of an operation, the figures of a locked shard are those of its last
/// unlocking, and its bytes count as records.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Entries in the map.
    pub entries: u64,
    /// Keys and values.
    pub payload_bytes: u64,
    /// Memory of the map's records: live, dead, and room, also in chunks and large values (of these at most
    /// 256 KiB) that are ready for the next writes.
    pub record_bytes: u64,
    /// Of these, records that were replaced or removed and not yet cleaned away.
    pub dead_bytes: u64,
    /// Memory of the map's index.
    pub index_bytes: u64,
    /// Memory of values too large for a record.
    pub large_value_bytes: u64,
    /// Views that are open: see [`crate::View`].
    pub views: usize,
    /// What they hold in memory; what several share counts for each.
    pub view_bytes: u64,
    /// Logs above the latest full snapshot.
    pub logs: u32,
    /// What these logs hold.
    pub log_bytes: u64,
    /// Of these, not yet synced.
    pub unsynced_bytes: u64,
    /// The last write.
    pub last_seq: u64,
    /// The last write that survives a power cut.
    pub durable_seq: u64,
    /// Syncs of the log since the store was opened; each may have served many writes.
    pub syncs: u64,
    /// Writes that were synced since the store was opened; divided by `syncs`, how many share one.
    pub synced_writes: u64,
    /// How long the syncs of the log took that succeeded.
    pub sync_times: Histogram,
    /// No write that is not yet synced is older than this: the time since the last sync began or, behind a
    /// pause of some `sync_interval`s, since the first write. `None`: all are synced.
    pub oldest_unsynced: Option<Duration>,
    /// How long the full snapshots took that succeeded.
    pub snapshot_times: Histogram,
    /// Full snapshots written since the store was opened.
    pub snapshots: u64,
    /// How long the last one took, and its size.
    pub snapshot_time: Duration,
    /// The size of the last one.
    pub snapshot_bytes: u64,
    /// Whether the log is mapped.
    pub mapped_log: bool,
}

impl Stats {
    pub(crate) fn of(core: &Core) -> Self {
        // Inside a closure this thread may hold a shard, and waiting for it would be for ever.
        let inside = reentry::check(core).is_err();
        let map = if inside { core.map.usage_without_waiting() } else { core.map.usage() };
        let log = core.log.usage();
        let (snapshots, snapshot_time, snapshot_bytes) = core.compaction.figures();
        Self {
            entries: map.entries.saturating_sub(core.hidden_entries()),
            payload_bytes: map.payload_bytes,
            record_bytes: map.held_bytes,
            dead_bytes: map.dead_bytes,
            index_bytes: map.index_bytes,
            large_value_bytes: map.large_bytes,
            views: core.views.count(),
            view_bytes: core.views.held_bytes(),
            logs: log.count,
            log_bytes: log.bytes,
            unsynced_bytes: log.unsynced_bytes,
            last_seq: core.log.last_seq(),
            durable_seq: core.log.durable_seq(),
            syncs: log.syncs,
            synced_writes: core.log.durable_seq().saturating_sub(core.report.last_seq),
            sync_times: core.log.sync_times(),
            oldest_unsynced: core.log.oldest_unsynced(),
            snapshot_times: core.compaction.times(),
            snapshots,
            snapshot_time,
            snapshot_bytes,
            mapped_log: core.log.is_mapped(),
        }
    }
}
