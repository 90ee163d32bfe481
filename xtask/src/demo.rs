//! A word count that cannot be killed.
//!
//! A child counts the words of many files into a `Store<String, u64>`, one batch for each file: its
//! counts and the mark that it is done. This process kills the child again and again, with SIGKILL and
//! at random moments, starts it again on the same folder, and at the end compares what the store holds
//! with a plain `HashMap`. On the way it checks, at each restart, that every file whose batch had been
//! acknowledged is there, and that counts and marks agree.

mod child;
mod corpus;
mod life;
mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pkv_store::Store;

use crate::arguments::Arguments;
use crate::cargo::workspace;
use crate::{Failure, Outcome, failed};
use corpus::Corpus;
use life::{Lives, Random};
use words::{FILE_PREFIX, WORD_PREFIX, count_words};

pub(crate) use child::{CHILD_COMMAND, run_child};

/// What the demo counts into: `w:WORD` is how often that word came, `f:PATH` how many words that file has.
type Counts = Store<String, u64>;

const KILLS: u32 = 7;

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let kills = arguments.value::<u32>("--kills")?.unwrap_or(KILLS);
    let seed = arguments.value::<u64>("--seed")?.unwrap_or_else(Random::seed_of_this_moment);
    let files = arguments.names();
    arguments.finish()?;

    let given = if files.is_empty() { None } else { Some(Corpus::of(&files)?) };
    let folder = Folder::create()?;
    let corpus = given.map_or_else(|| Corpus::downloaded(&folder.path), Ok)?;
    let start = Instant::now();
    let expected = Expected::count(&corpus)?;
    println!(
        "{} files, {:.1} MB of text, counted into a HashMap in {:.2} s; kills: {kills}, seed: {seed}",
        corpus.files().len(),
        megabytes(expected.text_bytes),
        start.elapsed().as_secs_f64()
    );

    let mut lives = Lives::new(&folder.path, &corpus, Random::new(seed))?;
    let outcome = lives
        .run(kills)
        .and_then(|()| finish(&folder.path, &corpus, &expected, &lives))
        .and_then(|()| enough_kills(kills, &lives, files.is_empty()));
    match outcome {
        Ok(()) => folder.remove(),
        Err(Failure::Task(message)) => Err(Failure::Task(format!(
            "{message}\nthe store is kept in {}; seed {seed}",
            folder.path.display()
        ))),
        Err(usage) => Err(usage),
    }
}

/// All those dependencies are text enough for every kill; somebody's own files may be few.
fn enough_kills(kills: u32, lives: &Lives, is_default_corpus: bool) -> Outcome {
    if is_default_corpus && lives.kills() < kills {
        return Err(Failure::Task(format!("only {} of {kills} kills came in time", lives.kills())));
    }
    Ok(())
}

/// Opens the store once more, compares, and prints the table.
fn finish(folder: &Path, corpus: &Corpus, expected: &Expected, lives: &Lives) -> Outcome {
    let store_folder = store_folder(folder);
    let disk_bytes = bytes_in(&store_folder)?;
    let start = Instant::now();
    let counts = Counts::open(&store_folder).map_err(failed("reopening at the end"))?;
    let reopen = start.elapsed();
    corpus.check_unchanged()?;
    let words = compare(&counts, expected)?;
    counts.close().map_err(failed("closing"))?;

    let row = |name: &str, value: String| println!("  {name:22}{value:>14}");
    println!();
    row("words", words.to_string());
    row("distinct words", expected.counts.len().to_string());
    row("kills survived", lives.kills().to_string());
    row("writes/s", format!("{:.0}", lives.writes_per_second()));
    row("time to reopen", format!("{:.1} ms", milliseconds(reopen)));
    row("  the longest, killed", format!("{:.1} ms", milliseconds(lives.longest_open())));
    row("bytes on disk", format!("{:.1} MB", megabytes(disk_bytes)));
    let memory = lives
        .memory_bytes()
        .map_or("unknown".to_owned(), |bytes| format!("{:.1} MB", megabytes(bytes)));
    row("memory of the child", memory);
    println!("\nequal to the plain count: nothing lost, nothing counted twice");
    Ok(())
}

