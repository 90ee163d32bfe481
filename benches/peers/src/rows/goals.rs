//! The rows that have a goal, and those that stand beside them. The goals are the project's; the report says which of
//! them are reached.

use super::{Better, Goal, Rank, Row, Scale, Unit, entries};
use crate::engines::{Engine, Level};
use crate::jobs::{Job, Kind};

/// Synced writes ask these.
const POWER_PEERS: &[Engine] = &Engine::DURABLE_PEERS;

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

fn insert_rows(scale: Scale, rows: &mut Vec<Row>) {
    let one = ours(Kind::Insert, scale);
    let slow = |engine| Job { engine, entries: scale.entries_slow, ..one };
    let what = entries(scale.entries);
    let row = Row::new("insert", format!("insert of {what} new keys, Process, 1 thread"), one)
        .rounds(scale.rounds)
        .rank(Rank::Goal)
        .against(Engine::DashMap, Some(2.5))
        .floor(1.5)
        .against(Engine::Papaya, Some(2.0))
        .against(Engine::PersistentKv, Some(4.0))
        .against(Engine::SurrealMx, Some(8.0));
    let row = if scale.is_quick {
        row
    } else {
        [Engine::Lmdb, Engine::Fjall, Engine::RocksDb, Engine::Redis]
            .into_iter()
            .fold(row, |row, engine| row.against(engine, None))
            .against_job("sled", slow(Engine::Sled), None)
            .against_job("redb", slow(Engine::Redb), None)
    };
    rows.push(row);
    let two = Job { threads: 2, ..one };
    rows.push(
        Row::new("insert", format!("insert of {what} new keys, Process, 2 threads"), two)
            .rounds(scale.rounds)
            .rank(Rank::Goal)
            .against_job("pkv, 1 thread", one, Some(1.5)),
    );
}

fn overwrite_rows(scale: Scale, rows: &mut Vec<Row>) {
    let two = Job { threads: 2, ..ours(Kind::Overwrite, scale) };
    let what = entries(scale.entries);
    let row = Row::new("overwrite", format!("overwrite of {what}, random keys, 2 threads"), two)
        .rounds(scale.rounds)
        .rank(Rank::Goal)
        .against(Engine::DashMap, Some(2.0))
        .against(Engine::Papaya, Some(6.0));
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
        .rounds(scale.rounds)
        .rank(Rank::Goal)
        .against_job("pkv, single gets", one, Some(2.0)),
    );
    let hot = Job { threads: 8, ..ours(Kind::HotKey, scale) };
    rows.push(
        Row::new("hot-key", "get_with of one key, 8 threads, while one more updates it", hot)
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
        .figure("per_second", Unit::Thousands, Better::Higher)
        .rank(Rank::Goal)
        .against(Engine::Limit, Some(0.95))
        .beside(POWER_PEERS);
    rows.push(Row { best: Some(1.0), ..row_one });
    let row_many = row("commits, Power, 64 threads", many)
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
    let pipelined = ours(Kind::Pipelined, scale);
    rows.push(
        Row::new("pipelined", "log, Power, 1 thread that waits for none (on_durable)", pipelined)
            .rounds(scale.rounds)
            .figure("bytes_per_second", Unit::Megabytes, Better::Higher)
            .rank(Rank::Goal)
            .against_job(
                "sequential writes",
                Job { engine: Engine::Limit, ..pipelined },
                Some(0.6),
            ),
    );
}

fn memory_rows(scale: Scale, rows: &mut Vec<Row>) {
    let memory = |title: String, job: Job| {
        Row::new("memory", title, job)
            .figure("per_payload", Unit::Plain, Better::Lower)
            .rounds(scale.rounds_few)
    };
    let peers = [Engine::DashMap, Engine::Papaya, Engine::PersistentKv, Engine::SurrealMx];
    let beside = if scale.is_quick { &peers[..1] } else { &peers[..] };
    for count in [scale.entries, scale.entries_large] {
        let job = Job::new(Kind::Memory, Engine::Pkv, count);
        rows.push(
            memory(format!("anonymous memory / payload, {}", entries(count)), job)
                .goal(Goal::AtMost(1.15))
                .floor(1.18)
                .beside(beside),
        );
    }
    let snapshot = ours(Kind::MemorySnapshot, scale);
    rows.push(
        memory("the same while a snapshot is written, the most".into(), snapshot)
            .goal(Goal::AtMost(1.17)),
    );
    let churn = ours(Kind::MemoryChurn, scale);
    rows.push(
        memory("the same after 5 x overwriting with random sizes".into(), churn)
            .goal(Goal::AtMost(1.30))
            .beside(beside),
    );
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
    rows.push(
        Row::new("open", format!("opening {what} entries, compacted, page cache warm"), open)
            .rounds(scale.rounds)
            .goal(Goal::AtLeast(10e6))
            .prepared(Kind::PrepareCompacted, false)
            .against(Engine::PersistentKv, Some(25.0))
            .floor(12.0)
            .beside(if scale.is_quick { &[] } else { &[Engine::SurrealMx] }),
    );
    rows.push(
        Row::new(
            "replay",
            format!("opening a log of {what} frames"),
            Job { kind: Kind::OpenLog, ..open },
        )
        .rounds(scale.rounds)
        .goal(Goal::AtLeast(4e6))
        .prepared(Kind::PrepareLog, false)
        .beside(if scale.is_quick {
            &[]
        } else {
            &[Engine::PersistentKv, Engine::SurrealMx]
        }),
    );
    let snapshot = Job { entries: scale.entries_opened, ..ours(Kind::SnapshotWrite, scale) };
    rows.push(
        Row::new("snapshot", format!("writing a snapshot of {what}"), snapshot)
            .rounds(scale.rounds)
            .figure("bytes_per_second", Unit::Megabytes, Better::Higher)
            .rank(Rank::Goal)
            .against_job("sequential writes", Job { engine: Engine::Limit, ..snapshot }, Some(0.8)),
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
            .beside(beside),
    );
    rows.push(
        row("p99.9 of it / p99.9 with no snapshot", "p999_ratio", Unit::Plain)
            .goal(Goal::AtMost(2.0))
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
    rows.push(disk(written, Kind::Amplification, "amplification").goal(Goal::AtMost(2.3)));
    rows.push(
        disk("most disk meanwhile / payload", Kind::Amplification, "peak").goal(Goal::AtMost(4.0)),
    );
}
