//! The rows for comparison: each workload, over engines, threads, sizes, durabilities, and with growing data.

use super::{Better, Rank, Row, Scale, Unit, bytes, entries};
use crate::engines::{Engine, Level};
use crate::jobs::{Job, Kind, THREADS};

/// Those that forget.
const VOLATILE: [Engine; 2] = [Engine::DashMap, Engine::Papaya];
/// In memory, or with all data in memory.
const FAST: [Engine; 4] =
    [Engine::DashMap, Engine::Papaya, Engine::PersistentKv, Engine::SurrealMx];
const VALUE_BYTES: [u64; 6] = [8, 100, 1 << 10, 16 << 10, 128 << 10, 1 << 20];
const GROWTH: [u64; 4] = [100_000, 1_000_000, 10_000_000, 50_000_000];
/// What the values of one job hold together.
const BYTES_OF_JOB: u64 = 128 << 20;

pub(super) fn rows(scale: Scale) -> Vec<Row> {
    let mut rows = Vec::new();
    mixed_rows(scale, &mut rows);
    write_rows(scale, &mut rows);
    durability_rows(scale, &mut rows);
    open_rows(scale, &mut rows);
    thread_rows(scale, &mut rows);
    size_rows(scale, &mut rows);
    growth_rows(scale, &mut rows);
    rows
}

fn ours(kind: Kind, scale: Scale) -> Job {
    Job { millis: scale.millis_each, threads: 2, ..Job::new(kind, Engine::Pkv, scale.entries) }
}

fn mixed_rows(scale: Scale, rows: &mut Vec<Row>) {
    let figures = [
        ("hit_zipfian", "get_with, zipfian keys, 2 threads"),
        ("miss", "get_with of keys that are not there, 2 threads"),
        ("miss_zipfian", "get_with of keys that are not there, zipfian, 2 threads"),
        ("ycsb_a", "YCSB A: half reads, half updates; 2 threads"),
        ("ycsb_b", "YCSB B: 95 % reads, 5 % updates; 2 threads"),
        ("ycsb_c", "YCSB C: reads; 2 threads"),
        ("ycsb_f", "YCSB F: half reads, half read-change-write; 2 threads"),
        ("ycsb_d", "YCSB D: 95 % reads of the latest, 5 % inserts; 2 threads"),
    ];
    for (figure, title) in figures {
        let row = Row::new("mixed", title, ours(Kind::Mixed, scale));
        let row = row.rounds(scale.rounds_few).figure(figure, Unit::Millions, Better::Higher);
        rows.push(row.beside(&VOLATILE).beside(&Engine::DURABLE_PEERS));
    }
}

fn write_rows(scale: Scale, rows: &mut Vec<Row>) {
    let figures = [
        ("resize", "overwrite with half to twice the size, 2 threads"),
        ("batch", "new keys in batches of 100, 2 threads"),
        ("remove", "remove, 2 threads"),
    ];
    for (figure, title) in figures {
        let row = Row::new("write", title, ours(Kind::Writes, scale)).rounds(scale.rounds_few);
        let row = row.figure(figure, Unit::Millions, Better::Higher);
        rows.push(row.beside(&VOLATILE).beside(&Engine::DURABLE_PEERS));
    }
}

fn durability_rows(scale: Scale, rows: &mut Vec<Row>) {
    for level in [Level::Process, Level::Power] {
        let job = Job { level, entries: scale.entries_slow, ..ours(Kind::Durable, scale) };
        for (figure, what) in [("overwrite", "overwrite"), ("ycsb_a", "YCSB A")] {
            let title = format!("{what}, {}, 2 threads", level.name());
            rows.push(
                Row::new("durability", title, job)
                    .figure(figure, Unit::Thousands, Better::Higher)
                    .rounds(scale.rounds_few)
                    .beside(&Engine::DURABLE_PEERS),
            );
        }
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
    let calls = ours(Kind::Threads, scale);
    let commits = Job { level: Level::Power, ..ours(Kind::PowerThreads, scale) };
    for at in THREADS {
        let point = |title: &str, job: Job, chart: &'static str| {
            Row::new("threads", format!("{title}, {} threads, to compare", at.threads), job)
                .rounds(scale.rounds_few)
                .point(chart, "threads", at.threads, at.threads.to_string())
        };
        rows.push(
            point("get_with", calls, "reads by threads")
                .figure(at.get, Unit::Millions, Better::Higher)
                .beside(&FAST),
        );
        rows.push(
            point("overwrite", calls, "writes by threads")
                .figure(at.overwrite, Unit::Millions, Better::Higher)
                .beside(&FAST),
        );
        rows.push(
            point("commits, Power", commits, "synced writes by threads")
                .figure(at.commits, Unit::Thousands, Better::Higher)
                .beside(&Engine::DURABLE_PEERS),
        );
    }
}

fn size_rows(scale: Scale, rows: &mut Vec<Row>) {
    for value_bytes in VALUE_BYTES {
        let count = (BYTES_OF_JOB / (value_bytes + 100)).clamp(1, scale.entries);
        let job = Job { value_bytes, entries: count, ..ours(Kind::Sized, scale) };
        let figures =
            [("insert", "insert", "inserts by size"), ("get_with", "get", "reads by size")];
        for (what, figure, chart) in figures {
            let title = format!("{what}, values of {}, 2 threads", bytes(value_bytes));
            rows.push(
                Row::new("sizes", title, job)
                    .rounds(scale.rounds_few)
                    .figure(figure, Unit::Thousands, Better::Higher)
                    .point(chart, "bytes of a value", value_bytes, bytes(value_bytes))
                    .beside(&FAST)
                    .beside(&[Engine::Fjall, Engine::Lmdb]),
            );
        }
    }
}

fn growth_rows(scale: Scale, rows: &mut Vec<Row>) {
    for count in GROWTH.map(|count| count / scale.growth_divisor) {
        let job = Job { threads: 1, entries: count, ..ours(Kind::Growth, scale) };
        // In memory, 50 M of these entries are 13 GB in the others.
        let beside: &[Engine] =
            if count > 10 * scale.entries { &[] } else { &[Engine::DashMap, Engine::Papaya] };
        let point = |title: &str, figure: &'static str, chart: &'static str| {
            Row::new("growth", format!("{title}, at {} entries", entries(count)), job)
                .rounds(scale.rounds_few)
                .figure(figure, Unit::Nanoseconds, Better::Lower)
                .point(chart, "entries", count, entries(count))
                .beside(beside)
        };
        rows.push(point("an insert", "insert_ns", "an insert, by entries"));
        // What a table that only looks takes at this size: it grows with the misses of the caches alone.
        let read = point("a get_with", "get_ns", "a read, by entries");
        rows.push(read.against(Engine::Limit, None));
    }
}
