//! Salvage: everything that is whole comes into a new folder, what is not stands in the report, and the
//! damaged folder stays as it was.
#![expect(clippy::disallowed_methods, reason = "the tests remove what they have looked at")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure in a helper fails the test"
)]

use std::path::PathBuf;

use pkv_store::{
    ByteStore, Durability, Error, Options, RecoveryMode, SalvageReport, plan_salvage, salvage,
};

use crate::support::{
    Contents, HookFs, Image, LOCK, Place, blob, contents, create_dir, numbers, small, write_file,
};

const PROCESS: Durability = Durability::Process;

fn options() -> Options {
    small().background(false).file_system(HookFs::unsynced())
}

/// Where the frames of a log stand, and their numbers: data frames alone.
fn data_frames(bytes: &[u8]) -> Vec<(usize, usize, u64)> {
    let header = pkv_format::FileHeader::decode(&bytes[..512]).unwrap();
    let mut scanner = pkv_format::Scanner::new(header.seed(), 4096, &bytes[4096..]);
    let mut frames = Vec::new();
    while let pkv_format::Step::Frame(frame) = scanner.next_frame() {
        if frame.kind == pkv_format::FrameKind::Data {
            let end = usize::try_from(frame.end_offset()).unwrap();
            frames.push((usize::try_from(frame.offset).unwrap(), end, frame.seq));
        }
    }
    frames
}

/// Where the blocks of a shard file stand: start, end, keys.
fn blocks(bytes: &[u8]) -> Vec<(usize, usize, Vec<Vec<u8>>)> {
    let header = pkv_format::FileHeader::decode(&bytes[..512]).unwrap();
    let mut scanner = pkv_format::BlockScanner::new(header.seed(), 512, &bytes[512..]);
    let mut blocks = Vec::new();
    while let pkv_format::BlockStep::Block { offset, records } = scanner.next_block() {
        let keys = records.map(|record| record.unwrap().key.to_vec()).collect();
        let start = usize::try_from(offset).unwrap();
        blocks.push((start, usize::try_from(scanner.offset()).unwrap(), keys));
    }
    blocks
}

/// A folder to be damaged, and the writes that made it.
struct Patient {
    place: Place,
    image: Image,
    options: Options,
    /// Every write by its number: key and value, `None` for a removal.
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    full: Contents,
}

impl Patient {
    /// Entries enough for several blocks in a snapshot of two shards, and three logs above it.
    fn new(keep_backups: u32, snapshots: u64) -> Self {
        let place = Place::new();
        let options = options().snapshot_shards(2).keep_backups(keep_backups);
        let mut writes = Vec::new();
        for round in 0..=snapshots {
            let store = ByteStore::open(place.store(), &options).unwrap();
            for i in 0..1500_u64 {
                let number = round * 1500 + i;
                let key = (number * 7 % 2001).to_le_bytes().to_vec();
                let removal = number % 11 == 3 && store.contains_key(&key).unwrap();
                let value = (!removal).then(|| blob(number, usize::try_from(i % 200).unwrap()));
                let written = match &value {
                    Some(value) => store.insert(&key, value, PROCESS).unwrap(),
                    None => store.remove(&key, PROCESS).unwrap(),
                };
                writes.push((key, value));
                assert_eq!(usize::try_from(written.seq), Ok(writes.len()));
            }
            if round < snapshots {
                store.compact().unwrap();
            }
            store.close().unwrap();
        }
        let image = Image::of(&place.store());
        let full = replayed(&writes, |_| true);
        Self { place, image, options, writes, full }
    }

    fn dir(&self) -> PathBuf {
        self.place.at("damaged")
    }

    fn rescued(&self) -> PathBuf {
        self.place.at("rescued")
    }

