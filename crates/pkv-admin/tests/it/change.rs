//! `pkv put`, `del`, `incr` and `compact`: durable before they end, and nothing else happens.

use pkv_store::{Options, Store};
use serde_json::json;

use crate::folders::{closed, empty, flip, killed, nowhere, open, options};
use crate::run::{fields, pkv};

#[test]
fn what_is_put_is_there_and_what_is_deleted_is_gone() {
    let folder = closed();
    assert_eq!(pkv(&["put"], &folder.path, &["new", "7"]).exits(0).out, "OK\n");
    let put = pkv(&["put", "--json"], &folder.path, &["new", "8"]).exits(0).json();
    assert_eq!(put, json!({"seq": 62, "existed": true}));
    assert_eq!(pkv(&["get"], &folder.path, &["new"]).exits(0).out, "8\n");
    assert_eq!(
        pkv(&["del", "--dry-run"], &folder.path, &["new", "new", "nobody"]).exits(0).out,
        "1\n"
    );
    assert_eq!(
        pkv(&["del"], &folder.path, &["new", "key 1", "key 1", "nobody"]).exits(0).out,
        "2\n"
    );
    let deleted = pkv(&["del", "--json"], &folder.path, &["new"]).exits(0).json();
    assert_eq!(deleted, json!({"dry_run": false, "removed": 0}));
    pkv(&["get"], &folder.path, &["new"]).fails(5);
    let store = open(&folder.path);
    assert_eq!((store.len(), store.get("key 2").unwrap()), (39, Some(2)));
    store.close().unwrap();
    assert_eq!(pkv(&["verify", "--strict"], &folder.path, &[]).exits(0).code, 0);
}

#[test]
fn hexadecimal_digits_take_any_type() {
    let folder = nowhere();
    let store: Store<(u8, u8), Option<u8>> = options().open(&folder.path).unwrap();
    store.insert(&(1, 2), &Some(3)).unwrap();
    store.close().unwrap();
    let line = pkv(&["dump"], &folder.path, &[]).exits(0).json();
    let (key, value) = (line["key"].as_str().unwrap(), line["value"].as_str().unwrap());
    pkv(&["put", "--hex"], &folder.path, &[&key.replace("02", "09"), value]).exits(0);
    pkv(&["del"], &folder.path, &[key]).exits(0);
    let store: Store<(u8, u8), Option<u8>> = options().open(&folder.path).unwrap();
    let entries: Vec<_> = store.iter().map(Result::unwrap).collect();
    assert_eq!(entries, [((1, 9), Some(3))]);
}

#[test]
fn integers_grow_and_fit_their_type() {
    let folder = closed();
    assert_eq!(pkv(&["incr"], &folder.path, &["key 1"]).exits(0).out, "2\n");
    assert_eq!(pkv(&["incr"], &folder.path, &["key 1", "40"]).exits(0).out, "42\n");
    assert_eq!(pkv(&["incr"], &folder.path, &["key 1", "-42"]).exits(0).out, "0\n");
    assert_eq!(pkv(&["incr", "--json"], &folder.path, &["new", "5"]).exits(0).json()["value"], 5);
    let error = pkv(&["incr"], &folder.path, &["key 1", "-1"]).fails(2);
    assert!(error.contains("does not fit") && error.contains("string to u64"), "{error}");
    assert_eq!(pkv(&["get"], &folder.path, &["key 1"]).exits(0).out, "0\n");

    let folder = nowhere();
    let store: Store<String, String> = options().open(&folder.path).unwrap();
    store.insert("a", "1").unwrap();
    store.close().unwrap();
    let error = pkv(&["incr"], &folder.path, &["a"]).fails(2);
    assert!(error.contains("no integers"), "{error}");
}

#[test]
fn words_that_do_not_fit_change_nothing() {
    let folder = closed();
    let before = folder.bytes();
    for rest in [&["key", "many"][..], &["key", "-1"], &["key", ""]] {
        pkv(&["put"], &folder.path, rest).fails(2);
    }
    pkv(&["put"], &folder.path, &[&"k".repeat(70_000), "1"]).fails(2);
    assert_eq!(folder.bytes().len(), before.len());
    assert_eq!(pkv(&["dump"], &folder.path, &[]).exits(0).out.lines().count(), 40);
    let error = pkv(&["put"], &empty().path, &["key", "1"]).fails(3);
    assert!(error.contains("types are not known"), "{error}");
}

