//! A server that answers only what is safe from a power cut, and waits for no sync: writes return at once
//! with their sequence number, and a callback sends the answer when the number is durable.
//!
//! `cargo run -p pkv-store --example pipelined`

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::sync::mpsc;

use pkv_store::{ByteStore, Durability, Options};

const REQUESTS: u32 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = ByteStore::open(dir.path().join("store"), &Options::new())?;

    // The thread that reads requests never waits. The callback runs on a thread of the store's own; it
    // hands the answer on and returns.
    let (answers, answered) = mpsc::channel();
    let mut last_seq = 0;
    for request in 0..REQUESTS {
        let written =
            store.insert(&request.to_le_bytes(), b"what was asked", Durability::Process)?;
        last_seq = written.seq;
        let answers = answers.clone();
        store.on_durable(written.seq, move |outcome| {
            // An error says that the write may be gone after a power cut: the client is told so.
            let _ = answers.send((request, outcome));
        });
    }
    drop(answers);

    // Callbacks come in the order of the writes, as syncs end.
    let mut answers_sent = 0;
    for (request, outcome) in answered {
        outcome?;
        assert_eq!(request, answers_sent);
        answers_sent += 1;
    }
    println!("{answers_sent} answers after {} syncs", store.stats().syncs);

    // A thread that may wait asks for the number itself; all who wait share one sync.
    store.wait_durable(last_seq)?;
    assert!(store.durable_seq() >= last_seq);
    store.close()?;
    Ok(())
}
