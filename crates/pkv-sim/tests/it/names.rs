//! Names after a power cut: assumptions 2 and 5 of `pkv_fs::Fs`, and nothing beyond them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use pkv_fs::{Fs, Op};
use pkv_sim::{Choice, Crash, Fault, FaultKind, SimFs};

const STRICT: [Crash; 2] = [Crash::Strict, Crash::StrictGarbage];

fn root() -> &'static Path {
    Path::new("/")
}

fn create(fs: &SimFs, path: &str) {
    fs.create_new(Path::new(path)).map(drop).unwrap();
}

fn rename(fs: &SimFs, from: &str, to: &str) {
    fs.rename(Path::new(from), Path::new(to)).unwrap();
}

/// Every set of file names that the seeds and extremes reach.
fn outcomes(fs: &Arc<SimFs>, crash: Crash) -> BTreeSet<Vec<String>> {
    let extremes = [Choice::Nothing, Choice::Everything, Choice::AllBut(0), Choice::Only(0)];
    extremes
        .into_iter()
        .chain((0..300).map(Choice::Random))
        .map(|choice| {
            let paths = fs.survivors(crash, choice).paths();
            paths.iter().map(|path| path.display().to_string()).collect()
        })
        .collect()
}

fn sets(expected: &[&[&str]]) -> BTreeSet<Vec<String>> {
    expected.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect()
}

#[test]
fn creations_survive_in_order_or_independently() {
    let fs = SimFs::new(1);
    create(&fs, "/a");
    create(&fs, "/b");
    assert_eq!(outcomes(&fs, Crash::Linux), sets(&[&[], &["/a"], &["/a", "/b"]]));
    for crash in STRICT {
        assert_eq!(outcomes(&fs, crash), sets(&[&[], &["/a"], &["/b"], &["/a", "/b"]]));
    }
    assert_eq!(outcomes(&fs, Crash::Kill), sets(&[&["/a", "/b"]]));
    fs.sync_dir(root()).unwrap();
    for crash in Crash::ALL {
        assert_eq!(outcomes(&fs, crash), sets(&[&["/a", "/b"]]));
    }
}

#[test]
fn a_synced_file_has_no_durable_name() {
    let fs = SimFs::new(1);
    fs.create_new(Path::new("/a")).unwrap().sync_data().unwrap();
    for crash in [Crash::Linux, Crash::Strict] {
        assert!(outcomes(&fs, crash).contains(&Vec::new()));
    }
}

#[test]
fn a_durable_name_is_renamed_atomically() {
    let fs = SimFs::new(1);
    create(&fs, "/old");
    fs.sync_dir(root()).unwrap();
    rename(&fs, "/old", "/new");
    for crash in [Crash::Linux, Crash::Strict] {
        assert_eq!(outcomes(&fs, crash), sets(&[&["/old"], &["/new"]]));
    }
    rename(&fs, "/new", "/newer");
    for crash in [Crash::Linux, Crash::Strict] {
        assert_eq!(outcomes(&fs, crash), sets(&[&["/old"], &["/new"], &["/newer"]]));
    }
}

#[test]
fn a_name_that_was_never_durable_may_be_gone_under_both_names() {
    let fs = SimFs::new(1);
    create(&fs, "/old");
    rename(&fs, "/old", "/new");
    for crash in [Crash::Linux, Crash::Strict] {
        assert_eq!(outcomes(&fs, crash), sets(&[&[], &["/old"], &["/new"]]));
    }
}

#[test]
fn a_removed_file_may_come_back_and_its_name_has_one_owner() {
    let fs = SimFs::new(1);
    fs.plant(Path::new("/a"), b"first");
    fs.remove(Path::new("/a")).unwrap();
    for crash in [Crash::Linux, Crash::Strict] {
        assert_eq!(outcomes(&fs, crash), sets(&[&[], &["/a"]]));
    }
    create(&fs, "/a");
    for crash in [Crash::Linux, Crash::Strict] {
        assert_eq!(outcomes(&fs, crash), sets(&[&[], &["/a"]]));
        let contents: BTreeSet<_> = (0..100)
            .map(|seed| fs.survivors(crash, Choice::Random(seed)).contents(Path::new("/a")))
            .collect();
        assert_eq!(contents.len(), 3, "the first file, the second one, none");
    }
}

#[test]
fn files_that_swap_names_are_never_lost() {
    let fs = SimFs::new(1);
    fs.plant(Path::new("/a"), b"a");
    fs.plant(Path::new("/b"), b"b");
    rename(&fs, "/a", "/c");
    rename(&fs, "/b", "/a");
    rename(&fs, "/c", "/b");
    for crash in [Crash::Linux, Crash::Strict] {
        for names in outcomes(&fs, crash) {
            assert_eq!(names.len(), 2, "{names:?}");
        }
    }
}

