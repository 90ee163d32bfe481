//! Runs a workload once and tries crashes at all of its operations.

use std::any::Any;
use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::acks::{AckLog, Acked};
use crate::choice::{Choice, Crash};
use crate::disk::SimFs;
use crate::journal::Journal;
use crate::place::{Place, Step};
use crate::rng::{Rng, mix};

/// The environment variable that holds the line of a violation to repeat; see [`Explorer::replay`].
pub const REPLAY_VARIABLE: &str = "PKV_SIM_REPLAY";

/// Which operations of a run to crash at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cuts {
    /// Each one that changes the disk, and after the last one.
    All,
    /// So many of them, drawn by the seed.
    Sample(usize),
}

/// How to search for crashes that a store does not survive.
///
/// ```
/// # use pkv_sim::{Crash, Explorer};
/// let explorer = Explorer { seeds_per_cut: 20, nested: 2, ..Explorer::new(Crash::Strict) };
/// ```
#[derive(Clone, Debug)]
pub struct Explorer {
    /// How the machine goes down.
    pub crash: Crash,
    /// At which operations.
    pub cuts: Cuts,
    /// How many random disks per operation, besides the extremes: nothing unsynced survives, everything
    /// does, and all but one thing. Where nothing is unsynced there is one disk only.
    pub seeds_per_cut: u32,
    /// The first run's seed: for `random_u64` of its disk, and for all random choices.
    pub seed: u64,
    /// How many runs of the workload, each with the next seed. More than one is worth it for workloads with
    /// threads, whose runs differ, or with random contents.
    pub runs: u32,
    /// At how many operations of the verifier itself (that is, of the recovery) to crash again.
    /// What survives is verified once more, against the same acknowledgements.
    pub nested: u32,
    /// How it goes down the second time; `None` is the same way as the first. After a kill a power cut is
    /// worth a run of its own: what recovery has *read* need not be on the disk.
    pub nested_crash: Option<Crash>,
    /// Threads that verify.
    pub threads: usize,
    /// After so many violations the search ends.
    pub violations_max: usize,
    /// One violation to repeat, instead of a search: the part after `PKV_SIM_REPLAY=` of the line it
    /// prints. Taken from the environment at first. Explorers of another [`Crash`] then try nothing.
    ///
    /// It repeats the same disk if the workload calls the disk in the same order again, as a workload of one
    /// thread does. With several threads look at [`Violation::disk`] in the run that found it.
    pub replay: Option<String>,
}

impl Explorer {
    /// All operations, 8 random disks each, no nested crash, 2 threads.
    #[must_use]
    pub fn new(crash: Crash) -> Self {
        Self {
            crash,
            cuts: Cuts::All,
            seeds_per_cut: 8,
            seed: 1,
            runs: 1,
            nested: 0,
            nested_crash: None,
            threads: 2,
            violations_max: 10,
            replay: env::var(REPLAY_VARIABLE).ok(),
        }
    }

    /// Runs the workload on an empty disk, and then the verifier on what crashes at its operations leave.
    ///
    /// The workload runs to its end, once per [`Explorer::runs`]; the crashes are made afterwards from a
    /// record. It says by [`AckLog::ack`] what its store has promised. The verifier opens the store
    /// on the disk given, and returns what is wrong: at least everything acknowledged must be there. A
    /// panic of the verifier is a violation, too; a panic of the workload goes through to the caller.
    ///
    /// Costs one verification per state, plus a pointer per file and per sector of unsynced files.
    #[must_use = "a search that nobody looks at finds nothing"]
    pub fn run<T: Send + Sync>(
        &self,
        workload: impl Fn(&Arc<SimFs>, &AckLog<T>),
        verify: impl Fn(Arc<SimFs>, &Acked<T>) -> Result<(), String> + Sync,
    ) -> Report {
        let mut report = Report { states: 0, cuts: 0, violations: Vec::new() };
        let replay = match self.replay.as_deref().map(str::parse::<Place>) {
            Some(Ok(place)) if place.steps.first().is_none_or(|step| step.crash != self.crash) => {
                return report;
            }
            Some(Ok(place)) => Some(place),
            Some(Err(message)) => {
                let place = Place { seed: self.seed, steps: Vec::new() };
                report.violations.push(Violation { place, message, disk: SimFs::new(0) });
                return report;
            }
            None => None,
        };
        let seeds = (0..u64::from(self.runs)).map(|run| self.seed.wrapping_add(run));
        let seeds: Vec<u64> =
            replay.as_ref().map_or_else(|| seeds.collect(), |place| vec![place.seed]);
        for seed in seeds {
            let fs = SimFs::new(seed);
            fs.start_journal();
            let log = AckLog::new(&fs);
            workload(&fs, &log);
            let Some(journal) = fs.take_journal() else { continue };
            let search = Search {
                explorer: self,
                seed,
                journal,
                events: log.into_events(),
                verify: &verify,
                states: AtomicU64::new(0),
                violations: Mutex::new(Vec::new()),
                ended: AtomicBool::new(false),
                violations_left: self.violations_max.saturating_sub(report.violations.len()),
            };
            let cuts = match &replay {
                Some(place) => search.repeat(&place.steps),
                None => search.all(),
            };
            report.cuts = report.cuts.saturating_add(cuts);
            report.states = report.states.saturating_add(search.states.into_inner());
            let found = search.violations.into_inner().unwrap_or_else(PoisonError::into_inner);
            report.violations.extend(found);
            if report.violations.len() >= self.violations_max {
                break;
            }
        }
        report.violations.sort_by_key(Violation::op);
        report
    }

