//! Each event of a stream counted once, although the stream delivers some again and the program dies.
//!
//! The event's id and what follows from it are one write: either both are there or none. Ids are remembered
//! as long as the stream may deliver again.
//!
//! `cargo run -p pkv-store --example dedup`

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use pkv_store::{Error as StoreError, Options, Store};

/// A stream delivers an event again for so long.
const REDELIVERED: Duration = Duration::from_secs(24 * 3600);

struct Event {
    id: String,
    account: &'static str,
    cents: u64,
}

struct Ledger {
    /// `sum/<account>` has a sum, `seen/<id>` was counted.
    store: Store<String, u64>,
}

impl Ledger {
    fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { store: Options::new().expiry(true).open(path)? })
    }

    /// Counts an event; false if it has been counted before.
    fn count(&self, event: &Event) -> Result<bool, StoreError> {
        let (sum, seen) = (format!("sum/{}", event.account), format!("seen/{}", event.id));
        loop {
            let before = self.store.get(&sum)?;
            let batch = self
                .store
                .batch()
                .if_absent(&seen)
                .insert_with_ttl(&seen, &event.cents, REDELIVERED)
                .insert(&sum, &(before.unwrap_or(0) + event.cents));
            let batch = match &before {
                Some(before) => batch.if_equals(&sum, before),
                None => batch.if_absent(&sum),
            };
            match batch.commit() {
                Ok(()) => return Ok(true),
                Err(StoreError::ConditionFailed { index: 0, .. }) => return Ok(false),
                // Another thread has changed the sum since it was read.
                Err(StoreError::ConditionFailed { .. }) => {}
                Err(other) => return Err(other),
            }
        }
    }
}

fn events() -> impl Iterator<Item = Event> {
    (0..1000).map(|n: u64| Event {
        id: format!("event {n}"),
        account: if n.is_multiple_of(3) { "alice" } else { "bob" },
        cents: n,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("ledger");
    let ledger = Ledger::open(&path)?;
    for event in events().take(600) {
        assert!(ledger.count(&event)?);
    }
    // The program ends here, and the stream begins somewhere before.
    drop(ledger);

    let ledger = Ledger::open(&path)?;
    let counted = std::thread::scope(|scope| -> Result<usize, Box<dyn Error>> {
        // Two consumers get all of the rest, and much of what was there before, both.
        let consume = || {
            events().skip(300).try_fold(0, |counted, event| {
                ledger.count(&event).map(|is_new| counted + usize::from(is_new))
            })
        };
        let consumers = [scope.spawn(consume), scope.spawn(consume)];
        let mut counted = 0;
        for consumer in consumers {
            counted += consumer.join().map_err(|_| "a consumer panicked")??;
        }
        Ok(counted)
    })?;
    assert_eq!(counted, 400, "each of the rest once");
    let sums = ledger.store.get_many(["sum/alice", "sum/bob"])?;
    assert_eq!(sums.iter().flatten().sum::<u64>(), (0..1000).sum::<u64>());
    println!("{counted} new events; alice and bob have {sums:?}");
    ledger.store.close()?;
    Ok(())
}
