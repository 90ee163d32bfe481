//! The grammar of file names: parse and print. Pure; nothing here touches a disk.
//!
//! ```text
//! name    = "snapshot_" ordinal "_" shard "-of-" count "_" type ".bin"
//! ordinal = number, at least 1
//! shard   = number, below count
//! count   = number
//! number  = "0" | digit-but-0 { digit }        fits 64 bits, no sign, no leading zero
//! type    = "diff" | "full" | "pending"
//! ```
//!
//! There is exactly one name for each (ordinal, shard, count, type), and whatever does not follow the
//! grammar to the byte is a foreign file.

use std::ffi::OsStr;
use std::fmt;

use crate::{SnapshotOrdinal, SnapshotType};

/// The file that is locked while a folder is in use. It is never removed; what it holds is its user's.
pub const LOCK_FILE_NAME: &str = "snapshots.lock";

const PREFIX: &str = "snapshot_";
const SUFFIX: &str = ".bin";
const OF: &str = "-of-";

/// The name of one shard's file, `snapshot_<ordinal>_<shard>-of-<count>_<type>.bin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotFileName {
    ordinal: SnapshotOrdinal,
    shard: u64,
    shard_count: u64,
    snapshot_type: SnapshotType,
}

impl SnapshotFileName {
    /// The name of one shard; `None` if the ordinal is 0 or the shard is not below the count.
    #[must_use]
    pub fn new(
        snapshot_type: SnapshotType,
        ordinal: SnapshotOrdinal,
        shard: u64,
        shard_count: u64,
    ) -> Option<Self> {
        (ordinal >= SnapshotOrdinal::FIRST && shard < shard_count).then_some(Self {
            ordinal,
            shard,
            shard_count,
            snapshot_type,
        })
    }

    /// Reads a name, any bytes; `None` for a foreign one. Prints back to the very same name.
    #[must_use]
    pub fn parse(name: &OsStr) -> Option<Self> {
        let fields = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (ordinal, fields) = fields.split_once('_')?;
        let (shards, snapshot_type) = fields.split_once('_')?;
        let (shard, shard_count) = shards.split_once(OF)?;
        let snapshot_type = match snapshot_type {
            "diff" => SnapshotType::Diff,
            "full" => SnapshotType::FullCompleted,
            "pending" => SnapshotType::Pending,
            _ => return None,
        };
        Self::new(
            snapshot_type,
            SnapshotOrdinal(number(ordinal)?),
            number(shard)?,
            number(shard_count)?,
        )
    }

    /// What kind of snapshot the file belongs to.
    #[must_use]
    pub fn snapshot_type(&self) -> SnapshotType {
        self.snapshot_type
    }

    /// The snapshot's number.
    #[must_use]
    pub fn ordinal(&self) -> SnapshotOrdinal {
        self.ordinal
    }

    /// Which shard of the snapshot this is, from 0.
    #[must_use]
    pub fn shard(&self) -> u64 {
        self.shard
    }

    /// How many shards the snapshot has.
    #[must_use]
    pub fn shard_count(&self) -> u64 {
        self.shard_count
    }

    /// The same shard of the same snapshot as another type: what publishing renames a file to.
    pub(crate) fn with_type(self, snapshot_type: SnapshotType) -> Self {
        Self { snapshot_type, ..self }
    }
}

impl fmt::Display for SnapshotFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ordinal, shard, shard_count, snapshot_type } = self;
        write!(f, "{PREFIX}{ordinal}_{shard}{OF}{shard_count}_{snapshot_type}{SUFFIX}")
    }
}

