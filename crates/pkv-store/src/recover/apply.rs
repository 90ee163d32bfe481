//! Frames taken apart and applied to the map, by several threads.

use std::array;
use std::hint::black_box;

use pkv_format::{Frame, FrameKind, Operation};

use super::spans::Spans;
use super::upgrade::FileUpgrade;
use crate::error::{Error, Result};
use crate::map::{Garbage, Lookup, Map, NewValue, Shard};

/// So many keys of a shard are looked up together before the first of them is changed: what they miss in the
/// cache is waited for once. Behind them the shard is unlocked, for those who read meanwhile.
const TOGETHER: usize = 32;

/// A run of frames whose bodies were checked and taken apart.
pub(super) struct Run<'a> {
    operations: Vec<Placed<'a>>,
    /// How many operations there are up to and with each frame, of those before the first bad one.
    ends: Vec<usize>,
    /// Numbers of operations, those of one group of shards behind those of another, each in order.
    by_group: Vec<usize>,
    /// Where each group begins among them, and where the last one ends.
    groups: Vec<usize>,
    /// How many operations count.
    counted: usize,
    pub(super) bad: Option<(u64, String)>,
}

/// An operation and the hash of its key.
struct Placed<'a> {
    hash: u64,
    operation: Operation<'a>,
}

impl Placed<'_> {
    /// Reads the lines where key and value end.
    fn touch(&self) -> u8 {
        match self.operation {
            Operation::Set { key, value } => {
                key.last().copied().unwrap_or(0) ^ value.last().copied().unwrap_or(0)
            }
            Operation::Remove { .. } | Operation::Clear => 0,
        }
    }
}

impl<'a> Run<'a> {
    /// `groups`: in how many groups the shards are applied to, a power of two and no more than there are shards.
    pub(super) fn read(
        map: &Map,
        groups: usize,
        frames: impl ExactSizeIterator<Item = Frame<'a>>,
    ) -> Self {
        let mut run = Self {
            operations: Vec::with_capacity(frames.len()),
            ends: Vec::with_capacity(frames.len()),
            by_group: Vec::new(),
            groups: Vec::new(),
            counted: 0,
            bad: None,
        };
        for frame in frames {
            let before = run.operations.len();
            if let Err(reason) = run.take_apart(map, &frame) {
                run.operations.truncate(before);
                run.bad = Some((frame.offset, reason));
                break;
            }
            run.ends.push(run.operations.len());
        }
        run.counted = run.operations.len();
        run.group(map, groups);
        run
    }

    /// How many frames stand before the first bad one.
    pub(super) fn frames(&self) -> usize {
        self.ends.len()
    }

    fn take_apart(&mut self, map: &Map, frame: &Frame<'a>) -> Result<(), String> {
        frame.check_body().map_err(|why| format!("no valid frame: {why}"))?;
        if frame.kind != FrameKind::Data {
            return Ok(());
        }
        let before = self.operations.len();
        for operation in frame.operations() {
            let operation =
                operation.map_err(|why| format!("an operation that cannot be read: {why}"))?;
            let hash = match operation {
                Operation::Set { key, .. } | Operation::Remove { key } => map.hash(key),
                Operation::Clear => {
                    // What the same frame did before is gone; a body of clears alone stays one.
                    self.operations.truncate(before);
                    0
                }
            };
            self.operations.push(Placed { hash, operation });
        }
        Ok(())
    }

