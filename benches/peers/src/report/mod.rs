//! The report: a table while it is measured, then files: `measurements.csv` (every round), `report.csv` (each row),
//! `figures.md` (README's table), `report.html` (all of it, with pictures, in one file).

mod csv;
mod figures;
mod html;
mod svg;
mod table;
mod verdict;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pkv_fs::{Fs, StdFs};

use crate::Error;
use crate::engines::Engine;
use crate::machine::{Machine, Ticks};
use crate::measure::{Clock, Folder, Measured, batches, measure, with_room, without_missing};
use crate::rows::{Rank, Row, Scale, rows};
use verdict::Verdict;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    is_quick: bool,
    /// Built without the peers that take long; said in the report, no more.
    is_light: bool,
    lists: bool,
    /// Every job with so few entries that its figures mean nothing: does it run?
    try_entries: Option<u64>,
    /// After so many minutes no batch is begun.
    minutes: Option<u64>,
    /// Where the files go; beside the program if `None`.
    out: Option<PathBuf>,
    names: Vec<String>,
}

impl Request {
    fn of(words: &[String]) -> Result<Self, Error> {
        let mut request = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => request.is_quick = true,
                "--light" => request.is_light = true,
                "--list" => request.lists = true,
                "--try" => request.try_entries = Some(value()?.parse()?),
                "--minutes" => request.minutes = Some(value()?.parse()?),
                "--out" => request.out = Some(value()?.into()),
                word if word.starts_with('-') => return Err(format!("no option `{word}`").into()),
                word => request.names.push(word.to_owned()),
            }
        }
        Ok(request)
    }

    /// What makes this report again, wherever its files go.
    fn command(&self) -> String {
        let mut words = vec!["cargo xtask bench".to_owned()];
        words.extend(self.names.iter().cloned());
        words.extend(self.is_quick.then(|| "--quick".to_owned()));
        words.extend(self.is_light.then(|| "--light".to_owned()));
        words.extend(self.minutes.map(|minutes| format!("--minutes {minutes}")));
        words.extend(self.try_entries.map(|entries| format!("--try {entries}")));
        words.join(" ")
    }

    fn scale(&self) -> Scale {
        let scale = if self.is_quick { Scale::QUICK } else { Scale::FULL };
        self.try_entries.map_or(scale, |entries| scale.tried_with(entries))
    }

    fn clock(&self) -> Clock {
        let scale = self.scale();
        Clock {
            start: Instant::now(),
            limit: Duration::from_secs(60 * self.minutes.unwrap_or(scale.minutes)),
            batch_limit: scale.batch_limit,
            job_limit: scale.job_limit,
        }
    }

    fn rows(&self) -> Result<Vec<Row>, Error> {
        let mut rows = rows(self.scale());
        let unknown = self.names.iter().find(|name| !rows.iter().any(|row| row.name == **name));
        if let Some(unknown) = unknown {
            return Err(
                format!("no row `{unknown}`; there are {}, and `micro`", known(&rows)).into()
            );
        }
        rows.retain(|row| self.names.is_empty() || self.names.iter().any(|name| row.name == name));
        Ok(rows)
    }
}

fn known(rows: &[Row]) -> String {
    let mut known: Vec<_> = rows.iter().map(|row| row.name).collect();
    known.dedup();
    known.join(", ")
}

/// A row with what came out.
pub(crate) struct Outcome {
    pub(crate) row: Row,
    pub(crate) measured: Measured,
    pub(crate) verdicts: Vec<Verdict>,
}

/// All that the files are made of.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// The command that makes it again.
    pub(crate) command: String,
    /// `2026-01-31`, by this machine's clock.
    pub(crate) date: String,
    pub(crate) is_trial: bool,
    /// Whether goals are missing.
    pub(crate) is_part: bool,
    pub(crate) time: Duration,
    /// How much of the machine's processor time others took meanwhile.
    pub(crate) others_percent: f64,
    /// What was measured and what built it, as the environment says.
    pub(crate) revision: String,
    pub(crate) compiler: String,
    /// Rows that were not measured, and why.
    pub(crate) skipped: Vec<String>,
    pub(crate) missing: Vec<(Engine, &'static str)>,
    pub(crate) outcomes: Vec<Outcome>,
}

