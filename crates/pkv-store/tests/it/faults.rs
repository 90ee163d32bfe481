//! Calls that fail, each one in each way, once and for good: no panic, no lost promise, and after a
//! failed sync not one byte more.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failure in a helper fails the test"
)]
#![expect(clippy::panic, reason = "a failure in a helper fails the test")]

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pkv_fs::Op;
use pkv_sim::{AckLog, Change, Choice, Crash, Fault, FaultKind, Journal, SimFs};
use pkv_store::{ByteStore, Durability, Error, Health, LogWay};

use crate::crash_rig::{
    Contents, Draw, Event, Writer, contents, goes_on, in_parallel, open, options, scale,
    tell_states, verify,
};
use crate::support::eventually;

/// The calls that change a disk or make it durable.
const CHANGING: [Op; 9] = [
    Op::CreateDir,
    Op::Create,
    Op::Write,
    Op::Preallocate,
    Op::SetLen,
    Op::Sync,
    Op::Rename,
    Op::Remove,
    Op::SyncDir,
];

/// What a store can be told from outside: how many calls were made to change the disk, and what it holds.
#[derive(PartialEq, Eq)]
struct Footprint {
    calls: Vec<u64>,
    files: Vec<(std::path::PathBuf, Option<Vec<u8>>)>,
}

impl Footprint {
    fn of(fs: &SimFs) -> Self {
        let files = fs.paths().into_iter().map(|path| (path.clone(), fs.contents(&path)));
        Self { calls: CHANGING.iter().map(|op| fs.calls(*op)).collect(), files: files.collect() }
    }
}

/// The life of a store, with everything checked that can be checked while it runs.
struct Life<'a> {
    fs: &'a Arc<SimFs>,
    way: LogWay,
    writer: Writer<'a>,
    /// What the store must show.
    model: Contents,
    /// The disk when the store refused writes first, and why it did.
    poisoned: Option<Footprint>,
    /// How many faults had been met when the store was opened, and the class of the one to come.
    met_before: usize,
    class: Option<Op>,
    /// The first operation that relies on a sync of the folder after one that failed.
    names_unknown_from: Option<u64>,
}

fn expected(condition: bool, what: impl Display) -> Result<(), String> {
    if condition { Ok(()) } else { Err(what.to_string()) }
}

