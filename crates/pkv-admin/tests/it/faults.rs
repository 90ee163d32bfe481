//! Each fault that a folder can have, and each command on it: the exit code tells, nothing panics, and what only looks
//! changes nothing.

use std::fs;
use std::path::Path;

use crate::folders::{Folder, closed, copy, flip, killed, name_of, nowhere, set_len};
use crate::run::{Ran, pkv};

/// What happened to a folder.
type Fault = (&'static str, fn(&Folder));

/// Faults of a closed store that no crash explains.
const DAMAGE: [Fault; 13] = [
    ("a flipped bit in a block", |folder| flip(&folder.last("full"), 530)),
    ("a flipped bit in a snapshot's header", |folder| flip(&folder.last("full"), 40)),
    ("a flipped bit in a footer", |folder| {
        let path = folder.last("full");
        let bytes = fs::metadata(&path).unwrap().len();
        flip(&path, usize::try_from(bytes - 20).unwrap());
    }),
    ("a zeroed sector of a snapshot", |folder| zero(&folder.last("full"), 512, 512)),
    ("a snapshot that was cut", |folder| cut(&folder.last("full"), 1)),
    ("a flipped bit in a log's header", |folder| flip(&folder.last("diff"), 40)),
    ("a flipped bit in a frame", |folder| flip(&folder.last("diff"), 4096 + 48 + 30)),
    ("a log that was cut", |folder| cut(&folder.last("diff"), 1)),
    ("a missing shard", |folder| fs::remove_file(folder.last("full")).unwrap()),
    ("a missing log", |folder| fs::remove_file(folder.last("diff")).unwrap()),
    ("two files whose names were swapped", |folder| {
        let (one, other) = (folder.last("full"), folder.files("full").swap_remove(2));
        let between = folder.path.join("between");
        fs::rename(&one, &between).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(&between, &other).unwrap();
    }),
    ("a length of over a hundred megabytes", |folder| {
        let path = folder.last("full");
        let mut bytes = fs::read(&path).unwrap();
        bytes[516..520].copy_from_slice(&u32::MAX.to_le_bytes());
        fs::write(path, bytes).unwrap();
    }),
    ("a newer format", |folder| newer(&folder.last("full"))),
];

/// What crashes leave, and what is none of the store's business.
const NORMAL: [Fault; 6] = [
    ("nothing", |_| ()),
    ("a foreign file", |folder| fs::write(folder.path.join("notes.txt"), "mine").unwrap()),
    ("a name that is almost one", |folder| {
        fs::write(folder.path.join("snapshot_01_0-of-1_full.bin"), "mine").unwrap();
    }),
    ("a pending snapshot", |folder| {
        fs::write(folder.path.join("snapshot_99_0-of-1_pending.bin"), "half").unwrap();
    }),
    ("a torn end", |folder| {
        let log = folder.log();
        let last = fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        flip(&log, last);
    }),
    ("rubbish behind the last frame", |folder| {
        let log = folder.log();
        let mut bytes = fs::read(&log).unwrap();
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[last + 9..last + 90].fill(0xa5);
        fs::write(log, bytes).unwrap();
    }),
];

fn cut(path: &Path, bytes: u64) {
    set_len(path, fs::metadata(path).unwrap().len() - bytes);
}

fn zero(path: &Path, from: usize, bytes: usize) {
    let mut content = fs::read(path).unwrap();
    let end = content.len().min(from + bytes);
    content[from..end].fill(0);
    fs::write(path, content).unwrap();
}

fn newer(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8..12].copy_from_slice(&3_u32.to_le_bytes());
    let checksum = pkv_format::body_checksum(&bytes[..508]);
    bytes[508..512].copy_from_slice(&checksum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// A command: its words, what comes behind the path, whether it changes the folder. `NEW` is a new place.
type Command = (&'static [&'static str], &'static [&'static str], bool);