pub(crate) fn run(words: &[String]) -> Result<(), Error> {
    let request = Request::of(words)?;
    let mut rows = request.rows()?;
    if request.lists {
        rows.iter().for_each(|row| println!("{:12} {}", row.name, row.title));
        return Ok(());
    }
    let missing = without_missing(&mut rows);
    let folder = Folder::create()?;
    let machine = Machine::look(&folder.path);
    let (rows, skipped) = with_room(rows, machine.memory_bytes, StdFs.free_bytes(&folder.path)?);
    let mut report = Report {
        machine,
        command: request.command(),
        date: date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400),
        is_trial: request.try_entries.is_some(),
        is_part: !request.names.is_empty(),
        time: Duration::ZERO,
        others_percent: 0.0,
        revision: said("PKV_REVISION"),
        compiler: said("PKV_COMPILER"),
        skipped,
        missing,
        outcomes: Vec::new(),
    };
    table::print_head(&report, &rows);
    let clock = request.clock();
    let ticks = Ticks::now()?;
    for rows in batches(&rows) {
        if clock.is_up() {
            let why = |row: &Row| format!("{}: the time was up (--minutes gives more)", row.title);
            report.skipped.extend(rows.iter().map(why));
            report.is_part |= rows.iter().any(|row| row.rank == Rank::Goal);
            continue;
        }
        let start = Instant::now();
        for (row, measured) in rows.iter().zip(measure(rows, &folder.path, clock)?) {
            let verdicts = verdict::of(row, &measured);
            let outcome = Outcome { row: row.clone(), measured, verdicts };
            table::print(&outcome);
            report.outcomes.push(outcome);
        }
        let (seconds, name) = (start.elapsed().as_secs(), rows.first().map_or("", |row| row.name));
        println!("    -- {name}: {seconds} s\n");
    }
    report.time = clock.start.elapsed();
    report.others_percent = Ticks::now()?.others_percent(&ticks);
    table::print_end(&report);
    let out = match request.out {
        Some(out) => out,
        None => std::env::current_exe()?.with_file_name("report"),
    };
    write(&report, &out)
}

/// What `cargo xtask bench` tells of the source and the compiler.
fn said(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| "unknown".into())
}

fn write(report: &Report, folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder)?;
    let files = [
        ("measurements.csv", csv::measurements(report)),
        ("report.csv", csv::rows(report)),
        ("figures.md", figures::table(report)),
        ("report.html", html::page(report)),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    println!("written: {} and, beside it, the CSV files", folder.join("report.html").display());
    Ok(())
}

/// The day so many days after 1 January 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rows::Goal;

    /// A report of a few rows with figures of our own making.
    pub(crate) fn example() -> Report {
        let mut rows = rows(Scale::QUICK);
        without_missing(&mut rows);
        let outcomes = rows.into_iter().take(3).map(|row| {
            let others = row.others.iter().map(|_| vec![Some(1.0e6), None, Some(2.0e6)]).collect();
            let ours = vec![Some(2.0e6), Some(3.0e6), Some(4.0e6)];
            let measured = Measured { ours, others };
            let verdicts = verdict::of(&row, &measured);
            Outcome { row, measured, verdicts }
        });
        Report {
            machine: Machine::look(Path::new("/")),
            command: "cargo xtask bench --quick".into(),
            date: "2026-01-31".into(),
            is_trial: false,
            is_part: false,
            time: Duration::from_secs(90),
            others_percent: 12.3,
            revision: "0123abc".into(),
            compiler: "rustc 1.95.0".into(),
            skipped: vec!["a row: there is no room".into()],
            missing: vec![(Engine::Redis, "there is no redis-server <here>")],
            outcomes: outcomes.collect(),
        }
    }

    #[test]
    fn dates() {
        assert_eq!([date(0), date(59), date(11_016)], ["1970-01-01", "1970-03-01", "2000-02-29"]);
        assert_eq!([date(20_453), date(20_484)], ["2025-12-31", "2026-01-31"]);
    }

    #[test]
    fn requests() {
        let request =
            |words: &str| Request::of(&words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let wanted = request("get --quick --try 1000 --out x memory").unwrap();
        assert_eq!(wanted.command(), "cargo xtask bench get memory --quick --try 1000");
        assert!(wanted.is_quick && wanted.try_entries == Some(1000));
        assert_eq!(
            (wanted.out, wanted.names),
            (Some("x".into()), vec!["get".into(), "memory".into()])
        );
        assert!(request("--bogus").is_err() && request("--try").is_err());
        assert!(request("no-such-row").unwrap().rows().is_err());
        let rows = request("--quick stall").unwrap().rows().unwrap();
        assert!(rows.iter().all(|row| row.name == "stall"));
        assert!(rows.iter().any(|row| row.goal != Goal::None));
    }
}
