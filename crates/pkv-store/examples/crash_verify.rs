//! Judges what a crash left of the store of `crash_workload`: exit code 0 where every promise is kept, 1 where
//! one is broken, 3 where the store does not open, which no crash may cause.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CRASH_DIR` | the folder of the store after the crash | required |
//! | `CRASH_ACKS` | the lines of `crash_workload` that were written before the crash | none |
//! | `CRASH_ALL` | all lines that it wrote, also after the crash: checks the order of what is there | `CRASH_ACKS` |
//! | `CRASH_KIND` | `kill`: every acknowledged write must be there; `power`: those of `Durability::Power` | `power` |
//!
//! What is there must be a prefix of the writes in the order of their sequence numbers: of each thread a first
//! part, together as many as the last sequence number says, no batch in part. Then the store must take a
//! write and open again with it.
#![expect(clippy::print_stderr, reason = "a program, not the library")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pkv_store::{ByteStore, Durability, Error};

#[expect(dead_code, reason = "the other half of it is for the workload")]
mod crash_writes;

use crash_writes::{Contents, key_prefix, options, state_after};

/// One acknowledged write.
struct Ack {
    seq: u64,
    thread: usize,
    n: u64,
    power: bool,
}

fn main() -> ExitCode {
    let Some(folder) = env::var_os("CRASH_DIR").map(PathBuf::from) else {
        eprintln!("crash_verify: nothing to do: set CRASH_DIR, CRASH_ACKS, CRASH_ALL, CRASH_KIND");
        return ExitCode::SUCCESS;
    };
    match verify(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Finding::Violation(what)) => {
            eprintln!("violation: {what}");
            ExitCode::from(1)
        }
        Err(Finding::DoesNotOpen(error)) => {
            eprintln!("does not open: {error}");
            ExitCode::from(3)
        }
    }
}

enum Finding {
    Violation(String),
    DoesNotOpen(Error),
}

fn violation<T: std::fmt::Display>(what: T) -> Finding {
    Finding::Violation(what.to_string())
}

fn verify(folder: &Path) -> Result<(), Finding> {
    let before = acks("CRASH_ACKS")?;
    let all =
        if env::var_os("CRASH_ALL").is_some() { acks("CRASH_ALL")? } else { acks("CRASH_ACKS")? };
    let every = env::var("CRASH_KIND").is_ok_and(|kind| kind == "kill");

    let store = open(folder, false)?;
    let contents: Contents = store.iter().collect::<Result<_, _>>().map_err(violation)?;
    let last_seq = store.last_seq();
    let counts = counts(&contents, &all, last_seq)?;
    for ack in before.iter().filter(|ack| every || ack.power) {
        if ack.seq > last_seq {
            return Err(violation(format!(
                "write {} was acknowledged, {last_seq} are there",
                ack.seq
            )));
        }
    }
    for ack in &all {
        let there = counts.get(ack.thread).is_some_and(|count| ack.n <= *count);
        if there != (ack.seq <= last_seq) {
            let what = format!("write {} of thread {} (number {}): ", ack.n, ack.thread, ack.seq);
            return Err(violation(format!("{what}{there} there, but the last one is {last_seq}")));
        }
    }

    store.insert(b"after", b"the crash", Durability::Power).map_err(violation)?;
    drop(store);
    let store = open(folder, true)?;
    let mut again: Contents = store.iter().collect::<Result<_, _>>().map_err(violation)?;
    if again.remove(b"after".as_slice()).is_none() || again != contents {
        return Err(violation("another opening shows something else"));
    }
    Ok(())
}

fn open(folder: &Path, is_instant: bool) -> Result<ByteStore, Finding> {
    let options = options("auto").background(false).instant_open(is_instant);
    ByteStore::open(folder, &options).map_err(Finding::DoesNotOpen)
}

/// How many writes of each thread are there.
fn counts(contents: &Contents, all: &[Ack], last_seq: u64) -> Result<Vec<u64>, Finding> {
    let threads = all.iter().map(|ack| ack.thread + 1).max().unwrap_or(0).max(64);
    let mut counts = Vec::new();
    let mut keys = 0;
    for thread in 0..threads {
        let prefix = key_prefix(thread);
        let own: Contents = contents
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        keys += own.len();
        let count = (0..=last_seq).find(|n| state_after(thread, *n) == own);
        counts
            .push(count.ok_or_else(|| violation(format!("thread {thread}: a mix of its writes")))?);
    }
    if keys != contents.len() {
        return Err(violation("there are keys of nobody"));
    }
    let sum: u64 = counts.iter().sum();
    if sum == last_seq {
        Ok(counts)
    } else {
        Err(violation(format!("{sum} writes are there, but the last one is {last_seq}")))
    }
}

fn acks(variable: &str) -> Result<Vec<Ack>, Finding> {
    let Some(path) = env::var_os(variable) else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(&path).map_err(violation)?;
    // The last line may have been cut off by the crash; it promises nothing then.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| parse(line).ok_or_else(|| violation(format!("no such line: {line}"))))
        .collect()
}

fn parse(line: &str) -> Option<Ack> {
    let [seq, thread, n, durability] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    let power = durability == "power";
    Some(Ack { seq: seq.parse().ok()?, thread: thread.parse().ok()?, n: n.parse().ok()?, power })
}
