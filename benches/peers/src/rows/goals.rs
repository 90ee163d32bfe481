//! The rows that have a goal, and those that stand beside them. The goals are the project's; the report says which of
//! them are reached.

use super::{Better, Goal, Rank, Row, Scale, Unit, entries};
use crate::engines::{Engine, Level};
use crate::jobs::{Job, Kind};

/// Synced writes ask these.
const POWER_PEERS: &[Engine] = &Engine::DURABLE_PEERS;

// What the figures are made of, by profiles (perf) of these jobs on two virtual cores; docs/design.md has more.
const INSERT: &str = "A fifth of an insert waits for the table's cache line, although that is asked for before the \
    frame is encoded and logged; a seventh is page faults of fresh memory, a tenth the checksums, a fifteenth \
    the table's growth. DashMap and papaya write no log. The limit has tables of their final size, and logs to its \
    thread's own memory.";
const INSERT_TWO: &str = "A fifth of all processor time goes to threads behind the writers: the log's pages 14 %, \
    snapshots 5, syncs 2. Of the writers' own a tenth is the zeroing of fresh memory, and each insert takes the log's lock. \
    The limit, which has neither log nor threads behind it, says how much the second core can add.";
const OVERWRITE: &str = "A fifth of all processor time is work behind the writers: compaction 13 %, the log's pages 7, \
    syncs 2. More than a third of the writers' own waits for the old record. DashMap writes no log. The limit waits for \
    the same two lines of memory, and what it logs no other thread and no disk sees.";
const GET: &str = "A get waits for the table's cache line and then for the record's. From one of pkv's gets to the next there \
    are some 200 operations, and a Zen 2 processor sees 224 ahead, a Golden Cove 512, so that two are under way at once. \
    While nobody writes no lock is taken. The limit has these two waits and next to nothing else, no hash, no \
    announcement, no table that can grow: several of its reads are.";
const GET_MANY: &str = "The sixteen keys' lines of the table are read together, then those of their records. Both \
    sides return copies, an allocation each.";
const GET_MANY_WITH: &str = "The same without copies, on both sides.";
const HOT: &str = "Readers find a copy of the value beside the shard's lock and read it without one; the writer closes the \
    copy while it logs and changes the map.";
const POWER: &str = "The limit is a bare loop of write and fdatasync on a preallocated file: what the disk \
    takes for a sync.";
const POWER_MANY: &str = "Of the 465 us from one sync to the next of 64 threads on two processors (a trace) the sync takes 160, \
    making 63 threads ready 95, and 210 go by until the last of them has written again. More for a sync there cannot be than \
    threads: as many times what one thread commits is the limit of any disk.";
const PIPELINED: &str = "One thread inserts, and what it writes when it is told of nothing is the most there can \
    be, whatever the disk takes: with 100-byte values that is its time for each, 144 bytes of the log.";
const MEMORY: &str = "Beside keys and values there are the tables (a cache line for nine entries, never all \
    full), lengths, and what chunks have free.";
const OPEN: &str = "Blocks are read from the page cache, checked, and each key is hashed and put into the \
    table; both engines use all cores. The limit reads and checksums as many bytes and can find none of them. What does \
    not wait for that is the row below.";
const REPLAY: &str = "One thread finds the frames and checks them, while the window before is applied by all: 32 changes of a \
    shard at a time, whose lines of the table and whose records are waited for together.";
const OPEN_INSTANT: &str = "Footers and indexes are read, and the span of one key. The other engine reads all of its file \
    first.";
const SNAPSHOT: &str = "Records lie anywhere in memory and are copied in the order of hashes, with all cores where nobody \
    writes: half of the processors' time, a third is the system's copy into the page cache. The fifth snapshot of a \
    process: the first ones go to memory that the host has to find, for twice as long. When another has just ended, \
    the space of what that one has replaced is given back first.";
const WRITTEN: &str = "1.24 are the log's frames, of 144 bytes for a payload of 116, and the rest snapshots: one of 1.04 times the \
    payload whenever the logs hold 1.2 times as much. Less often means more disk meanwhile, the row below.";
