//! Going over all entries on many threads.

use std::marker::PhantomData;

use rayon::iter::plumbing::UnindexedConsumer;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::codec::{Key, Value};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::iter::ByteIter;
use crate::reentry;
use crate::view::ViewState;

/// All entries, by the threads of the rayon pool that it runs in. See [`crate::Store::par_iter`] and
/// [`crate::View::par_iter`].
pub struct ParIter<'a, K, V> {
    core: &'a Core,
    view: Option<&'a ViewState>,
    /// Made inside of a closure of an operation, whose lock the pool's threads would wait for.
    is_inside: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> std::fmt::Debug for ParIter<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParIter").field("view", &self.view.is_some()).finish_non_exhaustive()
    }
}

impl<'a, K, V> ParIter<'a, K, V> {
    pub(crate) fn new(core: &'a Core, view: Option<&'a ViewState>) -> Self {
        Self { core, view, is_inside: reentry::check(core).is_err(), types: PhantomData }
    }
}

impl<K: Key + Send, V: Value + Send> ParallelIterator for ParIter<'_, K, V> {
    type Item = Result<(K, V)>;

    fn drive_unindexed<C: UnindexedConsumer<Self::Item>>(self, consumer: C) -> C::Result {
        let Self { core, view, is_inside, .. } = self;
        // Made outside of a closure, it may have been brought into one.
        if is_inside || reentry::check(core).is_err() {
            return rayon::iter::once(Err(Error::Reentrant)).drive_unindexed(consumer);
        }
        (0..core.map.shards())
            .into_par_iter()
            .flat_map_iter(|shard| {
                let mut bytes = ByteIter::of_shard(core, view, shard);
                std::iter::from_fn(move || {
                    let decoded = bytes.next_with(|key, value| decode(key, value));
                    decoded.map(|entry| entry.and_then(|entry| entry))
                })
            })
            .drive_unindexed(consumer)
    }
}

fn decode<K: Key, V: Value>(key: &[u8], value: &[u8]) -> Result<(K, V), Error> {
    Ok((K::decode(key)?, V::decode(value)?))
}