impl Life<'_> {
    /// Writes, goes on to another log, compacts, closes, opens; whatever fails, the rest is tried.
    fn live(&mut self) -> Result<(), String> {
        if let Some(store) = self.open()? {
            self.writes(&store, 14)?;
            self.compact(&store)?;
            self.writes(&store, 8)?;
            self.sync(&store)?;
            self.look(&store)?;
            self.end(store, true)?;
        }
        if let Some(store) = self.open()? {
            self.writes(&store, 8)?;
            self.compact(&store)?;
            self.writes(&store, 4)?;
            self.look(&store)?;
            self.end(store, false)?;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<Option<ByteStore>, String> {
        if self.class.is_none_or(|op| op == Op::SyncDir) && !self.fs.faults_met().is_empty() {
            self.names_unknown_from = Some(self.fs.last_op());
        }
        let Ok(store) = open(self.fs, self.way) else { return Ok(None) };
        self.poisoned = None;
        self.met_before = self.fs.faults_met().len();
        let found = contents(&store);
        // After a failed sync the pages are still readable, so that nothing is lost but by a power cut.
        expected(
            found == self.model,
            format!("opened with {found:?} instead of {:?}", self.model),
        )?;
        Ok(Some(store))
    }

    fn writes(&mut self, store: &ByteStore, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let durability = self.writer.durability();
            if let Some(draw) = self.writer.draw(store) {
                self.write(store, &draw, durability)?;
            }
        }
        Ok(())
    }

    /// One write: visible if it succeeded or is unconfirmed, else not; refused once the store is poisoned.
    fn write(
        &mut self,
        store: &ByteStore,
        draw: &Draw,
        durability: Durability,
    ) -> Result<(), String> {
        let unmet = draw.unmet(&self.model);
        let outcome = self.writer.make(store, draw, durability);
        match &outcome {
            Ok(_) => {
                expected(self.poisoned.is_none(), "a poisoned store took a write")?;
                expected(unmet.is_none(), "made although a condition does not hold")?;
                self.apply(draw);
            }
            Err(Error::Unconfirmed { .. }) => {
                expected(durability == Durability::Power, "unconfirmed, but nobody asked")?;
                expected(self.poisoned.is_none(), "a poisoned store logged a write")?;
                self.apply(draw);
            }
            Err(Error::Poisoned(_)) => {}
            Err(Error::ConditionFailed { index, .. }) => {
                expected(unmet == Some(*index), "refused although all conditions hold")?;
            }
            Err(Error::DiskFull(_) | Error::LogUnavailable(_)) => {
                expected(self.poisoned.is_none(), "the disk counts for a poisoned store")?;
            }
            Err(other) => return Err(format!("an error that no write should return: {other:?}")),
        }
        for change in draw.changes() {
            let key = match change {
                Change::Set(key, _) | Change::Remove(key) => key,
                Change::Clear | Change::SetUntil(..) | Change::Expire(_) => continue,
            };
            let found = store.get(&key).map_err(|error| format!("a read failed: {error}"))?;
            expected(found.as_ref() == self.model.get(&key), format!("{key:?} after {outcome:?}"))?;
        }
        self.check_health(store, outcome.err().as_ref())
    }

    fn apply(&mut self, draw: &Draw) {
        for change in draw.changes() {
            match change {
                Change::Set(key, value) => drop(self.model.insert(key, value)),
                Change::Remove(key) => drop(self.model.remove(&key)),
                Change::Clear => self.model.clear(),
                Change::SetUntil(..) | Change::Expire(_) => {}
            }
        }
    }

    fn compact(&mut self, store: &ByteStore) -> Result<(), String> {
        let outcome = store.compact();
        // A compaction goes on to a fresh log, so that there is room again.
        let healthy = outcome.is_err() || store.health().takes_writes() || Self::is_poisoned(store);
        expected(healthy, format!("{:?} behind a snapshot", store.health()))?;
        self.check_health(store, outcome.err().as_ref())
    }

    fn is_poisoned(store: &ByteStore) -> bool {
        matches!(store.health(), Health::Poisoned(_))
    }

    fn sync(&mut self, store: &ByteStore) -> Result<(), String> {
        let outcome = store.sync();
        self.check_health(store, outcome.err().as_ref())
    }

    /// The health says what the errors say, and stays bad; a poisoned store leaves the disk alone.
    fn check_health(&mut self, store: &ByteStore, error: Option<&Error>) -> Result<(), String> {
        let health = store.health();
        let poisoned = matches!(health, Health::Poisoned(_));
        if let Some(Error::Unconfirmed { cause, .. } | Error::Poisoned(cause)) = error {
            let Health::Poisoned(why) = &health else {
                return Err(format!("{health:?} after {error:?}"));
            };
            expected(why.to_string() == cause.to_string(), format!("{why}, but {cause}"))?;
        }
        if let Some(Error::DiskFull(_)) = error {
            expected(matches!(health, Health::DiskFull(_)), format!("{health:?} on a full disk"))?;
        }
        if let Some(Error::LogUnavailable(_)) = error {
            expected(
                matches!(health, Health::LogUnavailable(_)),
                format!("{health:?} and no log"),
            )?;
        }
        expected(self.poisoned.is_none() || poisoned, "a poisoned store recovered by itself")?;
        let met = self.fs.faults_met().len() > self.met_before;
        let lost = met && self.class == Some(Op::SyncDir);
        expected(poisoned || !lost, "the folder could not be synced, and writes go on")?;
        if poisoned && self.poisoned.is_none() {
            self.poisoned = Some(Footprint::of(self.fs));
        }
        self.check_untouched()
    }

    fn check_untouched(&self) -> Result<(), String> {
        let untouched =
            self.poisoned.as_ref().is_none_or(|before| *before == Footprint::of(self.fs));
        expected(untouched, "a poisoned store changed the disk")
    }

    /// Reads go on, whatever has failed.
    fn look(&self, store: &ByteStore) -> Result<(), String> {
        let found = contents(store);
        expected(found == self.model, format!("{found:?} instead of {:?}", self.model))
    }

    fn end(&mut self, store: ByteStore, close: bool) -> Result<(), String> {
        let poisoned = self.poisoned.is_some();
        if close {
            let outcome = store.close();
            expected(!poisoned || outcome.is_err(), "a poisoned store closed without an error")?;
        } else {
            drop(store);
        }
        self.check_untouched()
    }
}

