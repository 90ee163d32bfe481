//! The two commands that change a folder: only what they say, only with the lock, never the last good copy.

use std::fs;
use std::path::PathBuf;

use crate::folders::{Folder, closed, copy, empty, fill, flip, nowhere, open, set_len};
use crate::run::{fields, pkv};

fn backups() -> Folder {
    let folder = nowhere();
    let store = open(&folder.path);
    for round in 0..4 {
        fill(&store, round..round + 10);
        store.compact().unwrap();
    }
    fill(&store, 20..22);
    store.close().unwrap();
    folder
}

/// What a dry run promises is what a real run does; the rest of the folder stays as it is.
fn prune(folder: &Folder, words: &[&str], rest: &[&str]) -> usize {
    let words = [words, &["--json"]].concat();
    let before = folder.bytes();
    let plan = pkv(&[&words[..], &["--dry-run"]].concat(), &folder.path, rest).exits(0).json();
    assert_eq!(folder.bytes(), before, "a dry run changed something");
    let done = pkv(&words, &folder.path, rest).exits(0).json();
    assert_eq!(fields(&done), ["dry_run", "finished", "path", "removed"]);
    assert_eq!((&plan["dry_run"], &done["dry_run"]), (&true.into(), &false.into()));
    assert_eq!((&plan["removed"], &plan["finished"]), (&done["removed"], &done["finished"]));
    let removed: Vec<PathBuf> = done["removed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().into())
        .collect();
    for (name, _) in &before {
        let is_there = folder.names().contains(name);
        assert_eq!(is_there, !removed.contains(&folder.path.join(name)), "{name}");
    }
    removed.len()
}

#[test]
fn backups_beyond_the_wished_number_go() {
    for max in 0..5_usize {
        let folder = backups();
        prune(&folder, &["prune-backups"], &[&max.to_string()]);
        assert_eq!(folder.files("full").len(), 2 * (max + 1).min(4));
        pkv(&["verify"], &folder.path, &[]).exits(0);
        let store = open(&folder.path);
        assert_eq!(store.len(), 15);
        store.close().unwrap();
    }
    let folder = backups();
    let text = pkv(&["prune-backups"], &folder.path, &["0"]).exits(0).out;
    assert!(text.contains("removed ") && text.ends_with("files removed\n"), "{text}");
    // Nothing is a backup where there is no full snapshot.
    assert_eq!(prune(&empty(), &["prune-backups"], &["0"]), 0);
}

#[test]
fn no_backup_goes_while_what_is_kept_is_damaged() {
    let folder = backups();
    flip(&folder.last("full"), 530);
    let before = folder.bytes();
    for words in [&["prune-backups"][..], &["prune-backups", "--dry-run"]] {
        let error = pkv(words, &folder.path, &["1"]).fails(1);
        assert!(
            error.contains("damaged at offset 512") && error.contains("no backup was removed"),
            "{error}"
        );
        assert_eq!(folder.bytes(), before);
    }
    // Damage in what goes anyway is no reason to keep it.
    let folder = backups();
    flip(&folder.files("full")[0], 530);
    assert!(prune(&folder, &["prune-backups"], &["1"]) > 0);
    pkv(&["verify"], &folder.path, &[]).exits(0);
}

#[test]
fn unfinished_snapshots_go() {
    let folder = closed();
    for shard in 0..2 {
        fs::write(folder.path.join(format!("snapshot_50_{shard}-of-3_pending.bin")), "half")
            .unwrap();
    }
    // Below the latest full snapshot, and without its other shard.
    fs::remove_file(&folder.files("full")[1]).unwrap();
    assert_eq!(prune(&folder, &["delete-failed-pending-snapshots"], &[]), 3);
    assert_eq!((folder.files("pending").len(), folder.files("full").len()), (0, 2));
    pkv(&["stat"], &folder.path, &[]).exits(0);
    assert_eq!(prune(&folder, &["delete-failed-pending-snapshots"], &[]), 0);

    let text = {
        fs::write(folder.path.join("snapshot_51_0-of-1_pending.bin"), "").unwrap();
        pkv(&["delete-failed-pending-snapshots", "--dry-run"], &folder.path, &[]).exits(0).out
    };
    assert!(text.contains("would remove") && text.ends_with("1 file would be removed\n"), "{text}");
}

#[test]
fn an_interrupted_publish_is_finished_and_not_dropped() {
    let folder = closed();
    let shard = folder.last("full");
    let pending = shard.to_str().unwrap().replace("_full", "_pending");
    fs::rename(&shard, &pending).unwrap();
    let plan = pkv(&["delete-failed-pending-snapshots", "--dry-run", "--json"], &folder.path, &[])
        .exits(0)
        .json();
    let done =
        pkv(&["delete-failed-pending-snapshots", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!((&plan["finished"], &plan["removed"]), (&done["finished"], &done["removed"]));
    assert_eq!(
        (done["finished"].as_array().unwrap().len(), done["removed"].as_array().unwrap().len()),
        (1, 0)
    );
    assert_eq!(folder.last("full"), shard);
    assert_eq!(open(&folder.path).len(), 40);
}

#[test]
fn a_store_that_is_open_stays_as_it_is() {
    let folder = nowhere();
    let store = open(&folder.path);
    fill(&store, 0..5);
    let pid = std::process::id();
    for (command, rest) in [("prune-backups", &["0"][..]), ("delete-failed-pending-snapshots", &[])]
    {
        let names = folder.names();
        let error = pkv(&[command], &folder.path, rest).fails(4);
        assert!(error.contains(&format!("in use by process {pid}")), "{error}");
        assert_eq!(folder.names(), names);
        pkv(&[command, "--dry-run"], &folder.path, rest).exits(0);
    }
    set_len(&folder.path.join("snapshots.lock"), 0);
    let error = pkv(&["prune-backups"], &folder.path, &["0"]).fails(4);
    assert!(error.contains("in use by another process"), "{error}");

    // A copy is nobody's.
    let aside = nowhere();
    copy(&folder.path, &aside.path);
    pkv(&["prune-backups"], &aside.path, &["0"]).exits(0);
    assert_eq!(open(&aside.path).len(), 5);
    drop(store);
}

#[test]
fn files_that_do_not_add_up_are_an_error() {
    let folder = closed();
    fs::remove_file(folder.last("full")).unwrap();
    let before = folder.bytes();
    for words in [&["prune-backups"][..], &["prune-backups", "--dry-run"]] {
        let error = pkv(words, &folder.path, &["0"]).fails(1);
        assert!(error.contains("lacks 1 of 2 shards"), "{error}");
    }
    assert_eq!(folder.bytes(), before);
}