const PEAK: &str = "About 2.1 are the old and the new snapshot, 1.2 the logs that a compaction waits for, and the rest \
    the logs meanwhile with the one made ahead. Compaction at 115 % brought it to 4.0, with 2.4 written for a byte; \
    segments of 12 MiB to 4.1, and single inserts waited 20 ms for the next of them.";
const STALL: &str = "Millions of inserts are timed one by one: the longest is where the threads of the store, \
    the disk and the machine's other work took the core. The rows without a snapshot and those of DashMap, \
    which writes no file, show the machine's share.";

pub(super) fn rows(scale: Scale) -> Vec<Row> {
    let mut rows = Vec::new();
    insert_rows(scale, &mut rows);
    overwrite_rows(scale, &mut rows);
    get_rows(scale, &mut rows);
    power_rows(scale, &mut rows);
    memory_rows(scale, &mut rows);
    open_rows(scale, &mut rows);
    stall_rows(scale, &mut rows);
    disk_rows(scale, &mut rows);
    rows
}

fn ours(kind: Kind, scale: Scale) -> Job {
    Job { millis: scale.millis, ..Job::new(kind, Engine::Pkv, scale.entries) }
}

/// The label of an engine that is measured with fewer entries.
fn fewer(engine: Engine, count: u64) -> String {
    format!("{}, {} entries", engine.name(), entries(count))
}

fn insert_rows(scale: Scale, rows: &mut Vec<Row>) {
    let one = ours(Kind::Insert, scale);
    let slow = |engine| Job { engine, entries: scale.entries_slow, ..one };
    let what = entries(scale.entries);
    let row = Row::new("insert", format!("insert of {what} new keys, Process, 1 thread"), one)
        .note(INSERT)
        .rounds(scale.rounds)
        .rank(Rank::Goal)
        .against(Engine::DashMap, Some(2.5))
        .floor(1.5)
        .against(Engine::Papaya, Some(2.0))
        .against(Engine::PersistentKv, Some(4.0))
        .against(Engine::SurrealMx, Some(8.0))
        .against(Engine::Limit, None);
    let row = if scale.is_quick {
        row
    } else {
        let row = row.beside(&[Engine::Lmdb, Engine::Fjall, Engine::RocksDb]);
        [Engine::Sled, Engine::Redb, Engine::Redis].into_iter().fold(row, |row, engine| {
            row.against_job(&fewer(engine, scale.entries_slow), slow(engine), None)
        })
    };
    rows.push(row);
    let two = Job { threads: 2, ..one };
    rows.push(
        Row::new("insert", format!("insert of {what} new keys, Process, 2 threads"), two)
            .note(INSERT_TWO)
            .rounds(scale.rounds)
            .rank(Rank::Goal)
            .against_job("pkv, 1 thread", one, Some(1.5))
            .against(Engine::Limit, None),
    );
}

fn overwrite_rows(scale: Scale, rows: &mut Vec<Row>) {
    let two = Job { threads: 2, ..ours(Kind::Overwrite, scale) };
    let what = entries(scale.entries);
    let row = Row::new("overwrite", format!("overwrite of {what}, random keys, 2 threads"), two)
        .note(OVERWRITE)
        .rounds(scale.rounds)
        .rank(Rank::Goal)
        .against(Engine::DashMap, Some(2.0))
        .against(Engine::Papaya, Some(6.0))
        .against(Engine::Limit, None);
    rows.push(if scale.is_quick { row } else { row.beside(POWER_PEERS) });
}

