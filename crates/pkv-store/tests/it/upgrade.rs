//! A value type that changes: old folders are upgraded while they are read, and nothing else of them is.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use pkv_sim::{AckLog, Acked, Change, Crash, Explorer, History, SimFs, WriteEvent};
use pkv_store::codec::{Decode, DecodeError, Encode, EncodeError, Schema, Value};
use pkv_store::{
    ByteStore, Durability, Error, Inspection, LogWay, Options, RecoveryMode, Store, salvage,
};

use crate::crash_rig::{DIR, options, tell_states};
use crate::support::{Image, Place, copy, small};

/// A type with a schema name and the bytes of another.
macro_rules! named {
    ($name:ident($inner:ty) = $schema:literal $(, from $($version:literal)|+ by $upgrade:expr)?) => {
        #[derive(Clone, Debug, PartialEq)]
        struct $name($inner);

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                self.0.encode(out)
            }
        }

        impl Decode for $name {
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                <$inner>::decode(bytes).map(Self)
            }
        }

        impl Schema for $name {
            fn schema() -> Cow<'static, str> {
                $schema.into()
            }
            $(
                fn can_upgrade(version: u32) -> bool {
                    matches!(version, $($version)|+)
                }

                fn upgrade(version: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
                    let upgrade: fn(u32, &[u8]) -> Result<Self, DecodeError> = $upgrade;
                    upgrade(version, bytes)
                }
            )?
        }
    };
}

named!(V0(u16) = "thing");
named!(V1(String) = "thing.1");
named!(V2((String, u32)) = "thing.2", from 0 | 1 by |version, bytes| {
    let text = match version {
        0 => V0::decode(bytes)?.0.to_string(),
        _ => V1::decode(bytes)?.0,
    };
    Ok(V2((text.clone(), u32::try_from(text.len()).unwrap_or(u32::MAX))))
});
named!(V3(u8) = "thing.3", from 1 by |_, bytes| V1::decode(bytes).map(|_| V3(0)));
named!(Other(String) = "other.2", from 0 | 1 by |_, bytes| String::decode(bytes).map(Other));
named!(Picky(u64) = "thing.4", from 1 by |_, bytes| {
    let V1(text) = V1::decode(bytes)?;
    let number = text.parse().map_err(|_| DecodeError::invalid("thing.1", bytes.len(), "no number"));
    number.map(Picky)
});
named!(Huge(Vec<u8>) = "thing.5", from 1 by |_, _| Ok(Huge(vec![0; 64 << 20])));

fn upgraded(text: &str) -> V2 {
    V2((text.to_owned(), u32::try_from(text.len()).unwrap()))
}

fn all<V: Value>(store: &Store<u64, V>) -> BTreeMap<u64, V> {
    store.iter().map(|entry| entry.expect("an entry")).collect()
}

/// A folder of version 1 with a snapshot and logs above it, large values, a clear, and what it holds.
fn old_folder(place: &Place) -> BTreeMap<u64, String> {
    let store: Store<u64, V1> = small().open(place.store()).unwrap();
    let mut model = BTreeMap::new();
    store.insert(&0, &V1("gone with the clear".into())).unwrap();
    store.clear().unwrap();
    let mut write = |key: u64, text: String| {
        store.insert(&key, &V1(text.clone())).unwrap();
        model.insert(key, text);
    };
    for key in 1..200 {
        write(key, "x".repeat(usize::try_from(key * 13 % 2000).unwrap()));
    }
    store.compact().unwrap();
    for key in 100..300 {
        write(key, "y".repeat(usize::try_from(key * 17 % 2000).unwrap()));
    }
    store.batch().insert(&500, &V1("batch".into())).remove(&7).commit().unwrap();
    model.insert(500, "batch".into());
    model.remove(&7);
    store.close().unwrap();
    model
}

