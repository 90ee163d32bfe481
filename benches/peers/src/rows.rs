//! The rows of the report: which jobs, how often, and what must come out.

use crate::engines::Engine;
use crate::jobs::{Job, Kind};

/// One line of the report.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The word that selects it on the command line; several rows may share one.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// Which of the job's figures, and how it is shown.
    pub(crate) figure: &'static str,
    pub(crate) unit: Unit,
    pub(crate) ours: Job,
    /// A store made once for each side, before the rounds.
    pub(crate) prepare: Option<Kind>,
    pub(crate) other: Option<Job>,
    pub(crate) goal: Goal,
    pub(crate) rounds: usize,
}

/// How a figure is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Operations a second, in millions.
    Millions,
    /// Operations a second, in thousands.
    Thousands,
    /// Bytes, in MiB.
    Mebibytes,
    Milliseconds,
    Microseconds,
    /// A plain number.
    Plain,
}

/// What must come out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// The median of the ratios ours / other is at least this.
    RatioAtLeast(f64),
    /// The median of our figure is at least this.
    AtLeast(f64),
    /// The median of our figure is at most this.
    AtMost(f64),
    /// No round's figure reaches this.
    AlwaysBelow(f64),
    /// For comparison.
    None,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    entries: u64,
    entries_large: u64,
    entries_opened: u64,
    entries_synced: u64,
    rounds: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        entries: 1_000_000,
        entries_large: 10_000_000,
        entries_opened: 5_000_000,
        entries_synced: 200_000,
        rounds: 5,
    };
    /// About three minutes.
    pub(crate) const QUICK: Self = Self {
        entries: 1_000_000,
        entries_large: 2_000_000,
        entries_opened: 1_000_000,
        entries_synced: 50_000,
        rounds: 3,
    };
}

/// What a row is for each engine.
fn job(kind: Kind, engine: Engine, entries: u64) -> Job {
    Job { kind, engine, entries, threads: 1 }
}

/// All rows, in the order of the report.
pub(crate) fn rows(scale: Scale) -> Vec<Row> {
    let mut rows = Vec::new();
    insert_rows(scale, &mut rows);
    get_rows(scale, &mut rows);
    memory_rows(scale, &mut rows);
    folder_rows(scale, &mut rows);
    stall_rows(scale, &mut rows);
    power_rows(scale, &mut rows);
    rows
}

fn insert_rows(scale: Scale, rows: &mut Vec<Row>) {
    let peers = [
        (Engine::DashMap, Goal::RatioAtLeast(1.5)),
        (Engine::Papaya, Goal::None),
        (Engine::PersistentKv, Goal::None),
    ];
    for (peer, goal) in peers {
        rows.push(Row {
            name: "insert",
            title: format!(
                "insert {}, Process, 1 thread, M/s; {}",
                entries(scale.entries),
                peer.name()
            ),
            figure: "per_second",
            unit: Unit::Millions,
            ours: job(Kind::Insert, Engine::Pkv, scale.entries),
            prepare: None,
            other: Some(job(Kind::Insert, peer, scale.entries)),
            goal,
            rounds: scale.rounds,
        });
    }
}

fn get_rows(scale: Scale, rows: &mut Vec<Row>) {
    for threads in [1, 2] {
        for (peer, goal) in
            [(Engine::DashMap, Goal::RatioAtLeast(1.3)), (Engine::Papaya, Goal::None)]
        {
            rows.push(Row {
                name: "get",
                title: format!(
                    "get_with of {}, {threads} thr., M/s; {}",
                    entries(scale.entries),
                    peer.name()
                ),
                figure: "per_second",
                unit: Unit::Millions,
                ours: Job { threads, ..job(Kind::Get, Engine::Pkv, scale.entries) },
                prepare: None,
                other: Some(Job { threads, ..job(Kind::Get, peer, scale.entries) }),
                goal,
                rounds: scale.rounds,
            });
        }
    }
}

