//! One file: what the page cache shows, and what of it the disk is sure to hold.
//!
//! Sectors are shared by `Arc`, so that a copy of a file costs a pointer a sector and a state after a
//! crash shares all that it does not change.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use pkv_fs::SECTOR_BYTES;

use crate::choice::{Chooser, Crash, Survey};
use crate::rng::Rng;

/// The unit in which the system caches, reserves space and copies in a write call.
pub(crate) const PAGE_BYTES: u64 = 4096;

const SECTORS_PER_PAGE: u64 = PAGE_BYTES / SECTOR_BYTES;
const SECTOR_LEN: usize = 512;

type Sector = [u8; SECTOR_LEN];

/// One content that a sector had; `None` reads as zeros and was never written.
#[derive(Clone, Debug)]
struct Version {
    op: u64,
    /// A sync that should have written it failed: no later sync will.
    lost: bool,
    sector: Option<Arc<Sector>>,
}

/// One size that the file had.
#[derive(Clone, Copy, Debug)]
struct Size {
    op: u64,
    lost: bool,
    bytes: u64,
}

/// A file's bytes.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// What is read now.
    sectors: BTreeMap<u64, Arc<Sector>>,
    /// For each sector written since its last sync: the durable content first, then all later ones.
    unsynced: BTreeMap<u64, Vec<Version>>,
    /// The durable size first, then all later ones; never empty in use.
    sizes: Vec<Size>,
    reserved_bytes: u64,
}

impl Content {
    /// An empty file, durably so.
    pub(crate) fn new() -> Self {
        Self::durable(0, BTreeMap::new(), 0)
    }