#[test]
fn a_folder_of_an_older_version_is_upgraded_while_it_is_read() {
    let place = Place::new();
    let mut model: BTreeMap<u64, V2> =
        old_folder(&place).into_iter().map(|(key, text)| (key, upgraded(&text))).collect();
    let store: Store<u64, V2> = small().open(place.store()).unwrap();
    assert_eq!(all(&store), model);
    assert_eq!(store.bytes().schemas(), ("u64", "thing.2"));
    // Comparisons know today's bytes alone.
    assert!(store.compare_and_set(&500, Some(&upgraded("batch")), Some(&upgraded("new"))).unwrap());
    store.insert(&600, &V2(("today's".into(), 1))).unwrap();
    model.insert(500, upgraded("new"));
    model.insert(600, V2(("today's".into(), 1)));

    // Files of both versions, as a kill leaves them, and opened twice.
    copy(&place.store(), &place.at("killed"));
    let look = Inspection::of(place.at("killed")).unwrap();
    assert_eq!((look.schema(), look.entries()), (Some(("u64", "thing.2")), store.len()));
    for _ in 0..2 {
        let killed: Store<u64, V2> = small().open(place.at("killed")).unwrap();
        assert_eq!(all(&killed), model);
        killed.insert(&600, &V2(("today's".into(), 1))).unwrap();
    }
    // An older program does not misread it.
    let refused = small().open::<u64, V1>(place.at("killed")).unwrap_err();
    assert!(
        matches!(&refused, Error::WrongType { what: "value", stored, asked, .. }
        if stored == "thing.2" && asked == "thing.1"),
        "{refused}"
    );
    let reader = small().open_read_only::<u64, V2>(place.at("killed")).unwrap();
    assert_eq!(reader.iter().map(|entry| entry.unwrap()).collect::<BTreeMap<_, _>>(), model);
    let mixed = ByteStore::open_untyped(place.at("killed"), &small()).unwrap_err();
    assert!(matches!(mixed, Error::WrongType { .. }), "{mixed}");

    store.compact().unwrap();
    store.close().unwrap();
    let untyped = ByteStore::open_untyped(place.store(), &small()).unwrap();
    assert_eq!(untyped.schemas(), ("u64", "thing.2"));
    for entry in &untyped {
        let (key, value) = entry.unwrap();
        assert_eq!(Some(&V2::decode(&value).unwrap()), model.get(&u64::decode(&key).unwrap()));
    }
    untyped.close().unwrap();
    let again: Store<u64, V2> = small().open(place.store()).unwrap();
    assert_eq!(all(&again), model);
}

/// What is whole of a damaged folder is of both versions, and comes as today's. A tool cannot tell them apart.
#[test]
fn a_damaged_folder_of_two_versions_is_salvaged_by_who_knows_the_type() {
    let place = Place::new();
    old_folder(&place);
    let store: Store<u64, V2> = small().open(place.store()).unwrap();
    store.insert(&600, &V2(("today's".into(), 1))).unwrap();
    let model = all(&store);
    copy(&place.store(), &place.at("killed"));
    store.close().unwrap();

    let mut image = Image::of(&place.at("killed"));
    for (_, bytes) in image.0.iter_mut().filter(|(name, _)| name.ends_with("_full.bin")) {
        let middle = bytes.len() / 4..bytes.len() / 2;
        bytes[middle].fill(0xa5);
    }
    image.write(&place.at("damaged"));
    let options = small().recovery(RecoveryMode::Salvage);
    let reader = options.open_read_only::<u64, V2>(place.at("damaged")).unwrap();
    let kept: BTreeMap<u64, V2> = reader.iter().map(|entry| entry.unwrap()).collect();
    assert!(kept.len() < model.len() && kept.len() > 100, "{} of {}", kept.len(), model.len());
    assert!(kept.iter().all(|(key, value)| model.get(key) == Some(value)));
    assert!(kept.contains_key(&600) && kept.contains_key(&500));

    for name in ["killed", "damaged"] {
        let refused = salvage(place.at(name), place.at("rescued"), &small()).unwrap_err();
        assert!(matches!(refused, Error::WrongType { what: "value", .. }), "{refused}");
    }
}

#[test]
fn a_type_without_a_version_counts_as_version_0() {
    let place = Place::new();
    let store: Store<u64, V0> = small().open(place.store()).unwrap();
    store.insert(&1, &V0(12345)).unwrap();
    store.close().unwrap();
    let store: Store<u64, V2> = small().open(place.store()).unwrap();
    assert_eq!(store.get(&1).unwrap(), Some(upgraded("12345")));
}

