//! The lives of the child: started, watched, killed at a random moment, started again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::child::{CHILD_COMMAND, LIST, Report};
use super::corpus::Corpus;
use super::milliseconds;
use crate::{Failure, Outcome, failed};

/// Files that are left for the last life at least, where there are enough: a kill comes a little late.
const FILES_LEFT_MIN: u64 = 32;
/// How much later than a file's acknowledgement a kill may come: about the time of a few batches.
const DELAY_MAX: Duration = Duration::from_millis(3);
/// When a kill may come that is meant for the opening of the store, at the latest, if openings are short.
const EARLY_MAX: Duration = Duration::from_millis(20);

/// What happened in all lives so far.
pub(super) struct Lives {
    folder: PathBuf,
    files_total: u64,
    random: Random,
    kills: u32,
    /// Files whose batch was acknowledged, or found after a restart.
    files_done: u64,
    writes: u64,
    write_time: Duration,
    longest_open: Duration,
    memory_bytes: u64,
}

/// When a life ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Some time after the start of the process: before, while or just after the store opens.
    AfterStart(Duration),
    /// Some time after so many files were acknowledged in this life.
    AfterFiles(u64, Duration),
    /// By itself.
    Natural,
}

/// What was seen of one life.
#[derive(Default)]
struct Seen {
    open: Option<(Duration, u64)>,
    files: u64,
    is_complete: bool,
}

impl Lives {
    pub(super) fn new(folder: &Path, corpus: &Corpus, random: Random) -> Result<Self, Failure> {
        if let Some(file) = corpus.files().iter().find(|file| file.contains('\n')) {
            return Err(Failure::Task(format!("{file:?}: no line breaks in names, please")));
        }
        std::fs::write(folder.join(LIST), corpus.files().join("\n"))
            .map_err(failed(folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            files_total: u64::try_from(corpus.files().len()).unwrap_or(u64::MAX),
            random,
            kills: 0,
            files_done: 0,
            writes: 0,
            write_time: Duration::ZERO,
            longest_open: Duration::ZERO,
            memory_bytes: 0,
        })
    }

    /// Kills `kills` children, or fewer if one finishes before its time, then lets one finish.
    pub(super) fn run(&mut self, kills: u32) -> Outcome {
        println!("  life  ended by     files found  added in it     opened in");
        for life in 1..=kills {
            let end = self.choose_end(kills - life + 1);
            let seen = self.live(end)?;
            if seen.is_complete {
                println!(
                    "  the work was done before kill {life} of {kills}: more files would allow more kills"
                );
                break;
            }
            self.kills += 1;
            Self::show(life, end, &seen);
        }
        let seen = self.live(End::Natural)?;
        Self::show(self.kills + 1, End::Natural, &seen);
        if !seen.is_complete || self.files_done != self.files_total {
            let what =
                format!("{} of {} files done, and no kill", self.files_done, self.files_total);
            return Err(Failure::Task(what));
        }
        Ok(())
    }

    /// Spreads the kills that are left over the files that are left; one in four is meant for the opening.
    fn choose_end(&mut self, kills_left: u32) -> End {
        if self.random.below(4) == 0 {
            let latest = EARLY_MAX.max(self.longest_open * 2);
            return End::AfterStart(self.random.duration(latest));
        }
        let files_left = self.files_total.saturating_sub(self.files_done);
        let spread = 2 * files_left / (u64::from(kills_left) + 1);
        let files = self.random.below(spread.min(files_left.saturating_sub(FILES_LEFT_MIN)) + 1);
        End::AfterFiles(files, self.random.duration(DELAY_MAX))
    }

    fn live(&mut self, end: End) -> Result<Seen, Failure> {
        let program = std::env::current_exe().map_err(failed("finding this program"))?;
        let mut child = Command::new(program)
            .arg(CHILD_COMMAND)
            .arg(&self.folder)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("starting the child"))?;
        let started = Instant::now();
        let watched = self.watch(&mut child, end, started);
        if watched.is_err() {
            // Whatever went wrong, no child is left behind; that it may be dead already is no news.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed("waiting for the child"))?;
        let seen = watched?;
        let was_killed = status.code().is_none();
        if !was_killed && !status.success() {
            return Err(Failure::Task(format!("the child failed by itself: {status}")));
        }
        Ok(seen)
    }

