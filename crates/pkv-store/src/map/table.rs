//! The table of one bucket: from 23 bits of a hash to 32-bit places, one cache line a probe.
//!
//! ```text
//! group, 64 bytes | 9 tags of 16 bits | 9 times 8 bits more | entries that went past | 9 places of 32 bits |
//! ```
//!
//! - Tag and place stand on the same line, so a lookup waits for memory twice: for the group and for
//!   the record. (A table with its tags apart, as hashbrown's is, waits three times.)
//! - The bits of an entry say by themselves to which group it belongs, and on which side of a split, so a
//!   table is made larger, and cut in two, without reading a record.
//! - An entry whose group is full goes to the next one with room, and every group on its way counts it.
//!   A search goes on exactly where that count is not zero, so a removal leaves nothing behind
//!   (F14's overflow counts).
//! - All nine tags are compared at once, eight of them in one register, without a branch.

use std::ops::RangeInclusive;

use super::OutOfMemory;
use super::record::{index, lossless};

/// Places in a group.
const SLOTS: usize = 9;
/// A group has so many entries where a table is full: with more of them too many go past.
const ENTRIES_EACH: usize = 8;

/// The bits of a position by which a bucket tells its entries apart: those behind the bits that all its
/// entries share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    pub(super) const BITS: u32 = 23;

    /// Of a position without the bits that the bucket's entries share; the last `unknown` bits are left out.
    #[inline]
    pub(super) fn of(position: u64, unknown: u32) -> Tag {
        let bits = u32::try_from(position >> (64 - Self::BITS)).unwrap_or(0);
        Tag(bits & (u32::MAX << unknown))
    }

    /// Whether it belongs to the upper half of its bucket.
    #[inline]
    fn is_upper(self) -> bool {
        self.0 >> (Self::BITS - 1) != 0
    }

    /// The same within its half: a bit less is known.
    #[inline]
    fn in_its_half(self) -> Tag {
        Tag((self.0 << 1) & (u32::MAX >> (32 - Self::BITS)))
    }

    /// A bijection on all tags that takes neighbours far apart (Fibonacci hashing).
    #[inline]
    fn mixed(self) -> u32 {
        self.0.wrapping_mul(0x009e_3779) & (u32::MAX >> (32 - Self::BITS))
    }

    /// As it stands in a slot: the 15 lowest bits and a 1, which no empty slot has, and the others.
    #[inline]
    fn split(self) -> (u16, u8) {
        let [low, high, rest, _] = (self.0 << 1).to_le_bytes();
        (u16::from_le_bytes([low | 1, high]), rest)
    }

    #[inline]
    fn joined(low: u16, rest: u8) -> Tag {
        Tag((u32::from(rest) << 16 | u32::from(low)) >> 1)
    }
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Group {
    /// The low bits of each slot's tag; 0: an empty slot.
    low: [u16; SLOTS],
    /// The other bits.
    rest: [u8; SLOTS],
    /// How many entries went past, since there was no room. It stays at 255, once there.
    passed: u8,
    places: [u32; SLOTS],
}

const _: () = assert!(size_of::<Group>() == 64);

/// Slots of a group, as a set: a bit for each.
#[derive(Clone, Debug)]
struct Slots(u16);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = index(self.0.trailing_zeros());
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

impl Group {
    /// The slots with these low bits. Eight of them are what a vector register holds.
    #[inline]
    fn slots_with(&self, low: u16) -> Slots {
        let [eight @ .., last] = &self.low;
        let equal = u16::from(pkv_fs::equal_lanes(eight, low));
        Slots(equal | u16::from(*last == low) << (SLOTS - 1))
    }

    #[inline]
    fn empty_slots(&self) -> Slots {
        self.slots_with(0)
    }

    #[inline]
    fn set(&mut self, slot: usize, tag: Tag, place: u32) {
        let mut slots = self.low.iter_mut().zip(&mut self.rest).zip(&mut self.places);
        if let Some(((low, rest), slot)) = slots.nth(slot) {
            (*low, *rest) = tag.split();
            *slot = place;
        }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "slots_with gives numbers below SLOTS")]
    fn place(&self, slot: usize) -> u32 {
        self.places[slot]
    }

    /// The entries.
    #[inline]
    fn entries(&self) -> impl Iterator<Item = (Tag, u32)> + '_ {
        let slots = self.low.iter().zip(&self.rest).zip(&self.places);
        slots
            .filter(|((low, _), _)| **low != 0)
            .map(|((low, rest), place)| (Tag::joined(*low, *rest), *place))
    }
}

/// The next power of two, or one and a half of one: tables of few sizes fit where others were given up, so that
/// the allocator is left with fewer holes.
fn size_class(groups: usize) -> usize {
    groups.next_multiple_of((groups.next_power_of_two() / 4).max(1))
}