#[test]
fn a_store_in_use_is_left_alone() {
    let folder = nowhere();
    let store: Store<String, u64> = Options::new().open(&folder.path).unwrap();
    store.insert("key", &1).unwrap();
    let me = format!("process {}", std::process::id());
    for (words, rest) in [
        (&["put"][..], &["key", "2"][..]),
        (&["del"], &["key"]),
        (&["incr"], &["key"]),
        (&["compact"], &[]),
    ] {
        let error = pkv(words, &folder.path, rest).fails(4);
        assert!(error.contains(&me), "{error}");
    }
    assert_eq!(store.get("key").unwrap(), Some(1));
    assert_eq!(pkv(&["compact", "--dry-run"], &folder.path, &[]).exits(0).code, 0);
}

#[test]
fn a_damaged_store_is_refused_and_left_as_it_is() {
    let folder = closed();
    flip(&folder.last("full"), 530);
    let before = folder.bytes();
    for (words, rest) in [
        (&["put"][..], &["key", "2"][..]),
        (&["del"], &["key 1"]),
        (&["incr"], &["key 1"]),
        (&["compact"], &[]),
    ] {
        let error = pkv(words, &folder.path, rest).fails(1);
        assert!(error.contains("damaged at offset 512"), "{error}");
        let files = |bytes: &[(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
            bytes.iter().filter(|(name, _)| name != "snapshots.lock").cloned().collect()
        };
        assert_eq!(files(&folder.bytes()), files(&before), "{words:?}");
    }
}

#[test]
fn changes_remove_no_backup() {
    let folder = closed();
    let fulls = folder.files("full");
    assert_eq!(fulls.len(), 4);
    pkv(&["put"], &folder.path, &["new", "7"]).exits(0);
    pkv(&["incr"], &folder.path, &["new"]).exits(0);
    assert_eq!(folder.files("full"), fulls);
}

#[test]
fn a_script_of_many_changes_does_not_fill_the_folder() {
    let folder = nowhere();
    open(&folder.path).insert("first", &0).unwrap();
    let place = pkv_admin::Folder::at(&folder.path);
    let mut most = 0;
    for value in 1..=150_u64 {
        pkv_admin::put(&place, b"first", &value.to_le_bytes(), None).unwrap();
        most = most.max(folder.names().len());
    }
    assert!((60..=70).contains(&most), "{most} files");
    assert!(folder.names().len() < 50, "{:?}", folder.names());
    assert_eq!(pkv(&["get"], &folder.path, &["first"]).exits(0).out, "150\n");
    // Where there are backups none is pushed out.
    let folder = closed();
    let fulls = folder.files("full");
    let place = pkv_admin::Folder::at(&folder.path);
    for _ in 0..70 {
        pkv_admin::incr(&place, b"key 1", 1).unwrap();
    }
    assert_eq!(folder.files("full"), fulls);
}

#[test]
fn a_compaction_keeps_as_many_backups_and_says_what_went() {
    let folder = closed();
    let plan = pkv(&["compact", "--dry-run", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!(fields(&plan), ["dry_run", "entries", "path", "removed", "snapshot"]);
    assert_eq!(
        (&plan["dry_run"], &plan["snapshot"], &plan["entries"]),
        (&true.into(), &json!(null), &40.into())
    );
    let done = pkv(&["compact", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!(done["removed"], plan["removed"]);
    assert!(!done["removed"].as_array().unwrap().is_empty());
    // Two snapshots of two shards before; now the newer of them, and the new one in a file of its own size.
    let ordinals: std::collections::BTreeSet<String> = folder
        .files("full")
        .iter()
        .map(|path| {
            path.file_name().unwrap().to_str().unwrap().split('_').nth(1).unwrap().to_owned()
        })
        .collect();
    assert_eq!(ordinals.len(), 2);
    let plan = pkv(&["compact", "--dry-run", "--json", "--keep-backups", "0"], &folder.path, &[])
        .exits(0)
        .json();
    let done =
        pkv(&["compact", "--json", "--keep-backups", "0"], &folder.path, &[]).exits(0).json();
    assert_eq!(done["removed"], plan["removed"]);
    assert_eq!(folder.files("full").len(), 1);
    assert_eq!(pkv(&["dump"], &folder.path, &[]).exits(0).out.lines().count(), 40);
    pkv(&["verify", "--strict"], &folder.path, &[]).exits(0);
}

#[test]
fn a_torn_end_is_cut_by_a_change_as_by_every_opening() {
    let folder = killed();
    let log = folder.log();
    let last = std::fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    flip(&log, last);
    assert_eq!(pkv(&["put"], &folder.path, &["new", "1"]).exits(0).out, "OK\n");
    assert_eq!(open(&folder.path).len(), 40);
}
