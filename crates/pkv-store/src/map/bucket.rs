//! Where a shard finds its records: extendible hashing over small tables of 32-bit places.
//!
//! A *position* is the hash without the bits that chose the shard, so that it uses all 64 bits. A
//! bucket owns a range of positions and a table of at most [`BUCKET_ENTRIES_MAX`] entries; a full one is
//! split in two. So growing never rehashes more than one bucket, and a bucket is the slice in which a
//! shard is copied. The directory maps the leading bits of a position to its bucket; a range is any run
//! of directory entries, not only a binary half.
//!
//! Buckets are split unevenly, and at another fraction each time: hashes are uniform, so tables that all
//! split in halves would fill up and double all at once, and the index would take 5.7 bytes an entry at
//! one size of the map and 11.4 at another. Measured at 256 shards and 896 entries a bucket, with all
//! lists: 7.3 to 9.0 bytes from 800,000 entries up.

use super::OutOfMemory;
use super::chunk::{Chunks, Place};
use super::record::{index, lossless};
use super::table::{Table, Tag};

/// A bucket with so many entries is split instead of getting a larger table. Larger buckets are fewer, so that
/// more of them stay in a processor's cache; smaller ones are copied and split in less time.
pub(super) const BUCKET_ENTRIES_MAX: usize = 3600;
/// A copy takes one bucket at a time, so this bounds how long it holds the shard's lock.
pub(super) const BUCKET_BYTES_MAX: usize = 512 << 10;
/// A table without room gets this share more: its entries are moved without a look at the records, so
/// small steps are cheap, and leave little room unused.
const GROWTH_SHARE: usize = 3;
/// Directory entries, beyond which a bucket that cannot be cut grows instead: for the first bucket, and
/// for each.
const DIRECTORY_ENTRIES_FIRST: usize = 4096;
const DIRECTORY_ENTRIES_EACH: usize = 64;

/// A range of positions with its entries; all of it on one cache line, since a get needs it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Bucket {
    pub(super) table: Table,
    /// First and last position of the range.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Bytes of its records in the chunks.
    pub(super) bytes: usize,
    /// Entries that were promised room.
    promised: usize,
}

impl Bucket {
    fn new(first: u64, last: u64) -> Bucket {
        Bucket { table: Table::default(), first, last, bytes: 0, promised: 0 }
    }
}

/// An entry on its way from one table to another.
struct Entry {
    hash: u64,
    place: u32,
}

/// The buckets of one shard. What a get needs stands together, right behind the shard's lock.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Buckets {
    directory_bits: u32,
    /// The bits of a hash above its position.
    shard_bits: u32,
    /// Bucket numbers by the leading bits of a position; a power of two of them.
    directory: Vec<u32>,
    all: Vec<Bucket>,
    tables_bytes: u64,
}

impl Buckets {
    /// One bucket for all positions. `shard_bits`: how many leading bits of a hash chose the shard.
    pub(super) fn new(shard_bits: u32) -> Buckets {
        Buckets {
            directory: vec![0],
            directory_bits: 0,
            shard_bits,
            all: vec![Bucket::new(0, u64::MAX)],
            tables_bytes: 0,
        }
    }

