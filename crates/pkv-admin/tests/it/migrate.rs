//! `pkv migrate persistent-kv`, on folders that the real persistent-kv 1.0.2 wrote: `fixtures/README.md` says how.

use std::fs;
use std::path::{Path, PathBuf};

use crate::folders::{Folder, copy, nowhere};
use crate::run::{command, fields, pkv};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/persistent-kv").join(name)
}

fn migrate(from: &Path, to: &Folder, more: &[&str]) -> crate::run::Ran {
    let mut words = vec![from.to_str().unwrap(), to.path.to_str().unwrap()];
    words.extend(more);
    pkv(&["--json", "migrate"], Path::new("persistent-kv"), &words)
}

/// The lines of a dump in hexadecimal digits, sorted.
fn dumped(path: &Path) -> Vec<String> {
    let out = pkv(&["dump", "--format", "hex"], path, &[]).exits(0).out;
    let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn expected(name: &str) -> Vec<String> {
    fs::read_to_string(fixture(name).join("expected.hex"))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_folder_of_persistent_kv_comes_over_exactly() {
    for name in ["log", "snapshots", "shards"] {
        let folder = nowhere();
        let report = migrate(&fixture(name).join("store"), &folder, &["--types", "string,string"])
            .exits(0)
            .json();
        assert_eq!(fields(&report).len(), 9, "{report}");
        assert_eq!(
            (&report["complete"], &report["unreadable"]),
            (&true.into(), &serde_json::json!([]))
        );
        let lines = expected(name);
        assert_eq!(report["entries"], lines.len());
        assert_eq!(dumped(&folder.path), lines, "{name}");
        pkv(&["verify", "--strict"], &folder.path, &[]).exits(0);
        assert_eq!(folder.files("full").len(), 1);
    }
}

/// With more than ten shards persistent-kv puts keys into other files after a restart, and then does not know itself
/// which of two values is the later one.
#[test]
fn keys_in_two_shards_of_one_log_are_told() {
    let folder = nowhere();
    let source = fixture("restarted").join("store");
    let report = migrate(&source, &folder, &["--types", "string,string"]).exits(1).json();
    assert!(report["ambiguous"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["unreadable"], serde_json::json!([]));
}

#[test]
fn a_torn_end_is_told_and_normal() {
    let source = nowhere();
    copy(&fixture("log").join("store"), &source.path);
    let log = source.last("diff");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    let before = source.bytes();
    let folder = nowhere();
    let report = migrate(&source.path, &folder, &["--types", "string,string"]).exits(0).json();
    assert_eq!(report["unreadable"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["unreadable"][0]["torn_end"], true);
    // The last entry was the removal of a key, which is there again.
    assert_eq!(dumped(&folder.path).len(), expected("log").len() + 1);
    assert_eq!(source.bytes(), before, "the source was changed");
}

#[test]
fn damage_within_is_passed_over_and_is_an_exit_code() {
    let source = nowhere();
    copy(&fixture("snapshots").join("store"), &source.path);
    let full = source.last("full");
    let mut bytes = fs::read(&full).unwrap();
    bytes[100..120].fill(0xff);
    fs::write(&full, bytes).unwrap();
    let folder = nowhere();
    let report = migrate(&source.path, &folder, &["--types", "string,string"]).exits(1).json();
    assert_eq!(report["complete"], false);
    let (found, lines) = (dumped(&folder.path), expected("snapshots"));
    assert!(
        found.len() < lines.len() && found.len() + 5 > lines.len(),
        "{} of {}",
        found.len(),
        lines.len()
    );
    assert!(found.iter().all(|line| lines.contains(line)));
}

#[test]
fn types_that_do_not_fit_and_places_that_are_taken_are_refused() {
    let folder = nowhere();
    let report =
        migrate(&fixture("log").join("store"), &folder, &["--types", "u64,string"]).exits(1).json();
    assert_eq!(report["entries"], 0);
    let ran = migrate(&fixture("log").join("store"), &folder, &[]);
    assert!(ran.fails(3).contains("not empty"));
    assert!(migrate(Path::new("/nowhere"), &nowhere(), &[]).fails(3).contains("no such folder"));
    let nothing = nowhere();
    fs::create_dir(&nothing.path).unwrap();
    assert!(migrate(&nothing.path, &nowhere(), &[]).fails(3).contains("holds no store"));
    assert_eq!(
        command().args(["migrate", "leveldb", "a", "b"]).output().unwrap().status.code(),
        Some(2)
    );
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let source = nowhere();
    copy(&fixture("log").join("store"), &source.path);
    let lock = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(source.path.join("lockfile"))
        .unwrap();
    lock.lock().unwrap();
    assert!(migrate(&source.path, &nowhere(), &[]).fails(4).contains("in use"));
}