/// A life with one fault, and what can be checked of the disk afterwards.
fn live_with(way: LogWay, fault: Option<Fault>) -> Result<Option<Lived>, String> {
    let fs = SimFs::new(7);
    let acks = AckLog::new(&fs);
    fs.start_journal();
    if let Some(fault) = fault {
        fs.inject(fault);
    }
    let writer = Writer::alone(&acks, 11);
    let mut life = Life {
        fs: &fs,
        way,
        writer,
        model: Contents::new(),
        poisoned: None,
        met_before: 0,
        class: fault.and_then(|fault| fault.op),
        names_unknown_from: None,
    };
    life.live()?;
    let Life { model, names_unknown_from, .. } = life;
    let met = fs.faults_met();
    if fault.is_some() && met.is_empty() {
        return Ok(None);
    }
    let end = fs.last_op() + 1;
    let Some(journal) = fs.take_journal() else { return Err("no journal".into()) };
    Ok(Some(Lived { fs, acks, journal, met, end, model, names_unknown_from }))
}

struct Lived {
    fs: Arc<SimFs>,
    acks: AckLog<Event>,
    journal: Journal,
    met: Vec<u64>,
    end: u64,
    model: Contents,
    names_unknown_from: Option<u64>,
}

impl Lived {
    /// The process is killed, or the power cut, at the end and somewhere after the fault; returns how many
    /// disks were looked at.
    fn check_disks(&self, way: LogWay) -> Result<u64, String> {
        self.fs.clear_faults();
        let killed = self.fs.survivors(Crash::Kill, Choice::Nothing);
        let store =
            open(&killed, way).map_err(|error| format!("killed: does not open: {error}"))?;
        let found = contents(&store);
        expected(found == self.model, format!("killed: {found:?} instead of {:?}", self.model))?;
        goes_on(&killed, store, &found, way).map_err(|error| format!("killed: {error}"))?;

        let met = self.met.first().copied().unwrap_or(0);
        let between = met + 1 + (self.end - met) / 3;
        let mut tried = 1;
        for op in [met + 1, between, self.end] {
            let at = self.journal.state_at(op.min(self.end));
            for (crash, choice) in [
                (Crash::Kill, Choice::Nothing),
                (Crash::Linux, Choice::Random(op)),
                (Crash::Strict, Choice::Nothing),
                (Crash::Strict, Choice::Random(op)),
            ] {
                // A sync of the folder that failed may be followed by one that succeeds and makes nothing
                // durable. Names cannot be written again as bytes are: whoever opens then trusts the disk.
                if crash.is_power_cut() && self.names_unknown_from.is_some_and(|from| op > from) {
                    continue;
                }
                let acked = self.acks.before(op, crash);
                verify(&at.survivors(crash, choice), &acked, way)
                    .map_err(|error| format!("{crash} at {op}, {choice:?}: {error}"))?;
                tried += 1;
            }
        }
        Ok(tried)
    }
}

/// Every fault that the life can meet; those of any call at its end.
fn all_faults(way: LogWay) -> Vec<Fault> {
    let lived = live_with(way, None).expect("a good life").expect("a whole life");
    lived.check_disks(way).expect("a good disk");
    let mut faults = lived.fs.all_faults();
    let calls: u64 = Op::ALL.iter().map(|op| lived.fs.calls(*op)).sum();
    for nth in 1..=calls {
        faults.push(Fault { op: None, nth, kind: FaultKind::Eio, sticky: true });
        faults.push(Fault { op: None, nth, kind: FaultKind::Enospc, sticky: false });
    }
    faults
}

/// One in so many faults in the quick suite.
const QUICK_ONE_IN: usize = 16;

