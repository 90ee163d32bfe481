//! How much a slice of a view takes under the lock, which is not seen from outside.

use std::collections::BTreeMap;
use std::path::Path;

use pkv_sim::SimFs;

use super::{ByteView, KEPT_PER_SLICE};
use crate::bytes::ByteStore;
use crate::map::{Cursor, SliceCopy};
use crate::options::{Durability, Options};

const KEYS: u32 = 20_000;

fn slices(store: &ByteStore, view: &ByteView<'_>) -> Vec<usize> {
    let map = &store.core().map;
    let (mut copy, mut kept, mut cursor) =
        (SliceCopy::default(), Vec::new(), Some(Cursor::default()));
    let mut slices = Vec::new();
    while let Some(at) = cursor {
        kept.clear();
        cursor = view.state.copy_slice(map, 0, at, &mut copy, &mut kept).unwrap();
        slices.push(kept.len());
    }
    slices
}

/// All keys of a shard were removed under a view: they stood in the one bucket that was left, and were all
/// taken at once, with the shard locked.
#[test]
fn a_slice_of_what_was_put_aside_is_bounded() {
    let options = Options::new().file_system(SimFs::new(1)).background(false).map_shards(1);
    let store = ByteStore::open(Path::new("/db"), &options).unwrap();
    let process = Durability::Process;
    let insert = |key: u32, value: &[u8]| {
        store.insert(&key.to_le_bytes(), value, process).unwrap();
    };
    (0..KEYS).for_each(|key| insert(key, &key.to_le_bytes()));
    let view = store.view().unwrap();
    (0..KEYS).for_each(|key| {
        store.remove(&key.to_le_bytes(), process).unwrap();
    });
    // What is in the map again, and what is new there, stands on both sides of where slices end.
    (0..KEYS).step_by(3).for_each(|key| insert(key + KEYS / 2, b"again"));
    (0..500).for_each(|key| insert(key, &[7; 2000]));
    let slices = slices(&store, &view);
    assert!(slices.iter().all(|kept| *kept <= KEPT_PER_SLICE), "{slices:?}");
    let mut shown = BTreeMap::new();
    for entry in &view {
        let (key, value) = entry.unwrap();
        assert_eq!(shown.insert(key, value), None, "a key came twice");
    }
    let expected = (0..KEYS).map(|key| (key.to_le_bytes().to_vec(), key.to_le_bytes().to_vec()));
    assert_eq!(shown, expected.collect());
}