    /// Reads what the child says until it is dead, and kills it when its time has come. What it said
    /// before it died still stands in the pipe and counts.
    fn watch(&mut self, child: &mut Child, end: End, started: Instant) -> Result<Seen, Failure> {
        let stdout =
            child.stdout.take().ok_or_else(|| Failure::Task("the child has no output".into()))?;
        let mut seen = Seen::default();
        if let End::AfterStart(delay) = end {
            std::thread::sleep(delay.saturating_sub(started.elapsed()));
            child.kill().map_err(failed("killing"))?;
        }
        let mut kill_if_due = |seen: &Seen| match end {
            End::AfterFiles(files, delay) if files == seen.files => {
                std::thread::sleep(delay);
                child.kill().map_err(failed("killing"))
            }
            _ => Ok(()),
        };
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(failed("reading from the child"))?;
            // The kill may have cut the last line short.
            let Ok(report) = line.parse::<Report>() else { continue };
            match report {
                Report::Open { time, files, words_of_files, words } => {
                    self.check_found(files, words_of_files, words)?;
                    self.longest_open = self.longest_open.max(time);
                    seen.open = Some((time, files));
                    kill_if_due(&seen)?;
                }
                Report::File { writes, time } => {
                    seen.files += 1;
                    self.files_done += 1;
                    self.writes += writes;
                    self.write_time += time;
                    kill_if_due(&seen)?;
                }
                Report::End { memory_bytes } => {
                    self.memory_bytes = memory_bytes;
                    seen.is_complete = true;
                }
            }
        }
        Ok(seen)
    }

    /// After a restart: all that was acknowledged, at most the one batch more whose acknowledgement
    /// the kill swallowed, and every batch whole.
    fn check_found(&mut self, files: u64, words_of_files: u64, words: u64) -> Outcome {
        let acknowledged = self.files_done;
        if files < acknowledged {
            let what = format!("lost: {acknowledged} files were acknowledged, {files} are there");
            return Err(Failure::Task(what));
        }
        if files > acknowledged + 1 {
            let what = format!(
                "{files} files are there, {acknowledged} were acknowledged: more than one in flight"
            );
            return Err(Failure::Task(what));
        }
        if words_of_files != words {
            let what = format!(
                "a torn batch: the files have {words_of_files} words, the words' counts are {words}"
            );
            return Err(Failure::Task(what));
        }
        self.files_done = files;
        Ok(())
    }

    fn show(life: u32, end: End, seen: &Seen) {
        let cause = match end {
            End::Natural => "itself",
            End::AfterStart(_) => "early kill",
            End::AfterFiles(..) => "kill",
        };
        let (opened, found) = match seen.open {
            Some((time, files)) => (format!("{:.1} ms", milliseconds(time)), files.to_string()),
            None => ("not yet open".into(), "-".into()),
        };
        println!("  {life:>4}  {cause:10}  {found:>12}  {:>11}  {opened:>12}", seen.files);
    }

    pub(super) fn kills(&self) -> u32 {
        self.kills
    }

    pub(super) fn longest_open(&self) -> Duration {
        self.longest_open
    }

    pub(super) fn memory_bytes(&self) -> Option<u64> {
        (self.memory_bytes != 0).then_some(self.memory_bytes)
    }

    #[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "a rate for people")]
    pub(super) fn writes_per_second(&self) -> f64 {
        self.writes as f64 / self.write_time.as_secs_f64().max(1e-9)
    }
}

/// A small generator of random numbers (splitmix64), so that a seed repeats the choices of a run.
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn seed_of_this_moment() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |time| u64::from(time.subsec_nanos()))
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `end` - 1; 0 if `end` is 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    fn duration(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lives(files_done: u64) -> Lives {
        Lives {
            folder: PathBuf::new(),
            files_total: 100,
            random: Random::new(1),
            kills: 0,
            files_done,
            writes: 0,
            write_time: Duration::ZERO,
            longest_open: Duration::ZERO,
            memory_bytes: 0,
        }
    }

    #[test]
    fn a_restart_that_lost_or_made_up_or_tore_something_is_found() {
        assert!(lives(10).check_found(10, 5, 5).is_ok());
        assert!(lives(10).check_found(11, 5, 5).is_ok());
        assert!(lives(10).check_found(9, 5, 5).is_err());
        assert!(lives(10).check_found(12, 5, 5).is_err());
        assert!(lives(10).check_found(10, 5, 6).is_err());
    }

    #[test]
    fn the_kills_leave_work_for_the_last_life() {
        for seed in 0..1000 {
            let mut lives = Lives { random: Random::new(seed), files_total: 1000, ..lives(0) };
            for kills_left in (1..=7).rev() {
                if let End::AfterFiles(files, _) = lives.choose_end(kills_left) {
                    lives.files_done += files;
                }
            }
            assert!(lives.files_done <= lives.files_total - FILES_LEFT_MIN, "seed {seed}");
        }
    }
}
