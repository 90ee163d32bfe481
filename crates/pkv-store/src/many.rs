//! Many keys read in one call, so that what they miss in the cache is waited for together and not one by one.

use std::array;
use std::hint::black_box;
use std::iter;

use crate::codec::Encode;
use crate::core::Core;
use crate::error::Result;
use crate::map::{INLINE_VALUE_BYTES_MAX, LINE_BYTES, Lookup, Map, ValueRef};
use crate::reentry;

/// So many keys are looked up at a time: about as many lines as a core waits for at once. Behind them all locks are
/// let go, and what was announced is taken back, so that a writer never waits for a long list.
const TOGETHER: usize = 16;

/// Keys that are looked up together.
#[derive(Debug)]
struct Part<'k> {
    /// The number of the first one in the caller's order.
    first: usize,
    len: usize,
    wanted: [Wanted<'k>; TOGETHER],
}

#[derive(Clone, Copy, Debug)]
struct Wanted<'k> {
    hash: u64,
    key: KeyBytes<'k>,
}

#[derive(Clone, Copy, Debug)]
enum KeyBytes<'k> {
    /// Where the caller has them.
    Borrowed(&'k [u8]),
    /// From here to there in a buffer.
    Encoded(usize, usize),
}

impl KeyBytes<'_> {
    #[inline]
    fn get<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match self {
            KeyBytes::Borrowed(bytes) => bytes,
            KeyBytes::Encoded(from, to) => buffer.get(*from..*to).unwrap_or_default(),
        }
    }
}

impl<'k> Part<'k> {
    fn new() -> Self {
        let none = Wanted { hash: 0, key: KeyBytes::Borrowed(&[]) };
        Part { first: 0, len: 0, wanted: [none; TOGETHER] }
    }

    /// Takes the next keys, as many as there are and it has room for.
    #[inline]
    fn fill<Q: Encode + ?Sized + 'k>(
        &mut self,
        keys: &mut impl Iterator<Item = &'k Q>,
        buffer: &mut Vec<u8>,
        map: &Map,
    ) -> Result<()> {
        self.first += self.len;
        self.len = 0;
        buffer.clear();
        for wanted in &mut self.wanted {
            let Some(key) = keys.next() else { break };
            let key = if let Some(bytes) = key.as_encoded() {
                KeyBytes::Borrowed(bytes)
            } else {
                let from = buffer.len();
                key.encode(buffer)?;
                KeyBytes::Encoded(from, buffer.len())
            };
            *wanted = Wanted { hash: map.hash(key.get(buffer)), key };
            self.len += 1;
        }
        Ok(())
    }
}