/// What a plain count says.
struct Expected {
    counts: HashMap<String, u64>,
    files: HashMap<String, u64>,
    text_bytes: u64,
}

impl Expected {
    fn count(corpus: &Corpus) -> Result<Self, Failure> {
        let mut expected = Self { counts: HashMap::new(), files: HashMap::new(), text_bytes: 0 };
        for path in corpus.files() {
            let counted = count_words(Path::new(path))?;
            for (word, n) in counted.words {
                *expected.counts.entry(word).or_default() += n;
            }
            expected.files.insert(path.clone(), counted.total);
            expected.text_bytes += counted.text_bytes;
        }
        Ok(expected)
    }
}

/// Every entry of the store against the plain count, both ways; returns the number of words.
fn compare(counts: &Counts, expected: &Expected) -> Result<u64, Failure> {
    let mut differences = Vec::new();
    let mut entries = 0;
    let mut words = 0;
    for entry in counts {
        let (key, stored) = entry.map_err(failed("reading the store"))?;
        entries += 1;
        let plain = match (key.strip_prefix(WORD_PREFIX), key.strip_prefix(FILE_PREFIX)) {
            (Some(word), _) => {
                words += stored;
                expected.counts.get(word)
            }
            (None, Some(file)) => expected.files.get(file),
            (None, None) => None,
        };
        if plain != Some(&stored) {
            differences.push(format!("{key}: {stored} in the store, {plain:?} in the plain count"));
        }
    }
    let expected_entries = expected.counts.len() + expected.files.len();
    if entries != expected_entries {
        differences
            .push(format!("{entries} entries in the store, {expected_entries} in the plain count"));
    }
    if differences.is_empty() {
        return Ok(words);
    }
    let count = differences.len();
    differences.truncate(10);
    Err(Failure::Task(format!("{count} differences:\n  {}", differences.join("\n  "))))
}

/// Where one demo keeps its list of files and its store: below cargo's target folder, since that is on a disk and
/// a temporary folder is often in memory.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create() -> Result<Self, Failure> {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace().join("target"), PathBuf::from);
        let path = target.join(format!("demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(failed(path.display()))?;
        Ok(Self { path })
    }

    fn remove(self) -> Outcome {
        std::fs::remove_dir_all(&self.path).map_err(failed(self.path.display()))
    }
}

fn store_folder(folder: &Path) -> PathBuf {
    folder.join("counts")
}

fn bytes_in(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(failed(folder.display()))? {
        let metadata =
            entry.and_then(|entry| entry.metadata()).map_err(failed(folder.display()))?;
        bytes += metadata.len();
    }
    Ok(bytes)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "printed with one digit behind the point"
)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_found() {
        let folder = std::env::temp_dir().join(format!("pkv-demo-compare-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let counts = Counts::open(&folder).unwrap();
        let expected = Expected {
            counts: HashMap::from([("a".to_owned(), 2), ("b".to_owned(), 1)]),
            files: HashMap::from([("x.rs".to_owned(), 3)]),
            text_bytes: 0,
        };
        counts.insert("w:a", &2).unwrap();
        counts.insert("w:b", &1).unwrap();
        assert!(compare(&counts, &expected).is_err(), "a mark is missing");
        counts.insert("f:x.rs", &3).unwrap();
        assert_eq!(compare(&counts, &expected).unwrap(), 3);
        counts.insert("w:a", &3).unwrap();
        assert!(compare(&counts, &expected).is_err(), "counted twice");
        counts.insert("w:a", &2).unwrap();
        counts.insert("w:c", &1).unwrap();
        assert!(compare(&counts, &expected).is_err(), "a word too many");
        drop(counts);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