    fn sample(&self, seed: u64, mut cuts: Vec<u64>, wanted: usize) -> Vec<u64> {
        let mut rng = Rng::new(mix(self.seed, seed));
        let mut sample = BTreeSet::new();
        while sample.len() < wanted && !cuts.is_empty() {
            sample.insert(cuts.swap_remove(rng.index(cuts.len())));
        }
        sample.into_iter().collect()
    }
}

/// One run of a workload and what was found in it.
struct Search<'a, T, V> {
    explorer: &'a Explorer,
    seed: u64,
    journal: Journal,
    events: Arc<Vec<(u64, T)>>,
    verify: &'a V,
    states: AtomicU64,
    violations: Mutex<Vec<Violation>>,
    ended: AtomicBool,
    violations_left: usize,
}

impl<T, V> Search<'_, T, V>
where
    T: Send + Sync,
    V: Fn(Arc<SimFs>, &Acked<T>) -> Result<(), String> + Sync,
{
    /// Tries every crash that the explorer asks for; the number of operations crashed at.
    fn all(&self) -> u64 {
        let cuts = match self.explorer.cuts {
            Cuts::All => self.journal.cuts(),
            Cuts::Sample(wanted) => self.explorer.sample(self.seed, self.journal.cuts(), wanted),
        };
        let threads = self.explorer.threads.clamp(1, cuts.len().max(1));
        thread::scope(|scope| {
            for thread in 0..threads {
                let own = cuts.iter().copied().skip(thread).step_by(threads);
                scope.spawn(move || self.walk(own));
            }
        });
        u64::try_from(cuts.len()).unwrap_or(u64::MAX)
    }

    fn walk(&self, cuts: impl Iterator<Item = u64>) {
        let crash = self.explorer.crash;
        let mut replay = self.journal.replay();
        for op in cuts {
            replay.advance_to(op);
            let acked = Acked::new(&self.events, op, crash);
            for choice in self.choices(op, crash, replay.units(crash)) {
                if self.ended.load(Ordering::Relaxed) {
                    return;
                }
                let survivors = || replay.survivors(crash, choice);
                self.try_one(&[Step { crash, op, choice }], survivors, &acked);
            }
        }
    }

    fn choices(&self, op: u64, crash: Crash, units: usize) -> Vec<Choice> {
        let mut choices = vec![Choice::Nothing];
        if units == 0 {
            return choices;
        }
        let seed = mix(self.seed, op);
        if crash.is_power_cut() {
            choices.push(Choice::Everything);
        }
        if units > 1 {
            choices.push(Choice::AllBut(Rng::new(seed).index(units)));
        }
        let random = (0..u64::from(self.explorer.seeds_per_cut)).map(|n| mix(seed, n));
        choices.extend(random.map(Choice::Random));
        choices
    }

    /// Verifies one disk, and then those that crashes of the verification leave.
    fn try_one(
        &self,
        steps: &[Step],
        survivors: impl Fn() -> Arc<SimFs>,
        acked: &Acked<T>,
    ) -> Option<Journal> {
        let fs = survivors();
        fs.start_journal();
        self.states.fetch_add(1, Ordering::Relaxed);
        let verified = catch_unwind(AssertUnwindSafe(|| (self.verify)(Arc::clone(&fs), acked)));
        let message = match verified {
            Ok(Ok(())) => None,
            Ok(Err(message)) => Some(message),
            Err(panic) => Some(format!("the verifier panicked: {}", panic_text(panic.as_ref()))),
        };
        let journal = fs.take_journal();
        if let Some(message) = message {
            let place = Place { seed: self.seed, steps: steps.to_vec() };
            self.note(Violation { place, message, disk: survivors() });
            return journal;
        }
        let first = steps.len() == 1 && self.explorer.nested > 0;
        if let (true, Some(journal)) = (first, &journal) {
            self.nested(steps, journal);
        }
        journal
    }

    fn nested(&self, steps: &[Step], journal: &Journal) {
        let Some(outer) = steps.first() else { return };
        if journal.events.is_empty() {
            return;
        }
        let crash = self.explorer.nested_crash.unwrap_or(outer.crash);
        let wanted = usize::try_from(self.explorer.nested).unwrap_or(usize::MAX);
        let seed = mix(mix(self.seed, outer.op), 1);
        let acked = self.acked_after(outer, crash);
        let mut replay = journal.replay();
        for op in self.explorer.sample(seed, journal.cuts(), wanted) {
            replay.advance_to(op);
            let choices = self.choices(mix(seed, op), crash, replay.units(crash));
            let at = Rng::new(mix(seed, op)).index(choices.len());
            for choice in choices.into_iter().skip(at).take(1) {
                let inner = Step { crash, op, choice };
                self.try_one(&[*outer, inner], || replay.survivors(crash, choice), &acked);
            }
        }
    }

    /// After two crashes the promises of the worse one hold.
    fn acked_after(&self, outer: &Step, inner: Crash) -> Acked<T> {
        let worse = if inner.is_power_cut() { inner } else { outer.crash };
        Acked::new(&self.events, outer.op, worse)
    }

    /// Tries one state, and before it the one whose verification it interrupts.
    fn repeat(&self, steps: &[Step]) -> u64 {
        let Some(outer) = steps.first() else { return 0 };
        let replay = self.journal.state_at(outer.op);
        let acked = Acked::new(&self.events, outer.op, outer.crash);
        let journal = self.try_one(steps, || replay.survivors(outer.crash, outer.choice), &acked);
        if let (Some(inner), Some(journal)) = (steps.get(1), journal) {
            let replay = journal.state_at(inner.op);
            let acked = self.acked_after(outer, inner.crash);
            self.try_one(steps, || replay.survivors(inner.crash, inner.choice), &acked);
        }
        1
    }

    fn note(&self, violation: Violation) {
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        if violations.len() < self.violations_left {
            violations.push(violation);
        }
        self.ended.store(violations.len() >= self.violations_left, Ordering::Relaxed);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What a search has tried and found.
#[derive(Debug)]
pub struct Report {
    /// How many disks were verified.
    pub states: u64,
    /// How many operations of the workload were crashed at.
    pub cuts: u64,
    /// What went wrong, by operation.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The report itself, or all violations as text, one a line: `report.ok().unwrap()` is a test's last line.
    pub fn ok(self) -> Result<Report, String> {
        if self.violations.is_empty() {
            return Ok(self);
        }
        let lines: Vec<String> = self.violations.iter().map(ToString::to_string).collect();
        Err(format!("{} in {} states:\n{}", lines.len(), self.states, lines.join("\n")))
    }
}

/// A crash that a store did not survive. Printed, it is one line that says how to repeat it.
#[derive(Debug)]
pub struct Violation {
    place: Place,
    /// What the verifier said.
    pub message: String,
    disk: Arc<SimFs>,
}

impl Violation {
    /// The seed of the run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.place.seed
    }

    /// The operation that was in flight when the machine went down first.
    #[must_use]
    pub fn op(&self) -> u64 {
        self.place.steps.first().map_or(0, |step| step.op)
    }

    /// What survived the first crash.
    #[must_use]
    pub fn choice(&self) -> Choice {
        self.place.steps.first().map_or(Choice::Nothing, |step| step.choice)
    }

    /// What [`Explorer::replay`] takes.
    #[must_use]
    pub fn replay(&self) -> String {
        self.place.to_string()
    }

    /// The disk as the verifier found it.
    #[must_use]
    pub fn disk(&self) -> &Arc<SimFs> {
        &self.disk
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.replace('\n', "; ");
        write!(f, "{message} -- repeat with {REPLAY_VARIABLE}={}", self.place)
    }
}
