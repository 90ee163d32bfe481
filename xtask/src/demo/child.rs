//! The process that counts, and is killed: opens the store, skips the files that are done, and commits
//! one batch for each of the others. It reports over its standard output, one [`Report`] a line.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::words::{Counted, FILE_PREFIX, WORD_PREFIX, count_words};
use super::{Counts, store_folder};
use crate::arguments::Arguments;
use crate::{Failure, Outcome, failed};

/// The hidden task that runs as the child: `demo-child FOLDER`.
pub(crate) const CHILD_COMMAND: &str = "demo-child";
/// The name of the file in the demo's folder that lists the files to count, one a line.
pub(super) const LIST: &str = "files";

/// How many counted files may wait for the thread that writes.
const FILES_AHEAD_MAX: usize = 16;

/// What the child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The store is open: how long that took, how many files it says are done, how many words these
    /// have, and the sum of all words' counts.
    Open { time: Duration, files: u64, words_of_files: u64, words: u64 },
    /// One more file's batch was acknowledged: so many writes in it, in so much time.
    File { writes: u64, time: Duration },
    /// All is done: anonymous memory at that time, 0 if unknown.
    End { memory_bytes: u64 },
}

pub(crate) fn run_child(mut arguments: Arguments) -> Outcome {
    let folder = arguments
        .name()
        .ok_or_else(|| Failure::Usage(format!("{CHILD_COMMAND} needs a folder")))?;
    arguments.finish()?;
    let folder = Path::new(&folder);
    let list = std::fs::read_to_string(folder.join(LIST)).map_err(failed("the list of files"))?;

    let start = Instant::now();
    let counts = Counts::open(store_folder(folder)).map_err(failed("opening"))?;
    let time = start.elapsed();
    let (done, words_of_files, words) = what_is_done(&counts)?;
    report(Report::Open { time, files: len_u64(done.len()), words_of_files, words })?;

    // One thread reads and counts ahead, this one writes: each batch reads counts and writes them
    // back, which is atomic because no one else writes.
    let (sender, receiver) = mpsc::sync_channel(FILES_AHEAD_MAX);
    let reader = move || {
        for file in list.lines().filter(|file| !done.contains(*file)) {
            let counted = count_words(Path::new(file)).map(|counted| (file.to_owned(), counted));
            if sender.send(counted).is_err() {
                return;
            }
        }
    };
    let reader = std::thread::spawn(reader);
    for counted in receiver {
        let (file, counted) = counted?;
        let start = Instant::now();
        let writes = commit(&counts, &file, &counted)?;
        report(Report::File { writes, time: start.elapsed() })?;
    }
    reader.join().map_err(|_| Failure::Task("the reading thread panicked".into()))?;
    report(Report::End { memory_bytes: anonymous_memory_bytes().unwrap_or(0) })?;
    counts.close().map_err(failed("closing"))
}

/// The files that are done, the sum of their words, and the sum of all words' counts: equal, unless
/// a batch was torn.
fn what_is_done(counts: &Counts) -> Result<(HashSet<String>, u64, u64), Failure> {
    let mut done = HashSet::new();
    let (mut words_of_files, mut words) = (0, 0);
    for entry in counts {
        let (key, n) = entry.map_err(failed("reading the store"))?;
        if let Some(file) = key.strip_prefix(FILE_PREFIX) {
            done.insert(file.to_owned());
            words_of_files += n;
        } else {
            words += n;
        }
    }
    Ok((done, words_of_files, words))
}

/// Adds the counts of one file and the mark that it is done, whole or not at all; returns the writes.
fn commit(counts: &Counts, file: &str, counted: &Counted) -> Result<u64, Failure> {
    let mut batch = counts.batch();
    let mut key = String::from(WORD_PREFIX);
    for (word, n) in &counted.words {
        key.truncate(WORD_PREFIX.len());
        key.push_str(word);
        let before = counts.get(key.as_str()).map_err(failed(&key))?.unwrap_or(0);
        batch = batch.insert(key.as_str(), &(before + n));
    }
    batch = batch.insert(format!("{FILE_PREFIX}{file}").as_str(), &counted.total);
    batch.commit().map_err(failed(file))?;
    Ok(len_u64(counted.words.len()) + 1)
}

fn report(report: Report) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{report}").and_then(|()| out.flush()).map_err(failed("reporting"))
}

/// What this process holds of memory that is no file's, where the system tells.
fn anonymous_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { time, files, words_of_files, words } => {
                write!(f, "open {} {files} {words_of_files} {words}", time.as_nanos())
            }
            Self::File { writes, time } => write!(f, "file {} {writes}", time.as_nanos()),
            Self::End { memory_bytes } => write!(f, "end {memory_bytes}"),
        }
    }
}

impl FromStr for Report {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.split(' ');
        let kind = words.next();
        let numbers =
            words.map(str::parse::<u64>).collect::<Result<Vec<_>, _>>().map_err(|_| ())?;
        match (kind, numbers.as_slice()) {
            (Some("open"), &[nanos, files, words_of_files, words]) => {
                Ok(Self::Open { time: Duration::from_nanos(nanos), files, words_of_files, words })
            }
            (Some("file"), &[nanos, writes]) => {
                Ok(Self::File { writes, time: Duration::from_nanos(nanos) })
            }
            (Some("end"), &[memory_bytes]) => Ok(Self::End { memory_bytes }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let time = Duration::from_nanos(1_234_567);
        for report in [
            Report::Open { time, files: 2, words_of_files: 30, words: 31 },
            Report::File { writes: 7, time },
            Report::End { memory_bytes: 4096 },
        ] {
            assert_eq!(report.to_string().parse(), Ok(report));
        }
        // A line that the kill cut short is no report.
        assert_eq!("open 12".parse::<Report>(), Err(()));
    }
}
