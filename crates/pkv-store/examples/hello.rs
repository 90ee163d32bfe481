//! The first minutes with a store: write, read, change, close, and find it all again.
//!
//! `cargo run -p pkv-store --example hello [FOLDER]`. With a folder of your own the visits add up from run
//! to run; without one, a temporary folder is used.

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::path::PathBuf;

use pkv_store::{Durability, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let path =
        std::env::args().nth(1).map_or_else(|| temporary.path().join("visits"), PathBuf::from);

    let visits: Store<String, u64> = Store::open(&path)?;
    let before = visits.get("alice")?;

    // In the log when it returns: a killed process loses nothing.
    visits.update("alice", |count| Some(count.unwrap_or(0) + 1))?;
    // On the disk when it returns: a power cut takes nothing.
    visits.insert_with("bob", &1, Durability::Power)?;
    // Together or not at all.
    visits.batch().insert("carol", &1).remove("bob").commit()?;
    visits.close()?;

    let visits: Store<String, u64> = Store::open(&path)?;
    assert_eq!(visits.get("alice")?, Some(before.unwrap_or(0) + 1));
    assert!(!visits.contains_key("bob")?);
    for entry in &visits {
        let (name, count) = entry?;
        println!("{name}: {count}");
    }
    let report = visits.recovery_report();
    println!("opened with write {} in {:?}", report.last_seq, report.total_time);
    visits.close()?;
    Ok(())
}