    /// A file that holds these bytes durably.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut content = Self::new();
        content.write(0, 0, bytes);
        Self::durable(content.bytes(), content.sectors, 0)
    }

    fn durable(bytes: u64, sectors: BTreeMap<u64, Arc<Sector>>, reserved_bytes: u64) -> Self {
        let sizes = vec![Size { op: 0, lost: false, bytes }];
        Self { sectors, unsynced: BTreeMap::new(), sizes, reserved_bytes }
    }

    /// The size now.
    pub(crate) fn bytes(&self) -> u64 {
        self.sizes.last().map_or(0, |size| size.bytes)
    }

    fn durable_bytes(&self) -> u64 {
        self.sizes.first().map_or(0, |size| size.bytes)
    }

    /// Reads up to the end of the file; the bytes read.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let left = usize::try_from(self.bytes().saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let Some(buf) = buf.get_mut(..len) else { return 0 };
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let (index, start) = position(at);
            let (piece, after) =
                rest.split_at_mut(rest.len().min(SECTOR_LEN.saturating_sub(start)));
            let end = start.saturating_add(piece.len());
            match self.sectors.get(&index).and_then(|sector| sector.get(start..end)) {
                Some(bytes) => piece.copy_from_slice(bytes),
                None => piece.fill(0),
            }
            at = at.saturating_add(len_u64(piece.len()));
            rest = after;
        }
        len
    }

    /// Writes into the page cache.
    pub(crate) fn write(&mut self, op: u64, offset: u64, bytes: &[u8]) {
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (index, start) = position(at);
            let (piece, after) = rest.split_at(rest.len().min(SECTOR_LEN.saturating_sub(start)));
            let mut sector = self.sectors.get(&index).map_or([0; SECTOR_LEN], |sector| **sector);
            if let Some(place) = sector.get_mut(start..start.saturating_add(piece.len())) {
                place.copy_from_slice(piece);
            }
            self.replace(op, index, Some(Arc::new(sector)));
            at = at.saturating_add(len_u64(piece.len()));
            rest = after;
        }
        if !bytes.is_empty() {
            self.grow(op, offset, at);
        }
    }

    /// A write makes the file longer page by page, and a power cut may stop it at each.
    fn grow(&mut self, op: u64, offset: u64, end: u64) {
        let mut grown_to = self.bytes().max(offset);
        while self.bytes() < end {
            let page = grown_to.checked_div(PAGE_BYTES).unwrap_or(0).saturating_add(1);
            grown_to = page.saturating_mul(PAGE_BYTES).min(end);
            self.resized(op, grown_to);
        }
    }

    /// A sector's next content.
    fn replace(&mut self, op: u64, index: u64, sector: Option<Arc<Sector>>) {
        let before = match &sector {
            Some(sector) => self.sectors.insert(index, Arc::clone(sector)),
            None => self.sectors.remove(&index),
        };
        self.unsynced
            .entry(index)
            .or_insert_with(|| vec![Version { op: 0, lost: false, sector: before }])
            .push(Version { op, lost: false, sector });
    }

    fn resized(&mut self, op: u64, bytes: u64) {
        if bytes != self.bytes() {
            self.sizes.push(Size { op, lost: false, bytes });
        }
    }

    /// Reserves space and makes the file at least this long.
    pub(crate) fn preallocate(&mut self, op: u64, bytes: u64) {
        self.reserved_bytes = self.reserved_bytes.max(bytes);
        if bytes > self.bytes() {
            self.resized(op, bytes);
        }
    }

    /// Cuts or extends.
    pub(crate) fn set_len(&mut self, op: u64, bytes: u64) {
        if bytes < self.bytes() {
            let (boundary, kept) = position(bytes);
            let cut: Vec<u64> = self.sectors.range(boundary..).map(|(index, _)| *index).collect();
            for index in cut {
                let partly = (index == boundary && kept > 0)
                    .then(|| self.sectors.get(&index).map(|sector| Arc::new(head(sector, kept))))
                    .flatten();
                self.replace(op, index, partly);
            }
            self.reserved_bytes = self.reserved_bytes.min(bytes);
        }
        self.resized(op, bytes);
    }

    /// A sync that succeeded: what was written up to operation `through` is durable.
    pub(crate) fn sync(&mut self, through: u64) {
        self.unsynced.retain(|_, versions| {
            settle_first(versions, through, |version| (version.op, version.lost));
            versions.len() > 1
        });
        settle_first(&mut self.sizes, through, |size| (size.op, size.lost));
    }

    /// A sync that failed: the pages are clean from now on, whatever reached the disk.
    pub(crate) fn sync_failed(&mut self, through: u64) {
        for version in self.unsynced.values_mut().flat_map(|versions| versions.iter_mut().skip(1)) {
            version.lost |= version.op <= through;
        }
        for size in self.sizes.iter_mut().skip(1) {
            size.lost |= size.op <= through;
        }
    }

    /// Counts what a power cut may take.
    pub(crate) fn survey(&self, survey: &mut Survey) {
        survey.unit(self.sizes.iter().map(|size| size.op));
        for versions in self.unsynced.values() {
            survey.unit(versions.iter().map(|version| version.op));
        }
    }

    /// Whether a power cut cannot change the file.
    pub(crate) fn is_durable(&self) -> bool {
        self.unsynced.is_empty() && self.sizes.len() == 1
    }

    /// The file after a power cut.
    pub(crate) fn after_power_cut(&self, crash: Crash, chooser: &mut Chooser) -> Self {
        let size_at =
            chooser.pick(self.sizes.len(), |index| self.sizes.get(index).map_or(0, |size| size.op));
        let size = self.sizes.get(size_at).copied();
        let (bytes, size_op) = size.map_or((0, 0), |size| (size.bytes, size.op));
        let grown_from = (crash == Crash::Linux && size_at > 0).then(|| self.durable_bytes());

        let mut sectors = self.sectors.clone();
        for (index, versions) in &self.unsynced {
            // A file system that orders data before sizes shows no byte older than the size.
            let end = index.saturating_add(1).saturating_mul(SECTOR_BYTES);
            let ordered = grown_from.is_some_and(|from| end > from);
            let oldest = if ordered { last_through(versions, size_op) } else { 0 };
            let states = versions.get(oldest..).unwrap_or_default();
            let picked =
                chooser.pick(states.len(), |at| states.get(at).map_or(0, |version| version.op));
            let mut sector = states.get(picked).and_then(|version| version.sector.clone());
            let fresh = versions.first().is_some_and(|version| version.sector.is_none());
            if fresh && crash == Crash::StrictGarbage {
                sector = chooser.garbage().map(garbage_sector).or(sector);
            }
            match sector {
                Some(sector) => sectors.insert(*index, sector),
                None => sectors.remove(index),
            };
        }
        if crash == Crash::StrictGarbage {
            // A size that grew and was not synced may come with sectors that nobody ever wrote.
            let grown = self.durable_bytes().div_ceil(SECTOR_BYTES)..bytes.div_ceil(SECTOR_BYTES);
            for index in grown.take(GROWN_SECTORS_MAX) {
                if !sectors.contains_key(&index)
                    && let Some(seed) = chooser.garbage()
                {
                    sectors.insert(index, garbage_sector(seed));
                }
            }
        }
        cut_off(&mut sectors, bytes);
        Self::durable(bytes, sectors, self.reserved_bytes.min(bytes))
    }

    /// The disk space that the file takes: what was reserved, and written pages beyond it.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes_with(self.reserved_bytes)
    }

    /// The disk space that the file would take if so much were reserved.
    pub(crate) fn used_bytes_with(&self, reserved_bytes: u64) -> u64 {
        let reserved_pages = self.reserved_bytes.max(reserved_bytes).div_ceil(PAGE_BYTES);
        let first_beyond = reserved_pages.saturating_mul(SECTORS_PER_PAGE);
        let mut pages = reserved_pages;
        let mut counted = None;
        for (index, _) in self.sectors.range(first_beyond..) {
            let page = index.checked_div(SECTORS_PER_PAGE);
            if counted != page {
                pages = pages.saturating_add(1);
                counted = page;
            }
        }
        pages.saturating_mul(PAGE_BYTES)
    }

    /// Whether a write into this page takes space that the file does not have yet.
    pub(crate) fn needs_page(&self, page: u64) -> bool {
        let first = page.saturating_mul(SECTORS_PER_PAGE);
        let sectors = first..first.saturating_add(SECTORS_PER_PAGE);
        page.saturating_mul(PAGE_BYTES) >= self.reserved_bytes
            && self.sectors.range(sectors).next().is_none()
    }

    /// All bytes, as read now.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.bytes()).unwrap_or(0)];
        self.read(0, &mut bytes);
        bytes
    }
}