const COMMANDS: [Command; 17] = [
    (&["stat"], &[], false),
    (&["verify"], &[], false),
    (&["dump"], &[], false),
    (&["get"], &["key 7"], false),
    (&["scan", "--prefix", "key"], &[], false),
    (&["export"], &["-"], false),
    (&["export"], &["NEW"], false),
    (&["backup"], &["NEW"], false),
    (&["restore"], &["NEW"], false),
    (&["del", "--dry-run"], &["key 7"], false),
    (&["compact", "--dry-run"], &[], false),
    (&["prune-backups", "--dry-run"], &["1"], false),
    (&["put"], &["key 7", "7"], true),
    (&["incr"], &["key 7"], true),
    (&["compact"], &[], true),
    (&["prune-backups"], &["1"], true),
    (&["del"], &["key 7"], true),
];

/// Runs a command on a copy of a folder; also what it only looked at is the same afterwards.
fn run_on_copy(original: &Folder, (words, rest, changes): Command, what: &str) -> Ran {
    let folder = nowhere();
    copy(&original.path, &folder.path);
    let before = folder.bytes();
    let new = folder.path.parent().unwrap().join("new");
    let rest: Vec<&str> = rest
        .iter()
        .map(|word| if *word == "NEW" { new.to_str().unwrap() } else { *word })
        .collect();
    let ran = pkv(words, &folder.path, &rest);
    let is_error = ran.err.starts_with("pkv: ") && ran.err.lines().count() == 1;
    assert!(ran.err.is_empty() || is_error, "{what}: {words:?}: {ran:?}");
    assert!(!ran.err.contains("panicked"), "{what}: {words:?}: {ran:?}");
    if !changes {
        assert!(folder.bytes() == before, "{what}: {words:?} changed something");
    }
    ran
}

#[test]
fn damage_of_each_kind_is_an_exit_code_of_each_command() {
    for (what, damage) in DAMAGE {
        let folder = closed();
        damage(&folder);
        for command in COMMANDS {
            let ran = run_on_copy(&folder, command, what);
            assert_eq!(ran.code, 1, "{what}: {:?}: {ran:?}", command.0);
        }
        // What looks at names or frames alone may well have nothing to say, and says so in order.
        for command in [
            (&["dump", "--log"][..], &[][..], false),
            (&["delete-failed-pending-snapshots", "--dry-run"], &[], false),
        ] {
            let ran = run_on_copy(&folder, command, what);
            assert!(matches!(ran.code, 0 | 1), "{what}: {:?}: {ran:?}", command.0);
        }
        // And it can be saved, with a report that says whether all of it was; or is of a newer release.
        let ran = run_on_copy(&folder, (&["salvage"], &["NEW"], false), what);
        assert!(matches!(ran.code, 0 | 1), "{what}: {ran:?}");
    }
}

#[test]
fn what_crashes_leave_is_no_fault_for_any_command() {
    for (what, fault) in NORMAL {
        // The last log of a closed store is cut: what is torn in a killed one would be damage there.
        let is_of_killed = what.contains("torn") || what.contains("rubbish");
        let folders = if is_of_killed { vec![killed()] } else { vec![closed(), killed()] };
        for folder in folders {
            fault(&folder);
            for command in COMMANDS {
                let ran = run_on_copy(&folder, command, what);
                assert_eq!(ran.code, 0, "{what}: {:?}: {ran:?}", command.0);
            }
        }
    }
}

#[test]
fn a_name_that_is_no_file_is_told_and_not_followed() {
    let folder = closed();
    let path = folder.path.join("snapshot_99_0-of-1_full.bin");
    std::os::unix::fs::symlink(folder.last("full"), &path).unwrap();
    for (words, rest, _) in COMMANDS {
        if rest.contains(&"NEW") {
            continue;
        }
        let ran = pkv(words, &folder.path, rest);
        assert!(ran.code == 1 && !ran.err.contains("panicked"), "{words:?}: {ran:?}");
        if !ran.err.is_empty() {
            assert!(ran.err.contains(name_of(&path)), "{words:?}: {ran:?}");
        }
    }
}
