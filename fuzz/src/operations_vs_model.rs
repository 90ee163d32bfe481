//! Operations on a store and on an ordered map: both say the same at every step, and after reopening.

use pkv_sim::SimFs;
use pkv_store::Update;

use super::input::Input;
use super::store::{Contents, apply, changes, contents, durability, key, open, value, way, write};

/// What holds of any bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let fs = SimFs::new(1);
    let mut store = open(&fs, way(input.byte())).expect("an empty disk opens");
    let mut model = Contents::new();
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 20 {
            0..10 => {
                let changes = changes(&mut input);
                write(&store, &changes, durability(input.byte())).expect("a write");
                apply(&mut model, &changes);
            }
            10..12 => {
                let (key, new, choice) = (key(&mut input), value(&mut input), input.byte());
                let update = match choice % 3 {
                    0 => Update::Keep,
                    1 => Update::Remove,
                    _ => Update::Set(new.clone()),
                };
                let mut seen = None;
                store
                    .update(&key, durability(choice), |current| {
                        seen = current.map(<[u8]>::to_vec);
                        update.clone()
                    })
                    .expect("an update");
                assert_eq!(seen.as_ref(), model.get(&key));
                match update {
                    Update::Keep => {}
                    Update::Remove => drop(model.remove(&key)),
                    Update::Set(new) => drop(model.insert(key, new)),
                }
            }
            12..14 => {
                let (key, guess, new) = (key(&mut input), value(&mut input), value(&mut input));
                let choice = input.byte();
                let expected = match choice % 3 {
                    0 => model.get(&key).cloned(),
                    1 => None,
                    _ => Some(guess),
                };
                let new = (!choice.is_multiple_of(5)).then_some(new);
                let swapped = store
                    .compare_and_set(&key, expected.as_deref(), new.as_deref(), durability(choice))
                    .expect("a compare-and-set");
                assert_eq!(swapped, model.get(&key) == expected.as_ref());
                match (swapped, new) {
                    (true, Some(new)) => drop(model.insert(key, new)),
                    (true, None) => drop(model.remove(&key)),
                    (false, _) => {}
                }
            }
            14..16 => {
                let key = key(&mut input);
                assert_eq!(store.get(&key).expect("a read").as_ref(), model.get(&key));
                assert_eq!(store.contains_key(&key).expect("a read"), model.contains_key(&key));
            }
            16 => store.sync().expect("a sync"),
            17 => drop(store.compact().expect("a compaction")),
            18 => assert_eq!(contents(&store), model),
            _ => {
                store.close().expect("a close");
                store = open(&fs, way(input.byte())).expect("a closed store opens");
            }
        }
        assert_eq!(store.len(), u64::try_from(model.len()).expect("a length"));
    }
    assert_eq!(contents(&store), model);
    store.close().expect("a close");
    assert_eq!(contents(&open(&fs, way(0)).expect("a closed store opens")), model);
}