#[test]
fn what_cannot_be_upgraded_is_refused_and_left_as_it_was() {
    #[track_caller]
    fn refused<V: Value>(place: &Place, stored_schema: &str) {
        let error = small().open::<u64, V>(place.store()).unwrap_err();
        assert!(
            matches!(&error, Error::WrongType { what: "value", stored, asked, .. }
            if stored == stored_schema && *asked == V::schema()),
            "{error}"
        );
    }
    let place = Place::new();
    let model = old_folder(&place);
    let before = Image::of(&place.store());
    refused::<Other>(&place, "thing.1");
    refused::<V0>(&place, "thing.1");
    refused::<String>(&place, "thing.1");
    let error = small().open::<u64, Picky>(place.store()).unwrap_err();
    assert!(
        matches!(&error, Error::Upgrade { stored, reason, .. }
        if stored == "thing.1" && reason.contains("no number")),
        "{error}"
    );
    assert!(
        error.to_string().contains("nothing was changed: mend the type's `upgrade`"),
        "{error}"
    );
    let error = small().open::<u64, Huge>(place.store()).unwrap_err();
    assert!(
        matches!(&error, Error::Upgrade { reason, .. } if reason.contains("value of")),
        "{error}"
    );
    // Keys are never upgraded: their hashes would be others.
    let error = small().open::<V2, V1>(place.store()).unwrap_err();
    assert!(matches!(error, Error::WrongType { what: "key", .. }), "{error}");
    assert!(Image::of(&place.store()) == before, "a refusal changed the folder");

    let store: Store<u64, V1> = small().open(place.store()).unwrap();
    assert_eq!(store.len(), u64::try_from(model.len()).unwrap());
    store.close().unwrap();
    // A version in between that the type does not know.
    small().open::<u64, V2>(place.store()).unwrap().compact().unwrap();
    refused::<V3>(&place, "thing.2");
}

#[test]
fn an_untyped_opening_creates_nothing() {
    let place = Place::new();
    let missing = ByteStore::open_untyped(place.store(), &Options::new()).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    let empty = Store::open_untyped(place.at(""), &Options::new()).unwrap_err();
    assert!(matches!(empty, Error::NoStore { .. }), "{empty}");

    let store: Store<String, u64> = small().open(place.store()).unwrap();
    store.insert("a", &1).unwrap();
    store.close().unwrap();
    let untyped = Store::open_untyped(place.store(), &small()).unwrap();
    assert_eq!(untyped.get(b"a".as_slice()).unwrap(), Some(vec![1, 0, 0, 0, 0, 0, 0, 0]));
    untyped.insert(b"b".as_slice(), 2_u64.to_le_bytes().as_slice()).unwrap();
    untyped.close().unwrap();
    let store: Store<String, u64> = small().open(place.store()).unwrap();
    assert_eq!(store.get_many(["a", "b"]).unwrap(), [Some(1), Some(2)]);
}

type Event = WriteEvent<u64, (String, u32)>;

/// Writes in version 1, and in version 2 behind an opening that upgrades, with a compaction.
fn workload(fs: &Arc<SimFs>, acks: &AckLog<Event>, way: LogWay) {
    let mut id = 0;
    let mut note = |key: u64, value: V2, write: &mut dyn FnMut(Durability)| {
        id += 1;
        acks.issue(id, [Change::Set(key, value.0)]);
        let (durability, survives) = if id % 3 == 0 {
            (Durability::Power, pkv_sim::Durability::Power)
        } else {
            (Durability::Process, pkv_sim::Durability::Process)
        };
        write(durability);
        acks.acknowledge(id, None, survives);
    };
    let old: Store<u64, V1> = options(fs, way).open(DIR).expect("an empty disk opens");
    for key in 0..8 {
        let text = format!("old {key}").repeat(usize::try_from(key * 10 + 1).expect("small"));
        note(key, upgraded(&text), &mut |durability| {
            old.insert_with(&key, &V1(text.clone()), durability).expect("a write on a good disk");
        });
        if key == 4 {
            old.compact().expect("a compaction on a good disk");
        }
    }
    old.close().expect("a close on a good disk");
    let new: Store<u64, V2> = options(fs, way).open(DIR).expect("a closed store opens");
    for key in 4..12 {
        note(key, upgraded("new"), &mut |durability| {
            new.insert_with(&key, &upgraded("new"), durability).expect("a write on a good disk");
        });
        if key == 8 {
            new.compact().expect("a compaction on a good disk");
        }
    }
    std::mem::forget(new);
}

