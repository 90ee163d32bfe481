//! Where a shard finds its records: extendible hashing over small tables of 32-bit places.
//!
//! A *position* is the hash without the bits that chose the shard. A bucket owns the positions that begin
//! with the same bits, and a table of at most [`BUCKET_ENTRIES_MAX`] entries; a full one is cut in
//! halves. So growing never moves more than one bucket's entries, and a shard is copied by parts of one.
//! The directory maps the leading bits of a position to its bucket.
//!
//! - A table knows 23 bits of each position behind those that its bucket shares. That tells the halves apart
//!   without a look at the records, which would be a wait for memory each. A half knows one bit less; when
//!   [`UNKNOWN_BITS_MAX`] are missing, the next cut reads the records and knows all 23 again.

use super::OutOfMemory;
use super::chunk::{Chunks, Place};
use super::record::{index, lossless};
use super::table::{Table, Tag};

/// A bucket with so many entries is split instead of getting a larger table. Larger buckets are fewer, so that
/// more of them stay in a processor's cache; smaller ones are copied and split in less time.
pub(super) const BUCKET_ENTRIES_MAX: usize = 3072;
/// A copy takes a bucket in at most 256 slices, so this bounds how long it holds the shard's lock.
pub(super) const BUCKET_BYTES_MAX: usize = 512 << 10;
/// With 17 bits, of which 9 choose the group, one search in 30 reads a record in vain.
const UNKNOWN_BITS_MAX: u32 = 6;
/// Directory entries, beyond which a full bucket grows instead of being split: for the first bucket, and
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
    /// Bytes of its records in the chunks, about: a split by tags divides them as it divides the entries.
    pub(super) bytes: usize,
    /// Entries that were promised room.
    promised: u32,
    /// For how many entries its first table is made, where that is known.
    expected: u16,
    /// How many leading bits of their positions its entries share.
    depth: u8,
    /// How many bits of each tag are not known.
    unknown: u8,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    fn all() -> Bucket {
        Bucket {
            table: Table::default(),
            first: 0,
            last: u64::MAX,
            bytes: 0,
            promised: 0,
            expected: 0,
            depth: 0,
            unknown: 0,
        }
    }

    /// How this bucket's table knows a position.
    #[inline]
    fn tag(&self, position: u64) -> Tag {
        Tag::of(position << self.depth, self.unknown.into())
    }

    /// How many positions, as a power of two, have the same first 8 bits of their tag.
    pub(super) fn step_bits(&self) -> u32 {
        // The directory's limits keep buckets far larger than 256 positions.
        (u64::BITS - 8).saturating_sub(self.depth.into())
    }

    /// Adds the bytes of a new record.
    #[inline]
    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Takes away those of an old one.
    #[inline]
    pub(super) fn sub_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// An entry on its way from one table to another.
struct Entry {
    hash: u64,
    place: u32,
}

