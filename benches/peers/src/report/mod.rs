//! The report: a table while it is measured, then files: `measurements.csv` (every round), `report.csv` (each row),
//! `figures.md` (README's table), `report.html` (all of it, with pictures, in one file).

mod csv;
mod figures;
mod html;
mod svg;
mod table;
mod verdict;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::engines::Engine;
use crate::machine::Machine;
use crate::measure::{Folder, Measured, batches, measure, without_missing};
use crate::rows::{Row, Scale, rows};
use verdict::Verdict;

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    is_quick: bool,
    lists: bool,
    /// Every job with so few entries that its figures mean nothing: does it run?
    try_entries: Option<u64>,
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
                "--list" => request.lists = true,
                "--try" => request.try_entries = Some(value()?.parse()?),
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
        words.extend(self.try_entries.map(|entries| format!("--try {entries}")));
        words.join(" ")
    }

    fn rows(&self) -> Result<Vec<Row>, Error> {
        let scale = if self.is_quick { Scale::QUICK } else { Scale::FULL };
        let scale = self.try_entries.map_or(scale, |entries| scale.tried_with(entries));
        let mut rows = rows(scale);
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
    let mut report = Report {
        machine: Machine::look(&folder.path),
        command: request.command(),
        date: date(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400),
        is_trial: request.try_entries.is_some(),
        missing,
        outcomes: Vec::new(),
    };
    table::print_head(&report, &rows);
    let start = Instant::now();
    for rows in batches(&rows) {
        for (row, measured) in rows.iter().zip(measure(rows, &folder.path)?) {
            let verdicts = verdict::of(row, &measured);
            let outcome = Outcome { row: row.clone(), measured, verdicts };
            table::print(&outcome);
            report.outcomes.push(outcome);
        }
    }
    table::print_end(&report, start.elapsed());
    let out = match request.out {
        Some(out) => out,
        None => std::env::current_exe()?.with_file_name("report"),
    };
    write(&report, &out)
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
