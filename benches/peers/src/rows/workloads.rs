//! The rows for comparison: each workload, over engines, threads, sizes, durabilities, and with growing data.

use super::{Better, Rank, Row, Scale, Unit, bytes, entries};
use crate::engines::{Engine, Level};
use crate::jobs::{Job, Kind};
use crate::workload::Keys;

/// In memory, or with all data in memory.
const FAST: [Engine; 4] =
    [Engine::DashMap, Engine::Papaya, Engine::PersistentKv, Engine::SurrealMx];
const THREADS: [u64; 7] = [1, 2, 4, 8, 16, 64, 256];
const VALUE_BYTES: [u64; 6] = [8, 100, 1 << 10, 16 << 10, 128 << 10, 1 << 20];
const GROWTH: [u64; 4] = [100_000, 1_000_000, 10_000_000, 50_000_000];
/// What the values of one job hold together.
const BYTES_OF_JOB: u64 = 256 << 20;

pub(super) fn rows(scale: Scale) -> Vec<Row> {
    let mut rows = Vec::new();
    read_rows(scale, &mut rows);
    write_rows(scale, &mut rows);
    ycsb_rows(scale, &mut rows);
    durability_rows(scale, &mut rows);
    open_rows(scale, &mut rows);
    thread_rows(scale, &mut rows);
    size_rows(scale, &mut rows);
    growth_rows(scale, &mut rows);
    rows
}

fn ours(kind: Kind, scale: Scale) -> Job {
    Job { millis: scale.millis, threads: 2, ..Job::new(kind, Engine::Pkv, scale.entries) }
}

/// Every peer, the slowest with fewer entries: a row says so by its label.
fn all_beside(row: Row, scale: Scale) -> Row {
    let row = row.beside(&FAST);
    let fast = [Engine::Fjall, Engine::Lmdb, Engine::RocksDb];
    let row = row.beside(&fast);
    [Engine::Redb, Engine::Sled, Engine::Redis].into_iter().fold(row, |row, engine| {
        let job = Job { engine, entries: scale.entries_slow, ..row.ours };
        let label = format!("{}, {} entries", engine.name(), entries(scale.entries_slow));
        row.against_job(&label, job, None)
    })
}

fn read_rows(scale: Scale, rows: &mut Vec<Row>) {
    let zipfian = Job { keys: Keys::Zipfian, ..ours(Kind::Get, scale) };
    let row = Row::new("read", "get_with, zipfian keys, 2 threads", zipfian);
    rows.push(all_beside(row.rounds(scale.rounds_few), scale));
    let row = Row::new(
        "read",
        "get_with of keys that are not there, 2 threads",
        Job { keys: Keys::Uniform, kind: Kind::GetMiss, ..zipfian },
    );
    rows.push(all_beside(row.rounds(scale.rounds_few), scale));
}

fn write_rows(scale: Scale, rows: &mut Vec<Row>) {
    let kinds = [
        (Kind::Resize, "overwrite with half to twice the size, 2 threads"),
        (Kind::Remove, "remove of all, 2 threads"),
        (Kind::Batch, "new keys in batches of 100, 2 threads"),
    ];
    for (kind, title) in kinds {
        let row = Row::new("write", title, ours(kind, scale)).rounds(scale.rounds_few);
        rows.push(all_beside(row, scale));
    }
}

fn ycsb_rows(scale: Scale, rows: &mut Vec<Row>) {
    let kinds = [
        (Kind::YcsbA, "YCSB A: half reads, half updates; 2 threads"),
        (Kind::YcsbB, "YCSB B: 95 % reads, 5 % updates; 2 threads"),
        (Kind::YcsbC, "YCSB C: reads; 2 threads"),
        (Kind::YcsbD, "YCSB D: 95 % reads of the latest, 5 % inserts; 2 threads"),
        (Kind::YcsbF, "YCSB F: half reads, half read-change-write; 2 threads"),
    ];
    for (kind, title) in kinds {
        let row = Row::new("ycsb", title, ours(kind, scale)).rounds(scale.rounds_few);
        rows.push(all_beside(row, scale));
    }
}

