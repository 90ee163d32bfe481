//! Reader of a folder that persistent-kv 1.0.2 has written.
//!
//! # The format
//!
//! Files are named as ours are (`snapshot_<ordinal>_<shard>-of-<count>_<diff|full|pending>.bin`), without a header.
//! Each holds entries back to back: a length as a varint, and so many bytes of a protobuf message
//! `{1: key bytes, 2: value bytes}`, in which an empty field is left out. In a diff an empty value is a removal. The
//! contents are the latest full snapshot and then every diff above it, by ordinal; shards of one ordinal hold
//! different keys. There are no checksums.
//!
//! # What a crash leaves
//!
//! The end of a diff may be cut off in an entry, or be zeros. Between entries there may be zeros, too, where a writer was
//! killed before it wrote what it had made room for; real entries stand behind them. A publish that was cut off leaves
//! an ordinal with both pending and full files; no diff was removed then, so that such an ordinal counts for nothing.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use pkv_fs::{Access, EntryKind, File, Fs};
use pkv_snapshot_set::{SnapshotFileName, SnapshotType};

use crate::error::{Error, Result};

/// The file that the store locks while it is open.
pub(crate) const LOCK_NAME: &str = "lockfile";

/// A place that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The file, or the folder where files are missing.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes were passed over.
    pub bytes: u64,
    /// What is wrong there.
    pub reason: String,
    /// Whether it is the end of a log, as a crash leaves it.
    pub is_torn_end: bool,
}

/// How many unreadable places are listed.
const LISTED_MAX: usize = 100;

/// What reading a folder came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) files: u64,
    /// Entries read, removals and those that later ones replace included.
    pub(crate) entries: u64,
    /// The size of all files that count.
    pub(crate) bytes: u64,
    pub(crate) unreadable: Vec<Unreadable>,
    pub(crate) unreadable_unlisted: u64,
    /// Keys that stand in two shards of one ordinal, whose order nobody knows.
    pub(crate) ambiguous: u64,
}

impl Found {
    pub(crate) fn bad(&mut self, place: Unreadable) {
        if self.unreadable.len() < LISTED_MAX {
            self.unreadable.push(place);
        } else {
            self.unreadable_unlisted += 1;
        }
    }
}

/// One entry; an empty value is a removal.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// A folder's files that count, in the order of reading.
pub(crate) struct Plan {
    dir: PathBuf,
    files: Vec<Planned>,
    bytes: u64,
    missing: Vec<Unreadable>,
}

struct Planned {
    path: PathBuf,
    ordinal: u64,
    shard: u64,
    shard_count: u64,
    is_log: bool,
}

/// Says which files of a folder count. A folder that holds none is an error.
pub(crate) fn plan(fs: &dyn Fs, dir: &Path) -> Result<Plan> {
    let entries = fs.list(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NotFound { path: dir.to_path_buf() },
        std::io::ErrorKind::NotADirectory => Error::NotAFolder { path: dir.to_path_buf() },
        _ => Error::Fs(error),
    })?;
    let mut ordinals: BTreeMap<u64, Vec<SnapshotFileName>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
        if let Some(name) = SnapshotFileName::parse(&entry.name) {
            ordinals.entry(name.ordinal().0).or_default().push(name);
        }
    }
    if ordinals.is_empty() {
        return Err(Error::NotAStore { path: dir.to_path_buf() });
    }
    let is_all =
        |files: &[SnapshotFileName], kind| files.iter().all(|name| name.snapshot_type() == kind);
    let full = ordinals
        .iter()
        .rev()
        .find(|(_, files)| is_all(files, SnapshotType::FullCompleted))
        .map(|(ordinal, _)| *ordinal);
    let mut plan =
        Plan { dir: dir.to_path_buf(), files: Vec::new(), bytes: 0, missing: Vec::new() };
    for (ordinal, mut names) in ordinals {
        let is_log = is_all(&names, SnapshotType::Diff) && full.is_none_or(|full| ordinal > full);
        if !is_log && full != Some(ordinal) {
            continue;
        }
        // By number: as text, shard 10 would come before shard 2.
        names.sort_by_key(SnapshotFileName::shard);
        plan.add(fs, &names, is_log)?;
    }
    Ok(plan)
}