impl Core {
    /// Calls `each` once for every key, in no order, with its number and its value: with a value while writers of the key's
    /// shard wait, without one with nothing locked. Keys that are not bytes already are encoded
    /// into `buffer`.
    pub(crate) fn get_each<'k, Q: Encode + ?Sized + 'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Q>,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        reentry::check(self)?;
        let mut keys = keys.into_iter();
        let mut part = Part::new();
        loop {
            part.fill(&mut keys, buffer, &self.map)?;
            let filled = part.wanted.get(..part.len).unwrap_or_default();
            filled.iter().try_for_each(|wanted| self.ready_to_read_hash(wanted.hash))?;
            self.get_part(&part, buffer, &mut each);
            if part.len < TOGETHER {
                return Ok(());
            }
        }
    }

    /// 1. The shards are locked for reading, but for those that are read without ([`Map::try_read_any`]). Each lock is a
    ///    barrier, so none comes later. It waits for none, so they need no order.
    /// 2. The keys' places in the index are touched, with few instructions between them: only what is near together
    ///    waits together.
    /// 3. So are their records, once all of them are known.
    /// 4. They are looked up, and what is left of the values is touched.
    /// 5. The values are told, in the cache.
    /// 6. With nothing locked, those follow whose shards were not to be had, one by one.
    /// 7. Those without a value are told, once it is recorded what of them has expired.
    fn get_part(
        &self,
        part: &Part<'_>,
        buffer: &[u8],
        each: &mut impl FnMut(usize, Option<&[u8]>),
    ) {
        let wanted = part.wanted.get(..part.len).unwrap_or_default();
        let mut expired_ms = 0;
        // A bit for each key.
        let (mut locked_by_others, mut untold) = (0_u32, 0_u32);
        {
            // 1.
            let announced = self.map.announce();
            let shards: [_; TOGETHER] = array::from_fn(|at| {
                let index = self.map.shard_index(wanted.get(at)?.hash);
                let shard = self.map.try_read_any(index, announced.as_ref());
                locked_by_others |= u32::from(shard.is_none()) << at;
                shard
            });
            let mut lookups: [Lookup<'_>; TOGETHER] =
                array::from_fn(|at| match (shards.get(at), part.wanted.get(at)) {
                    (Some(Some(shard)), Some(wanted)) => shard.lookup(wanted.hash),
                    _ => Lookup::default(),
                });
            // 2.
            let touch = |all, lookup: &Lookup<'_>| all ^ lookup.touch_index();
            black_box(lookups.iter().fold(0, touch));
            // 3.
            lookups.iter_mut().for_each(Lookup::find_record);
            let touch = |all, lookup: &Lookup<'_>| all ^ lookup.touch_record();
            black_box(lookups.iter().fold(0, touch));
            // 4.
            let mut values = [None; TOGETHER];
            for (value, (lookup, wanted)) in values.iter_mut().zip(lookups.iter().zip(wanted)) {
                *value = lookup.get(wanted.key.get(buffer));
            }
            black_box(values.iter().flatten().fold(0, |all, value| all ^ touch_rest(value)));
            // 5.
            reentry::run(self, || {
                for (at, value) in values.iter().enumerate().take(part.len) {
                    match value.and_then(|value| self.show(value, &mut expired_ms)) {
                        Some(value) => each(part.first + at, Some(value)),
                        None => untold |= 1 << at,
                    }
                }
            });
        }
        // 6.
        for (at, wanted) in numbered(wanted, locked_by_others) {
            let shard = self.map.read(self.map.shard_index(wanted.hash));
            let value = shard.get(wanted.hash, wanted.key.get(buffer));
            let value = value.as_ref().map(ValueRef::as_bytes);
            if let Some(value) = value.and_then(|value| self.show(value, &mut expired_ms)) {
                reentry::run(self, || each(part.first + at, Some(value)));
                untold &= !(1 << at);
            }
        }
        // 7.
        self.record_time_if_possible(expired_ms);
        for (at, _) in numbered(wanted, untold) {
            reentry::run(self, || each(part.first + at, None));
        }
    }
}

/// Gives a value its place; those that come later go into the places before it.
#[inline]
pub(crate) fn put<V>(values: &mut Vec<Option<V>>, index: usize, value: Option<V>) {
    if index >= values.len() {
        values.resize_with(index, || None);
        values.push(value);
    } else if let Some(place) = values.get_mut(index) {
        *place = value;
    }
}

/// Reads those lines of a value that are not touched with the head of its record; of a long one, the first of them.
#[inline]
fn touch_rest(value: &[u8]) -> u8 {
    let mut touched = value.last().copied().unwrap_or(0);
    let mut at = LINE_BYTES;
    while at < INLINE_VALUE_BYTES_MAX
        && let Some(byte) = value.get(at)
    {
        touched ^= byte;
        at += LINE_BYTES;
    }
    touched
}

/// Those of fewer than 32 whose bits are set, and where they stand.
#[inline]
fn numbered<T>(all: &[T], mut bits: u32) -> impl Iterator<Item = (usize, &T)> {
    iter::from_fn(move || {
        let at = usize::try_from(bits.trailing_zeros()).ok()?;
        let one = all.get(at)?;
        bits &= bits - 1;
        Some((at, one))
    })
}
