//! The rows of the report: which jobs, how often, and what must come out.

mod goals;
mod workloads;

use std::time::Duration;

use crate::engines::{Engine, Level};
use crate::jobs::{Job, Kind};
use crate::statistics::Spread;

/// One figure, measured for one job of ours and for those that it is held against.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The word that selects it on the command line. Rows that share it are measured together, round by round.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// Which of the job's figures, and how it is shown.
    pub(crate) figure: &'static str,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
    pub(crate) ours: Job,
    /// Of our figure alone.
    pub(crate) goal: Goal,
    /// The older goal, which must hold in any case: of the kind of `goal`.
    pub(crate) floor: Option<f64>,
    pub(crate) others: Vec<Other>,
    /// Against the best of the others in each round: our figure is at least so many times as good.
    pub(crate) best: Option<f64>,
    /// A store that is there before the job.
    pub(crate) prepare: Option<Prepare>,
    pub(crate) rounds: Rounds,
    /// The curve it is a point of: the chart's title, what is on the axis, and where it lies.
    pub(crate) curve: Option<Curve>,
    /// What the figure is made of, for the reader of a goal that is not reached.
    pub(crate) note: Option<&'static str>,
    /// Whether it goes into README's table, and into the short report.
    pub(crate) rank: Rank,
}

/// What a row is held against.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    pub(crate) label: String,
    pub(crate) job: Job,
    /// The median of the ratios is at least this; for comparison if `None`.
    pub(crate) at_least: Option<f64>,
    /// The project's older goal, which must hold in any case.
    pub(crate) floor: Option<f64>,
}

/// What makes a store before a job opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prepare {
    pub(crate) kind: Kind,
    /// Opening changes it, so it is made anew for each round.
    pub(crate) each_round: bool,
}

/// How often a row is measured: `least` times, then on to `most` while its batch has time left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rounds {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

/// A point of a curve.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) chart: &'static str,
    pub(crate) axis: &'static str,
    pub(crate) x: u64,
    /// `x` in words.
    pub(crate) mark: String,
}

/// How much a row matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// A goal of the project: in README's table and in every report.
    Goal,
    /// In every report.
    Short,
    /// In the full report.
    Full,
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
    /// Bytes a second, in MB.
    Megabytes,
    Bytes,
    Milliseconds,
    Microseconds,
    Nanoseconds,
    /// A plain number.
    Plain,
}

/// Which way a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// What must come out for our figure alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// The median is at least this.
    AtLeast(f64),
    /// The median is at most this.
    AtMost(f64),
    /// No round's figure reaches this.
    AlwaysBelow(f64),
    /// For comparison.
    None,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Millions => "M/s",
            Self::Thousands => "k/s",
            Self::Mebibytes => "MiB",
            Self::Megabytes => "MB/s",
            Self::Bytes => "B",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
            Self::Plain => "",
        }
    }

    /// The figure without its unit, with three digits that mean something.
    pub(crate) fn show(self, figure: f64) -> String {
        let shown = match self {
            Self::Millions | Self::Megabytes => figure / 1e6,
            Self::Thousands => figure / 1e3,
            Self::Mebibytes => figure / 1024.0 / 1024.0,
            Self::Bytes | Self::Nanoseconds => return format!("{figure:.0}"),
            Self::Milliseconds | Self::Microseconds | Self::Plain => figure,
        };
        match shown.abs() {
            large if large >= 99.95 => format!("{shown:.0}"),
            middle if middle >= 9.995 => format!("{shown:.1}"),
            small if small < 0.0995 && small != 0.0 => format!("{shown:.3}"),
            _ => format!("{shown:.2}"),
        }
    }

    /// The median with the least and the greatest, if they differ.
    pub(crate) fn show_spread(self, spread: Spread) -> String {
        let [median, min, max] = [spread.median, spread.min, spread.max].map(|x| self.show(x));
        if min == max { median } else { format!("{median} ({min}..{max})") }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) entries: u64,
    pub(crate) entries_large: u64,
    pub(crate) entries_opened: u64,
    /// Of the slowest peers, which would take minutes.
    pub(crate) entries_slow: u64,
    /// How long a job of a goal calls.
    pub(crate) millis: u64,
    /// The same where a job makes several kinds of calls, one after the other.
    pub(crate) millis_each: u64,
    /// Of goals whose figures differ from round to round.
    pub(crate) rounds: Rounds,
    pub(crate) rounds_few: Rounds,
    /// So long a batch goes on beyond its least rounds.
    pub(crate) batch_limit: Duration,
    /// A job that takes longer is killed and has failed.
    pub(crate) job_limit: Duration,
    /// After so many minutes no batch is begun, unless the command line says another number.
    pub(crate) minutes: u64,
    /// The sizes of growing data are divided by this.
    pub(crate) growth_divisor: u64,
    pub(crate) is_quick: bool,
}