impl Plan {
    fn add(&mut self, fs: &dyn Fs, names: &[SnapshotFileName], is_log: bool) -> Result<()> {
        let count = names.iter().map(SnapshotFileName::shard_count).max().unwrap_or(0);
        let present = u64::try_from(names.len()).unwrap_or(u64::MAX);
        if present < count {
            let ordinal = names.first().map_or(0, |name| name.ordinal().0);
            self.missing.push(Unreadable {
                path: self.dir.clone(),
                offset: 0,
                bytes: 0,
                reason: format!(
                    "snapshot {ordinal}: {} of {count} shards are missing",
                    count - present
                ),
                is_torn_end: false,
            });
        }
        for name in names {
            let path = self.dir.join(name.to_string());
            self.bytes = self.bytes.saturating_add(fs.open(&path, Access::Read)?.len()?);
            let (ordinal, shard, shard_count) =
                (name.ordinal().0, name.shard(), name.shard_count());
            self.files.push(Planned { path, ordinal, shard, shard_count, is_log });
        }
        Ok(())
    }

    /// Reads all entries in order. `take` says why an entry is none, which then counts as unreadable.
    pub(crate) fn read(
        self,
        fs: &dyn Fs,
        take: &mut dyn FnMut(&Entry<'_>) -> Result<Option<String>>,
        tell: &dyn Fn(u64, u64),
    ) -> Result<Found> {
        let mut found = Found { bytes: self.bytes, unreadable: self.missing, ..Found::default() };
        let mut shards = ShardsOfKeys::default();
        let mut done = 0;
        for planned in &self.files {
            let file = fs.open(&planned.path, Access::Read)?;
            let file_bytes = file.len()?;
            let mut reader = EntryReader { file: &*file, file_bytes, buffer: Vec::new(), base: 0 };
            let mut offset = 0;
            while offset < file_bytes {
                tell(done + offset, self.bytes);
                match reader.step(offset)? {
                    Step::Entry { entry, end } => {
                        if planned.is_log && planned.shard_count > 10 {
                            found.ambiguous += shards.note(planned, entry.0);
                        }
                        let entry = Entry { key: entry.0, value: entry.1 };
                        match take(&entry)? {
                            None => found.entries += 1,
                            Some(reason) => found.bad(Unreadable {
                                path: planned.path.clone(),
                                offset,
                                bytes: end - offset,
                                reason,
                                is_torn_end: false,
                            }),
                        }
                        offset = end;
                    }
                    Step::Bad { end, reason } => {
                        let path = planned.path.clone();
                        let is_torn_end = planned.is_log && end == file_bytes;
                        found.bad(Unreadable {
                            path,
                            offset,
                            bytes: end - offset,
                            reason,
                            is_torn_end,
                        });
                        offset = end;
                    }
                }
            }
            found.files += 1;
            done += file_bytes;
        }
        Ok(found)
    }
}

/// Which shard of a log each key stands in. With more than ten shards, persistent-kv puts a key into another file after
/// each restart, since it sorts their names as text.
#[derive(Default)]
struct ShardsOfKeys {
    hashers: (RandomState, RandomState),
    ordinal: u64,
    shards: HashMap<(u64, u64), (u64, bool)>,
}

impl ShardsOfKeys {
    /// Returns 1 the first time that a key is met in a second shard.
    fn note(&mut self, planned: &Planned, key: &[u8]) -> u64 {
        if self.ordinal != planned.ordinal {
            self.ordinal = planned.ordinal;
            self.shards.clear();
        }
        let hash = (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key));
        let (shard, is_counted) = self.shards.entry(hash).or_insert((planned.shard, false));
        u64::from(*shard != planned.shard && !std::mem::replace(is_counted, true))
    }
}

