//! The simulated file system: one lock around the disk's state, a number for each call, and the hooks
//! at which a call fails or the machine goes down.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Time};

use pkv_fs::{Access, Entry, EntryKind, Error, File, Fs, Lock, Op, Result};

use crate::choice::{Choice, Crash};
use crate::content::PAGE_BYTES;
use crate::fault::{Fault, FaultKind, Faults};
use crate::file::{SimFile, SimLock};
use crate::journal::{self, Journal};
use crate::names::{Node, absolute};
use crate::rng::Rng;
use crate::state::{Event, Instant, State, Way, len_u64, page_prefix, pages_of};

/// A disk in memory that loses, tears and fails as disks do.
///
/// It implements [`Fs`] and is used as `Arc<SimFs>`, from many threads. Every call of [`Fs`], [`File`] and
/// [`pkv_fs::Segment`] has a running number (its *operation*), but for `populate`, `random_u64` and
/// `unix_time_ms`. Paths are absolute or start at the root `/`, the only folder of a new disk.
///
/// A crash does not end this disk: [`SimFs::survivors`] makes the disk that is found afterwards.
pub struct SimFs {
    pub(crate) disk: Arc<Disk>,
}

/// What a disk keeps over crashes besides its contents.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    can_map: bool,
    capacity_bytes: Option<u64>,
    unix_time_ms: u64,
}

pub(crate) struct Disk {
    inner: Mutex<Inner>,
    unlocked: Condvar,
}

pub(crate) struct Inner {
    pub(crate) state: State,
    settings: Settings,
    rng: Rng,
    last_op: u64,
    next_file: u64,
    calls: HashMap<Op, u64>,
    faults: Faults,
    journal: Option<(State, Vec<(u64, Event)>)>,
    cut_at: Option<u64>,
    crashed: Option<Instant>,
    /// Files whose lock is held.
    locked: Vec<u64>,
    shake_one_in: u64,
    shake: Rng,
    sync_pause: Duration,
}

/// A crash frees all locks without a signal to those who wait for one.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// A checked call: what it changes, and what it returns.
pub(crate) type Prepared<R> = io::Result<(Event, R)>;