fn sweep(way: LogWay) {
    let mut faults = all_faults(way);
    if scale() == 1 {
        // Another part of them for each way.
        let skipped = if way == LogWay::Mapped { 0 } else { QUICK_ONE_IN / 2 };
        faults = faults.into_iter().skip(skipped).step_by(QUICK_ONE_IN).collect();
    }
    let met = AtomicU64::new(0);
    let states = in_parallel(&faults, |fault| {
        let Some(lived) = live_with(way, Some(*fault))? else { return Ok(0) };
        met.fetch_add(1, Ordering::Relaxed);
        lived.check_disks(way)
    });
    tell_states(&format!("{} faults, {way:?}", met.load(Ordering::Relaxed)), states);
    assert!(
        met.into_inner() * 10 > u64::try_from(faults.len()).unwrap() * 9,
        "few faults were met"
    );
}

#[test]
fn every_call_may_fail_mapped() {
    sweep(LogWay::Mapped);
}

#[test]
fn every_call_may_fail_written() {
    sweep(LogWay::Written);
}

/// Writes until the disk is full, one write a key; the number of those that succeeded.
fn fill(store: &ByteStore, acks: &AckLog<Event>, first_id: u64) -> u64 {
    for id in first_id.. {
        let (key, value) = (id.to_le_bytes().to_vec(), vec![7; 1000]);
        acks.issue(id, [Change::Set(key.clone(), value.clone())]);
        match store.insert(&key, &value, Durability::Process) {
            Ok(written) => {
                acks.acknowledge(id, Some(written.seq), pkv_sim::Durability::Process);
            }
            Err(Error::DiskFull(cause)) => {
                acks.refuse(id);
                assert!(cause.path().is_some(), "{cause}");
                assert!(matches!(store.health(), Health::DiskFull(_)), "{:?}", store.health());
                assert_eq!(store.get(&key).unwrap(), None, "a refused write is not visible");
                return id - first_id;
            }
            Err(other) => panic!("{other:?}"),
        }
        assert!(id < first_id + 1000, "the disk never became full");
    }
    0
}

/// A full disk heals without reopening, when there is space again or when a snapshot makes some.
#[test]
fn a_full_disk_heals() {
    for way in [LogWay::Mapped, LogWay::Written] {
        let fs = SimFs::new(3);
        let acks = AckLog::new(&fs);
        let store = open(&fs, way).unwrap();
        fs.set_capacity_bytes(Some(200_000));
        let written = fill(&store, &acks, 1);
        assert!(written > 50, "{written} writes on 200 kB");
        assert!(store.compact().is_err(), "no snapshot fits on a full disk");
        assert_eq!(store.len(), written, "reads go on");

        fs.set_capacity_bytes(Some(500_000));
        let more = fill(&store, &acks, 1000);
        assert!(more > 50, "{more} writes on 300 kB more");

        // Most of it is obsolete, and the logs go with the snapshot.
        fs.set_capacity_bytes(Some(540_000));
        acks.issue(3000, [Change::Clear]);
        let seq = store.clear(Durability::Power).unwrap();
        acks.acknowledge(3000, Some(seq), pkv_sim::Durability::Power);
        store.compact().unwrap();
        assert!(matches!(store.health(), Health::Good), "{:?}", store.health());
        assert!(fill(&store, &acks, 4000) > 100);
        store.sync().unwrap();

        fs.set_capacity_bytes(None);
        let end = fs.last_op() + 1;
        for (crash, choice) in [(Crash::Kill, Choice::Nothing), (Crash::Strict, Choice::Nothing)] {
            verify(&fs.survivors(crash, choice), &acks.before(end, crash), way).unwrap();
        }
        store.close().unwrap();
    }
}

/// The log once took the disk's last space, and then no snapshot could be written that would have made the log
/// obsolete: a store of 100 kB refused its writes for good on a disk of 1 MB. Found on a small real disk, beside
/// other work, where the compaction that was due came late.
#[test]
fn the_log_leaves_space_for_the_snapshot() {
    for way in [LogWay::Mapped, LogWay::Written] {
        let fs = SimFs::new(8);
        fs.set_capacity_bytes(Some(1_000_000));
        // No compaction is due by itself.
        let options = options(&fs, way).background(true).compact_log_bytes_min(u64::MAX);
        let store = ByteStore::open("/db", &options.compact_log_count(u32::MAX)).unwrap();
        for id in 0..10_000_u64 {
            store.insert(&(id % 100).to_le_bytes(), &[7; 1000], Durability::Process).unwrap();
        }
        assert!(store.stats().snapshots > 5, "{} snapshots", store.stats().snapshots);
        eventually("health", || matches!(store.health(), Health::Good));
        store.close().unwrap();
        assert_eq!(contents(&open(&fs, way).unwrap()).len(), 100);
    }
}

