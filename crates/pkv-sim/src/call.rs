//! What every call passes through: one lock around the disk's state, a number for each call, and the
//! hooks at which a call fails or the machine goes down.

use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Time};

use pkv_fs::Op;

use crate::content::PAGE_BYTES;
use crate::fault::{FaultKind, Faults};
use crate::names::Node;
use crate::rng::Rng;
use crate::state::{Event, Instant, State, Way, len_u64, page_prefix, pages_of};

/// A crash frees all locks without a signal to those who wait for one.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// What a disk keeps over crashes besides its contents.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) can_map: bool,
    pub(crate) can_clone: bool,
    pub(crate) capacity_bytes: Option<u64>,
    pub(crate) unix_time_ms: u64,
}

pub(crate) struct Disk {
    inner: Mutex<Inner>,
    unlocked: Condvar,
}

pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) settings: Settings,
    pub(crate) rng: Rng,
    pub(crate) last_op: u64,
    pub(crate) next_file: u64,
    /// How often each class was called, those alone that were; by this and no hash, so that a fuzzer sees the same
    /// run each time.
    pub(crate) calls: Vec<(Op, u64)>,
    pub(crate) faults: Faults,
    /// The calls that failed by a fault.
    pub(crate) faults_met: Vec<u64>,
    pub(crate) journal: Option<(State, Vec<(u64, Event)>)>,
    pub(crate) cut_at: Option<u64>,
    pub(crate) crashed: Option<Instant>,
    /// Files that are being synced.
    syncing: Vec<u64>,
    pub(crate) overlapping_syncs: u64,
    /// Files whose lock is held.
    locked: Vec<u64>,
    pub(crate) shake_one_in: u64,
    pub(crate) shake: Rng,
    pub(crate) sync_pause: Duration,
    /// What lets other threads go first.
    pub(crate) give_way: fn(),
}

/// A checked call: what it changes, and what it returns.
pub(crate) type Prepared<R> = io::Result<(Event, R)>;

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

    pub(crate) fn dir_at(&self, dir: &Path) -> io::Result<()> {
        match self.state.names().get(dir) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_) | Node::Other) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether something can be created under this name.
    pub(crate) fn free_name(&self, path: &Path) -> io::Result<()> {
        if self.state.names().get(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        path.parent().map_or(Err(io::ErrorKind::AlreadyExists.into()), |dir| self.dir_at(dir))
    }

    pub(crate) fn create_event(&mut self, path: &Path) -> Prepared<u64> {
        self.free_name(path)?;
        let id = self.take_file_id();
        Ok((Event::Create { path: path.to_path_buf(), id }, id))
    }

    pub(crate) fn free_capacity(&self) -> Option<u64> {
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
        match self.calls.iter_mut().find(|(known, _)| *known == op) {
            Some((_, calls)) => *calls = calls.saturating_add(1),
            None => self.calls.push((op, 1)),
        }
        let met = self.faults.meet(op);
        if met.is_some() {
            self.faults_met.push(self.last_op);
        }
        Ok(met)
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
    /// A disk with this content, whose next call is `next_op`.
    pub(crate) fn new(state: State, next_op: u64, settings: Settings) -> Self {
        let last_op = next_op.saturating_sub(1);
        let inner = Inner {
            next_file: state.next_file(),
            rng: Rng::new(settings.seed),
            shake: Rng::new(!settings.seed),
            state,
            settings,
            last_op,
            calls: Vec::new(),
            faults: Faults::default(),
            faults_met: Vec::new(),
            journal: None,
            cut_at: None,
            crashed: None,
            syncing: Vec::new(),
            overlapping_syncs: 0,
            locked: Vec::new(),
            shake_one_in: 0,
            sync_pause: Duration::ZERO,
            give_way: std::thread::yield_now,
        };
        Self { inner: Mutex::new(inner), unlocked: Condvar::new() }
    }

    pub(crate) fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets other threads go first now and then.
    pub(crate) fn shaken(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock_inner();
        let one_in = inner.shake_one_in;
        if inner.shake.one_in(one_in) {
            let give_way = inner.give_way;
            drop(inner);
            give_way();
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

    pub(crate) fn change_locked<R>(
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

    pub(crate) fn look_locked<R>(
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
        drop(self.shaken());
        through
    }

    /// Notes that a sync of this file begins, and whether another one of it is under way.
    pub(crate) fn file_sync_begin(&self, id: u64) {
        let mut inner = self.lock_inner();
        if inner.syncing.contains(&id) {
            inner.overlapping_syncs = inner.overlapping_syncs.saturating_add(1);
        }
        inner.syncing.push(id);
    }

    pub(crate) fn file_sync_end(&self, id: u64) {
        let syncing = &mut self.lock_inner().syncing;
        if let Some(at) = syncing.iter().position(|file| *file == id) {
            syncing.swap_remove(at);
        }
    }

    /// Takes the lock of a file that `find` names, once no one has it.
    pub(crate) fn acquire(
        &self,
        wait: Duration,
        find: impl FnOnce(&mut Inner) -> io::Result<u64>,
    ) -> io::Result<u64> {
        let deadline = Time::now().checked_add(wait);
        let mut inner = self.shaken();
        let id = find(&mut inner)?;
        while inner.locked.contains(&id) {
            let left = deadline
                .map_or(LOCK_POLL, |deadline| deadline.saturating_duration_since(Time::now()));
            if left.is_zero() {
                let why = "it is in use; drop the other lock, or wait longer";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
            }
            let waited = self.unlocked.wait_timeout(inner, left.min(LOCK_POLL));
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if inner.crashed.is_some() {
            return Err(power_is_off());
        }
        inner.locked.push(id);
        Ok(id)
    }

    pub(crate) fn release(&self, id: u64) {
        self.lock_inner().locked.retain(|locked| *locked != id);
        self.unlocked.notify_all();
    }
}