/// A number in its one canonical spelling.
fn number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    // An empty text and one above 64 bits are refused by the parser of the standard library.
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_parse() {
        use SnapshotType::{Diff, FullCompleted, Pending};
        let table = [
            ("snapshot_1_0-of-1_diff.bin", Diff, 1, 0, 1),
            ("snapshot_1_0-of-1_full.bin", FullCompleted, 1, 0, 1),
            ("snapshot_1_0-of-1_pending.bin", Pending, 1, 0, 1),
            ("snapshot_2_0-of-8_pending.bin", Pending, 2, 0, 8),
            ("snapshot_2_7-of-8_pending.bin", Pending, 2, 7, 8),
            ("snapshot_10_9-of-10_full.bin", FullCompleted, 10, 9, 10),
            ("snapshot_10_10-of-16_diff.bin", Diff, 10, 10, 16),
            ("snapshot_100_65535-of-65536_full.bin", FullCompleted, 100, 65_535, 65_536),
            ("snapshot_4294967296_0-of-2_diff.bin", Diff, 4_294_967_296, 0, 2),
            ("snapshot_18446744073709551615_0-of-1_diff.bin", Diff, u64::MAX, 0, 1),
            ("snapshot_1_0-of-18446744073709551615_full.bin", FullCompleted, 1, 0, u64::MAX),
            (
                "snapshot_1_18446744073709551614-of-18446744073709551615_pending.bin",
                Pending,
                1,
                u64::MAX - 1,
                u64::MAX,
            ),
        ];
        for (text, snapshot_type, ordinal, shard, shard_count) in table {
            let name = SnapshotFileName::parse(OsStr::new(text));
            let expected = SnapshotFileName {
                ordinal: SnapshotOrdinal(ordinal),
                shard,
                shard_count,
                snapshot_type,
            };
            assert_eq!(name, Some(expected), "{text}");
            assert_eq!(expected.to_string(), text);
            assert_eq!(
                SnapshotFileName::new(snapshot_type, SnapshotOrdinal(ordinal), shard, shard_count),
                Some(expected)
            );
        }
    }

    #[test]
    fn names_that_must_not_parse() {
        let table = [
            // Nothing of ours.
            "",
            ".",
            "..",
            ".DS_Store",
            "lost+found",
            "Thumbs.db",
            LOCK_FILE_NAME,
            "snapshot",
            "snapshot_",
            "snapshot_.bin",
            ".bin",
            "backup_1_0-of-1_full.bin",
            // Almost ours.
            "snapshot_1_0-of-1_full",
            "snapshot_1_0-of-1_full.bi",
            "snapshot_1_0-of-1_full.bin~",
            "snapshot_1_0-of-1_full.bin.bak",
            "snapshot_1_0-of-1_full.bin ",
            " snapshot_1_0-of-1_full.bin",
            "xsnapshot_1_0-of-1_full.bin",
            "snapshot_1_0-of-1_full.bin\n",
            "snapshot_1_0-of-1_full.bin\0",
            "snapshot_1_0-of-1\0_full.bin",
            "snapshot_1_0-of-1_full.bin/",
            "../snapshot_1_0-of-1_full.bin",
            "snapshot_1/0-of-1_full.bin",
            "Snapshot_1_0-of-1_full.bin",
            "snapshot_1_0-of-1_full.BIN",
            "snapshot_1_0-of-1_Full.bin",
            "snapshot-1-0-of-1-full.bin",
            "snapshot_1_0_of_1_full.bin",
            "snapshot_1_0-Of-1_full.bin",
            "snapshot_1_0-of-of-1_full.bin",
            "snapshot_1_0-of-1-of-1_full.bin",
            "snapshot_1_0-of-1.bin",
            "snapshot_1_0-of-1_.bin",
            "snapshot_1_0-of-1_fullcompleted.bin",
            "snapshot_1_0-of-1_diff_full.bin",
            "snapshot_1_0-of-1_full_.bin",
            "snapshot_1_full.bin",
            "snapshot_1_0-of-1_0-of-1_full.bin",
            // Numbers that are not in their one spelling.
            "snapshot__0-of-1_full.bin",
            "snapshot_1_-of-1_full.bin",
            "snapshot_1_0-of-_full.bin",
            "snapshot_01_0-of-1_full.bin",
            "snapshot_1_00-of-1_full.bin",
            "snapshot_1_01-of-2_full.bin",
            "snapshot_1_0-of-01_full.bin",
            "snapshot_+1_0-of-1_full.bin",
            "snapshot_-1_0-of-1_full.bin",
            "snapshot_1_+0-of-1_full.bin",
            "snapshot_1_0-of-+1_full.bin",
            "snapshot_ 1_0-of-1_full.bin",
            "snapshot_1 _0-of-1_full.bin",
            "snapshot_1e3_0-of-1_full.bin",
            "snapshot_0x1_0-of-1_full.bin",
            "snapshot_1.0_0-of-1_full.bin",
            "snapshot_a_0-of-1_full.bin",
            "snapshot_\u{661}_0-of-1_full.bin",
            "snapshot_1_\u{ff10}-of-1_full.bin",
            // Numbers out of range.
            "snapshot_0_0-of-1_full.bin",
            "snapshot_18446744073709551616_0-of-1_full.bin",
            "snapshot_100000000000000000000000000_0-of-1_full.bin",
            "snapshot_1_0-of-18446744073709551616_full.bin",
            "snapshot_1_18446744073709551616-of-1_full.bin",
            "snapshot_1_0-of-0_full.bin",
            "snapshot_1_1-of-1_full.bin",
            "snapshot_1_2-of-1_full.bin",
            "snapshot_1_18446744073709551615-of-18446744073709551615_full.bin",
        ];
        for text in table {
            assert_eq!(SnapshotFileName::parse(OsStr::new(text)), None, "{text:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn names_that_are_not_utf_8_do_not_parse() {
        use std::os::unix::ffi::OsStrExt;
        let table: [&[u8]; 4] = [
            b"\xff",
            b"snapshot_1_0-of-1_full.bin\xff",
            b"snapshot_1_0-of-1_\xc3\x28.bin",
            b"snapshot_\xed\xa0\x80_0-of-1_full.bin",
        ];
        for bytes in table {
            assert_eq!(SnapshotFileName::parse(OsStr::from_bytes(bytes)), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_name_that_would_not_parse_cannot_be_made() {
        let new = |ordinal, shard, count| {
            SnapshotFileName::new(SnapshotType::Diff, SnapshotOrdinal(ordinal), shard, count)
        };
        assert_eq!(new(0, 0, 1), None);
        assert_eq!(new(1, 0, 0), None);
        assert_eq!(new(1, 1, 1), None);
    }
}