impl SimFs {
    /// An empty disk; the seed decides its `random_u64`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        let settings =
            Settings { seed, can_map: true, capacity_bytes: None, unix_time_ms: 1_000_000_000_000 };
        Self::with_state(State::new(), 1, settings)
    }

    /// A disk with this content, whose next call is `next_op`.
    pub(crate) fn with_state(state: State, next_op: u64, settings: Settings) -> Arc<Self> {
        let last_op = next_op.saturating_sub(1);
        let inner = Inner {
            next_file: state.next_file(),
            rng: Rng::new(settings.seed),
            shake: Rng::new(!settings.seed),
            state,
            settings,
            last_op,
            calls: HashMap::new(),
            faults: Faults::default(),
            journal: None,
            cut_at: None,
            crashed: None,
            locked: Vec::new(),
            shake_one_in: 0,
            sync_pause: Duration::ZERO,
        };
        Arc::new(Self {
            disk: Arc::new(Disk { inner: Mutex::new(inner), unlocked: Condvar::new() }),
        })
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

    /// How many calls of this class were made, failed ones included. Copies into mapped segments are
    /// not among them.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.lock_inner().calls.get(&op).copied().unwrap_or(0)
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

    /// What [`Fs::can_map`] says; true at first.
    pub fn set_can_map(&self, can_map: bool) {
        self.lock_inner().settings.can_map = can_map;
    }

    /// The wall clock; it stands still unless it is set.
    pub fn set_unix_time_ms(&self, unix_time_ms: u64) {
        self.lock_inner().settings.unix_time_ms = unix_time_ms;
    }

    /// One call in so many gives way to other threads first, to shake their order; 0 is never.
    pub fn set_shake_one_in(&self, calls: u64) {
        self.lock_inner().shake_one_in = calls;
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
            Node::File(id) => inner.state.file(id).map(crate::content::Content::to_vec),
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

impl Inner {
    pub(crate) fn take_file_id(&mut self) -> u64 {
        let id = self.next_file;
        self.next_file = id.saturating_add(1);
        id
    }

    /// The file of this name, or why there is none.
    pub(crate) fn file_at(&self, path: &Path) -> io::Result<u64> {
        match self.state.names().get(path) {
            Some(Node::File(id)) => Ok(id),
            Some(Node::Dir | Node::Other) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn dir_at(&self, dir: &Path) -> io::Result<()> {
        match self.state.names().get(dir) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_) | Node::Other) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether something can be created under this name.
    fn free_name(&self, path: &Path) -> io::Result<()> {
        if self.state.names().get(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        path.parent().map_or(Err(io::ErrorKind::AlreadyExists.into()), |dir| self.dir_at(dir))
    }

    fn create_event(&mut self, path: &Path) -> Prepared<u64> {
        self.free_name(path)?;
        let id = self.take_file_id();
        Ok((Event::Create { path: path.to_path_buf(), id }, id))
    }

    fn free_capacity(&self) -> Option<u64> {
        let capacity_bytes = self.settings.capacity_bytes?;
        Some(capacity_bytes.saturating_sub(self.state.used_bytes()))
    }

    /// What of an event the full disk lets happen; `Err` carries the part of a write that still fits.
    fn within_capacity(&self, event: &Event) -> std::result::Result<(), Option<Event>> {
        let Some(free_bytes) = self.free_capacity() else { return Ok(()) };
        match event {
            Event::Write { id, offset, bytes, way } => {
                let Some(content) = self.state.file(*id) else { return Ok(()) };
                let mut room = free_bytes.checked_div(PAGE_BYTES).unwrap_or(0);
                let first_page = offset.checked_div(PAGE_BYTES).unwrap_or(0);
                for fitting in 0..pages_of(*offset, bytes) {
                    if content.needs_page(first_page.saturating_add(fitting)) {
                        let Some(left) = room.checked_sub(1) else {
                            return Err(self.part_of(*id, *offset, bytes, *way, fitting));
                        };
                        room = left;
                    }
                }
                Ok(())
            }
            Event::Preallocate { id, bytes } => {
                let Some(content) = self.state.file(*id) else { return Ok(()) };
                let needed = content.used_bytes_with(*bytes).saturating_sub(content.used_bytes());
                if needed > free_bytes { Err(None) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// The first pages of a write, as a full disk leaves them.
    fn part_of(&self, id: u64, offset: u64, bytes: &[u8], way: Way, pages: u64) -> Option<Event> {
        // A segment writes its first page last, and then not at all.
        let (offset, bytes, pages) = if way == Way::Written {
            let (first, rest) = bytes.split_at(page_prefix(offset, bytes, 1).len());
            (offset.saturating_add(len_u64(first.len())), rest, pages.saturating_sub(1))
        } else {
            (offset, bytes, pages)
        };
        let part = page_prefix(offset, bytes, pages);
        (!part.is_empty() && self.state.file(id).is_some()).then(|| Event::Write {
            id,
            offset,
            bytes: part.into(),
            way: Way::Plain,
        })
    }

    /// What an event that failed so still did.
    fn remains(&self, kind: FaultKind, event: Event) -> Option<Event> {
        match event {
            Event::Sync { id, through, .. } if kind != FaultKind::Interrupted => {
                Some(Event::Sync { id, through, ok: false })
            }
            Event::SyncDir { dir, through, .. } if kind != FaultKind::Interrupted => {
                Some(Event::SyncDir { dir, through, ok: false })
            }
            Event::Write { id, offset, bytes, way } => {
                let pages = pages_of(offset, &bytes).div_ceil(2);
                match kind {
                    FaultKind::TornWrite => {
                        let pages = pages.min(pages_of(offset, &bytes).saturating_sub(1));
                        self.part_of(id, offset, &bytes, Way::Plain, pages)
                    }
                    FaultKind::ShortWrite => {
                        let pages = pages.min(pages_of(offset, &bytes).saturating_sub(1));
                        self.part_of(id, offset, &bytes, way, pages)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn record(&mut self, op: u64, event: Event) {
        self.state.apply(op, &event);
        if let Some((_, events)) = &mut self.journal {
            events.push((op, event));
        }
    }

    /// Gives a call its number; how it fails, if it is to fail.
    fn enter(&mut self, op: Op, mapped: bool) -> io::Result<Option<FaultKind>> {
        if self.crashed.is_some() {
            return Err(power_is_off());
        }
        self.last_op = self.last_op.saturating_add(1);
        if mapped {
            return Ok(None);
        }
        let calls = self.calls.entry(op).or_insert(0);
        *calls = calls.saturating_add(1);
        Ok(self.faults.meet(op))
    }

    fn is_cut(&self) -> bool {
        self.cut_at.is_some_and(|cut_at| cut_at <= self.last_op)
    }

    fn crash(&mut self, in_flight: Option<Event>) -> io::Error {
        // The crash is where it was armed for, also when that call had no number of its own.
        self.cut_at = Some(self.last_op);
        self.crashed = Some(Instant::new(self.state.clone(), self.last_op, in_flight));
        self.locked.clear();
        power_is_off()
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off; look at what survived")
}

impl Disk {
    pub(crate) fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets other threads go first now and then.
    fn shaken(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock_inner();
        let one_in = inner.shake_one_in;
        if inner.shake.one_in(one_in) {
            drop(inner);
            std::thread::yield_now();
            inner = self.lock_inner();
        }
        inner
    }

    /// A call that changes the disk.
    pub(crate) fn change<R>(
        &self,
        op: Op,
        prepare: impl FnOnce(&mut Inner) -> Prepared<R>,
    ) -> io::Result<R> {
        Self::change_locked(&mut self.shaken(), op, prepare)
    }

    fn change_locked<R>(
        inner: &mut Inner,
        op: Op,
        prepare: impl FnOnce(&mut Inner) -> Prepared<R>,
    ) -> io::Result<R> {
        if inner.crashed.is_some() {
            return Err(power_is_off());
        }
        let prepared = prepare(inner);
        let mapped = matches!(&prepared, Ok((Event::Write { way: Way::Mapped, .. }, _)));
        let fault = inner.enter(op, mapped)?;
        if inner.is_cut() {
            return Err(inner.crash(prepared.ok().map(|(event, _)| event)));
        }
        let (event, returned) = prepared?;
        let number = inner.last_op;
        if let Some(kind) = fault {
            if let Some(part) = inner.remains(kind, event) {
                inner.record(number, part);
            }
            return Err(kind.error());
        }
        if let Err(part) = inner.within_capacity(&event) {
            if let Some(part) = part {
                inner.record(number, part);
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.record(number, event);
        Ok(returned)
    }

    /// A call that only looks.
    pub(crate) fn look<R>(
        &self,
        op: Op,
        look: impl FnOnce(&mut Inner) -> io::Result<R>,
    ) -> io::Result<R> {
        Self::look_locked(&mut self.shaken(), op, look)
    }

    fn look_locked<R>(
        inner: &mut Inner,
        op: Op,
        look: impl FnOnce(&mut Inner) -> io::Result<R>,
    ) -> io::Result<R> {
        let fault = inner.enter(op, false)?;
        if inner.is_cut() {
            return Err(inner.crash(None));
        }
        match fault {
            Some(kind) => Err(kind.error()),
            None => look(inner),
        }
    }

    /// A sync covers what was done before it began, not what came while it ran.
    pub(crate) fn sync_begin(&self) -> u64 {
        let inner = self.shaken();
        let (through, pause) = (inner.last_op, inner.sync_pause);
        drop(inner);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        through
    }

    pub(crate) fn release(&self, id: u64) {
        self.lock_inner().locked.retain(|locked| *locked != id);
        self.unlocked.notify_all();
    }
}

impl Fs for SimFs {
    fn create_dir(&self, dir: &Path) -> Result<bool> {
        let path = absolute(dir);
        let mut inner = self.disk.shaken();
        if inner.state.names().get(&path) == Some(Node::Dir) {
            Disk::look_locked(&mut inner, Op::CreateDir, |_| Ok(false))
        } else {
            Disk::change_locked(&mut inner, Op::CreateDir, |inner| {
                inner.free_name(&path)?;
                Ok((Event::CreateDir { path: path.clone() }, true))
            })
        }
        .map_err(|e| Error::new(Op::CreateDir, dir, e))
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        let path = absolute(dir);
        self.disk
            .look(Op::List, |inner| {
                inner.dir_at(&path)?;
                let mut entries: Vec<Entry> =
                    inner.state.names().children(&path).filter_map(entry).collect();
                // In no order is the promise, so nobody may rely on one.
                let mut order: BTreeMap<u64, Entry> = BTreeMap::new();
                for entry in entries.drain(..) {
                    order.insert(inner.shake.next_u64(), entry);
                }
                Ok(order.into_values().collect())
            })
            .map_err(|e| Error::new(Op::List, dir, e))
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>> {
        let whole = absolute(path);
        let id = self
            .disk
            .change(Op::Create, |inner| inner.create_event(&whole))
            .map_err(|e| Error::new(Op::Create, path, e))?;
        Ok(Arc::new(SimFile::new(&self.disk, id, path, Access::Write)))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        let whole = absolute(path);
        let id = self
            .disk
            .look(Op::Open, |inner| inner.file_at(&whole))
            .map_err(|e| Error::new(Op::Open, path, e))?;
        Ok(Arc::new(SimFile::new(&self.disk, id, path, access)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (whole_from, whole_to) = (absolute(from), absolute(to));
        self.disk
            .change(Op::Rename, |inner| {
                let id = inner.file_at(&whole_from)?;
                inner.free_name(&whole_to)?;
                Ok((Event::Rename { from: whole_from.clone(), to: whole_to.clone(), id }, ()))
            })
            .map_err(|e| Error::new(Op::Rename, from, e))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let whole = absolute(path);
        self.disk
            .change(Op::Remove, |inner| match inner.state.names().get(&whole) {
                Some(node @ (Node::File(_) | Node::Other)) => {
                    Ok((Event::Remove { path: whole.clone(), node }, ()))
                }
                Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
                None => Err(io::ErrorKind::NotFound.into()),
            })
            .map_err(|e| Error::new(Op::Remove, path, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let whole = absolute(dir);
        let through = self.disk.sync_begin();
        self.disk
            .change(Op::SyncDir, |inner| {
                inner.dir_at(&whole)?;
                Ok((Event::SyncDir { dir: whole.clone(), through, ok: true }, ()))
            })
            .map_err(|e| Error::new(Op::SyncDir, dir, e))
    }

    fn lock(&self, path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
        let lock = || {
            let whole = absolute(path);
            let deadline = Time::now().checked_add(wait);
            let mut inner = self.disk.shaken();
            let id = match inner.file_at(&whole) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    Disk::change_locked(&mut inner, Op::Lock, |inner| inner.create_event(&whole))
                }
                known => Disk::look_locked(&mut inner, Op::Lock, |_| known),
            }?;
            while inner.locked.contains(&id) {
                let left = deadline
                    .map_or(LOCK_POLL, |deadline| deadline.saturating_duration_since(Time::now()));
                if left.is_zero() {
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, "it is in use"));
                }
                let waited = self.disk.unlocked.wait_timeout(inner, left.min(LOCK_POLL));
                inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if inner.crashed.is_some() {
                return Err(power_is_off());
            }
            inner.locked.push(id);
            Ok(id)
        };
        let id = lock().map_err(|e| Error::new(Op::Lock, path, e))?;
        Ok(Box::new(SimLock::new(SimFile::new(&self.disk, id, path, Access::Write))))
    }

    fn can_map(&self, dir: &Path) -> Result<bool> {
        self.disk
            .look(Op::Stat, |inner| Ok(inner.settings.can_map))
            .map_err(|e| Error::new(Op::Stat, dir, e))
    }

    fn free_bytes(&self, dir: &Path) -> Result<Option<u64>> {
        self.disk
            .look(Op::Stat, |inner| Ok(inner.free_capacity()))
            .map_err(|e| Error::new(Op::Stat, dir, e))
    }

    fn random_u64(&self) -> u64 {
        self.lock_inner().rng.next_u64()
    }

    fn unix_time_ms(&self) -> u64 {
        self.lock_inner().settings.unix_time_ms
    }
}

fn entry((path, node): (&Path, Node)) -> Option<Entry> {
    let kind = match node {
        Node::File(_) => EntryKind::File,
        Node::Dir => EntryKind::Directory,
        Node::Other => EntryKind::Other,
    };
    Some(Entry { name: path.file_name()?.to_os_string(), kind })
}