    /// Bytes of tables, buckets and directory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.tables_bytes
            + lossless(self.directory.capacity() * size_of::<u32>())
            + lossless(self.all.capacity() * size_of::<Bucket>())
    }

    /// How many leading bits of a hash chose the shard.
    pub(super) fn shard_bits(&self) -> u32 {
        self.shard_bits
    }

    /// The position of a hash within the shard.
    #[inline]
    pub(super) fn position(&self, hash: u64) -> u64 {
        hash << self.shard_bits
    }

    #[inline]
    fn directory_index(&self, position: u64) -> usize {
        // Shifted in two steps, since a directory of one entry has no bits to keep.
        usize::try_from((position >> 1) >> (63 - self.directory_bits)).unwrap_or(usize::MAX)
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the directory has an entry for every position")]
    fn number_at(&self, position: u64) -> usize {
        index(self.directory[self.directory_index(position)])
    }

    /// The bucket that owns `position`.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the directory holds numbers of buckets")]
    pub(super) fn at(&self, position: u64) -> &Bucket {
        &self.all[self.number_at(position)]
    }

    /// The bucket that owns the position of `hash`.
    #[inline]
    pub(super) fn of(&self, hash: u64) -> &Bucket {
        self.at(self.position(hash))
    }

    /// The bucket that owns the position of `hash`.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the directory holds numbers of buckets")]
    pub(super) fn of_mut(&mut self, hash: u64) -> &mut Bucket {
        let number = self.number_at(self.position(hash));
        &mut self.all[number]
    }

    /// Is there room for an entry with a record of so many bytes, if nothing was promised?
    #[inline]
    pub(super) fn has_room(&self, hash: u64, record_bytes: usize) -> bool {
        let bucket = self.of(hash);
        bucket.table.len() < bucket.table.capacity()
            && bucket.bytes + record_bytes <= BUCKET_BYTES_MAX
    }

    /// Forgets what was promised to the buckets of these hashes.
    pub(super) fn forget_promises(&mut self, hashes: impl Iterator<Item = u64>) {
        for hash in hashes {
            self.of_mut(hash).promised = 0;
        }
    }

    /// Makes sure that an entry for `hash` with a record of so many bytes finds room, beside those that
    /// were promised room since [`Buckets::forget_promises`].
    #[inline]
    pub(super) fn reserve(
        &mut self,
        hash: u64,
        record_bytes: usize,
        chunks: &Chunks,
        hash_of: &impl Fn(&[u8]) -> u64,
    ) -> Result<(), OutOfMemory> {
        let bucket = self.of_mut(hash);
        bucket.promised += 1;
        if bucket.table.len() + bucket.promised <= bucket.table.capacity()
            && bucket.bytes + record_bytes <= BUCKET_BYTES_MAX
        {
            return Ok(());
        }
        self.make_room(hash, record_bytes, chunks, hash_of)
    }

    #[cold]
    #[inline(never)]
    fn make_room(
        &mut self,
        hash: u64,
        record_bytes: usize,
        chunks: &Chunks,
        hash_of: &impl Fn(&[u8]) -> u64,
    ) -> Result<(), OutOfMemory> {
        loop {
            let bucket = self.of(hash);
            let len = bucket.table.len();
            let wanted = len + bucket.promised;
            let lacks_slots = wanted > bucket.table.capacity();
            let lacks_bytes = len > 1 && bucket.bytes + record_bytes > BUCKET_BYTES_MAX;
            let full = lacks_bytes || (lacks_slots && len >= BUCKET_ENTRIES_MAX);
            if full && self.split(hash, chunks, hash_of)? {
                continue;
            }
            if lacks_slots {
                let room = (wanted + wanted / GROWTH_SHARE).min(BUCKET_ENTRIES_MAX);
                self.resize(hash, room.max(wanted))?;
            }
            return Ok(());
        }
    }

    /// Moves a bucket's entries to a table with room for `entries` of them.
    fn resize(&mut self, hash: u64, entries: usize) -> Result<(), OutOfMemory> {
        let bucket = self.of_mut(hash);
        let table = bucket.table.resized(entries)?;
        let (before, after) = (bucket.table.bytes(), table.bytes());
        bucket.table = table;
        self.tables_bytes = self.tables_bytes + after - before;
        Ok(())
    }

    /// Exchanges the table of an almost empty bucket for a smaller one.
    #[inline]
    pub(super) fn shrink(&mut self, hash: u64) {
        let table = &self.of(hash).table;
        let (len, capacity) = (table.len(), table.capacity());
        if capacity > 16 && len * 8 < capacity {
            // Without memory for a small table the large one stays in use.
            let _unchanged = self.resize(hash, len * 2);
        }
    }

    /// Cuts the bucket of `hash` in two. False: it cannot be cut.
    fn split(
        &mut self,
        hash: u64,
        chunks: &Chunks,
        hash_of: &impl Fn(&[u8]) -> u64,
    ) -> Result<bool, OutOfMemory> {
        let shard_bits = self.shard_bits;
        let position_of = |entry: &Entry| entry.hash << shard_bits;
        let bucket = self.of(hash);
        let range = (bucket.first, bucket.last);
        let mut entries = entries_of(&bucket.table, chunks, hash_of)?;
        let Some(cut) = self.cut(&mut entries, range)? else { return Ok(false) };
        let is_left = |entry: &&Entry| position_of(entry) < cut;
        let left_len = entries.iter().filter(is_left).count();
        let left = table_of(entries.iter().filter(is_left), left_len)?;
        let right =
            table_of(entries.iter().filter(|entry| !is_left(entry)), entries.len() - left_len)?;
        let right_bytes = entries
            .iter()
            .filter(|entry| !is_left(entry))
            .map(|entry| chunks.record(Place(entry.place)).bytes_used)
            .sum();
        self.all.try_reserve(1).map_err(|_| OutOfMemory { bytes: 64 })?;
        let number = u32::try_from(self.all.len()).map_err(|_| OutOfMemory { bytes: 64 })?;

        // Nothing fails from here on.
        let bucket = self.of_mut(hash);
        let before = bucket.table.bytes();
        let last = bucket.last;
        let promised = bucket.promised;
        bucket.table = left;
        bucket.last = cut - 1;
        bucket.bytes -= right_bytes;
        let left_table_bytes = bucket.table.bytes();
        // What the whole was promised, each half keeps: too much is harmless, and too little is not.
        let right = Bucket { table: right, first: cut, last, bytes: right_bytes, promised };
        self.tables_bytes = self.tables_bytes + left_table_bytes + right.table.bytes() - before;
        self.all.push(right);
        let (from, to) = (self.directory_index(cut), self.directory_index(last));
        if let Some(entries) = self.directory.get_mut(from..=to) {
            entries.fill(number);
        }
        Ok(true)
    }

    /// Where to cut a bucket: the first position of its right part, between two directory entries and
    /// with entries on both sides. Doubles the directory where it is too coarse for a good place.
    fn cut(
        &mut self,
        entries: &mut [Entry],
        range: (u64, u64),
    ) -> Result<Option<u64>, OutOfMemory> {
        let shard_bits = self.shard_bits;
        let positions = || entries.iter().map(|entry| entry.hash << shard_bits);
        let (Some(low), Some(high)) = (positions().min(), positions().max()) else {
            return Ok(None);
        };
        let left_len = left_len(entries, high - range.0 < (range.1 - range.0) / 2);
        let (_, middle, _) =
            entries.select_nth_unstable_by_key(left_len, |entry| entry.hash << shard_bits);
        let wanted = middle.hash << shard_bits;
        let tolerance = (high - low) / 10;
        loop {
            let entry_bits = 64 - self.directory_bits;
            let down = if entry_bits == 64 { 0 } else { wanted >> entry_bits << entry_bits };
            let up = if entry_bits == 64 { None } else { down.checked_add(1 << entry_bits) };
            let cut = [Some(down), up]
                .into_iter()
                .flatten()
                .filter(|cut| low < *cut && *cut <= high)
                .min_by_key(|cut| cut.abs_diff(wanted));
            let directory_entries_max =
                DIRECTORY_ENTRIES_FIRST + DIRECTORY_ENTRIES_EACH * self.all.len();
            if cut.is_some_and(|cut| cut.abs_diff(wanted) <= tolerance)
                || self.directory.len() * 2 > directory_entries_max
            {
                return Ok(cut);
            }
            self.double_directory()?;
        }
    }

    fn double_directory(&mut self) -> Result<(), OutOfMemory> {
        let entries = self.directory.len() * 2;
        let mut doubled = Vec::new();
        doubled
            .try_reserve_exact(entries)
            .map_err(|_| OutOfMemory { bytes: lossless(entries * size_of::<u32>()) })?;
        doubled.extend(self.directory.iter().flat_map(|number| [*number, *number]));
        self.directory = doubled;
        self.directory_bits += 1;
        Ok(())
    }
}