/// Reads a file piece by piece.
struct EntryReader<'a> {
    file: &'a dyn File,
    file_bytes: u64,
    buffer: Vec<u8>,
    base: u64,
}

enum Step<'a> {
    Entry {
        entry: (&'a [u8], &'a [u8]),
        end: u64,
    },
    /// Not an entry up to `end`.
    Bad {
        end: u64,
        reason: String,
    },
}

/// How much is read at a time; a longer entry gets what it needs.
const WINDOW_BYTES: u64 = 1024 * 1024;

/// The longest varint.
const VARINT_BYTES_MAX: u64 = 10;

/// So many zeros in a row are a hole, and not as many removals of the empty key, which are written as one zero each.
const HOLE_BYTES_MIN: u64 = 8;

/// So many entries in a row, or the end of the file behind fewer, show that a place is the beginning of one.
const ENTRIES_TO_BELIEVE: u32 = 4;

impl EntryReader<'_> {
    /// The bytes from `offset` on, at least so many; fewer only at the file's end.
    fn bytes(&mut self, offset: u64, bytes_min: u64) -> Result<&[u8]> {
        let bytes_min = bytes_min.min(self.file_bytes.saturating_sub(offset));
        let end = self.base.saturating_add(wide(self.buffer.len()));
        if offset < self.base || offset.saturating_add(bytes_min) > end {
            let want = bytes_min.max(WINDOW_BYTES).min(self.file_bytes.saturating_sub(offset));
            self.buffer.resize(usize::try_from(want).unwrap_or(usize::MAX), 0);
            let got = self.file.read_at(offset, &mut self.buffer)?;
            self.buffer.truncate(got);
            self.base = offset;
        }
        let skipped = usize::try_from(offset - self.base).unwrap_or(usize::MAX);
        Ok(self.buffer.get(skipped..).unwrap_or_default())
    }

    /// Where the entry at `offset` begins and ends behind its length; `Err` says what is wrong.
    fn length(&mut self, offset: u64) -> Result<Result<(u64, u64), &'static str>> {
        let file_bytes = self.file_bytes;
        let bytes = self.bytes(offset, VARINT_BYTES_MAX)?;
        Ok(match varint(bytes) {
            None => Err("the length of an entry that is cut off, or none"),
            Some((length, used)) => {
                let start = offset.saturating_add(wide(used));
                match start.checked_add(length).filter(|end| *end <= file_bytes) {
                    Some(end) => Ok((start, end)),
                    None => Err("an entry that runs past the end of the file"),
                }
            }
        })
    }

    /// Whether an entry stands at `offset`, and where it ends.
    fn entry_end(&mut self, offset: u64) -> Result<Option<u64>> {
        let Ok((start, end)) = self.length(offset)? else { return Ok(None) };
        let bytes = self.bytes(start, end - start)?;
        let message = bytes.get(..usize::try_from(end - start).unwrap_or(usize::MAX));
        Ok(message.and_then(message_fields).map(|_| end))
    }

    fn step(&mut self, offset: u64) -> Result<Step<'_>> {
        let zeros = self.zeros(offset)?;
        if zeros >= HOLE_BYTES_MIN || (zeros > 0 && offset + zeros == self.file_bytes) {
            let reason =
                "zeros: room that was made for entries which were never written".to_owned();
            return Ok(Step::Bad { end: offset + zeros, reason });
        }
        let (start, end) = match self.length(offset)? {
            Ok(place) => place,
            Err(why) => {
                let end = self.next_entry(offset)?;
                return Ok(Step::Bad { end, reason: why.to_owned() });
            }
        };
        if self.entry_end(offset)?.is_none() {
            let end = self.next_entry(offset)?;
            return Ok(Step::Bad { end, reason: "no message of a key and a value".to_owned() });
        }
        let bytes = self.bytes(start, end - start)?;
        let message = bytes.get(..usize::try_from(end - start).unwrap_or(usize::MAX));
        let entry = message.and_then(message_fields).unwrap_or_default();
        Ok(Step::Entry { entry, end })
    }

    /// How many zeros stand from `offset` on.
    fn zeros(&mut self, offset: u64) -> Result<u64> {
        let mut at = offset;
        while at < self.file_bytes {
            let bytes = self.bytes(at, 1)?;
            match bytes.iter().position(|byte| *byte != 0) {
                Some(index) => return Ok(at + wide(index) - offset),
                None if bytes.is_empty() => break,
                None => at += wide(bytes.len()),
            }
        }
        Ok(at - offset)
    }

    /// The next place behind `offset` at which entries begin again, or the file's end.
    fn next_entry(&mut self, offset: u64) -> Result<u64> {
        let mut at = offset + 1;
        while at < self.file_bytes {
            // A zero is an entry, too, and so no sign of one.
            if self.zeros(at)? == 0 && self.is_believable(at)? {
                return Ok(at);
            }
            at += 1;
        }
        Ok(self.file_bytes)
    }

    fn is_believable(&mut self, offset: u64) -> Result<bool> {
        let mut at = offset;
        for _ in 0..ENTRIES_TO_BELIEVE {
            match self.entry_end(at)? {
                Some(end) => at = end,
                None => return Ok(false),
            }
            if at == self.file_bytes {
                break;
            }
        }
        Ok(true)
    }
}