fn durability_rows(scale: Scale, rows: &mut Vec<Row>) {
    let at =
        |level: Level, kind: Kind| Job { level, entries: scale.entries_slow, ..ours(kind, scale) };
    for level in [Level::Process, Level::Power] {
        let title = format!("overwrite, {}, 2 threads", level.name());
        let row = Row::new("durability", title, at(level, Kind::Overwrite))
            .figure("per_second", Unit::Thousands, Better::Higher)
            .rounds(scale.rounds_few);
        rows.push(row.beside(&Engine::DURABLE_PEERS));
        let title = format!("YCSB A, {}, 2 threads", level.name());
        let row = Row::new("durability", title, at(level, Kind::YcsbA))
            .figure("per_second", Unit::Thousands, Better::Higher)
            .rounds(scale.rounds_few);
        rows.push(row.beside(&Engine::DURABLE_PEERS));
    }
}

fn open_rows(scale: Scale, rows: &mut Vec<Row>) {
    let job = Job { entries: scale.entries, ..Job::new(Kind::Open, Engine::Pkv, scale.entries) };
    let what = entries(scale.entries);
    // The in-memory engines have nothing to open; those on disk open in a moment and read later.
    let peers = [Engine::PersistentKv, Engine::SurrealMx, Engine::Fjall, Engine::Lmdb];
    let ways = [
        ("open-closed", "after a clean close", Kind::PrepareClosed, true),
        ("open-killed", "after a kill", Kind::PrepareKilled, true),
    ];
    for (name, how, kind, each_round) in ways {
        rows.push(
            Row::new(name, format!("opening {what} entries {how}"), job)
                .rounds(scale.rounds_few)
                .rank(Rank::Full)
                .prepared(kind, each_round)
                .beside(&peers),
        );
    }
}

fn thread_rows(scale: Scale, rows: &mut Vec<Row>) {
    for threads in THREADS {
        let with = |kind: Kind| Job { threads, ..ours(kind, scale) };
        let point = |title: &str, job: Job, chart: &'static str| {
            Row::new("threads", format!("{title}, {threads} threads, to compare"), job)
                .rounds(scale.rounds_few)
                .point(chart, "threads", threads)
        };
        rows.push(point("get_with", with(Kind::Get), "reads by threads").beside(&FAST));
        rows.push(point("overwrite", with(Kind::Overwrite), "writes by threads").beside(&FAST));
        let power = Job { level: Level::Power, ..with(Kind::Power) };
        let row = point("commits, Power", power, "synced writes by threads");
        rows.push(
            row.figure("per_second", Unit::Thousands, Better::Higher)
                .beside(&Engine::DURABLE_PEERS),
        );
    }
}

fn size_rows(scale: Scale, rows: &mut Vec<Row>) {
    for value_bytes in VALUE_BYTES {
        let count = (BYTES_OF_JOB / (value_bytes + 100)).clamp(1, scale.entries);
        let job = |kind: Kind| Job { value_bytes, entries: count, ..ours(kind, scale) };
        let point = |title: &str, kind: Kind, chart: &'static str| {
            let title = format!("{title}, values of {}, 2 threads", bytes(value_bytes));
            Row::new("sizes", title, job(kind))
                .rounds(scale.rounds_few)
                .figure("per_second", Unit::Thousands, Better::Higher)
                .point(chart, "bytes of a value", value_bytes)
                .beside(&FAST)
                .beside(&[Engine::Fjall, Engine::Lmdb])
        };
        rows.push(point("insert", Kind::Insert, "inserts by size"));
        rows.push(point("get_with", Kind::Get, "reads by size"));
    }
}

fn growth_rows(scale: Scale, rows: &mut Vec<Row>) {
    for count in GROWTH.map(|count| count / scale.growth_divisor) {
        let job = Job { threads: 1, entries: count, ..ours(Kind::Growth, scale) };
        // In memory, 50 M of these entries are 13 GB in the others.
        let beside: &[Engine] =
            if count > 10 * scale.entries { &[] } else { &[Engine::DashMap, Engine::Papaya] };
        let figures = [
            ("an insert", "insert_ns", "an insert, by entries"),
            ("a get_with", "get_ns", "a read, by entries"),
        ];
        for (title, figure, chart) in figures {
            rows.push(
                Row::new("growth", format!("{title}, at {} entries", entries(count)), job)
                    .rounds(scale.rounds_few)
                    .figure(figure, Unit::Nanoseconds, Better::Lower)
                    .point(chart, "entries", count)
                    .beside(beside),
            );
        }
    }
}
