//! Damage to any byte of any file: an error that names the file, or exactly the contents that were
//! there; on a killed store also a torn end that is reported and cut. Never a wrong value, never a panic.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure in a helper fails the test"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use pkv_store::{ByteStore, Durability, Error, Options, RecoveryMode};

use crate::support::{
    Contents, HookFs, Image, LOCK, Place, blob, contents, create_dir, is_there, names, read_file,
    small, write_file,
};

const PROCESS: Durability = Durability::Process;

/// Thousands of openings: no threads and no syncs.
fn options() -> Options {
    small().background(false).file_system(HookFs::unsynced())
}

/// A folder to be damaged and what may be found in it.
struct Patient {
    place: Place,
    image: Image,
    /// What the store held after each write.
    states: Vec<Contents>,
    /// The write that must never be lost.
    floor: usize,
    /// What was damaged, and what came of it.
    refused: usize,
    same: usize,
    torn: usize,
}

impl Patient {
    /// A store with a snapshot of two shards and two logs above it, closed.
    fn closed() -> Self {
        let place = Place::new();
        let options = options().snapshot_shards(2);
        let mut states = vec![Contents::new()];
        for round in 0..3_u64 {
            let store = ByteStore::open(place.store(), &options).unwrap();
            for i in 0..20 {
                write(&store, &mut states, round * 20 + i);
            }
            if round == 0 {
                store.compact().unwrap();
            }
            store.close().unwrap();
        }
        let floor = states.len() - 1;
        Self::new(place, states, floor)
    }

    /// A killed store with a snapshot and logs above it. All but what is in the last log was synced,
    /// and the last log says so.
    fn killed() -> Self {
        let place = Place::new();
        let options = options().snapshot_shards(2);
        let mut states = vec![Contents::new()];
        let store = ByteStore::open(place.store(), &options).unwrap();
        let mut i = 0;
        let mut write_some = |writes: u64, bytes: usize| {
            for _ in 0..writes {
                write(&store, &mut states, i);
                i += 1;
            }
            // Fills the segment, so that the next write goes to another.
            if bytes > 0 {
                store.insert(b"filler", &vec![b'f'; bytes], PROCESS).unwrap();
                states.push(contents(&store));
                i += 1;
            }
        };
        write_some(20, 0);
        store.compact().unwrap();
        write_some(15, 9000);
        write_some(15, 0);
        store.sync().unwrap();
        let floor = usize::try_from(store.last_seq()).unwrap();
        // The mark of the sync, and the next log, whose link knows it too.
        write_some(2, 9000);
        write_some(20, 0);
        let patient = Self::new(place, states, floor);
        drop(store);
        patient
    }

    fn new(place: Place, states: Vec<Contents>, floor: usize) -> Self {
        let image = Image::of(&place.store());
        let patient = Self { place, image, states, floor, refused: 0, same: 0, torn: 0 };
        patient.image.write(&patient.dir());
        patient
    }

