//! Any bytes as a file's name: parsed strictly, and printed back as they were.

use std::ffi::OsStr;

use pkv_snapshot_set::{SnapshotFileName, SnapshotOrdinal, SnapshotType};

/// What holds of any bytes.
pub fn run(data: &[u8]) {
    check_parse(data);
    check_print(data);
}

#[cfg(unix)]
fn name_of(bytes: &[u8]) -> Option<&OsStr> {
    Some(std::os::unix::ffi::OsStrExt::from_bytes(bytes))
}

#[cfg(not(unix))]
fn name_of(bytes: &[u8]) -> Option<&OsStr> {
    std::str::from_utf8(bytes).ok().map(OsStr::new)
}

fn check_parse(bytes: &[u8]) {
    let Some(parsed) = name_of(bytes).and_then(SnapshotFileName::parse) else { return };
    assert_eq!(parsed.to_string().as_bytes(), bytes);
    assert!(parsed.shard() < parsed.shard_count());
    assert!(parsed.ordinal() >= SnapshotOrdinal::FIRST);
    let again = SnapshotFileName::new(
        parsed.snapshot_type(),
        parsed.ordinal(),
        parsed.shard(),
        parsed.shard_count(),
    );
    assert_eq!(again, Some(parsed));
}

/// The bytes as fields: every name that can be made is read back.
fn check_print(bytes: &[u8]) {
    let Some(&[kind, ref numbers @ ..]) = bytes.first_chunk::<25>() else { return };
    let kind = match kind % 3 {
        0 => SnapshotType::Diff,
        1 => SnapshotType::FullCompleted,
        _ => SnapshotType::Pending,
    };
    let (numbers, _) = numbers.as_chunks::<8>();
    let [ordinal, shard, shard_count] = [0, 1, 2].map(|field| u64::from_le_bytes(numbers[field]));
    if let Some(name) = SnapshotFileName::new(kind, SnapshotOrdinal(ordinal), shard, shard_count) {
        assert_eq!(SnapshotFileName::parse(OsStr::new(&name.to_string())), Some(name));
    }
}