impl Scale {
    /// Under twenty minutes on two cores.
    pub(crate) const FULL: Self = Self {
        entries: 1_000_000,
        entries_large: 10_000_000,
        entries_opened: 5_000_000,
        entries_slow: 200_000,
        millis: 1000,
        millis_each: 300,
        rounds: Rounds { least: 3, most: 5 },
        rounds_few: Rounds { least: 1, most: 3 },
        batch_limit: Duration::from_secs(30),
        job_limit: Duration::from_secs(180),
        minutes: 20,
        growth_divisor: 1,
        is_quick: false,
    };
    /// About three minutes.
    pub(crate) const QUICK: Self = Self {
        entries_large: 2_000_000,
        entries_opened: 1_000_000,
        entries_slow: 100_000,
        millis: 500,
        rounds: Rounds { least: 3, most: 3 },
        rounds_few: Rounds { least: 1, most: 1 },
        minutes: 6,
        is_quick: true,
        ..Self::FULL
    };

    /// All of it with so few entries: to see that everything runs. Its figures mean nothing.
    pub(crate) fn tried_with(self, entries: u64) -> Self {
        Self {
            entries,
            entries_large: 2 * entries,
            entries_opened: entries,
            entries_slow: entries,
            millis: 20,
            millis_each: 20,
            rounds: Rounds { least: 1, most: 2 },
            rounds_few: Rounds { least: 1, most: 1 },
            growth_divisor: (1_000_000 / entries.max(1)).max(1),
            ..self
        }
    }
}

/// All rows of this scale, in the order of the report.
pub(crate) fn rows(scale: Scale) -> Vec<Row> {
    let mut rows = goals::rows(scale);
    rows.extend(workloads::rows(scale));
    rows.retain(|row| row.rank != Rank::Full || !scale.is_quick);
    rows
}

impl Row {
    /// A row for comparison, of a figure a second.
    fn new(name: &'static str, title: impl Into<String>, ours: Job) -> Self {
        Self {
            name,
            title: title.into(),
            figure: "per_second",
            unit: Unit::Millions,
            better: Better::Higher,
            ours,
            goal: Goal::None,
            floor: None,
            others: Vec::new(),
            best: None,
            prepare: None,
            rounds: Rounds { least: 1, most: 3 },
            curve: None,
            note: None,
            rank: Rank::Full,
        }
    }

    fn figure(self, figure: &'static str, unit: Unit, better: Better) -> Self {
        Self { figure, unit, better, ..self }
    }

    fn rounds(self, rounds: Rounds) -> Self {
        Self { rounds, ..self }
    }

    fn rank(self, rank: Rank) -> Self {
        Self { rank, ..self }
    }

    fn goal(self, goal: Goal) -> Self {
        Self { goal, rank: Rank::Goal, ..self }
    }

    /// Against the same job of an engine, with a goal or without.
    fn against(self, engine: Engine, at_least: Option<f64>) -> Self {
        let job = Job { engine, ..self.ours };
        self.against_job(engine.name(), job, at_least)
    }

    fn against_job(mut self, label: &str, job: Job, at_least: Option<f64>) -> Self {
        self.others.push(Other { label: label.to_owned(), job, at_least, floor: None });
        self
    }