    /// Sorts the operations by the group of shards that they concern: all of them, where it is a clear.
    fn group(&mut self, map: &Map, groups: usize) {
        let shards_each = map.shards() / groups;
        let groups_of = |placed: &Placed<'_>| match placed.operation {
            Operation::Clear => 0..groups,
            Operation::Set { .. } | Operation::Remove { .. } => {
                let group = map.shard_index(placed.hash) / shards_each;
                group..group + 1
            }
        };
        // First how many there are in each, then where each begins.
        let mut next = vec![0; groups + 1];
        for group in self.operations.iter().flat_map(groups_of) {
            if let Some(count) = next.get_mut(group + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut next {
            sum += *start;
            *start = sum;
        }
        self.groups.clone_from(&next);
        self.by_group = vec![0; sum];
        for (number, placed) in self.operations.iter().enumerate() {
            for group in groups_of(placed) {
                let Some(next) = next.get_mut(group) else { continue };
                if let Some(slot) = self.by_group.get_mut(*next) {
                    *slot = number;
                }
                *next += 1;
            }
        }
    }

    /// Has only the operations count that stand before this frame of the run.
    pub(super) fn end_before(&mut self, frame: usize) {
        let before = frame.checked_sub(1).and_then(|before| self.ends.get(before));
        self.counted = before.copied().unwrap_or(0);
    }

    /// The operations of one group that count, in order.
    fn of_group(&self, group: usize) -> impl Iterator<Item = &Placed<'a>> {
        let bounds = self.groups.get(group).zip(self.groups.get(group + 1));
        let numbers = bounds.and_then(|(start, end)| self.by_group.get(*start..*end));
        let counted = self.operations.get(..self.counted).unwrap_or_default();
        // In order, so those that do not count are the last ones.
        numbers.unwrap_or_default().iter().map_while(|number| counted.get(*number))
    }
}

/// Has what a shard's next changes need come into the cache: each step for all of them before the next.
fn touch(shard: &Shard, together: &[&Placed<'_>]) {
    let mut lookups: [_; TOGETHER] =
        array::from_fn(|at| Some(shard.lookup(together.get(at)?.hash)));
    black_box(lookups.iter().flatten().fold(0, |all, lookup| all ^ lookup.touch_index()));
    black_box(together.iter().fold(0, |all, placed| all ^ placed.touch()));
    lookups.iter_mut().flatten().for_each(Lookup::find_record);
    black_box(lookups.iter().flatten().fold(0, |all, lookup| all ^ lookup.touch_record()));
}

/// Applies the operations of one group of shards, in order. `spans`: what of the snapshot the map lacks.
pub(super) fn apply(
    map: &Map,
    spans: &Spans,
    runs: &[Run<'_>],
    group: usize,
    groups: usize,
    upgrade: Option<FileUpgrade<'_>>,
) -> Result<()> {
    let mut upgraded = Vec::new();
    let mut operations = runs.iter().flat_map(|run| run.of_group(group)).peekable();
    let mut together: Vec<&Placed<'_>> = Vec::with_capacity(TOGETHER);
    while let Some(first) = operations.next() {
        if let Operation::Clear = first.operation {
            let each = map.shards() / groups;
            for shard in group * each..(group + 1) * each {
                drop(map.write(shard).take_contents());
                spans.note_cleared(&map.hashes(shard));
            }
            continue;
        }
        let index = map.shard_index(first.hash);
        together.clear();
        together.push(first);
        let is_same = |placed: &&Placed<'_>| {
            !matches!(placed.operation, Operation::Clear) && map.shard_index(placed.hash) == index
        };
        while together.len() < TOGETHER
            && let Some(placed) = operations.next_if(is_same)
        {
            together.push(placed);
        }
        let mut shard = map.write(index);
        touch(&shard, &together);
        for placed in &together {
            match placed.operation {
                Operation::Set { key, mut value } => {
                    if let Some(upgrade) = upgrade {
                        upgrade.convert(value, &mut upgraded)?;
                        value = &upgraded;
                    }
                    let value = NewValue::new(value).map_err(|_| Error::OutOfMemory)?;
                    shard
                        .reserve(placed.hash, key.len(), &value)
                        .map_err(|_| Error::OutOfMemory)?;
                    shard.set(placed.hash, key, &value, &mut Garbage::default());
                }
                Operation::Remove { key } => {
                    shard.remove(placed.hash, key, &mut Garbage::default());
                    spans.note_removed(placed.hash, key);
                }
                Operation::Clear => {}
            }
        }
    }
    Ok(())
}