/// The first entry with the low bits of a tag, in the group to which the tag belongs: mostly the one with the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// It is there. Others may be behind it.
    Place(u32),
    /// None is there, and entries went past that group.
    Behind,
    /// There is none with the tag.
    Nowhere,
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
    /// An empty table for at least so many entries.
    pub(super) fn with_capacity(entries: usize) -> Result<Table, OutOfMemory> {
        let len = size_class(entries.div_ceil(ENTRIES_EACH));
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

    /// The group to which a tag belongs: its share of all groups, once its bits are mixed. A snapshot is loaded
    /// in the order of positions, so while a bucket fills its tags need not be uniform.
    #[inline]
    fn home(&self, tag: Tag) -> usize {
        (index(tag.mixed()) * self.groups.len()) >> Tag::BITS
    }

    /// The number of the group so many behind another.
    #[inline]
    fn behind(&self, home: usize, past: usize) -> usize {
        let number = home + past;
        if number < self.groups.len() { number } else { number - self.groups.len() }
    }

    /// A byte of the line in which an entry with this tag is looked for first.
    #[inline]
    pub(super) fn line(&self, tag: Tag) -> &u8 {
        self.groups.get(self.home(tag)).map_or(&0, |group| &group.passed)
    }

    /// Asks for the line in which an entry with this tag is looked for first.
    #[inline]
    pub(super) fn prefetch(&self, tag: Tag) {
        if let Some(group) = self.groups.get(self.home(tag)) {
            pkv_fs::prefetch(group);
        }
    }

    /// The beginning of a search, at which nineteen of twenty end, in a straight line.
    #[inline]
    pub(super) fn first(&self, tag: Tag) -> First {
        let Some(group) = self.groups.get(self.home(tag)) else { return First::Nowhere };
        let (low, _) = tag.split();
        match group.slots_with(low).next() {
            Some(slot) => First::Place(group.place(slot)),
            None if group.passed == 0 => First::Nowhere,
            None => First::Behind,
        }
    }

    /// What `read` makes of the first entry with this tag of which it makes something.
    #[inline]
    pub(super) fn find<R>(&self, tag: Tag, mut read: impl FnMut(u32) -> Option<R>) -> Option<R> {
        let home = self.home(tag);
        let (low, _) = tag.split();
        let mut past = 0;
        while let Some(group) = self.groups.get(self.behind(home, past)) {
            for slot in group.slots_with(low) {
                let found = read(group.place(slot));
                if found.is_some() {
                    return found;
                }
            }
            past += 1;
            if group.passed == 0 || past == self.groups.len() {
                break;
            }
        }
        None
    }

    /// Where the entry with this tag and place is.
    pub(super) fn locate(&self, tag: Tag, place: u32) -> Option<Found> {
        let home = self.home(tag);
        let (low, _) = tag.split();
        for past in 0..self.groups.len() {
            let group = self.groups.get(self.behind(home, past))?;
            let found = group.slots_with(low).find(|slot| group.place(*slot) == place);
            if let Some(slot) = found {
                return Some(Found { home, past, slot });
            }
            if group.passed == 0 {
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
            if let Some(group) = self.groups.get_mut(number)
                && group.passed < u8::MAX
            {
                group.passed -= 1;
            }
        }
        let number = self.behind(found.home, found.past);
        let group = self.groups.get_mut(number);
        if let Some(low) = group.and_then(|group| group.low.get_mut(found.slot)) {
            *low = 0;
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
            group.passed = group.passed.saturating_add(1);
            past += 1;
            number = self.behind(home, past);
        }
    }

    /// All places, in no order.
    pub(super) fn places(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries().map(|(_, place)| place)
    }

    /// The places of the entries whose tags begin with one of these 8 bits, in no order. `places` is where they
    /// are collected; it is not made smaller.
    ///
    /// Every slot is looked at, and which of them match is as good as random: so each place is written, and kept or
    /// written over, without a branch that the processor could guess wrong.
    pub(super) fn places_with<'a>(
        &self,
        bits: &RangeInclusive<u8>,
        places: &'a mut Vec<u32>,
    ) -> Result<&'a [u32], OutOfMemory> {
        // One more, for the place that is written last and not kept.
        let room = self.len + 1;
        if places.len() < room {
            let more = room - places.len();
            places
                .try_reserve(more)
                .map_err(|_| OutOfMemory { bytes: lossless(more * size_of::<u32>()) })?;
            places.resize(room, 0);
        }
        let (first, width) = (*bits.start(), bits.end() - bits.start());
        let mut found = 0;
        for group in &self.groups {
            for ((low, rest), place) in group.low.iter().zip(&group.rest).zip(&group.places) {
                if let Some(slot) = places.get_mut(found) {
                    *slot = *place;
                }
                let (is_within, is_taken) = (rest.wrapping_sub(first) <= width, *low != 0);
                found += usize::from(is_within) & usize::from(is_taken);
            }
        }
        Ok(places.get(..found).unwrap_or_default())
    }

    /// All entries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Tag, u32)> + '_ {
        self.groups.iter().flat_map(Group::entries)
    }

    /// The same entries in a table for so many.
    pub(super) fn resized(&self, entries: usize) -> Result<Table, OutOfMemory> {
        let mut table = Table::with_capacity(entries.max(self.len))?;
        for (tag, place) in self.entries() {
            table.insert(tag, place);
        }
        Ok(table)
    }

    /// The lower and the upper half of the entries, each with some room, since the next entry is for one of them.
    pub(super) fn halves(&self) -> Result<(Table, Table), OutOfMemory> {
        let upper_len = self.entries().filter(|(tag, _)| tag.is_upper()).count();
        let with_room = |len| Table::with_capacity(len + len / 8);
        let (mut lower, mut upper) = (with_room(self.len - upper_len)?, with_room(upper_len)?);
        for (tag, place) in self.entries() {
            let half = if tag.is_upper() { &mut upper } else { &mut lower };
            half.insert(tag.in_its_half(), place);
        }
        Ok((lower, upper))
    }
}

