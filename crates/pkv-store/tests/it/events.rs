//! What is told by `tracing`, and what never is.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::fmt::{Debug, Write};
use std::path::Path;
use std::sync::{Mutex, Once};

use pkv_fs::Op;
use pkv_sim::{Fault, FaultKind, SimFs};
use pkv_store::{ByteStore, Durability, LogWay};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use crate::crash_rig::options;
use crate::support::{Place, eventually, small};

/// Every event of the process, as one line: level, then fields.
static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pkv_store"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                write!(self.0, " {}={value:?}", field.name()).unwrap();
            }
        }
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        TOLD.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Events of this folder.
fn told(path: &Path) -> Vec<String> {
    static START: Once = Once::new();
    START.call_once(|| tracing::subscriber::set_global_default(Collector).unwrap());
    let path = format!("path={}", path.display());
    TOLD.lock().unwrap().iter().filter(|line| line.contains(&path)).cloned().collect()
}

#[test]
fn opening_compacting_and_closing_are_told_and_writes_are_not() {
    let place = Place::new();
    assert!(told(&place.store()).is_empty());
    let store = ByteStore::open(place.store(), &small().background(false)).unwrap();
    for i in 0..100_u64 {
        store.insert(&i.to_le_bytes(), b"", Durability::Power).unwrap();
        store.get(&i.to_le_bytes()).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let lines = told(&place.store());
    let starts = ["INFO message=opened", "INFO message=compacted", "INFO message=closed"];
    assert_eq!(lines.len(), starts.len(), "{lines:?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{lines:?}");
    }
}

/// A store with threads on a disk that fails from now on in this way, told apart by its path.
fn failing(path: &'static str, op: Op) -> (impl Fn(&str) -> bool, ByteStore) {
    told(Path::new(path));
    let fs = SimFs::new(1);
    let options = options(&fs, LogWay::Written).background(true).compact_log_bytes_min(4096);
    let store = ByteStore::open(path, &options).unwrap();
    store.insert(b"a", b"1", Durability::Power).unwrap();
    // The next log is ready: without it nothing is full, and no snapshot is asked for.
    eventually("the next log", || {
        let has_header =
            |path: &Path| fs.contents(path).is_some_and(|bytes| bytes.iter().any(|b| *b != 0));
        let logs = fs.paths();
        logs.iter()
            .filter(|path| path.to_string_lossy().contains("_diff") && has_header(path))
            .count()
            == 2
    });
    fs.inject(Fault::from_then_on(op, 1, FaultKind::Eio));
    (move |what: &str| told(Path::new(path)).iter().any(|line| line.starts_with(what)), store)
}

#[test]
fn a_store_that_is_poisoned_says_so_once() {
    let path = "/failed sync";
    let (is_told, store) = failing(path, Op::Sync);
    store.insert(b"a", b"2", Durability::Power).unwrap_err();
    eventually("the poisoning", || is_told("ERROR message=poisoned"));
    store.insert(b"a", b"3", Durability::Power).unwrap_err();
    store.close().unwrap_err();
    assert!(is_told("ERROR message=closing failed"));
    let poisoned = told(Path::new(path)).iter().filter(|line| line.contains("poisoned:")).count();
    assert_eq!(poisoned, 1, "{:?}", told(Path::new(path)));
}

#[test]
fn a_log_that_cannot_grow_and_a_snapshot_that_cannot_be_written_are_told() {
    let (is_told, store) = failing("/failed opening", Op::Open);
    let mut key = 0_u64;
    eventually("both", || {
        key += 1;
        // Succeeds as long as there is room.
        let _ = store.insert(&key.to_le_bytes(), &[7; 500], Durability::Process);
        is_told("WARN message=compaction failed") && is_told("ERROR message=the log cannot grow")
    });
}