/// Key and value of a message; `None` if it is none that the store writes.
fn message_fields(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut rest = message;
    let mut last_field = 0;
    while let Some((tag, behind)) = rest.split_first() {
        // Field numbers 1 and 2 of wire type 2, ascending and once each, as prost writes them.
        let field = tag >> 3;
        if tag & 7 != 2 || field <= last_field || field > 2 {
            return None;
        }
        last_field = field;
        let (length, used) = varint(behind)?;
        let (_, behind) = behind.split_at_checked(used)?;
        let (bytes, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
        *(if field == 1 { &mut key } else { &mut value }) = bytes;
        rest = behind;
    }
    Some((key, value))
}

/// A number at the front of some bytes, and how many it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let shift = u32::try_from(index).ok()?.checked_mul(7)?;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part.checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use pkv_fs::StdFs;

    fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        for (tag, bytes) in [(0x0a, key), (0x12, value)] {
            if !bytes.is_empty() {
                message.push(tag);
                push_varint(&mut message, bytes.len());
                message.extend_from_slice(bytes);
            }
        }
        let mut out = Vec::new();
        push_varint(&mut out, message.len());
        out.extend(message);
        out
    }

    fn push_varint(out: &mut Vec<u8>, mut number: usize) {
        while number >= 0x80 {
            out.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
            number >>= 7;
        }
        out.push(u8::try_from(number).unwrap());
    }

    type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

    #[expect(clippy::disallowed_methods, reason = "the test writes what another store would")]
    fn read(files: &[(&str, Vec<u8>)]) -> (Contents, Found) {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let fs: Arc<dyn Fs> = Arc::new(StdFs);
        let mut contents = Contents::new();
        let plan = plan(&*fs, dir.path()).unwrap();
        let found = plan.read(
            &*fs,
            &mut |entry| {
                if entry.value.is_empty() {
                    contents.remove(entry.key);
                } else {
                    contents.insert(entry.key.to_vec(), entry.value.to_vec());
                }
                Ok(None)
            },
            &|_, _| (),
        );
        (contents, found.unwrap())
    }

    fn some(numbers: std::ops::Range<u32>) -> Vec<u8> {
        numbers.flat_map(|i| entry(&i.to_le_bytes(), format!("value {i}").as_bytes())).collect()
    }

    #[test]
    fn a_full_snapshot_and_the_logs_above_it_count_in_order() {
        let (contents, found) = read(&[
            ("snapshot_1_0-of-1_full.bin", entry(b"old", b"old")),
            ("snapshot_2_0-of-1_diff.bin", entry(b"below", b"below")),
            ("snapshot_3_0-of-2_full.bin", entry(b"a", b"1")),
            ("snapshot_3_1-of-2_full.bin", entry(b"b", b"1")),
            ("snapshot_4_0-of-1_diff.bin", [entry(b"a", b"2"), entry(b"c", b"1")].concat()),
            ("snapshot_10_0-of-1_diff.bin", [entry(b"b", b""), entry(b"c", b"3")].concat()),
            ("snapshot_11_0-of-1_pending.bin", entry(b"pending", b"pending")),
            ("snapshot_12_0-of-2_full.bin", entry(b"half", b"half")),
            ("snapshot_12_1-of-2_pending.bin", entry(b"half", b"half")),
            ("lockfile", vec![]),
        ]);
        let expected = [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())];
        assert_eq!(contents, Contents::from(expected));
        assert_eq!((found.files, found.entries, found.unreadable.len()), (4, 6, 0));
    }

    #[test]
    fn a_log_cut_off_anywhere_gives_the_entries_before() {
        let whole = some(0..20);
        let one = some(0..1).len();
        for bytes in 0..whole.len() {
            let (contents, found) =
                read(&[("snapshot_1_0-of-1_diff.bin", whole[..bytes].to_vec())]);
            let kept = (0..=20).rev().find(|count| some(0..*count).len() <= bytes).unwrap();
            assert_eq!(contents.len(), usize::try_from(kept).unwrap(), "{bytes} bytes");
            let torn = found.unreadable.iter().filter(|place| place.is_torn_end).count();
            assert_eq!(
                (torn, found.unreadable.len()),
                if bytes == some(0..kept).len() { (0, 0) } else { (1, 1) },
                "{bytes} bytes, {one} each: {found:?}"
            );
        }
    }

    #[test]
    fn holes_and_rubbish_are_passed_over_and_told() {
        for rubbish in [vec![0; 40], vec![0xff; 11], b"hello, this is no entry".to_vec()] {
            let log = [some(0..10), rubbish.clone(), some(10..20)].concat();
            let (contents, found) = read(&[("snapshot_1_0-of-1_diff.bin", log)]);
            assert_eq!(contents.len(), 20, "{found:?}");
            let place = &found.unreadable[0];
            assert_eq!(
                (place.offset, place.is_torn_end),
                (u64::try_from(some(0..10).len()).unwrap(), false)
            );
            assert_eq!(place.bytes, u64::try_from(rubbish.len()).unwrap());
        }
        let (contents, found) =
            read(&[("snapshot_1_0-of-1_diff.bin", [some(0..3), vec![0; 5000]].concat())]);
        assert_eq!((contents.len(), found.unreadable[0].is_torn_end), (3, true));
    }

    #[test]
    fn a_missing_shard_and_a_key_in_two_shards_are_told() {
        let (contents, found) = read(&[("snapshot_3_0-of-2_full.bin", entry(b"a", b"1"))]);
        assert_eq!((contents.len(), found.unreadable.len()), (1, 1));
        let names: Vec<String> =
            (0..12).map(|shard| format!("snapshot_1_{shard}-of-12_diff.bin")).collect();
        let files: Vec<(&str, Vec<u8>)> =
            names.iter().map(|name| (name.as_str(), entry(b"everywhere", b"1"))).collect();
        assert_eq!(read(&files).1.ambiguous, 1);
    }

    #[test]
    fn any_bytes_are_read_to_an_end() {
        let mut state = 7_u64;
        for length in 0..200_usize {
            let bytes: Vec<u8> = (0..length * 7)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    u8::try_from(state >> 56).unwrap() & if length % 2 == 0 { 0x1f } else { 0xff }
                })
                .collect();
            let _ = read(&[("snapshot_1_0-of-1_diff.bin", bytes)]);
        }
    }
}
