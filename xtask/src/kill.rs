//! A real process on a real folder, killed again and again at a random moment: while it opens, writes
//! with eight threads, compacts or closes. The parent compares what is there with what it was told.
//!
//! Every thread makes numbered writes to keys of its own, one at a time, and each write is a function of
//! thread and number. So after a kill each thread's keys must look as after its last acknowledged write,
//! or after the one that was under way; and the store's sequence number must be the sum of them all.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pkv_store::{ByteStore, Durability, Error, Inspection};

#[path = "../../crates/pkv-store/examples/crash_writes/mod.rs"]
mod writes;

use writes::{Contents, key_prefix, options, state_after, write};

use crate::arguments::Arguments;
use crate::{Failure, Outcome, failed};

/// The hidden task that runs as the child: `kill-child FOLDER WAY SEED N..`.
pub(crate) const CHILD_COMMAND: &str = "kill-child";
const THREADS: usize = 8;
const ROUNDS: u32 = 50;

/// How many writes of each thread are there.
type Counts = [u64; THREADS];

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let rounds = arguments.value::<u32>("--rounds")?.unwrap_or(ROUNDS);
    let seed = arguments.value::<u64>("--seed")?.unwrap_or(1);
    arguments.finish()?;
    // Another disk is chosen by TMPDIR.
    let folder = std::env::temp_dir().join(format!("pkv-kill-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(failed(folder.display()))?;
    let start = Instant::now();
    let mut parent =
        Parent { folder: folder.join("store"), random: Random(seed), counts: [0; THREADS] };
    let mut killed_opening = 0;
    for round in 0..rounds {
        let what = parent.round(round)?;
        killed_opening += u32::from(!what.opened);
    }
    let writes: u64 = parent.counts.iter().sum();
    println!(
        "kill: {rounds} rounds ({killed_opening} killed while opening), {writes} writes by {THREADS} threads, \
         0 violations, {:.1} s",
        start.elapsed().as_secs_f64()
    );
    std::fs::remove_dir_all(&folder).map_err(failed(folder.display()))
}

struct Parent {
    folder: PathBuf,
    random: Random,
    counts: Counts,
}

struct Round {
    opened: bool,
}

impl Parent {
    /// Starts a child, kills it, and compares.
    fn round(&mut self, round: u32) -> Result<Round, Failure> {
        let way = match round % 3 {
            0 => "auto",
            1 => "written",
            _ => "large",
        };
        let mut child = self.start(way)?;
        let told = child.stdout.take().ok_or_else(|| Failure::Task("no pipe".into()))?;
        let reader = std::thread::spawn(move || read_told(BufReader::new(told)));
        // Some die while they open, some while they write, and some have closed by then.
        let wait = match self.random.below(4) {
            0 => Duration::from_micros(self.random.below(15_000)),
            _ => Duration::from_millis(self.random.below(500)),
        };
        std::thread::sleep(wait);
        let ended = child.try_wait().map_err(failed("the child"))?;
        child.kill().map_err(failed("killing the child"))?;
        let status = child.wait().map_err(failed("the child"))?;
        if ended.is_some() && !status.success() {
            return Err(Failure::Task(format!(
                "round {round}: the child ended by itself: {status}"
            )));
        }
        let told = reader.join().map_err(|_| Failure::Task("the reader panicked".into()))?;
        let acknowledged = self.counts_with(&told);
        let (contents, last_seq) = self.look(round)?;
        let found = compare(&contents, &acknowledged).map_err(|why| self.violation(round, &why))?;
        let sum: u64 = found.iter().sum();
        if last_seq != sum {
            let why = format!("the last sequence number is {last_seq} after {sum} writes");
            return Err(self.violation(round, &why));
        }
        self.counts = found;
        Ok(Round { opened: told.opened })
    }

    fn violation(&self, round: u32, why: &str) -> Failure {
        Failure::Task(format!("round {round}: {why}; the folder is {}", self.folder.display()))
    }

    fn start(&mut self, way: &str) -> Result<Child, Failure> {
        let program = std::env::current_exe().map_err(failed("this program's path"))?;
        Command::new(program)
            .arg(CHILD_COMMAND)
            .arg(&self.folder)
            .args([way, &self.random.next().to_string()])
            .args(self.counts.map(|count| count.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("starting the child"))
    }

    fn counts_with(&self, told: &Told) -> Counts {
        let mut counts = self.counts;
        for (count, told) in counts.iter_mut().zip(told.counts) {
            *count = told.max(*count);
        }
        counts
    }

    /// What is there: every other time without repairing it, so that the next child has to.
    fn look(&self, round: u32) -> Result<(Contents, u64), Failure> {
        let broken = |error: Error| self.violation(round, &error.to_string());
        if round % 4 < 2 && self.folder.is_dir() {
            let look = Inspection::of(&self.folder).map_err(broken)?;
            let contents = look.iter().collect::<Result<Contents, _>>().map_err(broken)?;
            return Ok((contents, look.report().last_seq));
        }
        let options = options("auto").background(false).instant_open(round % 4 == 3);
        let store = ByteStore::open(&self.folder, &options).map_err(broken)?;
        let contents = store.iter().collect::<Result<Contents, _>>().map_err(broken)?;
        let last_seq = store.last_seq();
        store.close().map_err(broken)?;
        Ok((contents, last_seq))
    }
}

/// Which prefix of each thread's writes is there: what was acknowledged, or one write more.
fn compare(contents: &Contents, acknowledged: &Counts) -> Result<Counts, String> {
    let mut found = *acknowledged;
    let mut keys = 0;
    for (thread, count) in found.iter_mut().enumerate() {
        let expected = [*count, *count + 1].map(|count| (count, state_after(thread, count)));
        let prefix = key_prefix(thread);
        let own: Contents = contents
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        keys += own.len();
        match expected.iter().find(|(_, state)| *state == own) {
            Some((there, _)) => *count = *there,
            None => return Err(differs(thread, *count, &own)),
        }
    }
    if keys == contents.len() { Ok(found) } else { Err("there are keys of nobody".into()) }
}

fn differs(thread: usize, count: u64, own: &Contents) -> String {
    let older = (0..count).rev().find(|count| state_after(thread, *count) == *own);
    match older {
        Some(older) => {
            format!("thread {thread}: lost: {count} writes were acknowledged, {older} are there")
        }
        None => format!("thread {thread}: neither {count} nor {} writes, but a mix", count + 1),
    }
}

// ---- The child.

pub(crate) fn run_child(mut arguments: Arguments) -> Outcome {
    let mut words = arguments.names().into_iter();
    arguments.finish()?;
    let usage = || Failure::Usage(format!("{CHILD_COMMAND} FOLDER WAY SEED N.."));
    let (folder, way, seed) = (words.next(), words.next(), words.next());
    let folder = PathBuf::from(folder.ok_or_else(usage)?);
    let mut random = Random(seed.and_then(|seed| seed.parse().ok()).ok_or_else(usage)?);
    let counts: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    let way = way.ok_or_else(usage)?;
    // Of all threads together: more often, and no stream would come about between two syncs.
    let threads = u64::try_from(THREADS).unwrap_or(u64::MAX);
    let power_every = if way == "large" { writes::RARELY * threads } else { 5 };
    let store = open(&folder, &way)?;
    tell("open")?;
    let end = match random.below(3) {
        0 => Instant::now() + Duration::from_millis(random.below(300)),
        _ => Instant::now() + Duration::from_secs(60),
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let write_all = |thread: usize, count: u64| {
            let mut n = count;
            while Instant::now() < end {
                n += 1;
                let is_power = n.is_multiple_of(power_every);
                let durability = if is_power { Durability::Power } else { Durability::Process };
                write(&store, thread, n, durability).map_err(failed("writing"))?;
                tell(format_args!("{thread} {n}"))?;
            }
            Ok(())
        };
        let threads: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(thread, count)| scope.spawn(move || write_all(thread, *count)))
            .collect();
        let panicked = || Err(Failure::Task("a thread panicked".into()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    outcomes.into_iter().collect::<Outcome>()?;
    store.close().map_err(failed("closing"))
}

fn open(folder: &Path, way: &str) -> Result<ByteStore, Failure> {
    // Every other child writes while the snapshot is loaded.
    let is_instant = std::process::id().is_multiple_of(2);
    let options = options(way).lock_timeout(Duration::from_secs(5)).instant_open(is_instant);
    ByteStore::open(folder, &options).map_err(failed("opening"))
}

/// One line by one write, so that a kill cuts none in two.
fn tell(line: impl std::fmt::Display) -> Outcome {
    let line = format!("{line}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(failed("telling"))
}

/// What a child said before it died.
#[derive(Default)]
struct Told {
    opened: bool,
    counts: Counts,
}

fn read_told(lines: impl BufRead) -> Told {
    let mut told = Told::default();
    for line in lines.lines().map_while(Result::ok) {
        told.opened |= line == "open";
        let numbers = line.split_once(' ').map(|(thread, n)| (thread.parse::<usize>(), n.parse()));
        if let Some((Ok(thread), Ok(n))) = numbers
            && let Some(count) = told.counts.get_mut(thread)
        {
            *count = n;
        }
    }
    told
}

/// A small generator, so that a run can be started again with the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(counts: &Counts) -> Contents {
        counts.iter().enumerate().flat_map(|(thread, count)| state_after(thread, *count)).collect()
    }

    #[test]
    fn the_state_is_what_the_writes_make() {
        let folder = std::env::temp_dir().join(format!("pkv-kill-test-{}", std::process::id()));
        let store = ByteStore::open(&folder, &options("auto").background(false)).unwrap();
        for n in 1..=200 {
            write(&store, 3, n, Durability::Process).unwrap();
            let contents: Contents = store.iter().map(Result::unwrap).collect();
            assert_eq!(contents, state_after(3, n), "{n}");
            assert_eq!(store.last_seq(), n, "every write is one");
        }
        store.close().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_lost_write_a_torn_batch_and_a_ghost_are_told_apart() {
        let counts = [40, 41, 42, 43, 44, 45, 46, 47];
        assert_eq!(compare(&all(&counts), &counts), Ok(counts));
        let mut more = counts;
        more[2] += 1;
        assert_eq!(compare(&all(&more), &counts), Ok(more), "a write under way may be there");
        more[2] += 1;
        assert!(compare(&all(&more), &counts).unwrap_err().contains("a mix"));
        let mut fewer = counts;
        fewer[5] -= 3;
        assert!(compare(&all(&fewer), &counts).unwrap_err().contains("lost: 45 writes"));
        let mut torn = all(&counts);
        torn.insert(writes::key(0, "left"), writes::value(0, 1));
        assert!(compare(&torn, &counts).unwrap_err().contains("a mix"));
        let mut ghost = all(&counts);
        ghost.insert(b"nobody".to_vec(), Vec::new());
        assert!(compare(&ghost, &counts).unwrap_err().contains("nobody"));
    }

    #[test]
    fn a_line_that_was_cut_counts_for_nothing() {
        let told = read_told(&b"open\n0 5\n3 7\n3 8\n3"[..]);
        assert!(told.opened);
        assert_eq!(told.counts, [5, 0, 0, 8, 0, 0, 0, 0]);
    }
}
