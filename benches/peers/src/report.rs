//! Runs the rows and prints the table.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::Error;
use crate::engines::{KEY_BYTES, VALUE_BYTES};
use crate::jobs::{Figures, Job};
use crate::machine;
use crate::rows::{Goal, Row, Scale, Unit, rows};
use crate::statistics::Spread;

pub(crate) fn run(words: &[String]) -> Result<(), Error> {
    let is_quick = words.iter().any(|word| word == "--quick");
    let names: Vec<&String> = words.iter().filter(|word| *word != "--quick").collect();
    let mut rows = rows(if is_quick { Scale::QUICK } else { Scale::FULL });
    if let Some(unknown) = names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
        let mut known: Vec<_> = rows.iter().map(|row| row.name).collect();
        known.dedup();
        return Err(
            format!("no row `{unknown}`; there are {}, and `micro`", known.join(", ")).into()
        );
    }
    rows.retain(|row| names.is_empty() || names.iter().any(|name| row.name == **name));

    println!("{KEY_BYTES}-byte random keys, {VALUE_BYTES}-byte values; {}", machine::description());
    println!(
        "medians of interleaved rounds; ratio: median (least..greatest) over the rounds, ours / other\n"
    );
    println!(
        "{:62} {:>9} {:>9}  {:24} {:>14}  reached",
        "figure; other", "ours", "other", "ratio", "goal"
    );
    let start = Instant::now();
    let folder = Folder::create()?;
    let mut is_reached = true;
    for rows in batches(&rows) {
        for (row, measured) in rows.iter().zip(measure(rows, &folder.path)?) {
            is_reached &= print(row, &measured);
        }
    }
    let verdict = if is_reached { "every goal is reached" } else { "NOT every goal is reached" };
    println!("\n{verdict}; {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Rows one after the other that ask the same job of ours: they share its rounds.
fn batches(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| a.ours == b.ours && a.rounds == b.rounds)
}

/// The figures of one row, one for each round.
#[derive(Debug, Default)]
struct Measured {
    ours: Vec<f64>,
    others: Vec<f64>,
}

/// Every job of these rows once in each round, and the same job only once for all rows that ask for it.
fn measure(rows: &[Row], folder: &Path) -> Result<Vec<Measured>, Error> {
    let mut jobs: Vec<Job> = Vec::new();
    for job in rows.iter().flat_map(|row| std::iter::once(row.ours).chain(row.other)) {
        if !jobs.contains(&job) {
            jobs.push(job);
        }
    }
    let prepare = rows.first().and_then(|row| row.prepare);
    let store = |job: &Job| folder.join(job.engine.name());
    if let Some(kind) = prepare {
        for job in &jobs {
            Job { kind, ..*job }.spawn(&store(job))?;
        }
    }
    let mut measured: Vec<Measured> = rows.iter().map(|_| Measured::default()).collect();
    for _ in 0..rows.first().map_or(0, |row| row.rounds) {
        let mut round: Vec<(Job, Figures)> = Vec::new();
        for job in &jobs {
            round.push((*job, job.spawn(&store(job))?));
            if prepare.is_none() {
                remove(&store(job))?;
            }
        }
        for (row, measured) in rows.iter().zip(&mut measured) {
            measured.ours.push(figure(&round, &row.ours, row.figure)?);
            if let Some(other) = &row.other {
                measured.others.push(figure(&round, other, row.figure)?);
            }
        }
    }
    for job in &jobs {
        remove(&store(job))?;
    }
    Ok(measured)
}

fn figure(round: &[(Job, Figures)], job: &Job, name: &str) -> Result<f64, Error> {
    let figures = round.iter().find(|(done, _)| done == job).map(|(_, figures)| figures);
    let figure = figures.and_then(|figures| figures.get(name));
    figure.copied().ok_or_else(|| format!("{job:?} printed no `{name}`").into())
}