/// What is kept for a snapshot is kept only while a snapshot helps: a store that holds more than half of the disk takes
/// writes until nothing is left, and goes on when there is more.
#[test]
fn a_disk_too_small_for_a_snapshot_is_used_whole() {
    for way in [LogWay::Mapped, LogWay::Written] {
        let fs = SimFs::new(9);
        fs.set_capacity_bytes(Some(1_000_000));
        let options = options(&fs, way).background(true).compact_log_bytes_min(u64::MAX);
        let store = ByteStore::open("/db", &options.compact_log_count(u32::MAX)).unwrap();
        let mut id = 0_u64;
        let mut fill = |store: &ByteStore| {
            let before = id;
            loop {
                id += 1;
                match store.insert(&id.to_le_bytes(), &[7; 1000], Durability::Process) {
                    Ok(_) => {}
                    Err(Error::DiskFull(_)) => return id - before - 1,
                    Err(other) => panic!("{other:?}"),
                }
            }
        };
        let written = fill(&store);
        assert!(written > 600, "{written} kB on 1 MB");
        assert!(matches!(store.health(), Health::DiskFull(_)), "{:?}", store.health());
        assert_eq!(store.len(), written);

        fs.set_capacity_bytes(Some(5_000_000));
        eventually("space", || store.insert(b"key", b"value", Durability::Process).is_ok());
        eventually("health", || matches!(store.health(), Health::Good));
        let more = fill(&store);
        assert!(more > 1500, "{more} kB on 4 MB more");
        store.close().unwrap();
        assert_eq!(
            contents(&open(&fs, way).unwrap()).len(),
            usize::try_from(written + more + 1).unwrap()
        );
    }
}

/// A writer waited for a compaction while no log could be made. None was tried, since the thread that asks for
/// one was busy with the log, so it waited until there was space, instead of being told.
#[test]
fn a_writer_at_the_limit_of_the_logs_is_told_when_no_log_can_be_made() {
    for way in [LogWay::Mapped, LogWay::Written] {
        let fs = SimFs::new(6);
        let options = options(&fs, way).background(true).max_log_bytes(64 * 1024);
        let store = ByteStore::open("/db", &options).unwrap();
        // The first log, the next one, and one that is large enough for the second write.
        fs.inject(Fault::from_then_on(Op::Preallocate, 4, FaultKind::Enospc));
        let (told, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            store.insert(b"first", &[1; 100], Durability::Process).unwrap();
            store.insert(b"large", &vec![2; 30_000], Durability::Process).unwrap();
            let refused = store.insert(b"too much", &vec![3; 30_000], Durability::Process);
            told.send((refused.unwrap_err(), store.get(b"too much").unwrap())).unwrap();
        });
        let (error, value) = outcome.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        assert!(matches!(error, Error::LogFull { .. } | Error::DiskFull(_)), "{error}");
        assert_eq!(value, None);
    }
}

/// A snapshot that fails leaves no file behind, and the next one works.
#[test]
fn a_failed_snapshot_is_dropped_and_made_again() {
    for way in [LogWay::Mapped, LogWay::Written] {
        // The shard files are opened after the log that the snapshot goes on to.
        for nth in 2..=4 {
            let fs = SimFs::new(5);
            let store = open(&fs, way).unwrap();
            for key in 0..40_u8 {
                store.insert(&[key], &[key; 300], Durability::Process).unwrap();
            }
            let model = contents(&store);
            fs.inject(Fault::once(Op::Open, nth, FaultKind::Eio));
            store.compact().unwrap_err();
            assert_eq!(fs.faults_met().len(), 1);
            let pending = |fs: &SimFs| {
                fs.paths().iter().any(|path| path.to_string_lossy().contains("_pending"))
            };
            assert!(!pending(&fs), "{:?}", fs.paths());
            assert!(matches!(store.health(), Health::Good), "{:?}", store.health());
            store.compact().unwrap();
            assert!(!pending(&fs), "{:?}", fs.paths());
            assert_eq!(store.stats().snapshots, 1);
            store.close().unwrap();
            assert_eq!(contents(&open(&fs, way).unwrap()), model);
        }
    }
}
