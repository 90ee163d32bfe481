//! Runs the jobs of rows, round by round, each in a process and a folder of its own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Error;
use crate::engines::Engine;
use crate::jobs::{Figures, Job};
use crate::rows::{Prepare, Rounds, Row};

/// Rows one after the other that are measured together: each job once a round, whoever asks for it.
pub(crate) fn batches(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| a.name == b.name && a.rounds == b.rounds && a.prepare == b.prepare)
}

/// What came out for one row: a figure for each round, `None` where the job failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) ours: Vec<Option<f64>>,
    /// As the row's others.
    pub(crate) others: Vec<Vec<Option<f64>>>,
}

/// How long a report may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) start: Instant,
    /// After so long no batch is begun.
    pub(crate) limit: Duration,
    /// So long a batch goes on beyond its least rounds.
    pub(crate) batch_limit: Duration,
    /// A job that takes longer is killed.
    pub(crate) job_limit: Duration,
}

impl Clock {
    pub(crate) fn is_up(&self) -> bool {
        self.start.elapsed() >= self.limit
    }
}

/// The jobs that these rows ask for, each once.
pub(crate) fn jobs(rows: &[Row]) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    for row in rows {
        for job in std::iter::once(row.ours).chain(row.others.iter().map(|other| other.job)) {
            if !jobs.contains(&job) {
                jobs.push(job);
            }
        }
    }
    jobs
}

/// Measures rows that are one batch. A job that fails is told and not run again; its figures are missing.
pub(crate) fn measure(rows: &[Row], folder: &Path, clock: Clock) -> Result<Vec<Measured>, Error> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let jobs = jobs(rows);
    let store = |at: usize| folder.join(at.to_string());
    let mut measured: Vec<Measured> = rows.iter().map(Measured::empty).collect();
    let mut failed: Vec<Job> = Vec::new();
    let start = Instant::now();
    let Rounds { least, most } = first.rounds;
    for round in 0..most {
        // A round is begun where its end is likely within the limit.
        let spent = start.elapsed();
        let of_round = spent / u32::try_from(round.max(1))?;
        if round >= least && (spent + of_round > clock.batch_limit || clock.is_up()) {
            break;
        }
        let mut done: Vec<(Job, Figures)> = Vec::new();
        for (at, job) in jobs.iter().enumerate() {
            if failed.contains(job) {
                continue;
            }
            match run(job, first.prepare, round, &store(at), clock.job_limit) {
                Ok(figures) => done.push((*job, figures)),
                Err(error) => {
                    eprintln!("failed: {error}");
                    failed.push(*job);
                }
            }
            if first.prepare.is_none_or(|prepare| prepare.each_round) {
                remove(&store(at))?;
            }
        }
        for (row, measured) in rows.iter().zip(&mut measured) {
            measured.ours.push(figure(&done, &row.ours, row.figure));
            for (other, figures) in row.others.iter().zip(&mut measured.others) {
                figures.push(figure(&done, &other.job, row.figure));
            }
        }
    }
    (0..jobs.len()).try_for_each(|at| remove(&store(at)))?;
    Ok(measured)
}

impl Measured {
    pub(crate) fn empty(row: &Row) -> Self {
        Self { ours: Vec::new(), others: vec![Vec::new(); row.others.len()] }
    }
}

fn run(
    job: &Job,
    prepare: Option<Prepare>,
    round: usize,
    folder: &Path,
    limit: Duration,
) -> Result<Figures, Error> {
    if let Some(prepare) = prepare
        && (prepare.each_round || round == 0)
    {
        Job { kind: prepare.kind, ..*job }.spawn(folder, limit)?;
    }
    job.spawn(folder, limit)
}

fn figure(done: &[(Job, Figures)], job: &Job, name: &str) -> Option<f64> {
    let (_, figures) = done.iter().find(|(done, _)| done == job)?;
    figures.get(name).copied()
}

/// The rows without the engines that cannot be measured here, and these with the reason.
pub(crate) fn without_missing(rows: &mut [Row]) -> Vec<(Engine, &'static str)> {
    let mut missing: Vec<(Engine, &'static str)> = Vec::new();
    for row in rows {
        row.others.retain(|other| match other.job.engine.missing() {
            None => true,
            Some(why) => {
                if !missing.iter().any(|(engine, _)| *engine == other.job.engine) {
                    missing.push((other.job.engine, why));
                }
                false
            }
        });
    }
    missing
}

/// The rows that this machine has room for, and for each of the others why it has not: by the bytes of all entries,
/// four times as much free disk and twice as much memory.
pub(crate) fn with_room(
    rows: Vec<Row>,
    memory_bytes: u64,
    free_bytes: Option<u64>,
) -> (Vec<Row>, Vec<String>) {
    let mut skipped = Vec::new();
    let fits = |row: &Row| {
        let bytes = row.ours.entries * row.ours.payload_bytes();
        let has_disk = free_bytes.is_none_or(|free| 4 * bytes <= free);
        (memory_bytes == 0 || 2 * bytes <= memory_bytes) && has_disk
    };
    let (fitting, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(fits);
    for row in others {
        let gib = (row.ours.entries * row.ours.payload_bytes()).div_ceil(1 << 30);
        skipped.push(format!(
            "{}: {gib} GiB of entries need {} GiB of memory and {} GiB of free disk",
            row.title,
            2 * gib,
            4 * gib
        ));
    }
    (fitting, skipped)
}

/// Where the stores live while they are measured: below the folder this program was built in, since that is on a
/// disk and a temporary folder is often in memory.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
}

impl Folder {
    pub(crate) fn create() -> Result<Self, Error> {
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
    use crate::rows::{Scale, rows};

    #[test]
    fn rows_of_one_batch_have_their_name_their_rounds_and_their_preparation() {
        let rows = rows(Scale::FULL);
        let names: Vec<&str> = batches(&rows).map(|batch| batch[0].name).collect();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(names, once, "what could be measured together is");
        assert_eq!(batches(&rows).map(<[Row]>::len).sum::<usize>(), rows.len());
    }

    #[test]
    fn an_engine_that_is_not_there_is_left_out_and_named() {
        let mut rows = rows(Scale::FULL);
        let missing = without_missing(&mut rows);
        for engine in Engine::ALL {
            let is_asked = rows.iter().flat_map(|row| &row.others).any(|o| o.job.engine == engine);
            let is_missing = missing.iter().any(|(missing, _)| *missing == engine);
            assert_eq!(is_missing, engine.missing().is_some(), "{}", engine.name());
            assert!(!(is_asked && is_missing), "{}", engine.name());
        }
    }
}
