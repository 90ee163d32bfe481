//! The simulated disk as its user sees it: crashes, faults, settings, and what lies on it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use pkv_fs::Op;

use crate::call::{Disk, Inner, Settings};
use crate::choice::{Choice, Crash};
use crate::content::Content;
use crate::fault::{Fault, FaultKind};
use crate::journal::{self, Journal};
use crate::names::{Node, absolute};
use crate::state::{Instant, State};

/// A disk in memory that loses, tears and fails as disks do.
///
/// It implements [`pkv_fs::Fs`] and is used as `Arc<SimFs>`, from many threads. Every call of [`pkv_fs::Fs`], [`pkv_fs::File`] and
/// [`pkv_fs::Segment`] has a running number (its *operation*), but for `populate`, `read_ahead`, `release`,
/// `random_u64` and `unix_time_ms`. Paths are absolute or start at the root `/`, the only folder of a new disk.
///
/// A crash does not end this disk: [`SimFs::survivors`] makes the disk that is found afterwards.
pub struct SimFs {
    pub(crate) disk: Arc<Disk>,
}

impl SimFs {
    /// An empty disk; the seed decides its `random_u64`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        let settings = Settings {
            seed,
            can_map: true,
            can_clone: false,
            capacity_bytes: None,
            unix_time_ms: 1_000_000_000_000,
        };
        Self::with_state(State::new(), 1, settings)
    }

    /// A disk with this content, whose next call is `next_op`.
    pub(crate) fn with_state(state: State, next_op: u64, settings: Settings) -> Arc<Self> {
        Arc::new(Self { disk: Arc::new(Disk::new(state, next_op, settings)) })
    }

    fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        self.disk.lock_inner()
    }

    // ---- Crashes.

    /// The number of the last call.
    #[must_use]
    pub fn last_op(&self) -> u64 {
        self.lock_inner().last_op
    }

    /// Arms the disk: from operation `op` on every call fails, since its process is dead. Operation
    /// `op` itself is then in flight and may survive in part.
    pub fn crash_at(&self, op: u64) {
        self.lock_inner().cut_at = Some(op);
    }

    /// Whether the armed operation was reached.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock_inner().crashed.is_some()
    }

    /// The disk that is found after a crash: at the armed operation if it was reached, else now. It is
    /// a disk of its own, switched on, without faults and locks; this one stays as it is.
    #[must_use]
    pub fn survivors(&self, crash: Crash, choice: Choice) -> Arc<SimFs> {
        let inner = self.lock_inner();
        let next_op = inner.last_op.saturating_add(1);
        let (instant, op) = match &inner.crashed {
            Some(instant) => (instant.clone(), inner.cut_at.unwrap_or(next_op)),
            None => (Instant::new(inner.state.clone(), next_op, None), next_op),
        };
        journal::survivors(&instant, op, inner.settings.clone(), crash, choice)
    }

    /// How many things a crash may take or leave, at the armed operation if it was reached, else now.
    #[must_use]
    pub fn units(&self, crash: Crash) -> usize {
        let inner = self.lock_inner();
        match &inner.crashed {
            Some(instant) => instant.units(crash),
            None => Instant::new(inner.state.clone(), 0, None).units(crash),
        }
    }

    /// Records all changes from now on, for [`SimFs::take_journal`].
    pub fn start_journal(&self) {
        let mut inner = self.lock_inner();
        inner.journal = Some((inner.state.clone(), Vec::new()));
    }

    /// Ends the recording; `None` if there was none.
    #[must_use]
    pub fn take_journal(&self) -> Option<Journal> {
        let mut inner = self.lock_inner();
        let (base, events) = inner.journal.take()?;
        let settings = inner.settings.clone();
        Some(Journal { base, events, last_op: inner.last_op, settings })
    }

    // ---- Faults and settings.

    /// A call will fail. Several faults may wait at once.
    pub fn inject(&self, fault: Fault) {
        self.lock_inner().faults.inject(fault);
    }

    /// No call will fail any more; what failed syncs lost stays lost.
    pub fn clear_faults(&self) {
        self.lock_inner().faults.clear();
    }

    /// The numbers of the calls that failed by an injected fault, ascending: whether a fault was met at
    /// all, and from when on the store could know.
    #[must_use]
    pub fn faults_met(&self) -> Vec<u64> {
        self.lock_inner().faults_met.clone()
    }

    /// How many syncs of a file began while another one of the same file ran. Linux tells a failure to
    /// one of them only: who shares a file's syncs between threads must not believe the other.
    #[must_use]
    pub fn overlapping_syncs(&self) -> u64 {
        self.lock_inner().overlapping_syncs
    }

    /// How many calls of this class were made, failed ones included. Copies into mapped segments are
    /// not among them.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        let inner = self.lock_inner();
        inner.calls.iter().find(|(known, _)| *known == op).map_or(0, |(_, calls)| *calls)
    }

    /// Every fault that a run like the one on this disk can meet: each call of each class, each kind that
    /// means something there, once and for good. Make a dry run, and then one run per fault.
    #[must_use]
    pub fn all_faults(&self) -> Vec<Fault> {
        let inner = self.lock_inner();
        let mut calls = inner.calls.clone();
        calls.sort_by_key(|(op, _)| op.to_string());
        let once = calls.into_iter().flat_map(|(op, calls)| {
            FaultKind::ALL
                .into_iter()
                .filter(move |kind| op == Op::Write || !kind.tears())
                .flat_map(move |kind| (1..=calls).map(move |nth| Fault::once(op, nth, kind)))
        });
        once.flat_map(|once| [once, Fault { sticky: true, ..once }]).collect()
    }

    /// Limits the disk's size; `None` is no limit. Reserved space counts from its reservation on, other
    /// space in pages of 4 KiB from the first write on; a removed file takes none.
    pub fn set_capacity_bytes(&self, capacity_bytes: Option<u64>) {
        self.lock_inner().settings.capacity_bytes = capacity_bytes;
    }

    /// The space in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock_inner().state.used_bytes()
    }

    /// What [`pkv_fs::Fs::can_map`] says; true at first.
    pub fn set_can_map(&self, can_map: bool) {
        self.lock_inner().settings.can_map = can_map;
    }

    /// Whether files can share their bytes ([`pkv_fs::Fs::clone_file`]); false at first.
    pub fn set_can_clone(&self, can_clone: bool) {
        self.lock_inner().settings.can_clone = can_clone;
    }

    /// The wall clock; it stands still unless it is set.
    pub fn set_unix_time_ms(&self, unix_time_ms: u64) {
        self.lock_inner().settings.unix_time_ms = unix_time_ms;
    }

    /// One call in so many gives way to other threads first, and a sync also in its midst, to shake their
    /// order; 0 is never.
    pub fn set_shake_one_in(&self, calls: u64) {
        self.lock_inner().shake_one_in = calls;
    }

    /// What giving way to other threads is; [`std::thread::yield_now`] at first. A checker that runs all threads
    /// on one and chooses who goes on has a call of its own for it.
    pub fn set_give_way(&self, give_way: fn()) {
        self.lock_inner().give_way = give_way;
    }

    /// How long a sync takes. What is written meanwhile is not made durable by it.
    pub fn set_sync_pause(&self, pause: Duration) {
        self.lock_inner().sync_pause = pause;
    }

    // ---- Past all operations.

    /// Every file, in the order of the paths.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.lock_inner().state.names().files().map(|(path, _)| path.to_path_buf()).collect()
    }

    /// What a file holds now; `None` if there is none. Not a call: it has no number and never fails.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.lock_inner();
        match inner.state.names().get(&absolute(path))? {
            Node::File(id) => inner.state.file(id).map(Content::to_vec),
            Node::Dir | Node::Other => None,
        }
    }

    /// Puts a file there durably, and its folders, or replaces it: damage, and foreign files. Open
    /// handles keep the file that was there. Not a call, and in no journal.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut inner = self.lock_inner();
        let id = inner.take_file_id();
        inner.state.plant(&absolute(path), id, bytes);
    }

    /// Puts something there that is neither a file nor a folder, as a symbolic link or a fifo is.
    pub fn plant_other(&self, path: &Path) {
        self.lock_inner().state.plant_other(&absolute(path));
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock_inner();
        f.debug_struct("SimFs")
            .field("last_op", &inner.last_op)
            .field("settings", &inner.settings)
            .finish_non_exhaustive()
    }
}
