//! The table of one bucket: from 16 bits of a hash to 32-bit places, one cache line a probe.
//!
//! ```text
//! group, 64 bytes | 10 tags of 16 bits | 16 bits | 16 bits: entries that went past | 10 places of 32 bits |
//! ```
//!
//! - A tag and its place stand on the same line, so a lookup waits for memory twice: for the group and for
//!   the record. (A table with its tags apart, as hashbrown's is, waits three times.)
//! - The tag says by itself to which group it belongs, so a table is made larger without reading a record.
//! - An entry whose group is full goes to the next one with room, and every group on its way counts it.
//!   A search goes on exactly where that count is not zero, so a removal leaves nothing behind
//!   (F14's overflow counts).
//! - All ten tags are compared at once, in three words, without a branch.

use super::OutOfMemory;
use super::record::{index, lossless};

/// Places in a group.
const SLOTS: usize = 10;
/// Tags in a word.
const LANES: usize = 4;
const LANE_BITS: usize = 16;
const EVERY_LANE: u64 = 0x0001_0001_0001_0001;
const LOW_BITS: u64 = EVERY_LANE * 0x7fff;
const HIGH_BITS: u64 = EVERY_LANE * 0x8000;
/// The lanes of the last word that are tags.
const LAST_TAGS: u64 = 0x8000_8000;
/// The lane of the last word that counts entries which went past.
const PASSED_SHIFT: u32 = 48;
/// A group has so many entries where a table is full: with more of them too many go past.
const ENTRIES_EACH: usize = 9;

/// A hash, as a table knows it; zero is an empty slot's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u16);

impl Tag {
    /// Of the lowest bits, since the highest ones chose shard and bucket and are alike within a table.
    #[inline]
    pub(super) fn of(hash: u64) -> Tag {
        let [low, high, ..] = hash.to_le_bytes();
        Tag(u16::from_le_bytes([low, high]).max(1))
    }

    #[inline]
    fn in_every_lane(self) -> u64 {
        u64::from(self.0) * EVERY_LANE
    }
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Group {
    tags: [u64; 3],
    places: [u32; SLOTS],
}

const _: () = assert!(size_of::<Group>() == 64);

/// Slots of a group, as a set: bit 16 * lane + word.
#[derive(Clone, Copy, Debug)]
struct Slots(u64);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = index(self.0.trailing_zeros());
        self.0 &= self.0 - 1;
        Some((bit % LANE_BITS) * LANES + bit / LANE_BITS)
    }
}

impl Group {
    /// The slots with this tag.
    #[inline]
    fn slots_with(&self, tag: u64) -> Slots {
        // The highest bit of each lane that is zero in `word ^ tag`, exactly.
        let equal = |word: u64| {
            let difference = word ^ tag;
            !(((difference & LOW_BITS) + LOW_BITS) | difference) & HIGH_BITS
        };
        let [first, second, last] = self.tags;
        Slots(equal(first) >> 15 | equal(second) >> 14 | (equal(last) & LAST_TAGS) >> 13)
    }

    #[inline]
    fn empty_slots(&self) -> Slots {
        self.slots_with(0)
    }

    /// How many entries went past, since there was no room.
    #[inline]
    fn passed(&self) -> u64 {
        let [.., last] = self.tags;
        last >> PASSED_SHIFT
    }

    fn pass(&mut self) {
        let [.., last] = &mut self.tags;
        *last += 1 << PASSED_SHIFT;
    }

    fn unpass(&mut self) {
        let [.., last] = &mut self.tags;
        *last -= 1 << PASSED_SHIFT;
    }

    #[inline]
    fn set(&mut self, slot: usize, tag: Tag, place: u32) {
        let shift = slot % LANES * LANE_BITS;
        if let Some(word) = self.tags.get_mut(slot / LANES) {
            *word = *word & !(0xffff << shift) | u64::from(tag.0) << shift;
        }
        if let Some(slot) = self.places.get_mut(slot) {
            *slot = place;
        }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "slots_with gives numbers below SLOTS")]
    fn place(&self, slot: usize) -> u32 {
        self.places[slot]
    }

    fn tag(&self, slot: usize) -> Tag {
        let word = self.tags.get(slot / LANES).copied().unwrap_or(0);
        let [low, high, ..] = (word >> (slot % LANES * LANE_BITS)).to_le_bytes();
        Tag(u16::from_le_bytes([low, high]))
    }

    /// The entries.
    fn entries(&self) -> impl Iterator<Item = (Tag, u32)> + '_ {
        let entry = |slot| (self.tag(slot), self.place(slot));
        (0..SLOTS).map(entry).filter(|(tag, _)| tag.0 != 0)
    }
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The group to which it belongs, how many groups it went past, and its slot.
    home: usize,
    past: usize,
    slot: usize,
}