fn get_rows(scale: Scale, rows: &mut Vec<Row>) {
    let what = entries(scale.entries);
    let one = ours(Kind::Get, scale);
    let two = Job { threads: 2, ..one };
    let disk = [Engine::PersistentKv, Engine::SurrealMx, Engine::Lmdb, Engine::Redb];
    let beside = if scale.is_quick { &disk[..0] } else { &disk[..] };
    rows.push(
        Row::new("get", format!("get_with of {what}, 1 thread"), one)
            .note(GET)
            .rounds(scale.rounds)
            .rank(Rank::Goal)
            .against(Engine::DashMap, Some(2.0))
            .floor(1.3)
            .against(Engine::Papaya, Some(2.0))
            .against(Engine::Limit, None)
            .beside(beside),
    );
    rows.push(
        Row::new("get", format!("get_with of {what}, 2 threads"), two)
            .note(GET)
            .rounds(scale.rounds)
            .rank(Rank::Goal)
            .against(Engine::DashMap, Some(1.8))
            .floor(1.3)
            .against(Engine::Papaya, Some(1.5))
            .against_job("pkv, 1 thread", one, Some(1.8))
            .against(Engine::Limit, None)
            .beside(beside),
    );
    rows.push(
        Row::new(
            "get",
            format!("get_many of 16 keys, of {what}, 1 thread"),
            Job { kind: Kind::GetMany, ..one },
        )
        .note(GET_MANY)
        .rounds(scale.rounds)
        .rank(Rank::Goal)
        .against_job("pkv, single gets that copy", Job { kind: Kind::GetSingly, ..one }, Some(2.0))
        .against_job("pkv, single get_with", one, None),
    );
    rows.push(
        Row::new(
            "get",
            format!("get_many_with of 16 keys, of {what}, 1 thread"),
            Job { kind: Kind::GetManyWith, ..one },
        )
        .note(GET_MANY_WITH)
        .rounds(scale.rounds)
        .rank(Rank::Short)
        .against_job("pkv, single get_with", one, None),
    );
    let hot = Job { threads: 8, ..ours(Kind::HotKey, scale) };
    rows.push(
        Row::new("hot-key", "get_with of one key, 8 threads, while one more updates it", hot)
            .note(HOT)
            .rounds(scale.rounds)
            .rank(Rank::Goal)
            .against(Engine::DashMap, Some(1.0))
            .against(Engine::Papaya, None),
    );
}

fn power_rows(scale: Scale, rows: &mut Vec<Row>) {
    let one = Job { level: Level::Power, ..ours(Kind::Power, scale) };
    let many = Job { threads: 64, ..one };
    let row = |title: &str, job: Job| Row::new("power", title, job).rounds(scale.rounds);
    let row_one = row("commits, Power, 1 thread", one)
        .note(POWER)
        .figure("per_second", Unit::Thousands, Better::Higher)
        .rank(Rank::Goal)
        .against(Engine::Limit, Some(0.95))
        .beside(POWER_PEERS);
    rows.push(Row { best: Some(1.0), ..row_one });
    let row_many = row("commits, Power, 64 threads", many)
        .note(POWER_MANY)
        .figure("per_second", Unit::Thousands, Better::Higher)
        .rank(Rank::Goal)
        .beside(POWER_PEERS);
    rows.push(Row { best: Some(2.5), ..row_many });
    rows.push(
        row("commits for a sync, Power, 64 threads", many)
            .figure("per_sync", Unit::Plain, Better::Higher)
            .goal(Goal::AtLeast(20.0)),
    );
    rows.push(
        row("bytes written for a commit, Power, 1 thread", one)
            .figure("bytes_per_commit", Unit::Bytes, Better::Lower)
            .goal(Goal::AtMost(8192.0))
            .against(Engine::Limit, None),
    );
    pipelined_rows(scale, rows);
}

/// With small values the processor's time for each is the limit, with larger ones the disk.
fn pipelined_rows(scale: Scale, rows: &mut Vec<Row>) {
    let small = Job { level: Level::Power, ..ours(Kind::Pipelined, scale) };
    let large = Job { value_bytes: 4096, entries: (scale.entries / 16).max(1), ..small };
    for (what, job) in [("100-byte", small), ("4 KiB", large)] {
        let title = format!("log, Power, 1 thread that waits for none (on_durable), {what} values");
        rows.push(
            Row::new("pipelined", title, job)
                .note(PIPELINED)
                .rounds(scale.rounds)
                .figure("bytes_per_second", Unit::Megabytes, Better::Higher)
                .rank(Rank::Goal)
                .against_job("sequential writes", Job { engine: Engine::Limit, ..job }, Some(0.6))
                .against_job("Process, told of none", Job { level: Level::Process, ..job }, None),
        );
    }
}