#[cfg(test)]
impl Buckets {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket> {
        self.all.iter()
    }

    /// Asserts that buckets tile the positions, and that each holds what belongs to it.
    pub(super) fn verify(&self, chunks: &Chunks, hash_of: &impl Fn(&[u8]) -> u64) {
        let mut next = Some(0);
        while let Some(position) = next {
            let bucket = self.at(position);
            assert_eq!(bucket.first, position, "a gap or an overlap");
            let mut bytes = 0;
            bucket.table.verify();
            for place in bucket.table.places() {
                let record = chunks.record(Place(place));
                assert_eq!(record.flags & super::record::DEAD, 0);
                let position = self.position(hash_of(record.key));
                assert!((bucket.first..=bucket.last).contains(&position), "in a wrong bucket");
                bytes += record.bytes_used;
            }
            assert_eq!(bucket.bytes, bytes);
            next = bucket.last.checked_add(1);
        }
        let sum: u64 = self.all.iter().map(|bucket| bucket.table.bytes()).sum();
        assert_eq!(self.tables_bytes, sum);
    }
}

/// How many entries of a full bucket to leave on the left.
fn left_len(entries: &[Entry], ascending: bool) -> usize {
    // The lowest bits of any hash in it are as good as a random number.
    let random = entries.first().map_or(0, |entry| entry.hash & 0xff);
    let share = if ascending {
        // The entries come in the order of their positions, and the left part gets no more of them: 3/4 to
        // all but 1/16.
        192 + random * 48 / 256
    } else {
        // A quarter to a half.
        64 + random * 64 / 256
    };
    entries.len() * usize::try_from(share).unwrap_or(0) / 256
}