/// Prints one line; returns whether its goal is reached.
fn print(row: &Row, measured: &Measured) -> bool {
    let show = |figures: &[f64]| {
        Spread::of(figures).map_or("-".into(), |spread| shown(spread.median, row.unit))
    };
    let ratio = Spread::of_ratios(&measured.ours, &measured.others);
    let ours = Spread::of(&measured.ours);
    let (goal, is_reached) = judge(row, ours, ratio);
    println!(
        "{:62} {:>9} {:>9}  {:24} {goal:>14}  {}",
        row.title,
        show(&measured.ours),
        show(&measured.others),
        ratio.map_or("-".into(), |ratio| ratio.to_string()),
        match is_reached {
            None => "-",
            Some(true) => "yes",
            Some(false) => "NO",
        }
    );
    is_reached != Some(false)
}

/// The goal in words, and whether it is reached; `None` where there is none.
fn judge(row: &Row, ours: Option<Spread>, ratio: Option<Spread>) -> (String, Option<bool>) {
    let median = ours.map_or(f64::NAN, |ours| ours.median);
    let max = ours.map_or(f64::NAN, |ours| ours.max);
    match row.goal {
        Goal::RatioAtLeast(least) => {
            (format!("ratio >= {least}"), Some(ratio.is_some_and(|ratio| ratio.median >= least)))
        }
        Goal::AtLeast(least) => (format!(">= {}", shown(least, row.unit)), Some(median >= least)),
        Goal::AtMost(most) => (format!("<= {}", shown(most, row.unit)), Some(median <= most)),
        Goal::AlwaysBelow(limit) => {
            (format!("max < {}", shown(limit, row.unit)), Some(max < limit))
        }
        Goal::None => ("-".into(), None),
    }
}

fn shown(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::Millions => format!("{:.2}", figure / 1e6),
        Unit::Thousands => format!("{:.1}", figure / 1e3),
        Unit::Mebibytes => format!("{:.2}", figure / 1024.0 / 1024.0),
        Unit::Milliseconds | Unit::Microseconds | Unit::Plain => format!("{figure:.2}"),
    }
}

/// Where the stores live while they are measured: below the folder this program was built in, since that is on a
/// disk and a temporary folder is often in memory.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create() -> Result<Self, Error> {
        let program = std::env::current_exe()?;
        let beside = program.parent().ok_or("this program lies nowhere")?;
        let path = beside.join(format!("stores-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A failure leaves a folder below `target`, which is nobody's loss.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn remove(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(goal: Goal, ours: &[f64], others: &[f64]) -> Option<bool> {
        let mut rows = rows(Scale::QUICK);
        let row = Row { goal, ..rows.remove(0) };
        judge(&row, Spread::of(ours), Spread::of_ratios(ours, others)).1
    }

    #[test]
    fn goals_are_judged_by_the_median_and_limits_by_the_worst() {
        assert_eq!(
            reached(Goal::RatioAtLeast(1.5), &[3.0, 1.0, 4.0], &[2.0, 2.0, 2.0]),
            Some(true)
        );
        assert_eq!(
            reached(Goal::RatioAtLeast(1.5), &[3.0, 1.0, 2.0], &[2.0, 2.0, 2.0]),
            Some(false)
        );
        assert_eq!(reached(Goal::RatioAtLeast(1.5), &[3.0], &[]), Some(false));
        assert_eq!(reached(Goal::AtMost(1.06), &[1.05, 1.06, 2.0], &[]), Some(true));
        assert_eq!(reached(Goal::AtLeast(20.0), &[19.0], &[]), Some(false));
        assert_eq!(reached(Goal::AlwaysBelow(10.0), &[1.0, 1.0, 10.0], &[]), Some(false));
        assert_eq!(reached(Goal::AtMost(1.0), &[], &[]), Some(false));
        assert_eq!(reached(Goal::None, &[1.0], &[1.0]), None);
    }
}
