//! `pkv backup` and `pkv restore` as an operator uses them.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use pkv_store::{Options, Store};
use serde_json::Value;

use crate::folders::{Folder, closed, empty, flip, killed, name_of, nowhere, open, set_len};
use crate::run::{command, pkv, run};

/// A path beside a folder.
fn beside(folder: &Folder, name: &str) -> PathBuf {
    folder.path.parent().unwrap().join(name)
}

fn entries(path: &std::path::Path) -> Vec<Value> {
    let mut lines = pkv(&["dump"], path, &[]).exits(0).json_lines();
    lines.sort_by_key(ToString::to_string);
    lines
}

#[test]
fn a_backup_is_a_store_with_the_same_entries() {
    for folder in [closed(), killed()] {
        let before = folder.bytes();
        let backup = beside(&folder, "backup");
        let report =
            pkv(&["backup", "--json"], &folder.path, &[backup.to_str().unwrap()]).exits(0).json();
        assert_eq!(report["damaged"], false);
        assert_eq!(folder.bytes(), before, "backup changed something");
        assert_eq!(entries(&backup), entries(&folder.path));
        pkv(&["verify", "--strict"], &backup, &[]).exits(0);
        let store = open(&backup);
        assert_eq!(
            (store.len(), store.recovery_report().last_seq),
            (40, report["seq"].as_u64().unwrap())
        );
    }
    let folder = empty();
    let backup = beside(&folder, "backup");
    let text = pkv(&["backup"], &folder.path, &[backup.to_str().unwrap()]).exits(0).out;
    assert!(text.contains("0 files"), "{text}");
    open(&backup).close().unwrap();
}

#[test]
fn a_backup_beside_a_writing_process_has_what_was_acknowledged() {
    let folder = nowhere();
    let store: Store<String, u64> = Options::new().open(&folder.path).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                store.insert(&format!("key {}", i % 1000), &i).unwrap();
                if i % 50 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        });
        let stopping = StopOnDrop(&stop);
        for round in 0..5 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let acknowledged = store.bytes().last_seq();
            let backup = beside(&folder, &format!("backup {round}"));
            let report = pkv(&["backup", "--json"], &folder.path, &[backup.to_str().unwrap()])
                .exits(0)
                .json();
            assert!(report["seq"].as_u64().unwrap() >= acknowledged, "{report}, {acknowledged}");
            // Write n set key (n - 1) % 1000 to n - 1.
            let seq = report["seq"].as_u64().unwrap();
            let found = entries(&backup);
            assert_eq!(u64::try_from(found.len()).unwrap(), seq.min(1000));
            for entry in found {
                let value = entry["value"].as_u64().unwrap();
                assert_eq!(entry["key"].as_str().unwrap(), format!("key {}", value % 1000));
                assert!(value < seq && value + 1000 >= seq, "{entry} at {seq}");
            }
        }
        drop(stopping);
    });
}

/// A failure must not leave the writer writing for ever.
struct StopOnDrop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn an_incremental_backup_shares_what_has_not_changed() {
    let folder = closed();
    let (first, second) = (beside(&folder, "first"), beside(&folder, "second"));
    let report = pkv(&["backup", "--json", "--copy"], &folder.path, &[first.to_str().unwrap()])
        .exits(0)
        .json();
    assert_eq!(report["files_linked"], 0);
    pkv(&["put"], &folder.path, &["new", "1"]).exits(0);
    let words = ["backup", "--json", "--copy", "--since", first.to_str().unwrap()];
    let report = pkv(&words, &folder.path, &[second.to_str().unwrap()]).exits(0).json();
    assert!(report["files_linked"].as_u64().unwrap() >= 5, "{report}");
    assert!(
        report["bytes_copied"].as_u64().unwrap() < report["bytes"].as_u64().unwrap(),
        "{report}"
    );
    fs::remove_dir_all(&first).unwrap();
    assert_eq!(entries(&second), entries(&folder.path));
}