/// Places by tag. Several entries may have the same tag.
#[derive(Debug, Default)]
pub(super) struct Table {
    groups: Box<[Group]>,
    len: usize,
}

impl Table {
    /// An empty table for so many entries.
    pub(super) fn with_capacity(entries: usize) -> Result<Table, OutOfMemory> {
        let len = entries.div_ceil(ENTRIES_EACH);
        let mut groups: Vec<Group> = Vec::new();
        groups
            .try_reserve_exact(len)
            .map_err(|_| OutOfMemory { bytes: lossless(len * size_of::<Group>()) })?;
        groups.resize(len, Group::default());
        Ok(Table { groups: groups.into_boxed_slice(), len: 0 })
    }

    /// How many entries there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// For how many there is room.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.groups.len() * ENTRIES_EACH
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> u64 {
        lossless(size_of_val(&*self.groups))
    }

    /// The group to which a tag belongs: tags are uniform, so this is its share of all groups.
    #[inline]
    fn home(&self, tag: Tag) -> usize {
        (usize::from(tag.0) * self.groups.len()) >> 16
    }

    /// The number of the group so many behind another.
    #[inline]
    fn behind(&self, home: usize, past: usize) -> usize {
        let number = home + past;
        if number < self.groups.len() { number } else { number - self.groups.len() }
    }

    /// What `read` makes of the first entry with this tag of which it makes something.
    #[inline]
    pub(super) fn find<R>(&self, tag: Tag, mut read: impl FnMut(u32) -> Option<R>) -> Option<R> {
        let home = self.home(tag);
        let wanted = tag.in_every_lane();
        let mut past = 0;
        while let Some(group) = self.groups.get(self.behind(home, past)) {
            for slot in group.slots_with(wanted) {
                let found = read(group.place(slot));
                if found.is_some() {
                    return found;
                }
            }
            past += 1;
            if group.passed() == 0 || past == self.groups.len() {
                break;
            }
        }
        None
    }

    /// Where the entry with this tag and place is.
    pub(super) fn locate(&self, tag: Tag, place: u32) -> Option<Found> {
        let home = self.home(tag);
        let wanted = tag.in_every_lane();
        for past in 0..self.groups.len() {
            let group = self.groups.get(self.behind(home, past))?;
            let found = group.slots_with(wanted).find(|slot| group.place(*slot) == place);
            if let Some(slot) = found {
                return Some(Found { home, past, slot });
            }
            if group.passed() == 0 {
                return None;
            }
        }
        None
    }

    /// Gives an entry another place.
    pub(super) fn set_place(&mut self, found: Found, place: u32) {
        let number = self.behind(found.home, found.past);
        let group = self.groups.get_mut(number);
        if let Some(slot) = group.and_then(|group| group.places.get_mut(found.slot)) {
            *slot = place;
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, found: Found) {
        for past in 0..found.past {
            let number = self.behind(found.home, past);
            if let Some(group) = self.groups.get_mut(number) {
                group.unpass();
            }
        }
        let number = self.behind(found.home, found.past);
        if let Some(group) = self.groups.get_mut(number) {
            group.set(found.slot, Tag(0), 0);
            self.len -= 1;
        }
    }

    /// Puts an entry in. The caller has seen to it that [`Table::capacity`] is greater than
    /// [`Table::len`], and that the key is in no other entry.
    #[inline]
    pub(super) fn insert(&mut self, tag: Tag, place: u32) {
        debug_assert!(self.len < self.capacity(), "a table without room");
        let home = self.home(tag);
        let mut past = 0;
        let mut number = home;
        while let Some(group) = self.groups.get_mut(number) {
            if let Some(slot) = group.empty_slots().next() {
                group.set(slot, tag, place);
                self.len += 1;
                return;
            }
            group.pass();
            past += 1;
            number = self.behind(home, past);
        }
    }

    /// All places, in no order.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries().map(|(_, place)| place)
    }

