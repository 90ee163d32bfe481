//! A workload for testers that cut the power or kill processes below a real program: it writes with several
//! threads, compacts all the time, and says in a file what was acknowledged. `crash_verify` judges what
//! is there afterwards.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `CRASH_DIR` | the folder of the store, in a folder that is there | a temporary one |
//! | `CRASH_ACKS` | where each acknowledged write becomes a line, by one `write` call: sequence number, thread, the thread's number, `power` or `process` | none |
//! | `CRASH_THREADS` | how many threads write | 4 |
//! | `CRASH_WRITES` | how many writes each thread makes | 200 |
//! | `CRASH_DURABILITY` | `power`, `process`, `mix` (each fifth write with `power`) or `rare` (each 2,000th) | `mix` |
//! | `CRASH_WAY` | `auto` or `written`: how the log reaches its files; `large`: as `auto`, with logs of megabytes, for many writes between two syncs | `auto` |
//!
//! Every run makes the same writes; their order is the threads' own.
#![expect(clippy::disallowed_types, reason = "a program, not the library")]

use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use pkv_store::{ByteStore, Durability};

#[expect(dead_code, reason = "the other half of it is for the verifier")]
mod crash_writes;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let number =
        |name, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let temporary = tempfile::tempdir()?;
    let folder =
        env::var_os("CRASH_DIR").map_or_else(|| temporary.path().join("store"), PathBuf::from);
    let acks = env::var_os("CRASH_ACKS")
        .map(|path| OpenOptions::new().append(true).create(true).open(path))
        .transpose()?;
    let (threads, writes) = (number("CRASH_THREADS", 4), number("CRASH_WRITES", 200_u64));
    let durability = env::var("CRASH_DURABILITY").unwrap_or_else(|_| "mix".into());
    let way = env::var("CRASH_WAY").unwrap_or_else(|_| "auto".into());

    let store = ByteStore::open(&folder, &crash_writes::options(&way))?;
    let write_all = &|thread: usize| {
        (1..=writes).try_for_each(|n| write_one(&store, thread, n, &durability, acks.as_ref()))
    };
    let threads = usize::try_from(threads)?;
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || write_all(thread))).collect();
        all.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))
        })
    })?;
    store.close()?;
    Ok(())
}

fn write_one(
    store: &ByteStore,
    thread: usize,
    n: u64,
    durability: &str,
    acks: Option<&File>,
) -> Result<(), AnyError> {
    let power = match durability {
        "power" => true,
        "process" => false,
        "rare" => n.is_multiple_of(crash_writes::RARELY),
        _ => n.is_multiple_of(5),
    };
    let (level, word) =
        if power { (Durability::Power, "power") } else { (Durability::Process, "process") };
    let seq = crash_writes::write(store, thread, n, level)?;
    if let Some(mut acks) = acks {
        acks.write_all(format!("{seq} {thread} {n} {word}\n").as_bytes())?;
    }
    Ok(())
}
