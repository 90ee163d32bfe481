//! `pkv salvage`: what is whole comes over, what is not is told, and the damaged folder is only read.

use std::fs;
use std::path::PathBuf;

use crate::folders::{Folder, closed, empty, flip, killed, nowhere, open, set_len};
use crate::run::pkv;

fn salvage(folder: &Folder, code: i32) -> (serde_json::Value, PathBuf) {
    let to = folder.path.parent().unwrap().join("saved");
    let before = folder.bytes();
    let report =
        pkv(&["salvage", "--json"], &folder.path, &[to.to_str().unwrap()]).exits(code).json();
    assert_eq!(folder.bytes(), before, "salvage changed the damaged folder");
    (report, to)
}

#[test]
fn of_a_whole_folder_nothing_is_lost() {
    for folder in [closed(), killed()] {
        let (report, to) = salvage(&folder, 0);
        assert_eq!((&report["complete"], &report["entries"]), (&true.into(), &40.into()));
        assert_eq!(open(&to).len(), 40);
        pkv(&["verify", "--strict"], &to, &[]).exits(0);
    }
}

#[test]
fn with_a_backup_in_the_folder_nothing_is_lost_either() {
    let folder = closed();
    flip(&folder.last("full"), 530);
    let (report, to) = salvage(&folder, 0);
    assert_eq!((&report["entries"], &report["writes_lost"]), (&40.into(), &0.into()), "{report}");
    assert_eq!(open(&to).len(), 40);
}

#[test]
fn what_is_damaged_is_told_and_the_rest_comes_over() {
    let folder = nowhere();
    let store = open(&folder.path);
    crate::folders::fill(&store, 0..20);
    store.close().unwrap();
    let log = folder.log();
    flip(&log, 4096 + 48 + 24 + 4);
    let to = folder.path.parent().unwrap().join("text");
    let text = pkv(&["salvage"], &folder.path, &[to.to_str().unwrap()]).exits(1).out;
    assert!(
        text.contains("lost: ")
            && text.contains("gap: writes 1 to 1")
            && text.contains("saved: 19 entries; lost: 1 write and 0 records"),
        "{text}"
    );
    assert_eq!(open(&to).len(), 19);
    let before = folder.bytes();
    let plan = pkv(&["salvage", "--dry-run", "--json"], &folder.path, &[]).exits(1).json();
    assert_eq!((&plan["dry_run"], &plan["path"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!((&plan["entries"], &plan["writes_lost"]), (&19.into(), &1.into()));
    let text = pkv(&["salvage", "--dry-run"], &folder.path, &[]).exits(1).out;
    assert!(text.contains("would be saved: 19 entries"), "{text}");
    let text = pkv(&["verify"], &folder.path, &[]).exits(1).out;
    assert!(text.contains("pkv salvage --dry-run"), "{text}");
    assert_eq!(folder.bytes(), before, "a dry run changed something");
    set_len(&log, 4_500);
    let (report, to) = salvage(&folder, 1);
    assert!(report["entries"].as_u64().unwrap() < 19, "{report}");
    assert_eq!(open(&to).len(), report["entries"].as_u64().unwrap());
}

/// What only has the name of a newer snapshot does not take the place of one.
#[test]
fn a_special_file_with_the_name_of_a_snapshot_costs_nothing() {
    for is_link in [false, true] {
        let folder = closed();
        let name = folder.path.join("snapshot_99_0-of-1_full.bin");
        if is_link {
            std::os::unix::fs::symlink(folder.last("full"), &name).unwrap();
        } else {
            fs::create_dir(&name).unwrap();
        }
        pkv(&["dump"], &folder.path, &[]).fails(1);
        let to = folder.path.parent().unwrap().join("saved");
        let words = ["salvage", "--json"];
        let report = pkv(&words, &folder.path, &[to.to_str().unwrap()]).exits(0).json();
        assert_eq!(
            (&report["complete"], &report["entries"]),
            (&true.into(), &40.into()),
            "{report}"
        );
        assert_eq!(open(&to).len(), 40);
    }
}

#[test]
fn wrong_places_are_refused() {
    let folder = closed();
    let error = pkv(&["salvage"], &folder.path, &[folder.path.to_str().unwrap()]).fails(3);
    assert!(error.contains("not empty"), "{error}");
    let error = pkv(&["salvage"], &nowhere().path, &["x"]).fails(3);
    assert!(error.contains("no such folder"), "{error}");
    assert_eq!(pkv(&["salvage"], &folder.path, &[]).code, 2);
    assert_eq!(pkv(&["salvage", "--dry-run"], &folder.path, &["x"]).code, 2);
    let live = nowhere();
    let store = open(&live.path);
    store.insert("a", &1).unwrap();
    let to = live.path.parent().unwrap().join("saved");
    pkv(&["salvage"], &live.path, &[to.to_str().unwrap()]).fails(4);
    pkv(&["salvage", "--dry-run"], &live.path, &[]).exits(0);
    assert!(!to.exists());
    drop(store);
    // Nothing in it tells what keys and values are.
    let none = empty();
    let to = none.path.parent().unwrap().join("saved");
    pkv(&["salvage"], &none.path, &[to.to_str().unwrap()]).exits(0);
    assert!(!to.exists() || fs::read_dir(&to).unwrap().count() == 0);
}
