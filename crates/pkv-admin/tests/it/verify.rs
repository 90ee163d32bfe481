//! `pkv verify`: finds every fault, tells torn from damaged, and changes nothing.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use pkv_format::{
    BlockScanner, BlockStep, FOOTER_BYTES, FRAMES_OFFSET, FileHeader, IndexEntry, Scanner, Step,
    body_checksum, index_bytes, push_index,
};
use pkv_store::codec::{Decode, DecodeError, Encode, EncodeError, Schema};
use pkv_store::{ByteStore, Store};
use serde_json::Value;

use crate::folders::{
    Folder, closed, empty, fill, flip, killed, name_of, nowhere, options, set_len,
};
use crate::run::{fields, pkv};

fn verify(folder: &Folder, code: i32) -> Value {
    let before = folder.bytes();
    let found = pkv(&["verify", "--json"], &folder.path, &[]).exits(code).json();
    assert_eq!(folder.bytes(), before, "verify changed something");
    assert_eq!(found["damaged"], code == 1);
    found
}

/// The faults as (file name, offset, verdict).
fn faults(found: &Value) -> Vec<(String, u64, String)> {
    let fault = |fault: &Value| {
        let path = Path::new(fault["path"].as_str().unwrap());
        let verdict = fault["verdict"].as_str().unwrap().to_owned();
        (name_of(path).to_owned(), fault["offset"].as_u64().unwrap(), verdict)
    };
    found["faults"].as_array().unwrap().iter().map(fault).collect()
}

/// Says that exactly this is wrong, and returns the reason.
#[track_caller]
fn one_fault(folder: &Folder, path: &Path, offset: u64, verdict: &str) -> String {
    let found = verify(folder, i32::from(verdict != "torn"));
    assert_eq!(faults(&found), [(name_of(path).to_owned(), offset, verdict.to_owned())]);
    found["faults"][0]["reason"].as_str().unwrap().to_owned()
}

/// Where the frames of a log stand.
fn frames(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let start = usize::try_from(FRAMES_OFFSET).unwrap();
    let seed = FileHeader::decode(&bytes).unwrap().seed();
    let mut scanner = Scanner::new(seed, FRAMES_OFFSET, &bytes[start..]);
    let mut offsets = Vec::new();
    while let Step::Frame(frame) = scanner.next_frame() {
        offsets.push(frame.offset);
    }
    offsets
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// A counter whose type has changed its name once.
#[derive(Debug)]
struct Counter<const VERSION: u32>(u64);

impl<const VERSION: u32> Encode for Counter<VERSION> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.encode(out)
    }
}

impl<const VERSION: u32> Decode for Counter<VERSION> {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        u64::decode(bytes).map(Self)
    }
}

impl<const VERSION: u32> Schema for Counter<VERSION> {
    fn schema() -> Cow<'static, str> {
        format!("counter.{VERSION}").into()
    }

    fn can_upgrade(_version: u32) -> bool {
        true
    }

    fn upgrade(_version: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }
}

/// Files of both versions are good together, until a compaction. With deadlines before the values they were
/// damage.
#[test]
fn files_of_an_older_version_of_a_type_are_good() {
    for expiry in [false, true] {
        let folder = nowhere();
        let options = options().expiry(expiry);
        let old: Store<String, Counter<1>> = options.open(&folder.path).unwrap();
        old.insert("a", &Counter(1)).unwrap();
        old.close().unwrap();
        let new: Store<String, Counter<2>> = options.open(&folder.path).unwrap();
        new.insert("b", &Counter(2)).unwrap();
        new.close().unwrap();
        assert_eq!(faults(&verify(&folder, 0)), []);
    }
}