/// How many records are touched before the first of them is read.
const TOUCHED: usize = 32;

/// The entries of a table with their hashes, which are read from the keys.
///
/// The records lie anywhere in memory, so that most of the time goes into waiting for it. They are touched
/// some dozens at a time first: loads that depend on nothing wait together, and hashing then
/// finds all of them in the cache.
fn entries_of(
    table: &Table,
    chunks: &Chunks,
    hash_of: &impl Fn(&[u8]) -> u64,
) -> Result<Vec<Entry>, OutOfMemory> {
    let mut entries = Vec::new();
    entries
        .try_reserve_exact(table.len())
        .map_err(|_| OutOfMemory { bytes: lossless(table.len() * size_of::<Entry>()) })?;
    let mut places = table.places();
    let mut block = [0; TOUCHED];
    loop {
        let mut len = 0;
        let mut touched = 0;
        for (slot, place) in block.iter_mut().zip(&mut places) {
            *slot = place;
            touched ^= chunks.first_byte(Place(place));
            len += 1;
        }
        std::hint::black_box(touched);
        let Some(block) = block.get(..len).filter(|block| !block.is_empty()) else {
            return Ok(entries);
        };
        entries.extend(
            block.iter().map(|place| Entry {
                hash: hash_of(chunks.record(Place(*place)).key),
                place: *place,
            }),
        );
    }
}

/// A table of these entries, with a share of room for more.
fn table_of<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    len: usize,
) -> Result<Table, OutOfMemory> {
    let mut table = Table::with_capacity(len + len / (2 * GROWTH_SHARE) + 1)?;
    table.fill(entries.map(|entry| (Tag::of(entry.hash), entry.place)));
    Ok(table)
}
