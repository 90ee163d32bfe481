//! One pass of syncs over the logs' files.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use pkv_format::Successor;
use pkv_fs::{Access, Segment};
use pkv_snapshot_set::LOCK_FILE_NAME;

use super::{Active, Behind, Log, Retired, State};
use crate::folder::{Folder, LogFile, root_seed};
use crate::health::Cause;
use crate::sync::atomic::Ordering;

/// Less than this is synced as it is mapped: taking it out of the mapping would cost more than it saves.
const RELEASED_BYTES_MIN: u64 = 256 * 1024;
/// Pages that stay mapped behind the end of the log, so that the one that is written next is never let go.
const KEPT_MAPPED_BYTES: u64 = 16 * 1024;

impl Log {
    /// What a sync that begins now has to sync.
    pub(super) fn unsynced(&self) -> Result<Unsynced, Cause> {
        let tail = self.tail.lock();
        match &tail.state {
            State::Open | State::Closing => {}
            State::Poisoned(cause) => return Err(cause.clone()),
            State::Closed => return Err(Cause::other("the store is closed".into())),
        }
        let current = tail.current.as_ref().map(Current::of);
        let (behind, seq, bytes) = (tail.behind.clone(), tail.last_seq, tail.appended_bytes);
        Ok(Unsynced { behind, current, seq, bytes, began: Instant::now() })
    }

    /// Syncs every file with unsynced frames, oldest first, up to the end noted at the start. The caller has the lead.
    ///
    /// Oldest first, because a watermark speaks for all files: a later frame must never count as durable
    /// while an earlier one is not.
    pub(super) fn sync_pass(&self, unsynced: Result<Unsynced, Cause>) -> Result<u64, Cause> {
        let Unsynced { behind, current, seq, bytes, began } = unsynced?;
        self.commit.count_pass();
        let synced = behind
            .iter()
            .try_for_each(|log| log.make_durable(&self.folder))
            .and_then(|()| current.as_ref().map_or(Ok(()), Current::make_durable));
        if let Err(error) = synced {
            let cause = Cause::fs(error);
            self.poison(cause.clone());
            return Err(cause);
        }
        self.commit.passed(began);

        let mut tail = self.tail.lock();
        for _ in &behind {
            if let Some(Behind::Segment { log, segment, end }) = tail.behind.pop_front() {
                tail.retired.push(Retired { log, segment: Some(segment), end });
            }
        }
        if let (Some(active), Some(current)) = (&mut tail.current, current)
            && active.log.ordinal == current.log.ordinal
        {
            active.released = current.released_to();
        }
        tail.last_sync_bytes = bytes - tail.synced_bytes;
        tail.synced_bytes = bytes;
        tail.mark_unsynced = false;
        tail.is_alone = seq == self.durable_seq() + 1 && self.is_mapped();
        if seq > self.durable_seq() {
            self.durable_seq.store(seq, Ordering::Release);
            tail.mark_due = Some(seq);
        }
        let retired = !tail.retired.is_empty();
        drop(tail);
        if retired {
            self.keeper_wanted.notify_one();
        }
        self.room.notify_all();
        Ok(seq)
    }
}

/// What is to be synced, as it was when a sync began.
pub(super) struct Unsynced {
    behind: VecDeque<Behind>,
    current: Option<Current>,
    /// All writes up to this are in these files.
    pub(super) seq: u64,
    bytes: u64,
    /// What was appended before is in them.
    began: Instant,
}

/// The segment in use, as it was when a sync began.
struct Current {
    log: LogFile,
    segment: Arc<dyn Segment>,
    released: u64,
    end: u64,
}

impl Current {
    fn of(active: &Active) -> Self {
        Self {
            log: active.log.clone(),
            segment: Arc::clone(&active.segment),
            released: active.released,
            end: active.end,
        }
    }

    /// Up to where pages need not stay mapped any more.
    fn released_to(&self) -> u64 {
        let to = self.end.saturating_sub(KEPT_MAPPED_BYTES) / 4096 * 4096;
        if to > self.released + RELEASED_BYTES_MIN { to } else { self.released }
    }

    fn make_durable(&self) -> pkv_fs::Result<()> {
        release(&*self.segment, self.released, self.released_to());
        self.log.file.sync_data()
    }
}

/// Takes what is about to be synced out of the mapping: see [`Segment::release`].
fn release(segment: &dyn Segment, from: u64, to: u64) {
    if to > from + RELEASED_BYTES_MIN {
        // Where it fails the sync takes longer, and that is all.
        let _ = segment.release(from, to - from);
    }
}

impl Behind {
    fn make_durable(&self, folder: &Folder) -> pkv_fs::Result<()> {
        match self {
            Behind::Segment { log, segment, end } => {
                release(&**segment, 0, *end);
                log.file.sync_data()
            }
            Behind::Successor { previous, ordinal, salt } => {
                let file = folder.fs.open(&previous.path, Access::Write)?;
                let record = Successor { ordinal: *ordinal, salt: *salt }.encode(previous.seed);
                file.write_at(pkv_format::SUCCESSOR_OFFSET, &record)?;
                file.sync_data()
            }
            Behind::Root { ordinal, salt } => {
                let file = folder.fs.open(&folder.dir.join(LOCK_FILE_NAME), Access::Write)?;
                let record = Successor { ordinal: *ordinal, salt: *salt }.encode(root_seed());
                file.write_at(pkv_format::SUCCESSOR_OFFSET, &record)?;
                file.sync_data()
            }
        }
    }
}