#[test]
fn good_stores_are_good() {
    let found = verify(&empty(), 0);
    assert_eq!((&found["last_seq"], &found["faults_unlisted"]), (&0.into(), &0.into()));
    assert_eq!(
        fields(&found),
        [
            "blocks",
            "bytes",
            "damaged",
            "deep",
            "faults",
            "faults_unlisted",
            "files",
            "frames",
            "last_seq",
            "notes",
            "operations",
            "path",
            "records",
            "watermark",
            "writes"
        ]
    );
    let folder = closed();
    let found = verify(&folder, 0);
    assert_eq!(faults(&found), []);
    assert_eq!((&found["writes"], &found["records"]), (&40.into(), &40.into()));
    assert_eq!((&found["last_seq"], &found["watermark"]), (&60.into(), &60.into()));
    assert_eq!(found["files"], folder.names().len() - 1);
    let found = verify(&killed(), 0);
    assert_eq!((faults(&found), &found["last_seq"]), (vec![], &40.into()));

    let text = pkv(&["verify"], &folder.path, &[]).exits(0).out;
    assert!(text.ends_with("last write 60, synced up to 60: good\n"), "{text}");
}

#[test]
fn a_deep_look_reads_the_contents_too() {
    let folder = closed();
    assert_eq!(verify(&folder, 0)["deep"], serde_json::Value::Null);
    let deep =
        |code: i32| pkv(&["verify", "--deep", "--json"], &folder.path, &[]).exits(code).json();
    let found = deep(0);
    assert_eq!(
        found["deep"],
        serde_json::json!({"entries": 40, "undecodable": 0, "first_undecodable": null, "problem": null})
    );
    // Bytes that no text has, as only a tool can write them.
    pkv(&["put", "--hex"], &folder.path, &["ff00", "0700000000000000"]).exits(0);
    pkv(&["verify"], &folder.path, &[]).exits(0);
    let found = deep(1);
    assert_eq!((&found["damaged"], &found["faults"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(
        (&found["deep"]["undecodable"], &found["deep"]["first_undecodable"]),
        (&1.into(), &"ff00".into())
    );
    let text = pkv(&["verify", "--deep"], &folder.path, &[]).exits(1).out;
    assert!(text.contains("1 entry not of the type") && text.contains("ff00"), "{text}");
    pkv(&["del", "--hex"], &folder.path, &["ff00"]).exits(0);
    deep(0);
    // What damage there is comes first.
    flip(&folder.last("diff"), 4_100);
    assert_eq!(deep(1)["deep"], serde_json::Value::Null);
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    // In files that opening reads, and in backups, which it does not.
    for newest in [false, true] {
        let pick = |folder: &Folder, kind| {
            let files = folder.files(kind);
            if newest { files.last().unwrap().clone() } else { files[0].clone() }
        };
        for offset in [0, 8, 16, 33, 50, 90, 508] {
            for kind in ["diff", "full"] {
                let folder = closed();
                let path = pick(&folder, kind);
                flip(&path, offset);
                one_fault(&folder, &path, 0, "damaged");
            }
        }
        for offset in [512, 520, 528, 540] {
            let folder = closed();
            let path = pick(&folder, "full");
            flip(&path, offset);
            one_fault(&folder, &path, 512, "damaged");
        }
        let folder = closed();
        let path = pick(&folder, "full");
        let footer = fs::read(&path).unwrap().len() - pkv_format::FOOTER_BYTES;
        flip(&path, footer + 40);
        let reason = one_fault(&folder, &path, footer.try_into().unwrap(), "damaged");
        assert!(reason.contains("checksum"), "{reason}");

        let folder = closed();
        let path = pick(&folder, "diff");
        for frame in frames(&path) {
            for inside in [0, 5, 9, 13, 17, 25] {
                flip(&path, at(frame) + inside);
                one_fault(&folder, &path, frame, "damaged");
                flip(&path, at(frame) + inside);
            }
        }
        assert_eq!(faults(&verify(&folder, 0)), []);
    }
}

#[test]
fn what_a_crash_leaves_is_torn_and_what_was_synced_is_damaged() {
    let folder = killed();
    let path = folder.log();
    let all = frames(&path);
    let last = *all.last().unwrap();
    flip(&path, at(last) + 24);
    let reason = one_fault(&folder, &path, last, "torn");
    assert!(reason.contains("body's checksum"), "{reason}");
    pkv(&["verify", "--strict"], &folder.path, &[]).exits(1);
    let text = pkv(&["verify"], &folder.path, &[]).exits(0).out;
    assert!(text.starts_with("torn: ") && text.contains("good, 1 torn place"), "{text}");
    assert_eq!(verify(&folder, 0)["last_seq"], 39);

    // The mark behind the synced write knows of it.
    let folder = killed();
    let path = folder.log();
    flip(&path, at(all[5]) + 24);
    let reason = one_fault(&folder, &path, all[5], "damaged");
    assert!(reason.contains("write 5 is missing here and had been synced"), "{reason}");
    pkv(&["verify"], &folder.path, &[]).exits(1);
}

#[test]
fn every_fault_of_a_file_is_listed() {
    let folder = closed();
    let log = folder.last("diff");
    let offsets = frames(&log);
    let expected: Vec<u64> = [3, 7, 8, 12].map(|index| offsets[index]).into();
    for &offset in &expected {
        flip(&log, at(offset) + 24);
    }
    let found: Vec<u64> = faults(&verify(&folder, 1)).into_iter().map(|(_, at, _)| at).collect();
    // The frames next to each other are one gap.
    assert_eq!(found, [expected[0], expected[1], expected[3]]);

    // Two bad blocks of a shard that has more.
    let folder = nowhere();
    let store: pkv_store::Store<u64, Vec<u8>> =
        options().snapshot_shards(1).open(&folder.path).unwrap();
    for key in 0..1_000 {
        store.insert(&key, &vec![7; 300]).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let shard = folder.last("full");
    let blocks = verify(&folder, 0)["blocks"].as_u64().unwrap();
    assert!(blocks >= 5, "{blocks}");
    for offset in [600, 150_000] {
        flip(&shard, offset);
    }
    let found = verify(&folder, 1);
    assert_eq!(faults(&found).len(), 2, "{found}");
    assert_eq!(found["blocks"], blocks - 2);
}

#[test]
fn an_index_that_does_not_fit_is_damage() {
    let folder = nowhere();
    let store: pkv_store::Store<u64, Vec<u8>> =
        options().snapshot_shards(2).snapshot_shard_bytes(64 * 1024).open(&folder.path).unwrap();
    for key in 0..2_000 {
        store.insert(&key, &vec![7; 300]).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    verify(&folder, 0);
    let changes: [fn(&mut Vec<IndexEntry>); 7] = [
        Vec::clear,
        |index| drop(index.drain(..1)),
        |index| index.swap(0, 1),
        |index| index[1].first_hash = index[0].first_hash,
        |index| index[1].offset += 4,
        |index| index.push(IndexEntry { first_hash: u64::MAX, offset: u64::MAX }),
        // Of the file before.
        |index| index[0].first_hash = 0,
    ];
    let shard = folder.last("full");
    let whole = fs::read(&shard).unwrap();
    let header = FileHeader::decode(&whole).unwrap();
    for change in changes {
        let (rest, footer) = whole.split_at(whole.len() - FOOTER_BYTES);
        let count = *rest.last_chunk().unwrap();
        let index_at = rest.len() - usize::try_from(index_bytes(count).unwrap()).unwrap();
        let offset = u64::try_from(index_at).unwrap();
        let mut scanner = BlockScanner::new(header.seed(), offset, &rest[index_at..]);
        let BlockStep::Index { entries, .. } = scanner.next_block() else { panic!("no index") };
        let mut entries: Vec<IndexEntry> = entries.collect();
        assert!(entries.len() > 3);
        change(&mut entries);
        let mut changed = rest[..index_at].to_vec();
        push_index(&mut changed, header.seed(), offset, &entries).unwrap();
        // The footer's checksum has its place in it.
        let old = u64::try_from(rest.len()).unwrap();
        let mut scanner = BlockScanner::new(header.seed(), old, footer);
        let BlockStep::Footer { footer, .. } = scanner.next_block() else { panic!("no footer") };
        let new = u64::try_from(changed.len()).unwrap();
        changed.extend(footer.encode(header.seed(), new));
        fs::write(&shard, changed).unwrap();
        let found = verify(&folder, 1);
        assert_eq!(faults(&found).len(), 1, "{found}");
        assert!(found["faults"][0]["reason"].as_str().unwrap().contains("index"), "{found}");
        // Opening says so, too.
        let opened = ByteStore::open_untyped(&folder.path, &options()).map(drop);
        assert!(opened.unwrap_err().to_string().contains("index"));
    }
}

#[test]
fn cut_and_grown_files_are_damage() {
    type Change = fn(u64) -> u64;
    let cases: [(&str, Change); 6] = [
        ("diff", |bytes| bytes - 8),
        ("diff", |bytes| bytes + 8),
        ("diff", |_| 600),
        ("full", |bytes| bytes - 1),
        ("full", |bytes| bytes + 1),
        ("full", |_| 0),
    ];
    for (kind, change) in cases {
        for newest in [false, true] {
            let folder = closed();
            let files = folder.files(kind);
            let path = if newest { files.last().unwrap() } else { &files[0] };
            set_len(path, change(fs::read(path).unwrap().len().try_into().unwrap()));
            let found = verify(&folder, 1);
            assert_eq!(faults(&found)[0].0, name_of(path), "{found}");
        }
    }
    let folder = closed();
    let full = folder.last("full");
    set_len(&full, 0);
    assert!(one_fault(&folder, &full, 0, "damaged").contains("the header is gone"));
    let folder = killed();
    let log = folder.log();
    set_len(&log, frames(&log)[30]);
    let reason = one_fault(&folder, &log, frames(&log).last().unwrap() + 48, "damaged");
    assert!(reason.contains("without a seal"), "{reason}");
}

#[test]
fn missing_files_are_damage() {
    let count = closed().files("diff").len();
    for index in 0..count {
        let folder = closed();
        let path = folder.files("diff").swap_remove(index);
        fs::remove_file(&path).unwrap();
        let found = verify(&folder, 1);
        assert!(found["faults"].to_string().contains("follows here and is missing"), "{found}");
    }
    for index in 0..4 {
        let folder = closed();
        fs::remove_file(folder.files("full").swap_remove(index)).unwrap();
        let found = verify(&folder, i32::from(index >= 2));
        let told = if index >= 2 { &found["faults"] } else { &found["notes"] };
        assert!(told.to_string().contains("lacks 1 of 2 shards"), "{found}");
    }
    let folder = killed();
    fs::remove_file(folder.log()).unwrap();
    let reason = one_fault(&folder, Path::new("snapshots.lock"), 0, "damaged");
    assert!(reason.contains("log 1 follows here and is missing"), "{reason}");
}

#[test]
fn swapped_and_foreign_files_are_damage() {
    let folder = closed();
    let fulls = folder.files("full");
    let aside = folder.path.join("aside");
    fs::rename(&fulls[2], &aside).unwrap();
    fs::rename(&fulls[3], &fulls[2]).unwrap();
    fs::rename(&aside, &fulls[3]).unwrap();
    let found = verify(&folder, 1);
    assert_eq!(faults(&found).len(), 2, "{found}");
    let reason = found["faults"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("its name says snapshot") && reason.contains("shard 0 of 2"),
        "{reason}"
    );

    // A shard of another store, under the right name.
    let (folder, other) = (closed(), closed());
    fs::copy(other.last("full"), folder.last("full")).unwrap();
    let found = verify(&folder, 1);
    assert_eq!(
        faults(&found)[0],
        (name_of(&folder.last("full")).to_owned(), 32, "damaged".to_owned())
    );
    assert!(found["faults"][0]["reason"].as_str().unwrap().contains("another store"), "{found}");

    // A log copied to a free ordinal.
    let folder = closed();
    let copied = folder.path.join("snapshot_99_0-of-1_diff.bin");
    fs::copy(folder.last("diff"), &copied).unwrap();
    one_fault(&folder, &copied, 0, "damaged");
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let folder = closed();
    let path = folder.last("diff");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 3;
    let checksum = body_checksum(&bytes[..508]).to_le_bytes();
    bytes[508..512].copy_from_slice(&checksum);
    fs::write(&path, bytes).unwrap();
    let reason = one_fault(&folder, &path, 0, "newer-format");
    assert!(reason.contains("open it with a newer release"), "{reason}");
    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(1).json();
    assert_eq!(stat["format_version"], 3);
}

#[test]
fn foreign_names_are_left_alone_whatever_bytes_they_hold() {
    use std::os::unix::ffi::OsStrExt;
    let folder = closed();
    for name in [&b"notes.txt"[..], b"\xff\xfe", b"snapshot_1_0-of-1_full.bin\xff", b"a\x1b[2Jb"] {
        fs::write(folder.path.join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    fs::create_dir(folder.path.join("sub")).unwrap();
    let found = verify(&folder, 0);
    assert!(found["notes"].to_string().contains("5 foreign names"), "{found}");
    let stat = pkv(&["stat"], &folder.path, &[]).exits(0).out;
    assert!(stat.contains("a\\u{1b}[2Jb") && !stat.contains('\x1b'), "{stat}");
    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!(stat["foreign"].as_array().unwrap().len(), 5);
    pkv(&["dump"], &folder.path, &[]).exits(0);

    // A folder, or a link, with the name of a shard.
    for link in [false, true] {
        let folder = closed();
        let name = folder.path.join("snapshot_77_0-of-1_full.bin");
        if link {
            std::os::unix::fs::symlink(folder.last("full"), &name).unwrap();
        } else {
            fs::create_dir(&name).unwrap();
        }
        one_fault(&folder, &name, 0, "damaged");
        pkv(&["stat"], &folder.path, &[]).exits(1);
        assert!(pkv(&["dump"], &folder.path, &[]).fails(1).contains("move it elsewhere"));
    }
}

#[test]
fn unfinished_snapshots_are_noted_and_an_interrupted_publish_is_read() {
    let folder = closed();
    fs::write(folder.path.join("snapshot_50_0-of-2_pending.bin"), "half").unwrap();
    let found = verify(&folder, 0);
    assert!(found["notes"].to_string().contains("snapshot 50 is pending"), "{found}");

    let folder = closed();
    let shard = folder.last("full");
    let pending = PathBuf::from(shard.to_str().unwrap().replace("_full", "_pending"));
    fs::rename(&shard, &pending).unwrap();
    let found = verify(&folder, 0);
    assert!(found["notes"].to_string().contains("opening finishes it"), "{found}");
    assert_eq!(found["records"], 40);
    flip(&pending, 530);
    one_fault(&folder, &pending, 512, "damaged");
}

/// Ends the writer when the test ends, also by a failure: else the scope would wait for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn beside_a_writer_nothing_looks_damaged() {
    let folder = nowhere();
    let store = options().background(true).keep_backups(1);
    let store = store.open::<String, u64>(&folder.path).unwrap();
    fill(&store, 0..10);
    let is_done = AtomicBool::new(false);
    let (mut looked, mut good) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Small segments, so that logs are rotated all the time; and a compaction now and then.
            while !is_done.load(Ordering::Relaxed) {
                for _ in 0..10 {
                    fill(&store, 0..500);
                }
                store.compact().unwrap();
            }
        });
        let _ends = Ends(&is_done);
        while looked < 40 {
            looked += 1;
            match pkv_admin::verify(&pkv_admin::Folder::at(&folder.path)) {
                Ok(found) => {
                    assert!(!found.is_damaged(), "{found:?}");
                    good += 1;
                }
                Err(pkv_admin::Error::Changing { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert!(good > 0, "of {looked} looks none came to an end");
    drop(store);
    assert_eq!(faults(&verify(&folder, 0)), []);
}
