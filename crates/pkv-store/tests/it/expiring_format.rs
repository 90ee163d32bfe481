//! What a store with deadlines writes, byte for byte, as FORMAT.md has it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure in a helper fails the test"
)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::Fs;
use pkv_sim::SimFs;
use pkv_store::{ByteStore, Durability, Options};

use crate::crash_rig::DIR;

const FORMAT: &str = include_str!("../../../pkv-format/FORMAT.md");
const T0: u64 = 1_700_000_000_000;

/// The last value that the logs set for each key, as it stands there, and the schema of values.
fn logged(fs: &SimFs) -> (BTreeMap<Vec<u8>, Vec<u8>>, String) {
    let (mut sets, mut schema) = (BTreeMap::new(), String::new());
    for path in fs.paths().into_iter().filter(|path| path.to_string_lossy().ends_with("_diff.bin"))
    {
        let bytes = fs.contents(&path).unwrap();
        let Ok(header) = pkv_format::FileHeader::decode(&bytes[..512]) else { continue };
        let frames_at = usize::try_from(pkv_format::FRAMES_OFFSET).unwrap();
        let mut scanner =
            pkv_format::Scanner::new(header.seed(), pkv_format::FRAMES_OFFSET, &bytes[frames_at..]);
        while let pkv_format::Step::Frame(frame) = scanner.next_frame() {
            if frame.kind != pkv_format::FrameKind::Data {
                continue;
            }
            for operation in frame.operations() {
                if let pkv_format::Operation::Set { key, value } = operation.unwrap() {
                    sets.insert(key.to_vec(), value.to_vec());
                }
            }
        }
        schema = header.value_schema;
    }
    (sets, schema)
}

fn stored(deadline_ms: u64, value: &[u8]) -> Vec<u8> {
    [deadline_ms.to_le_bytes().as_slice(), value].concat()
}

#[test]
fn deadlines_and_the_time_record_are_written_as_the_format_says() {
    let fs = SimFs::new(5);
    fs.set_unix_time_ms(T0);
    let shared: Arc<dyn Fs> = fs.clone();
    let options = Options::new().file_system(shared).background(false).expiry(true);
    let store = ByteStore::open(Path::new(DIR), &options).unwrap();
    store.insert(b"for good", b"1", Durability::Process).unwrap();
    let second = Duration::from_secs(1);
    store.insert_with_ttl(b"a while", b"2", second, Durability::Process).unwrap();
    fs.set_unix_time_ms(T0 + 5000);
    assert_eq!(store.get(b"a while").unwrap(), None);

    let (mut sets, schema) = logged(&fs);
    assert_eq!(schema, "expiring<bytes>");
    assert_eq!(sets.remove(b"for good".as_slice()), Some(stored(0, b"1")));
    assert_eq!(sets.remove(b"a while".as_slice()), Some(stored(T0 + 1000, b"2")));
    // The one key that is left is the store's own.
    let (key, record) = sets.pop_first().unwrap();
    assert!(sets.is_empty());
    assert_eq!(record, stored(1, &(T0 + 5000).to_le_bytes()));
    let hex = key.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    assert!(FORMAT.contains(&format!("`{hex}`")), "FORMAT.md does not name {hex}");
}