/// The buckets of one shard. What a get needs under the lock stands together, on its line and the next.
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
            all: vec![Bucket::all()],
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
    fn of(&self, hash: u64) -> &Bucket {
        self.at(self.position(hash))
    }

    /// The table for `hash`, and how it knows it.
    #[inline]
    pub(super) fn table_of(&self, hash: u64) -> (&Table, Tag) {
        let position = self.position(hash);
        let bucket = self.at(position);
        (&bucket.table, bucket.tag(position))
    }

    /// The bucket for `hash`, and how its table knows it.
    #[inline]
    pub(super) fn bucket_of_mut(&mut self, hash: u64) -> (&mut Bucket, Tag) {
        let position = self.position(hash);
        let bucket = self.of_mut(hash);
        let tag = bucket.tag(position);
        (bucket, tag)
    }

    /// The bucket that owns the position of `hash`.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the directory holds numbers of buckets")]
    fn of_mut(&mut self, hash: u64) -> &mut Bucket {
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
        if bucket.table.len() + index(bucket.promised) <= bucket.table.capacity()
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
            let wanted = len + index(bucket.promised);
            let lacks_slots = wanted > bucket.table.capacity();
            let wanted = wanted.max(bucket.expected.into());
            let lacks_bytes = len > 1 && bucket.bytes + record_bytes > BUCKET_BYTES_MAX;
            let full = lacks_bytes || (lacks_slots && len >= BUCKET_ENTRIES_MAX);
            if full && self.can_split(hash)? {
                if lacks_bytes || u32::from(self.of(hash).unknown) >= UNKNOWN_BITS_MAX {
                    self.split_by_records(hash, chunks, hash_of)?;
                } else {
                    self.split_by_tags(hash)?;
                }
                continue;
            }
            if lacks_slots {
                self.resize(hash, wanted)?;
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
        bucket.expected = 0;
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

    /// Whether the bucket of `hash` can be cut in halves: the directory must tell them apart, and is doubled
    /// where it does not yet, up to a limit.
    fn can_split(&mut self, hash: u64) -> Result<bool, OutOfMemory> {
        if u32::from(self.of(hash).depth) < self.directory_bits {
            return Ok(true);
        }
        let entries_max = DIRECTORY_ENTRIES_FIRST + DIRECTORY_ENTRIES_EACH * self.all.len();
        if self.directory.len() * 2 > entries_max {
            return Ok(false);
        }
        self.double_directory()?;
        Ok(true)
    }

    /// Cuts the bucket of `hash` in halves by what its table knows.
    fn split_by_tags(&mut self, hash: u64) -> Result<(), OutOfMemory> {
        let bucket = self.of(hash);
        let (lower, upper) = bucket.table.halves()?;
        let upper_bytes = bucket.bytes / bucket.table.len().max(1) * upper.len();
        let unknown = bucket.unknown + 1;
        self.replace_by_halves(hash, (lower, upper), upper_bytes, unknown)
    }

    /// Cuts the bucket of `hash` in halves by the hashes of its keys.
    fn split_by_records(
        &mut self,
        hash: u64,
        chunks: &Chunks,
        hash_of: &impl Fn(&[u8]) -> u64,
    ) -> Result<(), OutOfMemory> {
        let bucket = self.of(hash);
        let entries = entries_of(&bucket.table, chunks, hash_of)?;
        let in_bucket = |entry: &Entry| self.position(entry.hash) << bucket.depth;
        let is_upper = |entry: &Entry| in_bucket(entry) >> 63 == 1;
        let upper_len = entries.iter().filter(|entry| is_upper(entry)).count();
        let mut lower = Table::with_capacity(entries.len() - upper_len)?;
        let mut upper = Table::with_capacity(upper_len)?;
        let mut upper_bytes = 0;
        for entry in &entries {
            let tag = Tag::of(in_bucket(entry) << 1, 0);
            if is_upper(entry) {
                upper.insert(tag, entry.place);
                upper_bytes += chunks.record(Place(entry.place)).bytes_used;
            } else {
                lower.insert(tag, entry.place);
            }
        }
        self.replace_by_halves(hash, (lower, upper), upper_bytes, 0)
    }

    fn replace_by_halves(
        &mut self,
        hash: u64,
        (lower, upper): (Table, Table),
        upper_bytes: usize,
        unknown: u8,
    ) -> Result<(), OutOfMemory> {
        self.all.try_reserve(1).map_err(|_| OutOfMemory { bytes: 64 })?;
        let number = u32::try_from(self.all.len()).map_err(|_| OutOfMemory { bytes: 64 })?;

        // Nothing fails from here on.
        self.tables_bytes += lower.bytes() + upper.bytes();
        let bucket = self.of_mut(hash);
        let before = std::mem::replace(&mut bucket.table, lower);
        let last = bucket.last;
        let middle = bucket.first + (last - bucket.first) / 2 + 1;
        bucket.last = middle - 1;
        bucket.bytes = bucket.bytes.saturating_sub(upper_bytes);
        bucket.depth += 1;
        bucket.unknown = unknown;
        let upper = Bucket {
            table: upper,
            first: middle,
            last,
            bytes: upper_bytes,
            // What the whole was promised, each half keeps: too much is harmless, and too little is not.
            promised: bucket.promised,
            expected: 0,
            depth: bucket.depth,
            unknown,
        };
        self.tables_bytes -= before.bytes();
        self.all.push(upper);
        let (from, to) = (self.directory_index(middle), self.directory_index(last));
        if let Some(entries) = self.directory.get_mut(from..=to) {
            entries.fill(number);
        }
        Ok(())
    }

    /// Makes as many buckets as so many entries with so many bytes of records will need, if there are none in it
    /// yet. They may come in the order of their positions, as a snapshot has them: one bucket for all would
    /// be cut again and again with everything on one side. The tables are made when the first entry comes,
    /// so that those that follow find it in the cache.
    pub(super) fn expect(
        &mut self,
        entries: usize,
        record_bytes: usize,
    ) -> Result<(), OutOfMemory> {
        let is_new = self.all.len() == 1 && self.at(0).table.len() == 0;
        let fits = |depth: &u8| {
            entries >> depth <= BUCKET_ENTRIES_MAX / 8 * 7
                && record_bytes >> depth <= BUCKET_BYTES_MAX / 8 * 7
        };
        let depth_max = u8::try_from(DIRECTORY_ENTRIES_FIRST.trailing_zeros()).unwrap_or(0);
        let depth = (0..depth_max).find(fits).unwrap_or(depth_max);
        if !is_new || depth == 0 {
            return Ok(());
        }
        let buckets = 1_usize << depth;
        let failed = |_| OutOfMemory { bytes: lossless(buckets * size_of::<Bucket>()) };
        let (mut all, mut directory) = (Vec::new(), Vec::new());
        all.try_reserve_exact(buckets).map_err(failed)?;
        directory.try_reserve_exact(buckets).map_err(failed)?;
        let share = entries / buckets;
        let expected = u16::try_from(share + share / 16).unwrap_or(u16::MAX);
        let positions = u64::MAX >> depth;
        for number in 0..1_u32 << depth {
            let first = u64::from(number) << (64 - depth);
            let last = first + positions;
            all.push(Bucket { first, last, expected, depth, ..Bucket::all() });
            directory.push(number);
        }
        self.all = all;
        self.directory = directory;
        self.directory_bits = depth.into();
        self.tables_bytes = 0;
        Ok(())
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
            bucket.table.verify();
            for (tag, place) in bucket.table.entries() {
                let record = chunks.record(Place(place));
                assert_eq!(record.flags & super::record::DEAD, 0);
                let position = self.position(hash_of(record.key));
                assert!((bucket.first..=bucket.last).contains(&position), "in a wrong bucket");
                assert_eq!(bucket.tag(position), tag, "known by another tag");
            }
            next = bucket.last.checked_add(1);
        }
        let sum: u64 = self.all.iter().map(|bucket| bucket.table.bytes()).sum();
        assert_eq!(self.tables_bytes, sum);
    }
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
        for (slot, place) in block.iter_mut().zip(&mut places) {
            *slot = place;
            len += 1;
        }
        let Some(block) = block.get(..len).filter(|block| !block.is_empty()) else {
            return Ok(entries);
        };
        chunks.touch(block.iter().map(|place| Place(*place)));
        entries.extend(
            block.iter().map(|place| Entry {
                hash: hash_of(chunks.record(Place(*place)).key),
                place: *place,
            }),
        );
    }
}