fn memory_rows(scale: Scale, rows: &mut Vec<Row>) {
    let memory = |title: String, job: Job| {
        Row::new("memory", title, job)
            .figure("per_payload", Unit::Plain, Better::Lower)
            .rounds(scale.rounds_few)
            .note(MEMORY)
    };
    let peers = [Engine::DashMap, Engine::Papaya, Engine::PersistentKv];
    let beside = if scale.is_quick { &peers[..1] } else { &peers[..] };
    // It would take minutes with as many as the others.
    let with_surrealmx = |row: Row| {
        let entries = scale.entries_slow.min(row.ours.entries);
        let job = Job { engine: Engine::SurrealMx, entries, ..row.ours };
        if scale.is_quick { row } else { row.against_job(&fewer(job.engine, entries), job, None) }
    };
    for count in [scale.entries, scale.entries_large] {
        let job = Job::new(Kind::Memory, Engine::Pkv, count);
        let row = memory(format!("anonymous memory / payload, {}", entries(count)), job)
            .goal(Goal::AtMost(1.15))
            .floor(1.18)
            .beside(beside);
        rows.push(with_surrealmx(row));
    }
    let snapshot = ours(Kind::MemorySnapshot, scale);
    rows.push(
        memory("anonymous memory / payload, the most while a snapshot is written".into(), snapshot)
            .goal(Goal::AtMost(1.17)),
    );
    let churn = ours(Kind::MemoryChurn, scale);
    let row =
        memory("anonymous memory / payload after 5 x overwriting with random sizes".into(), churn)
            .goal(Goal::AtMost(1.30))
            .beside(beside);
    rows.push(with_surrealmx(row));
    rows.push(
        memory("anonymous memory of an empty store".into(), Job { entries: 0, ..churn })
            .figure("bytes", Unit::Mebibytes, Better::Lower)
            .goal(Goal::AlwaysBelow(2.0 * 1024.0 * 1024.0)),
    );
    if let Some(row) = rows.last_mut() {
        row.ours.kind = Kind::Memory;
    }
}

fn open_rows(scale: Scale, rows: &mut Vec<Row>) {
    let what = entries(scale.entries_opened);
    let open = Job::new(Kind::Open, Engine::Pkv, scale.entries_opened);
    let with_surrealmx = |row: Row| {
        let job = Job { engine: Engine::SurrealMx, entries: scale.entries_slow, ..row.ours };
        if scale.is_quick {
            row
        } else {
            row.against_job(&fewer(job.engine, job.entries), job, None)
        }
    };
    let row = Row::new("open", format!("opening {what} entries, compacted, page cache warm"), open)
        .note(OPEN)
        .rounds(scale.rounds)
        .goal(Goal::AtLeast(10e6))
        .prepared(Kind::PrepareCompacted, false)
        .against(Engine::PersistentKv, Some(25.0))
        .floor(12.0)
        .against(Engine::Limit, None);
    rows.push(with_surrealmx(row));
    let instant = Job { kind: Kind::OpenInstant, ..open };
    let row = |name: &'static str, title: String, figure: &'static str, unit: Unit| {
        let better = if unit == Unit::Millions { Better::Higher } else { Better::Lower };
        Row::new(name, title, instant)
            .rounds(scale.rounds)
            .prepared(Kind::PrepareCompacted, false)
            .figure(figure, unit, better)
    };
    let title = format!("opening {what} entries with instant_open, until a key was read");
    rows.push(
        row("open-instant", title, "per_second", Unit::Millions)
            .note(OPEN_INSTANT)
            .rank(Rank::Goal)
            .against_job(
                Engine::PersistentKv.name(),
                Job { engine: Engine::PersistentKv, ..open },
                Some(25.0),
            ),
    );
    let short = |title: &str, figure: &'static str, unit: Unit| {
        row("open-instant", title.into(), figure, unit).rank(Rank::Short)
    };
    rows.push(short(
        "instant_open: from the call to the first key read",
        "first_read_ms",
        Unit::Milliseconds,
    ));
    rows.push(short(
        "instant_open: until all are in memory, one thread reading keys at random meanwhile",
        "loaded_per_second",
        Unit::Millions,
    ));
    rows.push(short("the longest of those reads", "get_us", Unit::Microseconds));
    let replay = Job { kind: Kind::OpenLog, ..open };
    let row = Row::new("replay", format!("opening a log of {what} frames"), replay)
        .note(REPLAY)
        .rounds(scale.rounds)
        .goal(Goal::AtLeast(4e6))
        .prepared(Kind::PrepareLog, false)
        .beside(if scale.is_quick { &[] } else { &[Engine::PersistentKv] });
    rows.push(with_surrealmx(row));
    let snapshot = Job { entries: scale.entries_opened, ..ours(Kind::SnapshotWrite, scale) };
    rows.push(
        Row::new(
            "snapshot",
            format!("writing a snapshot of {what}, by itself, the fifth of a process"),
            snapshot,
        )
        .note(SNAPSHOT)
        .rounds(scale.rounds)
        .figure("bytes_per_second", Unit::Megabytes, Better::Higher)
        .rank(Rank::Goal)
        .against_job(
            "sequential writes",
            Job { engine: Engine::Limit, ..snapshot },
            Some(0.8),
        ),
    );
    rows.push(
        Row::new(
            "snapshot",
            format!("writing a snapshot of {what} when another has just ended"),
            snapshot,
        )
        .note(SNAPSHOT)
        .rounds(scale.rounds)
        .figure("behind_another_per_second", Unit::Megabytes, Better::Higher)
        .rank(Rank::Goal),
    );
}

