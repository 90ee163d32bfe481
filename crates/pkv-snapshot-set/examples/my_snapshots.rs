//! A word counter that survives crashes: its own text format, this crate's file handling.
//!
//! ```text
//! cargo run --example my_snapshots -- DIR word word ...
//! ```
//!
//! Each run logs the words in a diff and counts them; every third diff it writes all counts as a full
//! snapshot in two shards and publishes it.

// An example is a program: it prints. It reads and writes its content as any program would; names and
// their durability are the library's.
#![expect(clippy::print_stdout, reason = "a program's output")]
#![expect(clippy::disallowed_types, reason = "the content of the files is the program's own")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use pkv_fs::StdFs;
use pkv_snapshot_set::{FileSnapshotSet, Options, SnapshotSet, SnapshotType};

const SHARD_COUNT: u64 = 2;
const DIFFS_MAX: usize = 3;

type Counts = BTreeMap<String, u64>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else {
        println!("usage: my_snapshots DIR [WORD]...");
        return Ok(());
    };
    let options = Options::new().create(true).keep_backups(1);
    let mut set = FileSnapshotSet::open_with(Arc::new(StdFs), &dir, options)?;

    let mut counts = restore(&set)?;
    let log = set.create_or_get_snapshot(SnapshotType::Diff, 1, false)?;
    let words: Vec<String> = args.collect();
    for path in &log.shard_paths {
        write_synced(path, &words.join("\n"))?;
    }
    count(&mut counts, &words.join("\n"));
    for (word, count) in &counts {
        println!("{count:>6} {word}");
    }

    if set.get_snapshots_to_restore().len() > DIFFS_MAX {
        write_full(&mut set, &counts)?;
    }
    set.close();
    Ok(())
}

/// Reads the latest full snapshot, if there is one, and the diffs above it.
fn restore(set: &FileSnapshotSet) -> Result<Counts, Box<dyn Error>> {
    let mut counts = Counts::new();
    for info in set.get_snapshots_to_restore() {
        for path in &info.shard_paths {
            let text = fs::read_to_string(path)?;
            if info.snapshot_type == SnapshotType::Diff {
                count(&mut counts, &text);
                continue;
            }
            for line in text.lines() {
                let (count, word) = line.split_once(' ').ok_or("a line without a count")?;
                counts.insert(word.to_owned(), count.parse()?);
            }
        }
    }
    Ok(counts)
}

/// Writes all counts, words of even and odd length apart, and lets that replace the logs.
fn write_full(set: &mut FileSnapshotSet, counts: &Counts) -> Result<(), Box<dyn Error>> {
    let pending = set.create_or_get_snapshot(SnapshotType::Pending, SHARD_COUNT, false)?;
    for (odd, path) in [false, true].into_iter().zip(&pending.shard_paths) {
        let lines = counts.iter().filter(|(word, _)| (word.len() % 2 == 1) == odd);
        let lines: Vec<String> = lines.map(|(word, count)| format!("{count} {word}")).collect();
        write_synced(path, &lines.join("\n"))?;
    }
    let report = set.publish(pending.ordinal, true, true)?;
    println!("published snapshot {}, removed {} files", pending.ordinal, report.removed.len());
    Ok(())
}

fn count(counts: &mut Counts, words: &str) {
    for word in words.split_whitespace() {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
}

fn write_synced(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let mut file = fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    Ok(())
}