/// Makes the last state up to `through` the first one, unless a sync of it failed.
fn settle_first<T>(states: &mut Vec<T>, through: u64, state: impl Fn(&T) -> (u64, bool)) {
    let last = states.iter().rposition(|one| state(one).0 <= through);
    if let Some(last) = last
        && states.get(last).is_some_and(|one| !state(one).1)
    {
        states.drain(..last);
    }
}

/// The index of the last version made up to this operation.
fn last_through(versions: &[Version], op: u64) -> usize {
    versions.iter().rposition(|version| version.op <= op).unwrap_or(0)
}

/// So many sectors of a size that grew may show garbage: more would show nothing else.
const GROWN_SECTORS_MAX: usize = 64;

/// The sector that holds this offset, and the place in it.
fn position(offset: u64) -> (u64, usize) {
    let start = usize::try_from(offset % SECTOR_BYTES).unwrap_or(0);
    (offset / SECTOR_BYTES, start)
}

/// A sector of which only the first `kept` bytes are left.
fn head(sector: &Sector, kept: usize) -> Sector {
    let mut left = [0; SECTOR_LEN];
    left.iter_mut().zip(sector).take(kept).for_each(|(to, from)| *to = *from);
    left
}

fn cut_off(sectors: &mut BTreeMap<u64, Arc<Sector>>, bytes: u64) {
    let (boundary, kept) = position(bytes);
    if let Some(sector) = sectors.get_mut(&boundary).filter(|_| kept > 0) {
        *sector = Arc::new(head(sector, kept));
    }
    let first_gone = if kept > 0 { boundary.saturating_add(1) } else { boundary };
    let beyond = (Bound::Included(first_gone), Bound::Unbounded);
    if sectors.range::<u64, _>(beyond).next().is_some() {
        sectors.split_off(&first_gone);
    }
}

fn garbage_sector(seed: u64) -> Arc<Sector> {
    let mut rng = Rng::new(seed);
    let mut sector = [0; SECTOR_LEN];
    for word in sector.chunks_mut(8) {
        word.iter_mut().zip(rng.next_u64().to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    Arc::new(sector)
}

fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
