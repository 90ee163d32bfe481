//! Space that the log leaves to the next snapshot.
//!
//! Only a snapshot makes logs obsolete, and it is written while they are all still there. A log that took the
//! disk's last space would thus never give it back: no snapshot would fit any more, however little the store
//! holds. So a segment is made only if the next snapshot still fits once it is full; else the snapshot comes
//! first, and writers wait for it.

use super::{Log, Tail, segment_bytes_for};
use crate::sync::MutexGuard;

/// What the next snapshot takes of the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotSpace {
    /// All of it, or what is not written yet of the one under way.
    pub(crate) bytes: u64,
    pub(crate) is_under_way: bool,
}

impl Log {
    /// The size of the segment that may be made now for a frame of this size; `None`: the snapshot comes first,
    /// and a compaction is asked for.
    pub(super) fn allowed_segment(
        &self,
        frame_bytes: u64,
        snapshot_space: &dyn Fn() -> SnapshotSpace,
    ) -> Option<u64> {
        let mut tail = self.tail.lock();
        loop {
            let now = self.folder.space.now();
            let (free_bytes, space) =
                MutexGuard::unlocked(&mut tail, || (self.free_bytes(), snapshot_space()));
            let wished_bytes = tail.segment_bytes(frame_bytes);
            let Some(free_bytes) = free_bytes else { return Some(wished_bytes) };
            let smallest_bytes = self.smallest_segment_bytes(frame_bytes);
            // A snapshot begins with a segment of its own.
            let needed_bytes = space.bytes + self.smallest_segment_bytes(0);
            // What is new in a segment makes the snapshot larger by as much.
            let spare_bytes = free_bytes.checked_sub(needed_bytes + tail.unused_bytes());
            let may_have = |bytes: u64| spare_bytes.is_some_and(|spare| spare / 2 >= bytes);
            if may_have(wished_bytes) {
                return Some(wished_bytes);
            }
            if may_have(smallest_bytes) {
                return Some(smallest_bytes);
            }
            // The disk may be full of what was removed. Who waits for a log waits for that, too.
            let unavailable = tail.unavailable.take();
            if MutexGuard::unlocked(&mut tail, || self.folder.room_has_come_since(now)) {
                continue;
            }
            tail.unavailable = unavailable;
            // Waiting for what cannot come would be of no use to anybody.
            let helps = tail.last_seq > tail.snapshot_seq && tail.compaction_failing.is_none();
            let fits = space.is_under_way || free_bytes >= needed_bytes;
            tail.compaction_waited_for = helps && fits;
            if tail.compaction_waited_for {
                tail.unavailable = None;
                return None;
            }
            return Some(wished_bytes);
        }
    }

    /// The size of the segment that a snapshot begins with: the usual one, if the disk has room for both.
    pub(crate) fn fresh_segment_bytes(&self, snapshot_space: &SnapshotSpace) -> u64 {
        let wished_bytes = self.tail.lock().segment_bytes(0);
        let wanted_bytes = wished_bytes.saturating_add(snapshot_space.bytes);
        match self.free_bytes() {
            Some(free_bytes) if free_bytes < wanted_bytes => self.smallest_segment_bytes(0),
            _ => wished_bytes,
        }
    }

    fn smallest_segment_bytes(&self, frame_bytes: u64) -> u64 {
        self.settings.segment_bytes_min.max(segment_bytes_for(frame_bytes))
    }

    /// What the disk has left, if that can be told.
    fn free_bytes(&self) -> Option<u64> {
        self.folder.fs.free_bytes(&self.folder.dir).ok().flatten()
    }
}

impl Tail {
    /// What frames still find in the segments that are there.
    fn unused_bytes(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, |now| now.log.segment_bytes - now.end);
        current + self.next.as_ref().map_or(0, |next| next.log.segment_bytes)
    }
}
