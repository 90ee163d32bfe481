//! Writes a folder with the real persistent-kv 1.0.2, for the tests of `pkv migrate`.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml --example persistent_kv_folder -- FOLDER ENTRIES`
//! makes FOLDER/store, in two sessions, with values that are replaced and keys that are removed, and
//! FOLDER/expected.hex: what persistent-kv itself reads back, a line of hexadecimal digits for each entry, sorted.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use persistent_kv::{Config, PersistentKeyValueStore};

type Store = PersistentKeyValueStore<String, String>;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: persistent_kv_folder FOLDER ENTRIES [SNAPSHOT_INTERVAL] [LOG_SHARDS]";
    let folder = PathBuf::from(words.next().ok_or(usage)?);
    let entries: u64 = words.next().ok_or(usage)?.parse()?;
    let snapshot_interval = words.next().map_or(Ok(entries.max(1)), |word| word.parse())?;
    let target_io_parallelism_writelog = words.next().map_or(Ok(1), |word| word.parse())?;
    let config = Config {
        silent: true,
        snapshot_interval,
        target_io_parallelism_writelog,
        target_snapshot_shard_size_bytes: 64 * 1024 * 1024,
        ..Config::default()
    };
    fs::create_dir_all(&folder)?;
    let path = folder.join("store");
    // A session for the entries, one for what changes afterwards.
    let store = Store::new(&path, config.clone())?;
    for number in 0..entries {
        store.set(
            format!("key {number}"),
            format!("value {number} {}", "x".repeat((number % 90) as usize)),
        )?;
    }
    drop(store);
    let store = Store::new(&path, config.clone())?;
    for number in (0..entries).step_by(3) {
        store.set(format!("key {number}"), format!("new value {number}"))?;
    }
    for number in (0..entries).step_by(7) {
        store.unset(&format!("key {number}"))?;
    }
    drop(store);

    let store = Store::new(&path, config)?;
    let mut lines: Vec<String> = Vec::new();
    for (key, value) in store.iter() {
        let mut line = String::new();
        for (index, field) in [key, value].iter().enumerate() {
            if index > 0 {
                line.push('\t');
            }
            field.bytes().try_for_each(|byte| write!(line, "{byte:02x}"))?;
        }
        lines.push(line);
    }
    lines.sort();
    lines.push(String::new());
    fs::write(folder.join("expected.hex"), lines.join("\n"))?;
    Ok(())
}