#[cfg(test)]
impl Table {
    /// Asserts that every entry is found where it stands, and that the counts of those that went past are right.
    pub(super) fn verify(&self) {
        let mut passed = vec![0_u8; self.groups.len()];
        let mut len = 0;
        for (tag, place) in self.entries() {
            let found = self.locate(tag, place).expect("an entry that is not found");
            for past in 0..found.past {
                let count = &mut passed[self.behind(found.home, past)];
                *count = count.saturating_add(1);
            }
            len += 1;
        }
        assert_eq!(self.len, len);
        for (passed, group) in passed.into_iter().zip(&self.groups) {
            assert!(group.passed == passed || group.passed == u8::MAX, "{passed}: {group:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_compared_exactly() {
        let mut group = Group::default();
        for slot in 0..SLOTS {
            assert_eq!(group.empty_slots().count(), SLOTS - slot);
            group.set(slot, Tag(0), 7);
            assert!(group.slots_with(1).eq(0..=slot));
            assert_eq!(group.slots_with(3).count(), 0);
        }
        assert_eq!(group.empty_slots().count(), 0);
        assert!(group.entries().eq([(Tag(0), 7); SLOTS]));
    }

    #[test]
    fn a_tag_keeps_its_bits_in_a_slot_and_in_a_half() {
        for bits in [0, 1, 0x7fff, 0x8000, 0x40_0000, 0x7f_ffff, 0x12_3456] {
            let (low, rest) = Tag(bits).split();
            assert_eq!(Tag::joined(low, rest), Tag(bits));
            let position = u64::from(bits) << 41 | 0xffff;
            assert_eq!(Tag::of(position, 0), Tag(bits));
            // One bit less is known of it in its half.
            assert_eq!(Tag(bits).in_its_half(), Tag::of(position << 1, 1));
            assert_eq!(Tag(bits).is_upper(), position >> 63 == 1);
        }
    }

    #[test]
    fn a_table_is_filled_to_its_capacity_and_emptied() {
        for capacity in [0, 1, 8, 9, 100, 3584] {
            let mut table = Table::with_capacity(capacity).unwrap();
            assert!(table.capacity() >= capacity);
            let room = u32::try_from(table.capacity()).unwrap();
            let tag = |place: u32| Tag::of(u64::from(place).wrapping_mul(0x9e37_79b9_7f4a_7c15), 0);
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
                table.groups.iter().all(|group| group.passed == 0),
                "something was left behind"
            );
        }
    }

    /// A snapshot comes in the order of positions: opening took five times as long where these crowded.
    #[test]
    fn tags_in_a_row_do_not_crowd() {
        for unknown in [0, 6] {
            let mut table = Table::with_capacity(3072).unwrap();
            let step = (1_u64 << 41) << unknown;
            let tags = (0..).map(|number| Tag::of(number * step, unknown)).take(2700);
            for (tag, place) in tags.clone().zip(0..) {
                table.insert(tag, place);
            }
            for (tag, place) in tags.zip(0..) {
                let past = table.locate(tag, place).unwrap().past;
                assert!(past <= 4, "{past} groups past its own");
            }
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
                        let tag = Tag::of(hash << 61, 0);
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
            let is = |place| move |found| (found == place).then_some(found);
            let larger = table.resized(200).unwrap();
            larger.verify();
            let (lower, upper) = table.halves().unwrap();
            lower.verify();
            upper.verify();
            prop_assert_eq!(lower.len() + upper.len(), model.len());
            for (place, tag) in &model {
                prop_assert_eq!(larger.find(*tag, is(*place)), Some(*place));
                let half = if tag.is_upper() { &upper } else { &lower };
                prop_assert_eq!(half.find(tag.in_its_half(), is(*place)), Some(*place));
            }
        }
    }
}
