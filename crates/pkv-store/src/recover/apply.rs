//! Frames taken apart and applied to the map, by several threads.

use pkv_format::{Frame, FrameKind, Operation};

use super::upgrade::FileUpgrade;
use crate::error::{Error, Result};
use crate::map::{Map, NewValue};

/// A run of frames whose bodies were checked and taken apart.
pub(super) struct Run<'a> {
    /// Those before the first bad one.
    pub(super) frames: &'a [Frame<'a>],
    pub(super) operations: Vec<Placed<'a>>,
    /// How many operations there are up to and with each frame.
    ends: Vec<usize>,
    first_offset: u64,
    pub(super) bad: Option<(u64, String)>,
}

/// An operation and the hash of its key.
pub(super) struct Placed<'a> {
    hash: u64,
    operation: Operation<'a>,
}

impl<'a> Run<'a> {
    pub(super) fn read(map: &Map, frames: &'a [Frame<'a>]) -> Self {
        let mut run = Self {
            frames,
            operations: Vec::with_capacity(frames.len()),
            ends: Vec::with_capacity(frames.len()),
            first_offset: 0,
            bad: None,
        };
        run.first_offset = frames.first().map_or(0, |frame| frame.offset);
        for (index, frame) in frames.iter().enumerate() {
            let before = run.operations.len();
            if let Err(reason) = run.take_apart(map, frame) {
                run.operations.truncate(before);
                run.bad = Some((frame.offset, reason));
                run.frames = frames.get(..index).unwrap_or_default();
                break;
            }
            run.ends.push(run.operations.len());
        }
        run
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

    /// How many operations this frame of the run has.
    pub(super) fn operations_of(&self, frame: &Frame<'_>) -> usize {
        let Ok(index) = self.frames.binary_search_by_key(&frame.offset, |frame| frame.offset)
        else {
            return 0;
        };
        let end = self.ends.get(index).copied().unwrap_or(0);
        let start =
            index.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        end - start
    }
}

/// Applies the operations of one group of shards, in order.
pub(super) fn apply(
    map: &Map,
    runs: &[&[Placed<'_>]],
    group: usize,
    groups: usize,
    upgrade: Option<FileUpgrade<'_>>,
) -> Result<()> {
    let mut upgraded = Vec::new();
    let mine = |shard: usize| shard * groups / map.shards() == group;
    for placed in runs.iter().copied().flatten() {
        let shard = map.shard_index(placed.hash);
        match placed.operation {
            Operation::Set { key, mut value } if mine(shard) => {
                if let Some(upgrade) = upgrade {
                    upgrade.convert(value, &mut upgraded)?;
                    value = &upgraded;
                }
                let value = NewValue::new(value).map_err(|_| Error::OutOfMemory)?;
                let mut shard = map.write(shard);
                shard.reserve(placed.hash, key.len(), &value).map_err(|_| Error::OutOfMemory)?;
                drop(shard.set(placed.hash, key, value));
            }
            Operation::Remove { key } if mine(shard) => {
                drop(map.write(shard).remove(placed.hash, key));
            }
            Operation::Clear => {
                for shard in (0..map.shards()).filter(|shard| mine(*shard)) {
                    drop(map.write(shard).take_contents());
                }
            }
            Operation::Set { .. } | Operation::Remove { .. } => {}
        }
    }
    Ok(())
}