#[test]
fn an_upgrade_that_is_cut_off_anywhere_is_one() {
    for way in [LogWay::Mapped, LogWay::Written] {
        for crash in [Crash::Kill, Crash::Strict] {
            let explorer = Explorer { seeds_per_cut: 2, nested: 1, ..Explorer::new(crash) };
            let verify = |fs: Arc<SimFs>, acked: &Acked<Event>| {
                let store: Store<u64, V2> = options(&fs, way)
                    .open(DIR)
                    .map_err(|error| format!("does not open: {error}"))?;
                let found = all(&store).into_iter().map(|(key, V2(value))| (key, value)).collect();
                History::new(acked).check(&found).map(drop)
            };
            let report = explorer.run(|fs, acks| workload(fs, acks, way), verify).ok().unwrap();
            tell_states(&format!("upgrades, {crash} {way:?}"), report.states);
            assert!(explorer.replay.is_some() || report.states > 50, "{} states", report.states);
        }
    }
}

/// With expiry the value behind the deadline is upgraded; the deadline stays, and so does what the store
/// has recorded of time, which is of no type.
#[test]
fn values_with_deadlines_are_upgraded_behind_them() {
    let (second, hour) = (std::time::Duration::from_secs(1), std::time::Duration::from_secs(3600));
    for compacted in [false, true] {
        let fs = SimFs::new(1);
        fs.set_unix_time_ms(1_000_000);
        let options = options(&fs, LogWay::Written).expiry(true);
        let store: Store<u8, V1> = options.open(DIR).unwrap();
        store.insert_with_ttl(&1, &V1("gone".into()), second).unwrap();
        store.insert_with_ttl(&2, &V1("here".into()), hour).unwrap();
        store.insert(&3, &V1("for good".into())).unwrap();
        fs.set_unix_time_ms(1_001_000);
        assert_eq!(store.get(&1).unwrap(), None);
        if compacted {
            store.compact().unwrap();
        }
        store.close().unwrap();

        fs.set_unix_time_ms(1_000_000);
        let store: Store<u8, V2> = options.open(DIR).unwrap();
        assert_eq!(store.get(&1).unwrap(), None, "the record is lost");
        assert_eq!(store.get(&2).unwrap(), Some(upgraded("here")));
        assert_eq!(store.get(&3).unwrap(), Some(upgraded("for good")));
        assert_eq!(store.ttl(&2).unwrap().flatten(), hour.checked_sub(second));
        assert_eq!(store.ttl(&3).unwrap(), Some(None));
        // Old logs hold values of the old version: a watch does not reach back to them.
        let last_seq = store.bytes().last_seq();
        let resumed = store.watch().after(last_seq - 1).start();
        assert!(matches!(resumed, Err(Error::WatchTooOld { .. })), "{resumed:?}");
        store.insert(&4, &upgraded("new")).unwrap();
        store.compact().unwrap();
        store.close().unwrap();

        let plain = crate::crash_rig::options(&fs, LogWay::Written);
        assert!(matches!(plain.open::<u8, V2>(DIR), Err(Error::Expiry { has_expiry: true, .. })));
        assert!(matches!(plain.open::<u8, V1>(DIR), Err(Error::Expiry { has_expiry: true, .. })));
        assert!(matches!(options.open::<u8, V1>(DIR), Err(Error::WrongType { .. })));
        // A tool that knows no types sees the values, and what has expired not.
        let untyped = ByteStore::open_untyped(DIR, &plain).unwrap();
        assert_eq!(untyped.schemas(), ("u8", "thing.2"));
        assert_eq!(untyped.iter().count(), 3);
        assert_eq!(V2::decode(&untyped.get(&[2]).unwrap().unwrap()).unwrap(), upgraded("here"));
    }
}