fn memory_rows(scale: Scale, rows: &mut Vec<Row>) {
    for count in [scale.entries, scale.entries_large] {
        rows.push(Row {
            name: "memory",
            title: format!("anonymous memory / payload, {}; DashMap", entries(count)),
            figure: "per_payload",
            unit: Unit::Plain,
            ours: job(Kind::Memory, Engine::Pkv, count),
            prepare: None,
            other: Some(job(Kind::Memory, Engine::DashMap, count)),
            goal: Goal::AtMost(1.18),
            rounds: 3,
        });
    }
    rows.push(Row {
        name: "memory",
        title: "anonymous memory of an empty store, MiB".into(),
        figure: "bytes",
        unit: Unit::Mebibytes,
        ours: job(Kind::Memory, Engine::Pkv, 0),
        prepare: None,
        other: Some(job(Kind::Memory, Engine::PersistentKv, 0)),
        goal: Goal::AlwaysBelow(2.0 * 1024.0 * 1024.0),
        rounds: 3,
    });
}

fn folder_rows(scale: Scale, rows: &mut Vec<Row>) {
    rows.push(Row {
        name: "open",
        title: format!(
            "open {}, compacted, warm, M/s; persistent-kv",
            entries(scale.entries_opened)
        ),
        figure: "per_second",
        unit: Unit::Millions,
        ours: job(Kind::Open, Engine::Pkv, scale.entries_opened),
        prepare: Some(Kind::Prepare),
        other: Some(job(Kind::Open, Engine::PersistentKv, scale.entries_opened)),
        goal: Goal::RatioAtLeast(12.0),
        rounds: 3,
    });
    rows.push(Row {
        name: "disk",
        title: format!("disk after compaction and close / payload, {}", entries(scale.entries)),
        figure: "per_payload",
        unit: Unit::Plain,
        ours: job(Kind::Disk, Engine::Pkv, scale.entries),
        prepare: None,
        other: None,
        goal: Goal::AtMost(1.06),
        rounds: 3,
    });
}

fn stall_rows(scale: Scale, rows: &mut Vec<Row>) {
    let figures = [
        (
            "longest insert, syncs and snapshots run, ms",
            "max_ms",
            Unit::Milliseconds,
            Goal::AlwaysBelow(10.0),
        ),
        ("p99.9 of insert, syncs and snapshots run, us", "p999_us", Unit::Microseconds, Goal::None),
        ("longest insert, no snapshot, ms", "quiet_max_ms", Unit::Milliseconds, Goal::None),
        ("p99.9 of insert, no snapshot, us", "quiet_p999_us", Unit::Microseconds, Goal::None),
    ];
    for (title, figure, unit, goal) in figures {
        rows.push(Row {
            name: "stall",
            title: format!("{title}; persistent-kv"),
            figure,
            unit,
            ours: job(Kind::Stall, Engine::Pkv, 2 * scale.entries),
            prepare: None,
            other: Some(job(Kind::Stall, Engine::PersistentKv, 2 * scale.entries)),
            goal,
            rounds: 3,
        });
    }
}

fn power_rows(scale: Scale, rows: &mut Vec<Row>) {
    let figures = [
        ("commits per sync, Power, 64 threads", "per_sync", Unit::Plain, Goal::AtLeast(20.0)),
        ("commits a second, Power, 64 threads, k/s", "per_second", Unit::Thousands, Goal::None),
    ];
    for (title, figure, unit, goal) in figures {
        rows.push(Row {
            name: "power",
            title: format!("{title}; persistent-kv"),
            figure,
            unit,
            ours: Job { threads: 64, ..job(Kind::Power, Engine::Pkv, scale.entries_synced) },
            prepare: None,
            other: Some(Job {
                threads: 64,
                ..job(Kind::Power, Engine::PersistentKv, scale.entries_synced / 4)
            }),
            goal,
            rounds: 3,
        });
    }
}

fn entries(count: u64) -> String {
    format!("{} M", count / 1_000_000)
}