    /// Gives the goal against the other that was added last, or if there is none our own, its older one.
    fn floor(mut self, floor: f64) -> Self {
        match self.others.last_mut() {
            Some(other) => other.floor = Some(floor),
            None => self.floor = Some(floor),
        }
        self
    }

    /// Against the same job of each of these that has what it needs, for comparison.
    fn beside(self, engines: &[Engine]) -> Self {
        let offers =
            |engine: &Engine| self.ours.level == Level::Process || engine.facts().power.is_some();
        let fitting: Vec<Engine> = engines.iter().copied().filter(offers).collect();
        fitting.into_iter().fold(self, |row, engine| row.against(engine, None))
    }

    fn prepared(self, kind: Kind, each_round: bool) -> Self {
        Self { prepare: Some(Prepare { kind, each_round }), ..self }
    }

    fn point(self, chart: &'static str, axis: &'static str, x: u64, mark: String) -> Self {
        Self { curve: Some(Curve { chart, axis, x, mark }), ..self }
    }

    fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }
}

/// A number of entries in words.
fn entries(count: u64) -> String {
    match count {
        0 => "0".into(),
        count if count % 1_000_000 == 0 => format!("{} M", count / 1_000_000),
        count if count % 1000 == 0 => format!("{} k", count / 1000),
        count => count.to_string(),
    }
}

/// A number of bytes in words.
fn bytes(count: u64) -> String {
    match count {
        count if count >= 1 << 20 && count % (1 << 20) == 0 => format!("{} MiB", count >> 20),
        count if count >= 1 << 10 && count % (1 << 10) == 0 => format!("{} KiB", count >> 10),
        count => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_in_the_short_report_and_in_the_full_one() {
        let names = |scale: Scale| -> Vec<(&str, &str)> {
            let goals = rows(scale).into_iter().filter(|row| row.rank == Rank::Goal);
            goals.map(|row| (row.name, row.figure)).collect()
        };
        assert_eq!(names(Scale::QUICK), names(Scale::FULL));
        assert!(rows(Scale::FULL).len() > rows(Scale::QUICK).len());
    }

    #[test]
    fn titles_tell_rows_apart() {
        let mut titles: Vec<String> = rows(Scale::FULL).into_iter().map(|row| row.title).collect();
        let count = titles.len();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), count);
    }

    /// Some stood twice beside the same figure, and were measured twice.
    #[test]
    fn no_row_asks_an_engine_twice() {
        for row in rows(Scale::FULL) {
            for (index, other) in row.others.iter().enumerate() {
                let before = row.others.iter().take(index);
                let twice = before.filter(|before| before.job == other.job).count();
                assert_eq!(twice, 0, "{}: {:?}", row.title, other.job.engine);
            }
        }
    }

    #[test]
    fn no_row_asks_an_engine_for_what_it_does_not_offer() {
        for row in rows(Scale::FULL) {
            for job in row.others.iter().map(|other| other.job).chain([row.ours]) {
                let power = job.engine.facts().power;
                assert!(job.level == Level::Process || power.is_some(), "{}", row.title);
                assert!(row.unit == Unit::Plain || !row.unit.name().is_empty());
            }
        }
    }

    #[test]
    fn figures_have_three_digits() {
        let shown =
            [0.034, 2.5, 9.996, 12.34, 99.96, 1234.0].map(|figure| Unit::Plain.show(figure));
        assert_eq!(shown, ["0.034", "2.50", "10.0", "12.3", "100", "1234"]);
        assert_eq!([Unit::Thousands.show(500.0), Unit::Bytes.show(8192.0)], ["0.50", "8192"]);
    }

    #[test]
    fn numbers_in_words() {
        assert_eq!([entries(5_000_000), entries(100_000), entries(7)], ["5 M", "100 k", "7"]);
        assert_eq!([bytes(8), bytes(1024), bytes(1 << 20)], ["8 B", "1 KiB", "1 MiB"]);
    }
}