    /// All entries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Tag, u32)> + '_ {
        self.groups.iter().flat_map(Group::entries)
    }

    /// The same entries in a table for so many.
    pub(super) fn resized(&self, entries: usize) -> Result<Table, OutOfMemory> {
        let mut table = Table::with_capacity(entries.max(self.len))?;
        table.fill(self.entries());
        Ok(table)
    }

    /// [`Table::insert`] for many, into a table that nothing was removed from.
    pub(super) fn fill(&mut self, entries: impl Iterator<Item = (Tag, u32)>) {
        for (tag, place) in entries {
            self.insert(tag, place);
        }
    }
}

#[cfg(test)]
impl Table {
    /// Asserts that every entry is found where it stands, and that the counts of those that went past are right.
    pub(super) fn verify(&self) {
        let mut passed = vec![0; self.groups.len()];
        let mut len = 0;
        for (tag, place) in self.entries() {
            let found = self.locate(tag, place).expect("an entry that is not found");
            for past in 0..found.past {
                passed[self.behind(found.home, past)] += 1;
            }
            len += 1;
        }
        assert_eq!(self.len, len);
        let counted: Vec<u64> = self.groups.iter().map(Group::passed).collect();
        assert_eq!(passed, counted);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_compared_exactly() {
        // A borrow from lane to lane would make 1 look like 0 beside a real 0.
        let mut group = Group::default();
        for slot in 0..SLOTS {
            assert_eq!(group.empty_slots().count(), SLOTS - slot);
            group.set(slot, Tag(1), 7);
            assert_eq!(group.slots_with(Tag(1).in_every_lane()).count(), slot + 1);
            assert_eq!(group.slots_with(Tag(2).in_every_lane()).count(), 0);
        }
        group.pass();
        assert_eq!((group.passed(), group.empty_slots().count()), (1, 0));
        assert_eq!(group.entries().count(), SLOTS);
    }

    #[test]
    fn a_table_is_filled_to_its_capacity_and_emptied() {
        for capacity in [0, 1, 8, 9, 100, 3584] {
            let mut table = Table::with_capacity(capacity).unwrap();
            assert!(table.capacity() >= capacity);
            let room = u32::try_from(table.capacity()).unwrap();
            let tag =
                |place: u32| Tag::of(u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
            for place in 0..room {
                table.insert(tag(place), place);
            }
            table.verify();
            for place in 0..room {
                assert_eq!(
                    table.find(tag(place), |found| (found == place).then_some(found)),
                    Some(place)
                );
                assert_eq!(table.find(tag(place), |_| None::<u32>), None);
            }
            for place in 0..room {
                let found = table.locate(tag(place), place).unwrap();
                table.remove(found);
                assert!(table.locate(tag(place), place).is_none());
            }
            table.verify();
            assert!(
                table.groups.iter().all(|group| group.tags == [0; 3]),
                "something was left behind"
            );
        }
    }

    proptest! {
        /// Few tags, so that most entries go past full groups.
        #[test]
        fn it_does_what_a_map_does(
            changes in prop::collection::vec((0_u64..6, 0_u32..40, any::<bool>()), 0..300),
            capacity in 40_usize..60,
        ) {
            let mut table = Table::with_capacity(capacity).unwrap();
            let mut model: HashMap<u32, Tag> = HashMap::new();
            for (hash, place, is_insert) in changes {
                match model.get(&place) {
                    None if is_insert => {
                        let tag = Tag::of(hash * 11_000);
                        table.insert(tag, place);
                        model.insert(place, tag);
                    }
                    Some(tag) if !is_insert => {
                        let found = table.locate(*tag, place).unwrap();
                        table.remove(found);
                        model.remove(&place);
                    }
                    _ => {}
                }
                table.verify();
                prop_assert_eq!(table.len(), model.len());
            }
            let larger = table.resized(200).unwrap();
            larger.verify();
            for (place, tag) in &model {
                prop_assert_eq!(larger.find(*tag, |found| (found == *place).then_some(found)), Some(*place));
            }
        }
    }
}