fn stall_rows(scale: Scale, rows: &mut Vec<Row>) {
    let job = Job { entries: 2 * scale.entries, ..ours(Kind::Stall, scale) };
    let beside = [Engine::PersistentKv, Engine::DashMap, Engine::Fjall];
    let beside = if scale.is_quick { &beside[..0] } else { &beside[..] };
    let row = |title: &str, figure: &'static str, unit: Unit| {
        Row::new("stall", title, job).rounds(scale.rounds).rank(Rank::Short).figure(
            figure,
            unit,
            Better::Lower,
        )
    };
    rows.push(
        row("longest Process insert, syncs and snapshots run", "max_ms", Unit::Milliseconds)
            .goal(Goal::AlwaysBelow(5.0))
            .floor(10.0)
            .note(STALL)
            .beside(beside),
    );
    rows.push(
        row(
            "p99.9 of Process insert, with syncs and snapshots / with no snapshot",
            "p999_ratio",
            Unit::Plain,
        )
        .goal(Goal::AtMost(2.0))
        .note(STALL)
        .beside(beside),
    );
    let compared = [
        ("p99.9 of insert, syncs and snapshots run", "p999_us", Unit::Microseconds),
        ("p99.9 of insert, no snapshot", "quiet_p999_us", Unit::Microseconds),
        ("longest insert, no snapshot", "quiet_max_ms", Unit::Milliseconds),
    ];
    rows.extend(compared.map(|(title, figure, unit)| row(title, figure, unit).beside(beside)));
}

fn disk_rows(scale: Scale, rows: &mut Vec<Row>) {
    let disk = |title: &str, kind: Kind, figure: &'static str| {
        Row::new("disk", title, ours(kind, scale)).rounds(scale.rounds_few).figure(
            figure,
            Unit::Plain,
            Better::Lower,
        )
    };
    let beside = if scale.is_quick { &[] } else { POWER_PEERS };
    rows.push(
        disk("disk / payload after compaction and close", Kind::Disk, "per_payload")
            .goal(Goal::AtMost(1.05))
            .floor(1.06)
            .beside(beside),
    );
    let written = "bytes written for a byte of payload, steady overwriting";
    rows.push(
        disk(written, Kind::Amplification, "amplification").note(WRITTEN).goal(Goal::AtMost(2.3)),
    );
    rows.push(
        disk("most disk meanwhile / payload", Kind::Amplification, "peak")
            .note(PEAK)
            .goal(Goal::AtMost(4.0)),
    );
}