    fn dir(&self) -> PathBuf {
        self.place.at("damaged")
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    fn file(&self, name: &str) -> &Vec<u8> {
        &self.image.0[name]
    }

    /// Opens the folder with one file damaged.
    fn with(&mut self, name: &str, bytes: &[u8], what: &str) {
        write_file(&self.dir().join(name), bytes);
        let mut damaged = self.image.clone();
        damaged.0.insert(name.to_owned(), bytes.to_vec());
        let refused = self.judge(&damaged, &format!("{name}: {what}"));
        if let Some(error) = refused {
            assert!(error.contains(name), "{name}: {what}: does not name the file: {error}");
        }
    }

    /// Opens the folder with these files instead.
    fn instead(&mut self, damaged: &Image, what: &str) -> Option<String> {
        damaged.write(&self.dir());
        self.judge(damaged, what)
    }

    /// Opens the folder, which holds `damaged`, and judges what comes of it. Leaves it healed.
    fn judge(&mut self, damaged: &Image, what: &str) -> Option<String> {
        let dir = self.dir();
        let refused = match ByteStore::open(&dir, &options()) {
            Err(error) => {
                // Pending files may go: they are no part of the store.
                assert_eq!(
                    without_pending(&Image::of(&dir)),
                    without_pending(damaged),
                    "{what}: refused with {error}, and yet changed"
                );
                self.refused += 1;
                Some(error.to_string())
            }
            Ok(store) => {
                let seq = usize::try_from(store.last_seq()).unwrap();
                let report = store.recovery_report().clone();
                assert!(seq <= self.last(), "{what}: {seq} writes");
                assert!(
                    seq >= self.floor,
                    "{what}: cut at {seq}, synced {}: {report:?}",
                    self.floor
                );
                assert!(contents(&store) == self.states[seq], "{what}: wrong contents: {report:?}");
                if seq < self.last() {
                    assert!(report.torn.is_some(), "{what}: silently cut at {seq}");
                    self.torn += 1;
                } else {
                    self.same += 1;
                }
                // What was cut stays cut, and what is there stays there.
                if seq == self.last() && !self.same.is_multiple_of(8) {
                    drop(store);
                    self.image.write(&dir);
                    return None;
                }
                store.insert(b"after", b"", PROCESS).unwrap();
                store.close().unwrap();
                let strict = options().recovery(RecoveryMode::Strict);
                let store = ByteStore::open(&dir, &strict).unwrap();
                let mut expected = self.states[seq].clone();
                expected.insert(b"after".to_vec(), vec![]);
                assert!(contents(&store) == expected, "{what}: wrong after reopening");
                drop(store);
                None
            }
        };
        self.image.write(&dir);
        refused
    }

    /// The names of all files, the lock included.
    fn all_names(&self) -> Vec<String> {
        self.image.0.keys().cloned().collect()
    }
}

fn without_pending(image: &Image) -> Image {
    let mut image = image.without_lock();
    image.0.retain(|name, _| !name.ends_with("pending.bin"));
    image
}

/// One write of a mixed lot.
fn write(store: &ByteStore, states: &mut Vec<Contents>, i: u64) {
    let key = (i * 7 % 31).to_le_bytes();
    match i % 10 {
        3 => {
            let batch = store.batch().insert(&key, b"batch").insert(&[1], &blob(i, 9)).remove(&[2]);
            batch.commit(PROCESS).unwrap();
        }
        5 => drop(store.update(&[2], PROCESS, |_| pkv_store::Update::Set(blob(i, 5))).unwrap()),
        _ => drop(store.insert(&key, &blob(i, usize::try_from(i % 60).unwrap()), PROCESS).unwrap()),
    }
    if store.last_seq() == u64::try_from(states.len()).unwrap() {
        states.push(contents(store));
    }
}

/// Offsets to damage: every seventh byte where there is something, a few in runs of the same byte.
fn samples(bytes: &[u8]) -> Vec<usize> {
    let dull = |offset: usize| {
        let around = &bytes[offset.saturating_sub(64)..(offset + 64).min(bytes.len())];
        around.iter().all(|byte| *byte == bytes[offset])
    };
    (0..bytes.len()).step_by(7).filter(|offset| !dull(*offset) || offset % 441 == 0).collect()
}

fn flips(patient: &mut Patient) {
    for name in patient.all_names() {
        let good = patient.file(&name).clone();
        let mut bytes = good.clone();
        for offset in samples(&good) {
            let bits = if offset % 91 == 0 { 0..8 } else { (offset / 7) % 8..(offset / 7) % 8 + 1 };
            for bit in bits {
                bytes[offset] ^= 1 << bit;
                patient.with(&name, &bytes, &format!("bit {bit} at {offset}"));
                bytes[offset] = good[offset];
            }
        }
    }
}

fn truncations(patient: &mut Patient) {
    for name in patient.all_names() {
        let good = patient.file(&name).clone();
        let ends = [0, 1, 511, 512, 513, 544, 4095, 4096, 4097, good.len() - 1, good.len() - 8];
        let lengths = (0..good.len()).step_by(263).chain(ends);
        for length in lengths.filter(|length| *length < good.len()) {
            patient.with(&name, &good[..length], &format!("cut to {length}"));
        }
    }
}

fn zeroed_sectors(patient: &mut Patient) {
    for name in patient.all_names() {
        let good = patient.file(&name).clone();
        for start in (0..good.len()).step_by(512) {
            let mut bytes = good.clone();
            let end = (start + 512).min(bytes.len());
            bytes[start..end].fill(0);
            patient.with(&name, &bytes, &format!("zeros from {start}"));
            bytes[start..end].fill(0xff);
            patient.with(&name, &bytes, &format!("ones from {start}"));
        }
    }
}

fn appended(patient: &mut Patient) {
    for name in patient.image.names() {
        for more in [vec![0; 1], vec![0; 4096], vec![255; 11], blob(1, 600)] {
            let bytes = [patient.file(&name).as_slice(), &more].concat();
            patient.with(&name, &bytes, &format!("{} bytes more", more.len()));
        }
    }
}

fn swapped_and_misplaced(patient: &mut Patient) {
    let names = patient.image.names();
    for (i, a) in names.iter().enumerate() {
        for b in &names[i + 1..] {
            let mut damaged = patient.image.clone();
            damaged.0.insert(a.clone(), patient.file(b).clone());
            damaged.0.insert(b.clone(), patient.file(a).clone());
            let refused = patient.instead(&damaged, &format!("{a} and {b} swapped"));
            assert!(refused.is_some(), "{a} and {b} swapped: not refused");
        }
    }
    for (from, to) in names.iter().flat_map(|from| names.iter().map(move |to| (from, to))) {
        if from != to {
            let mut damaged = patient.image.clone();
            damaged.0.insert(to.clone(), patient.file(from).clone());
            let refused = patient.instead(&damaged, &format!("{from} copied over {to}"));
            assert!(refused.is_some(), "{from} copied over {to}: not refused");
        }
    }
    for name in &names {
        for ordinal in [1, 50, u64::MAX - 1000] {
            for kind in
                ["0-of-1_diff", "0-of-2_diff", "1-of-2_full", "0-of-1_full", "0-of-1_pending"]
            {
                let other = format!("snapshot_{ordinal}_{kind}.bin");
                let mut copied = patient.image.clone();
                if copied.0.contains_key(&other) {
                    continue;
                }
                copied.0.insert(other.clone(), patient.file(name).clone());
                // A copy below the snapshot counts for nothing, a pending one is dropped.
                patient.instead(&copied, &format!("{name} copied to {other}"));
                copied.0.remove(name);
                let what = format!("{name} renamed to {other}");
                assert!(patient.instead(&copied, &what).is_some(), "{what}: not refused");
            }
        }
    }
}

fn deleted(patient: &mut Patient) {
    let names = patient.image.names();
    for (i, a) in names.iter().enumerate() {
        let mut damaged = patient.image.clone();
        damaged.0.remove(a);
        let what = format!("{a} deleted");
        assert!(patient.instead(&damaged, &what).is_some(), "{what}: not refused");
        for b in &names[i + 1..] {
            let mut damaged = damaged.clone();
            damaged.0.remove(b);
            let what = format!("{a} and {b} deleted");
            assert!(patient.instead(&damaged, &what).is_some(), "{what}: not refused");
        }
    }
    let mut damaged = patient.image.clone();
    damaged.0.retain(|name, _| name == LOCK);
    assert!(patient.instead(&damaged, "all deleted but the lock").is_some(), "not refused");
    // The lock file holds nothing that the others do not know better.
    let mut damaged = patient.image.clone();
    damaged.0.remove(LOCK);
    assert_eq!(patient.instead(&damaged, "the lock file deleted"), None);
}

#[test]
fn a_flipped_bit_of_a_closed_store_is_found() {
    let mut patient = Patient::closed();
    flips(&mut patient);
    assert_eq!(patient.torn, 0);
    assert!(patient.refused > 500, "{} refused, {} same", patient.refused, patient.same);
}

#[test]
fn a_flipped_bit_of_a_killed_store_is_found_or_cut() {
    let mut patient = Patient::killed();
    flips(&mut patient);
    assert!(patient.refused > 500 && patient.torn > 100, "{} {}", patient.refused, patient.torn);
}

#[test]
fn a_closed_store_that_was_cut_is_refused() {
    let mut patient = Patient::closed();
    truncations(&mut patient);
    assert_eq!(patient.torn, 0);
    assert!(patient.refused > 30, "{} refused", patient.refused);
}

#[test]
fn a_killed_store_that_was_cut_is_refused_or_cut_back() {
    let mut patient = Patient::killed();
    truncations(&mut patient);
    assert!(patient.refused > 100, "{} refused", patient.refused);
}

#[test]
fn a_lost_sector_of_a_closed_store_is_found() {
    let mut patient = Patient::closed();
    zeroed_sectors(&mut patient);
    assert_eq!(patient.torn, 0);
    assert!(patient.refused > 20, "{} refused", patient.refused);
}

#[test]
fn a_lost_sector_of_a_killed_store_is_found_or_cut() {
    let mut patient = Patient::killed();
    zeroed_sectors(&mut patient);
    assert!(patient.refused > 50 && patient.torn > 2, "{} {}", patient.refused, patient.torn);
}

#[test]
fn bytes_behind_the_end_of_a_file_are_found() {
    let mut patient = Patient::closed();
    appended(&mut patient);
    assert_eq!(patient.torn, 0);
    assert!(patient.refused > 10, "{} refused", patient.refused);
}

#[test]
fn files_of_a_closed_store_that_changed_places_are_found() {
    let mut patient = Patient::closed();
    swapped_and_misplaced(&mut patient);
    assert_eq!(patient.torn, 0);
}

#[test]
fn files_of_a_killed_store_that_changed_places_are_found() {
    let mut patient = Patient::killed();
    swapped_and_misplaced(&mut patient);
}

#[test]
fn a_file_of_a_closed_store_that_is_gone_is_missed() {
    deleted(&mut Patient::closed());
}

#[test]
fn a_file_of_a_killed_store_that_is_gone_is_missed() {
    deleted(&mut Patient::killed());
}

#[test]
fn a_lost_snapshot_is_missed_right_after_the_compaction() {
    // Nothing was written since, so that no mark speaks of the sync: the link alone does.
    let place = Place::new();
    let store = ByteStore::open(place.store(), &options()).unwrap();
    for i in 0..50_u64 {
        store.insert(&i.to_le_bytes(), b"v", PROCESS).unwrap();
    }
    store.compact().unwrap();
    let mut image = Image::of(&place.store());
    drop(store);
    image.0.retain(|name, _| !name.contains("full"));
    for lock in [true, false] {
        if !lock {
            image.0.remove(LOCK);
        }
        image.write(&place.at("lost"));
        let opened = ByteStore::open(place.at("lost"), &options());
        let report = opened.map(|store| store.recovery_report().clone());
        assert!(matches!(&report, Err(Error::Damaged { .. })), "with lock {lock}: {report:?}");
    }
}

/// A log whose creation a power cut interrupted before its size was synced may hold any bytes. It was taken
/// for a damaged log, and the store did not open. A tester below the program found it.
#[test]
fn garbage_in_a_log_that_was_never_used_is_torn_and_no_damage() {
    let mut patient = Patient::closed();
    let newest = crate::support::numbers(&patient.image.named("diff").pop().unwrap())[0];
    let name = format!("snapshot_{}_0-of-1_diff.bin", newest + 1);
    for bytes in [blob(3, 16 * 1024), blob(4, 700), [vec![0; 9000], blob(5, 90)].concat()] {
        let mut image = patient.image.clone();
        image.0.insert(name.clone(), bytes);
        image.write(&patient.dir());
        let store = ByteStore::open(patient.dir(), &options()).unwrap();
        let report = store.recovery_report();
        let torn = report.torn.as_ref().unwrap();
        assert!(torn.path.ends_with(&name) && torn.offset == 0, "{torn:?}");
        assert!(report.dropped.iter().any(|path| path.ends_with(&name)), "{report:?}");
        assert!(contents(&store) == patient.states[patient.last()]);
        drop(store);
        // The same bytes in the place of a log that was used are damage.
        let used = patient.image.named("diff").pop().unwrap();
        let mut image = patient.image.clone();
        image.0.insert(used.clone(), blob(3, 16 * 1024));
        assert!(patient.instead(&image, &used).is_some(), "{used}: not refused");
    }
}

#[test]
fn files_of_another_store_are_refused() {
    let patient = Patient::closed();
    let other = Patient::closed();
    for name in patient.image.names() {
        let mut mixed = patient.image.clone();
        mixed.0.insert(name.clone(), other.file(&name).clone());
        mixed.write(&patient.dir());
        match ByteStore::open(patient.dir(), &options()) {
            Err(error @ Error::Damaged { .. }) => assert!(error.to_string().contains(".bin")),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut patient = Patient::closed();
    for name in patient.image.names() {
        let mut bytes = patient.file(&name).clone();
        bytes[8..12].copy_from_slice(&3_u32.to_le_bytes());
        let checksum = pkv_format::body_checksum(&bytes[..508]);
        bytes[508..512].copy_from_slice(&checksum.to_le_bytes());
        let mut damaged = patient.image.clone();
        damaged.0.insert(name.clone(), bytes);
        damaged.write(&patient.dir());
        match ByteStore::open(patient.dir(), &options()) {
            Err(error @ Error::NewerFormat { found: 3, known: 2, .. }) => {
                assert!(error.to_string().contains(&name), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
        patient.instead(&damaged, &name);
    }
}

#[test]
fn strict_refuses_a_torn_end_and_changes_nothing() {
    let patient = Patient::killed();
    let newest = patient.image.named("diff").pop().unwrap();
    let mut torn = patient.image.clone();
    let bytes = torn.0.get_mut(&newest).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[last - 2] ^= 1;
    torn.write(&patient.dir());
    let strict = options().recovery(RecoveryMode::Strict);
    for _ in 0..2 {
        match ByteStore::open(patient.dir(), &strict) {
            Err(Error::Torn { path, offset, kept, .. }) => {
                assert!(path.ends_with(&newest));
                assert!(offset > 4096 && offset < u64::try_from(last).unwrap());
                assert_eq!(usize::try_from(kept).unwrap(), patient.last() - 1);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(Image::of(&patient.dir()).without_lock(), torn.without_lock());
    }
    let store = ByteStore::open(patient.dir(), &options()).unwrap();
    let cut = store.recovery_report().torn.clone().unwrap();
    assert!(cut.path.ends_with(&newest) && cut.bytes_dropped > 0, "{cut:?}");
    assert_eq!(usize::try_from(cut.seq).unwrap(), patient.last());
    assert!(contents(&store) == patient.states[patient.last() - 1]);
    store.close().unwrap();
    drop(ByteStore::open(patient.dir(), &strict).unwrap());
}

#[test]
fn foreign_files_are_left_alone_whatever_their_names_hold() {
    use std::os::unix::ffi::OsStrExt as _;
    let patient = Patient::closed();
    let dir = patient.dir();
    let foreign: [&[u8]; 16] = [
        b"README",
        b".DS_Store",
        b"snapshot_1_0-of-1_diff.bin.bak",
        b"snapshot_01_0-of-1_diff.bin",
        b"snapshot_1_0-of-0_diff.bin",
        b"snapshot_1_1-of-1_diff.bin",
        b"snapshot_+1_0-of-1_diff.bin",
        b"snapshot_0_0-of-1_diff.bin",
        b"snapshot_18446744073709551616_0-of-1_diff.bin",
        b"snapshot_99999999999999999999999999_0-of-1_full.bin",
        b"snapshot_1_0-of-1_DIFF.bin",
        b" snapshot_1_0-of-1_diff.bin",
        b"snapshot_1_0-of-1_diff.bin\n",
        b"snapshot_\xff\xfe_0-of-1_diff.bin",
        b"\xff",
        "snapshot_\u{661}_0-of-1_diff.bin".as_bytes(),
    ];
    for name in foreign {
        write_file(&dir.join(std::ffi::OsStr::from_bytes(name)), b"foreign");
    }
    create_dir(&dir.join("snapshot_folder"));
    let store = ByteStore::open(&dir, &options()).unwrap();
    assert!(contents(&store) == patient.states[patient.last()]);
    store.compact().unwrap();
    store.close().unwrap();
    for name in foreign {
        let path = dir.join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(read_file(&path), b"foreign", "{path:?}");
    }
    assert!(is_there(&dir.join("snapshot_folder")));
    assert!(
        contents(&ByteStore::open(&dir, &options()).unwrap()) == patient.states[patient.last()]
    );
}

#[test]
fn what_has_the_name_of_a_shard_and_is_no_file_is_neither_followed_nor_removed() {
    let patient = Patient::closed();
    let dir = patient.dir();
    let newest = crate::support::numbers(&patient.image.named("diff").pop().unwrap())[0];
    let target = patient.place.at("target");
    write_file(&target, b"not ours");
    for ordinal in [1, newest, newest + 1, u64::MAX] {
        for kind in ["diff", "full", "pending"] {
            let path = dir.join(format!("snapshot_{ordinal}_0-of-1_{kind}.bin"));
            let make: [&dyn Fn(); 3] = [
                &|| create_dir(&path),
                &|| assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
                &|| std::os::unix::fs::symlink(&target, &path).unwrap(),
            ];
            for make in make {
                patient.image.write(&dir);
                if is_there(&path) {
                    continue;
                }
                make();
                match ByteStore::open(&dir, &options()) {
                    Err(error) => {
                        let said = error.to_string();
                        let name = path.file_name().unwrap().to_str().unwrap();
                        assert!(said.contains(name), "{said}");
                        // Writing would have left more files.
                        assert_eq!(names(&dir), patient.image.names());
                    }
                    Ok(store) => panic!("{path:?}: opened with {} entries", store.len()),
                }
                assert!(is_there(&path));
                assert_eq!(read_file(&target), b"not ours");
            }
        }
    }
}

#[test]
fn a_file_cannot_claim_more_memory_than_it_has_bytes() {
    // Lengths of frames, blocks and records set to the highest values, each with a right checksum of
    // the bytes around it being impossible to have: none may be believed before it was checked.
    let mut patient = Patient::killed();
    for name in patient.image.names() {
        let good = patient.file(&name).clone();
        for offset in (0..good.len()).step_by(68) {
            let mut bytes = good.clone();
            let end = (offset + 8).min(bytes.len());
            bytes[offset..end].fill(0xff);
            patient.with(&name, &bytes, &format!("ones at {offset}"));
        }
    }
}

#[test]
fn every_mix_of_names_of_an_interrupted_publish_opens() {
    let place = Place::new();
    let options = options().snapshot_shards(4);
    let store = ByteStore::open(place.store(), &options).unwrap();
    for i in 0..64_u64 {
        store.insert(&i.to_le_bytes(), &blob(i, 20), PROCESS).unwrap();
    }
    let logs = Image::of(&place.store());
    store.compact().unwrap();
    let expected = contents(&store);
    let full = Image::of(&place.store());
    drop(store);
    // All shards are complete before the first is renamed, and the logs go after the last.
    let mut all: BTreeMap<String, Vec<u8>> = full.0.clone();
    all.extend(logs.0.into_iter().filter(|(name, _)| name != LOCK));
    for mix in 0..16_u32 {
        let files = all.iter().map(|(name, bytes)| {
            let numbers = crate::support::numbers(name);
            let pending = name.ends_with("full.bin") && mix & (1 << numbers[1]) == 0;
            let name = if pending { name.replace("full", "pending") } else { name.clone() };
            (name, bytes.clone())
        });
        Image(files.collect()).write(&place.at("mixed"));
        let store = ByteStore::open(place.at("mixed"), &options).unwrap();
        assert_eq!(contents(&store), expected, "mix {mix:b}");
        assert_eq!(store.recovery_report().snapshot.is_some(), mix != 0, "mix {mix:b}");
        let report = store.recovery_report();
        assert_eq!(report.dropped_pending.is_empty(), mix != 0, "mix {mix:b}");
        assert_eq!(report.rolled_forward.is_some(), mix != 0 && mix != 15, "mix {mix:b}");
    }
}