    /// Salvages this instead, and looks at what comes of it.
    fn salvage(&self, damaged: &Image) -> (SalvageReport, Contents) {
        damaged.write(&self.dir());
        let mut plan = plan_salvage(self.dir(), &self.options).unwrap();
        let report = salvage(self.dir(), self.rescued(), &self.options).unwrap();
        assert_eq!(plan.destination.take(), None);
        plan.destination.clone_from(&report.destination);
        assert_eq!(plan, report);
        assert_eq!(Image::of(&self.dir()), *damaged, "the source was changed");
        let strict = self.options.clone().recovery(RecoveryMode::Strict).create(false);
        let store = ByteStore::open(self.rescued(), &strict).unwrap();
        let found = contents(&store);
        assert_eq!(u64::try_from(found.len()), Ok(report.entries));
        store.insert(b"goes on", b"", PROCESS).unwrap();
        store.close().unwrap();
        std::fs::remove_dir_all(self.rescued()).unwrap();
        (report, found)
    }

    /// The newest files of a kind, oldest first.
    fn newest(&self, kind: &str) -> Vec<String> {
        self.image.named(kind)
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Image {
        let mut damaged = self.image.clone();
        change(damaged.0.get_mut(name).unwrap());
        damaged
    }
}

/// What these writes make, those left out that are not wanted.
fn replayed(writes: &[(Vec<u8>, Option<Vec<u8>>)], wanted: impl Fn(u64) -> bool) -> Contents {
    let mut contents = Contents::new();
    for (seq, (key, value)) in (1..).zip(writes) {
        match value {
            _ if !wanted(seq) => {}
            Some(value) => drop(contents.insert(key.clone(), value.clone())),
            None => drop(contents.remove(key)),
        }
    }
    contents
}

#[test]
fn a_whole_folder_is_salvaged_whole() {
    let patient = Patient::new(0, 1);
    let (report, found) = patient.salvage(&patient.image);
    assert!(report.is_complete() && report.is_torn_only(), "{report:?}");
    assert!(found == patient.full);
    assert_eq!(report.key_schema.as_deref(), Some("bytes"));
    assert_eq!(usize::try_from(report.last_seq), Ok(patient.writes.len()));
    assert!(report.snapshot.is_some() && report.logs > 2, "{report:?}");
}

#[test]
fn what_a_torn_end_leaves_behind_it_is_kept_and_told() {
    let patient = Patient::new(0, 1);
    // Killed, nothing synced: the newest log has its full size and no seal.
    let store = ByteStore::open(patient.place.store(), &patient.options).unwrap();
    for i in 0..5 {
        store.insert(format!("late {i}").as_bytes(), b"late", PROCESS).unwrap();
    }
    let mut image = Image::of(&patient.place.store());
    drop(store);
    let newest = image.named("diff").pop().unwrap();
    let frames = data_frames(&image.0[&newest]);
    assert_eq!(frames.len(), 5);
    let torn = frames[1].0;
    image.0.get_mut(&newest).unwrap()[torn + 30] ^= 4;
    let (report, found) = patient.salvage(&image);
    assert!(report.is_torn_only() && !report.is_complete(), "{report:?}");
    assert_eq!(report.gaps.len(), 1);
    assert_eq!((report.gaps[0].first_seq, report.gaps[0].last_seq), (frames[1].2, frames[1].2));
    assert!(!report.gaps[0].was_synced && report.lost[0].is_torn, "{report:?}");
    assert_eq!(usize::try_from(report.lost[0].offset), Ok(torn));
    for i in 0..5 {
        let key = format!("late {i}").into_bytes();
        assert_eq!(found.contains_key(&key), i != 1, "{i}");
    }
}

#[test]
fn writes_behind_damage_in_a_log_are_kept_and_the_gap_is_told() {
    let patient = Patient::new(0, 1);
    let logs = patient.newest("diff");
    let name = &logs[1];
    let frames = data_frames(&patient.image.0[name]);
    let (first, last) = (frames.len() / 2, frames.len() / 2 + 2);
    // A sector's worth of damage: several frames in a row.
    let damaged = patient.with(name, |bytes| bytes[frames[first].0..frames[last].1].fill(0xa5));
    assert!(matches!(
        ByteStore::open(
            {
                damaged.write(&patient.dir());
                patient.dir()
            },
            &patient.options
        ),
        Err(Error::Damaged { .. })
    ));
    let (report, found) = patient.salvage(&damaged);
    let gap = frames[first].2..=frames[last].2;
    assert!(found == replayed(&patient.writes, |seq| !gap.contains(&seq)), "{report:?}");
    assert_eq!(report.gaps.len(), 1, "{report:?}");
    assert_eq!((report.gaps[0].first_seq, report.gaps[0].last_seq), (*gap.start(), *gap.end()));
    assert!(report.gaps[0].was_synced && !report.is_torn_only());
    assert_eq!(report.writes_lost, 3);
    assert_eq!(report.lost.len(), 1);
    assert!(report.lost[0].path.ends_with(name) && !report.lost[0].is_torn);
    assert_eq!(usize::try_from(report.lost[0].offset), Ok(frames[first].0));
    assert_eq!(usize::try_from(report.lost[0].bytes), Ok(frames[last].1 - frames[first].0));
}

#[test]
fn zeros_in_the_middle_of_a_log_are_passed_over() {
    let patient = Patient::new(0, 1);
    let name = &patient.newest("diff")[1];
    let frames = data_frames(&patient.image.0[name]);
    let damaged = patient.with(name, |bytes| bytes[frames[2].0..frames[2].1].fill(0));
    let (report, found) = patient.salvage(&damaged);
    assert!(found == replayed(&patient.writes, |seq| seq != frames[2].2), "{report:?}");
    assert_eq!(report.writes_lost, 1);
}

#[test]
fn a_log_whose_header_is_gone_is_read_by_what_its_neighbours_say() {
    let patient = Patient::new(0, 1);
    for name in patient.newest("diff") {
        let damaged = patient.with(&name, |bytes| bytes[..512].fill(0));
        let (report, found) = patient.salvage(&damaged);
        assert!(found == patient.full, "{name}: {report:?}");
        assert_eq!(report.lost.len(), 1, "{report:?}");
        assert!(report.gaps.is_empty() && report.lost[0].path.ends_with(&name), "{report:?}");
    }
}

#[test]
fn a_missing_log_is_named_and_its_writes_are_told() {
    let patient = Patient::new(0, 1);
    for name in patient.newest("diff") {
        let frames = data_frames(&patient.image.0[&name]);
        let mut damaged = patient.image.clone();
        damaged.0.remove(&name);
        let (report, found) = patient.salvage(&damaged);
        assert!(report.lost.iter().any(|lost| lost.path.ends_with(&name)), "{name}: {report:?}");
        let Some((first, last)) = frames.first().zip(frames.last()) else { continue };
        let gap = first.2..=last.2;
        assert!(found == replayed(&patient.writes, |seq| !gap.contains(&seq)), "{name}");
        // The last log alone speaks of its own writes.
        if usize::try_from(last.2) != Ok(patient.writes.len()) {
            assert_eq!(report.gaps.len(), 1, "{name}: {report:?}");
            assert_eq!((report.gaps[0].first_seq, report.gaps[0].last_seq), (first.2, last.2));
        }
    }
}

#[test]
fn a_bad_block_costs_its_own_records_and_no_others() {
    let patient = Patient::new(0, 1);
    let mut tried = 0;
    for name in patient.newest("full") {
        let all = blocks(&patient.image.0[&name]);
        assert!(all.len() > 1, "one block shows little");
        // In the payload, in the length, in the checksum.
        for (start, at) in all.iter().flat_map(|block| [(block, 20), (block, 5), (block, 0)]) {
            let (start, lost_keys) = (start.0, &start.2);
            let damaged = patient.with(&name, |bytes| bytes[start + at] ^= 0x10);
            let (report, found) = patient.salvage(&damaged);
            tried += 1;
            assert_eq!(usize::try_from(report.records_lost), Ok(lost_keys.len()), "{report:?}");
            assert!(!report.records_lost_unknown && report.gaps.is_empty());
            assert_eq!(report.lost.len(), 1, "{report:?}");
            assert_eq!(usize::try_from(report.lost[0].offset), Ok(start));
            let above = usize::try_from(report.last_seq - report.writes).unwrap();
            // What the logs above set again is there all the same.
            let mut expected = patient.full.clone();
            for key in lost_keys {
                if !patient.writes[above..].iter().any(|(written, _)| written == key) {
                    expected.remove(key);
                }
            }
            assert!(found == expected, "{name} {start} {at}: {report:?}");
        }
    }
    assert!(tried > 6);
}

#[test]
fn a_missing_shard_costs_its_own_records_and_no_others() {
    let patient = Patient::new(0, 1);
    for name in patient.newest("full") {
        let mut damaged = patient.image.clone();
        damaged.0.remove(&name);
        let (report, found) = patient.salvage(&damaged);
        assert!(report.records_lost_unknown && !report.is_complete());
        assert_eq!(report.lost.len(), 1);
        assert!(report.lost[0].path.ends_with(&name), "{report:?}");
        assert!(found.iter().all(|(key, value)| patient.full.get(key) == Some(value)));
        assert!(found.len() > patient.full.len() / 2, "{} of {}", found.len(), patient.full.len());
    }
}

#[test]
fn an_older_snapshot_is_used_only_with_its_whole_chain_of_logs() {
    let patient = Patient::new(1, 3);
    let fulls = patient.newest("full");
    let (old, new) = (numbers(&fulls[0])[0], numbers(&fulls[2])[0]);
    assert!(fulls.len() == 4 && old < new);
    let between: Vec<String> = patient
        .newest("diff")
        .into_iter()
        .filter(|name| (old..new).contains(&numbers(name)[0]))
        .collect();
    assert!(!between.is_empty());
    let start = blocks(&patient.image.0[&fulls[2]])[0].0;
    let damaged = patient.with(&fulls[2], |bytes| bytes[start + 33] ^= 1);
    let (report, found) = patient.salvage(&damaged);
    assert_eq!((report.snapshot, report.passed_over.as_slice()), (Some(old), [new].as_slice()));
    assert!(report.is_complete() && found == patient.full, "{report:?}");

    // A shard of the newest is missing: the same.
    let mut missing = patient.image.clone();
    missing.0.remove(&fulls[3]);
    let (report, found) = patient.salvage(&missing);
    assert_eq!(report.snapshot, Some(old));
    assert!(report.is_complete() && found == patient.full, "{report:?}");

    // The chain has a hole: the newest snapshot it is, less what is lost of it. Records of the old one
    // would bring back what was removed since.
    for name in &between {
        let mut broken = damaged.clone();
        broken.0.remove(name);
        let (report, found) = patient.salvage(&broken);
        assert_eq!(report.snapshot, Some(new), "{name}");
        assert!(report.records_lost > 0 && !report.is_complete());
        assert!(found.iter().all(|(key, value)| patient.full.get(key) == Some(value)), "{name}");
    }
}

#[test]
fn what_stands_in_the_way_is_an_error() {
    let patient = Patient::new(0, 1);
    let refused = |source: PathBuf, destination: PathBuf| {
        salvage(source, destination, &patient.options).unwrap_err()
    };
    let nowhere = refused(patient.place.at("nowhere"), patient.rescued());
    assert!(matches!(nowhere, Error::NotFound { .. }), "{nowhere}");
    create_dir(&patient.rescued());
    write_file(&patient.rescued().join("something"), b"");
    let full = refused(patient.place.store(), patient.rescued());
    assert!(matches!(full, Error::NotEmpty { .. }), "{full}");
    let store = ByteStore::open(patient.place.store(), &patient.options).unwrap();
    let locked = refused(patient.place.store(), patient.place.at("other"));
    assert!(matches!(locked, Error::Locked { .. }), "{locked}");
    drop(store);
    let mode = patient.options.clone().recovery(RecoveryMode::Salvage);
    let opened = ByteStore::open(patient.place.store(), &mode).unwrap_err();
    assert!(matches!(opened, Error::InvalidOption { option: "recovery", .. }), "{opened}");
}

#[test]
fn a_folder_of_which_nothing_is_left_makes_an_empty_report() {
    let patient = Patient::new(0, 1);
    let mut damaged = patient.image.clone();
    for (name, bytes) in &mut damaged.0 {
        if name != LOCK {
            bytes.fill(0x5a);
        }
    }
    damaged.write(&patient.dir());
    let report = salvage(patient.dir(), patient.rescued(), &patient.options).unwrap();
    assert_eq!((report.entries, report.key_schema.as_deref()), (0, None));
    assert!(report.lost.len() > 3 && report.records_lost_unknown, "{report:?}");
}