#[test]
fn a_store_is_restored_to_its_end_a_write_or_a_time() {
    let folder = closed();
    let backup = beside(&folder, "backup");
    let report =
        pkv(&["backup", "--json"], &folder.path, &[backup.to_str().unwrap()]).exits(0).json();
    assert_eq!((&report["seq"], &report["seq_min"]), (&60.into(), &20.into()));
    let restored = beside(&folder, "restored");
    let report =
        pkv(&["restore", "--json"], &backup, &[restored.to_str().unwrap()]).exits(0).json();
    assert_eq!((&report["damaged"], &report["seq"]), (&false.into(), &60.into()));
    assert_eq!(entries(&restored), entries(&folder.path));
    // What is restored is verified: damage below a file that is taken as it is does not pass.
    let bad = nowhere();
    crate::folders::copy(&backup, &bad.path);
    flip(&bad.last("full"), 530);
    let to = beside(&bad, "restored");
    let ran = pkv(&["restore"], &bad.path, &[to.to_str().unwrap()]).exits(1);
    assert!(ran.out.contains("DAMAGED"), "{ran:?}");
    for (seq, count) in [(20, 20), (40, 20), (41, 21), (60, 40)] {
        let at = beside(&folder, &format!("at {seq}"));
        let words = ["restore", "--json", "--at", &seq.to_string()];
        let report = pkv(&words, &backup, &[at.to_str().unwrap()]).exits(0).json();
        assert_eq!((&report["seq"], entries(&at).len()), (&seq.into(), count));
    }
    let later = beside(&folder, "later");
    pkv(&["restore", "--at", "2100-01-01T00:00:00Z"], &backup, &[later.to_str().unwrap()]).exits(0);
    assert_eq!(entries(&later).len(), 40);
    for point in ["19", "61", "1999-12-31T23:59:59Z"] {
        let never = beside(&folder, "never");
        let error = pkv(&["restore", "--at", point], &backup, &[never.to_str().unwrap()]).fails(5);
        assert!(error.contains("cannot be restored to"), "{error}");
        assert!(!never.exists(), "{point}");
    }
    assert_eq!(pkv(&["restore", "--at", "yesterday"], &backup, &["x"]).code, 2);
}

#[test]
fn a_place_that_is_taken_is_left_alone() {
    let folder = closed();
    let taken = beside(&folder, "taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("letter"), "dear").unwrap();
    for words in [&["backup"][..], &["restore"]] {
        for place in [&taken, &folder.path] {
            let error = pkv(words, &folder.path, &[place.to_str().unwrap()]).fails(3);
            assert!(error.contains("not empty"), "{error}");
        }
        let error = pkv(words, &folder.path, &["/nowhere/at/all"]).fails(3);
        assert!(error.contains("cannot create folder"), "{error}");
    }
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1);
}

#[test]
fn damage_is_named_and_no_backup_passes_for_good() {
    // Where the damage is in what is read for a backup at all, there is none.
    let folder = closed();
    set_len(&folder.last("diff"), 5_000);
    let backup = beside(&folder, "backup");
    let error = pkv(&["backup"], &folder.path, &[backup.to_str().unwrap()]).fails(1);
    assert!(error.contains(name_of(&folder.last("diff"))), "{error}");
    assert!(!backup.exists() || fs::read_dir(&backup).unwrap().count() == 0);
    // Where it is in a file that is copied as it is, verifying the copy finds it.
    let folder = closed();
    flip(&folder.last("full"), 530);
    let backup = beside(&folder, "backup");
    let ran = pkv(&["backup"], &folder.path, &[backup.to_str().unwrap()]).exits(1);
    assert!(
        ran.out.contains("DAMAGED") && ran.out.contains(name_of(&folder.last("full"))),
        "{ran:?}"
    );
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let folder = closed();
    let script = format!(
        "ulimit -f 8; exec {} backup --copy '{}' '{}'",
        env!("CARGO_BIN_EXE_pkv"),
        folder.path.display(),
        beside(&folder, "backup").display()
    );
    // A limit on the size of files stands for a full disk; its signal is ignored.
    let mut child = std::process::Command::new("sh");
    child.args(["-c", &format!("trap '' XFSZ; {script}")]).stdin(Stdio::null());
    let output = child.output().unwrap();
    let small = folder.bytes().iter().all(|(_, bytes)| bytes.len() <= 4096);
    assert!(!small, "the store must have a file over the limit");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(fs::read_dir(beside(&folder, "backup")).unwrap().count(), 0);
}

#[test]
fn help_and_json_say_what_is_promised() {
    let help = run(["restore", "--help"]).exits(0).out;
    assert!(help.contains("--at") && help.contains("SEQ or TIME"), "{help}");
    let mut out = String::new();
    let mut child = command().args(["backup", "--help"]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.wait().unwrap();
    assert!(out.contains("--since"), "{out}");
}