/// Names can be drawn that leave one file none. What was synced holds then, too.
#[test]
fn names_that_exclude_each_other_lose_no_file() {
    let fs = SimFs::new(1);
    for path in ["/z0", "/e", "/a", "/other/kept"] {
        fs.plant(Path::new(path), path.as_bytes());
    }
    create(&fs, "/other/unsynced");
    rename(&fs, "/z0", "/z");
    fs.sync_dir(root()).unwrap();
    rename(&fs, "/z", "/z1");
    rename(&fs, "/e", "/x");
    rename(&fs, "/a", "/e");
    rename(&fs, "/z1", "/a");
    let outcomes = outcomes(&fs, Crash::Strict);
    assert!(outcomes.len() > 8);
    for names in outcomes {
        let in_root = names.iter().filter(|name| !name.starts_with("/other")).count();
        assert_eq!(in_root, 3, "{names:?}");
        assert!(!names.contains(&"/z0".to_string()), "{names:?}");
    }
}

#[test]
fn a_file_whose_old_name_is_taken_and_whose_new_folder_is_lost_stays() {
    let fs = SimFs::new(1);
    fs.plant(Path::new("/a"), b"a");
    fs.plant(Path::new("/z0"), b"z");
    fs.create_dir(Path::new("/dir")).unwrap();
    rename(&fs, "/z0", "/z");
    rename(&fs, "/a", "/dir/a");
    rename(&fs, "/z", "/a");
    for names in outcomes(&fs, Crash::Strict) {
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

#[test]
fn a_folder_that_is_lost_takes_its_files_with_it() {
    let fs = SimFs::new(1);
    fs.create_dir(Path::new("/dir")).unwrap();
    create(&fs, "/dir/a");
    fs.sync_dir(Path::new("/dir")).unwrap();
    // Its own name is in the root, which is not synced.
    assert_eq!(outcomes(&fs, Crash::Strict), sets(&[&[], &["/dir/a"]]));
    assert_eq!(outcomes(&fs, Crash::Linux), sets(&[&["/dir/a"]]));
    fs.sync_dir(root()).unwrap();
    assert_eq!(outcomes(&fs, Crash::Strict), sets(&[&["/dir/a"]]));
}

#[test]
fn a_durable_file_is_not_lost_in_a_folder_that_is() {
    let fs = SimFs::new(1);
    fs.plant(Path::new("/a"), b"a");
    fs.create_dir(Path::new("/dir")).unwrap();
    rename(&fs, "/a", "/dir/a");
    assert_eq!(outcomes(&fs, Crash::Strict), sets(&[&["/a"], &["/dir/a"]]));
}

#[test]
fn a_file_survives_in_a_folder_that_is_younger_than_its_own_changes() {
    let fs = SimFs::new(1);
    fs.plant(Path::new("/a"), b"a");
    rename(&fs, "/a", "/b");
    fs.create_dir(Path::new("/dir")).unwrap();
    rename(&fs, "/b", "/dir/b");
    assert_eq!(outcomes(&fs, Crash::Strict), sets(&[&["/a"], &["/b"], &["/dir/b"]]));
    // Only the folder and the last name: the draw of the name counts, not the order of the changes.
    let only = fs.survivors(Crash::Strict, Choice::Only(1)).paths();
    let none = fs.survivors(Crash::Strict, Choice::Only(0)).paths();
    assert_eq!((only, none), (vec!["/b".into()], vec!["/a".into()]));
}

#[test]
fn a_folder_sync_in_flight_promises_nothing() {
    let fs = SimFs::new(1);
    create(&fs, "/a");
    fs.crash_at(fs.last_op() + 1);
    fs.sync_dir(root()).unwrap_err();
    for crash in [Crash::Linux, Crash::Strict] {
        assert_eq!(outcomes(&fs, crash), sets(&[&[], &["/a"]]));
    }
}

#[test]
fn syncing_either_folder_makes_a_move_durable() {
    for synced in ["/from", "/to"] {
        let fs = SimFs::new(1);
        fs.plant(Path::new("/from/a"), b"a");
        fs.plant(Path::new("/to/b"), b"b");
        rename(&fs, "/from/a", "/to/a");
        create(&fs, "/from/other");
        create(&fs, "/to/other");
        fs.sync_dir(Path::new(synced)).unwrap();
        for crash in [Crash::Linux, Crash::Strict] {
            for names in outcomes(&fs, crash) {
                assert!(names.contains(&"/to/a".to_string()), "{names:?}");
                assert!(names.contains(&format!("{synced}/other")), "{names:?}");
            }
        }
        assert_eq!(outcomes(&fs, Crash::Strict).len(), 2, "the other folder is open");
    }
}

#[test]
fn a_folder_whose_sync_failed_stays_unsure() {
    let fs = SimFs::new(1);
    create(&fs, "/a");
    fs.inject(Fault::once(Op::SyncDir, 1, FaultKind::Eio));
    fs.sync_dir(root()).unwrap_err();
    create(&fs, "/b");
    fs.sync_dir(root()).unwrap();
    assert_eq!(outcomes(&fs, Crash::Strict), sets(&[&["/b"], &["/a", "/b"]]));
    rename(&fs, "/a", "/c");
    fs.sync_dir(root()).unwrap();
    for crash in [Crash::Linux, Crash::Strict] {
        assert_eq!(outcomes(&fs, crash), sets(&[&["/b", "/c"]]));
    }
}
