//! How many calls a second.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use super::{Job, Kind, Measured, THREADS, float, rate};
use crate::Error;
use crate::engines::bare::Bare;
use crate::engines::probe::Probe;
use crate::engines::{Engine, Level, Map, count, open};
use crate::workload::{Chooser, KEY_BYTES, Keys, Random, Zipf, fill, key, value};

/// Keys of one `get_many`.
const MANY: usize = 16;
/// Keys of one batch.
const BATCH: u64 = 100;
/// Reads between two looks at the clock.
const READS_A_LOOK: usize = 256;
/// Calls between two looks at the clock.
const BURST: u64 = 64;
/// The first of numbers whose keys are never inserted.
const ABSENT: u64 = 1 << 40;
const PANICKED: &str = "a thread of the job panicked";

/// How YCSB's workloads differ.
#[derive(Clone, Copy)]
struct Mix {
    reads_percent: u64,
    /// Whether a write is of a value that was read.
    reads_first: bool,
    /// Whether reads are of the latest entries, and writes of new ones.
    is_latest: bool,
}

/// Workload C.
const READS: Mix = Mix { reads_percent: 100, reads_first: false, is_latest: false };

impl Job {
    pub(super) fn insert(&self, folder: &Path) -> Measured {
        let map: Box<dyn Map> = match self.engine {
            Engine::Limit => Box::new(Bare::new(self.entries, self.value_len())?),
            _ => open(self.engine, folder, self.setup())?,
        };
        let time = self.on_parts(|from, to| self.insert_range(&*map, from, to))?;
        self.check_len(&*map, self.entries)?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }

    pub(super) fn overwrite(&self, folder: &Path) -> Measured {
        let map: Box<dyn Map> = match self.engine {
            Engine::Limit => Box::new(Bare::new(self.entries, self.value_len())?),
            _ => self.open_loaded(folder)?,
        };
        if self.engine == Engine::Limit {
            self.insert_range(&*map, 0, self.entries)?;
        }
        let per_second = self.overwrites(&*map)?;
        self.check_len(&*map, self.entries)?;
        Ok(vec![("per_second", per_second)])
    }

    fn overwrites(&self, map: &dyn Map) -> Result<f64, Error> {
        let chooser = Chooser::new(self.keys, self.entries);
        self.for_a_while(|thread| {
            let (chooser, mut random) = (&chooser, Random::of(thread));
            let mut buffer = value(0, self.value_len());
            move || {
                let number = chooser.choose(&mut random);
                fill(&mut buffer, number);
                map.insert(&key(number), &buffer)
            }
        })
    }

    /// Values of half to twice the size.
    fn resizes(&self, map: &dyn Map) -> Result<f64, Error> {
        let half = self.value_bytes / 2;
        self.for_a_while(|thread| {
            let mut random = Random::of(thread);
            let mut buffer = value(0, 2 * self.value_len());
            move || {
                let number = random.below(self.entries);
                let bytes = usize::try_from(half + random.below(3 * half + 1))?;
                fill(&mut buffer, number);
                map.insert(&key(number), &buffer[..bytes])
            }
        })
    }

    pub(super) fn get(&self, folder: &Path) -> Measured {
        let map: Box<dyn Map> = match self.engine {
            Engine::Limit => Box::new(Probe::of(self.entries, self.value_len())?),
            _ => self.open_loaded(folder)?,
        };
        let per_second = match self.kind {
            Kind::GetMany => self.gets_of_many(|keys| map.get_many(keys))?,
            Kind::GetManyWith => self.gets_of_many(|keys| map.get_many_lens(keys))?,
            Kind::GetSingly => self.gets_of_many(|keys| {
                keys.iter().try_fold(0, |found, key| Ok(found + usize::from(map.get_copy(key)?)))
            })?,
            _ => self.hits(&*map)?,
        };
        Ok(vec![("per_second", per_second)])
    }

    fn hits(&self, map: &dyn Map) -> Result<f64, Error> {
        self.reads(map, 0, Some(self.value_len()))
    }

    fn misses(&self, map: &dyn Map) -> Result<f64, Error> {
        self.reads(map, ABSENT, None)
    }

    /// Reads of the keys behind `first`, in loops with as little else as can be: a processor begins the next read while
    /// it waits for memory, as far as the instructions between them let it see.
    fn reads(&self, map: &dyn Map, first: u64, expected: Option<usize>) -> Result<f64, Error> {
        let chooser = Chooser::new(self.keys, self.entries);
        let loops = self.again_and_again(1, |thread| {
            let (chooser, mut random) = (&chooser, Random::of(thread));
            let mut numbers = [0; READS_A_LOOK];
            let mut keys = [[0; KEY_BYTES]; READS_A_LOOK];
            move || {
                numbers.fill_with(|| first + chooser.choose(&mut random));
                keys.iter_mut().zip(numbers).for_each(|(drawn, number)| *drawn = key(number));
                let as_expected = map.get_lens(&keys, expected)?;
                match numbers.get(as_expected) {
                    Some(number) => Err(unexpected(map.get_len(&key(*number))?, expected, *number)),
                    None => Ok(()),
                }
            }
        })?;
        Ok(loops * float(count(READS_A_LOOK)))
    }

    /// Calls with some keys; the keys a second.
    fn gets_of_many(
        &self,
        get: impl Fn(&[&[u8]]) -> Result<usize, Error> + Sync,
    ) -> Result<f64, Error> {
        let chooser = Chooser::new(self.keys, self.entries);
        let calls = self.for_a_while(|thread| {
            let (get, chooser, mut random) = (&get, &chooser, Random::of(thread));
            move || {
                let keys: [_; MANY] = std::array::from_fn(|_| key(chooser.choose(&mut random)));
                let found = black_box(get(&keys.each_ref().map(|key| key.as_slice()))?);
                let all = found == MANY;
                if all { Ok(()) } else { Err(format!("{found} of {MANY} keys are there").into()) }
            }
        })?;
        Ok(calls * float(MANY))
    }

    pub(super) fn hot_key(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        let is_done = AtomicBool::new(false);
        let per_second = std::thread::scope(|scope| {
            let (map, is_done) = (&*map, &is_done);
            let updating = scope.spawn(move || -> Result<(), Error> {
                let value = value(0, self.value_len());
                while !is_done.load(Ordering::Relaxed) {
                    map.insert(&key(0), &value)?;
                }
                Ok(())
            });
            let per_second = self.for_a_while(|_| {
                move || expect(black_box(map.get_len(&key(0))?), Some(self.value_len()), 0)
            });
            is_done.store(true, Ordering::Relaxed);
            updating.join().map_err(|_| PANICKED)??;
            per_second
        })?;
        Ok(vec![("per_second", per_second)])
    }

    pub(super) fn mixed(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        let map = &*map;
        let zipfian = Self { keys: Keys::Zipfian, ..*self };
        Ok(vec![
            ("miss", self.misses(map)?),
            ("miss_zipfian", zipfian.misses(map)?),
            ("hit_zipfian", zipfian.hits(map)?),
            ("ycsb_a", self.ycsb(map, Mix { reads_percent: 50, ..READS })?),
            ("ycsb_b", self.ycsb(map, Mix { reads_percent: 95, ..READS })?),
            ("ycsb_c", self.ycsb(map, READS)?),
            ("ycsb_f", self.ycsb(map, Mix { reads_percent: 50, reads_first: true, ..READS })?),
            ("ycsb_d", self.ycsb(map, Mix { reads_percent: 95, is_latest: true, ..READS })?),
        ])
    }

    pub(super) fn writes(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        Ok(vec![
            ("resize", self.resizes(&*map)?),
            ("batch", self.batches(&*map)?),
            ("remove", self.removes(&*map)?),
        ])
    }

    pub(super) fn durable(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        Ok(vec![
            ("overwrite", self.overwrites(&*map)?),
            ("ycsb_a", self.ycsb(&*map, Mix { reads_percent: 50, ..READS })?),
        ])
    }

    pub(super) fn threads(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        let mut figures = Vec::new();
        for at in THREADS {
            figures.push((at.get, Self { threads: at.threads, ..*self }.hits(&*map)?));
        }
        for at in THREADS {
            figures.push((at.overwrite, Self { threads: at.threads, ..*self }.overwrites(&*map)?));
        }
        self.check_len(&*map, self.entries)?;
        Ok(figures)
    }

    pub(super) fn sized(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, self.setup())?;
        let time = self.on_parts(|from, to| self.insert_range(&*map, from, to))?;
        self.check_len(&*map, self.entries)?;
        Ok(vec![("insert", rate(self.entries, time)), ("get", self.hits(&*map)?)])
    }

    fn ycsb(&self, map: &dyn Map, mix: Mix) -> Result<f64, Error> {
        let chooser = Chooser::new(Keys::Zipfian, self.entries);
        let recency = Zipf::over(self.entries);
        // The next number to insert, and how many numbers are surely there.
        let next = AtomicU64::new(self.entries);
        self.for_a_while(|thread| {
            let (chooser, recency, next) = (&chooser, &recency, &next);
            let mut random = Random::of(thread);
            let mut buffer = value(0, self.value_len());
            move || {
                let is_read = random.below(100) < mix.reads_percent;
                if mix.is_latest && !is_read {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    fill(&mut buffer, number);
                    return map.insert(&key(number), &buffer);
                }
                let number = match mix.is_latest {
                    true => next.load(Ordering::Relaxed) - 1 - recency.rank(&mut random),
                    false => chooser.choose(&mut random),
                };
                if is_read || mix.reads_first {
                    let found = black_box(map.get_len(&key(number))?);
                    // The latest of all may be on its way in another thread.
                    if number < self.entries {
                        expect(found, Some(self.value_len()), number)?;
                    }
                }
                if !is_read {
                    fill(&mut buffer, number);
                    map.insert(&key(number), &buffer)?;
                }
                Ok(())
            }
        })
    }

    fn removes(&self, map: &dyn Map) -> Result<f64, Error> {
        let next = AtomicU64::new(0);
        let limit = Duration::from_millis(self.millis);
        let start = Instant::now();
        let time = self.on_parts(|_, _| {
            // Whatever comes first: the end of the time or of the entries.
            loop {
                let from = next.fetch_add(BURST, Ordering::Relaxed);
                if from >= self.entries || start.elapsed() >= limit {
                    return Ok(());
                }
                (from..self.entries.min(from + BURST)).try_for_each(|n| map.remove(&key(n)))?;
            }
        })?;
        // Each thread drew one burst that it did not do.
        let drawn = next.load(Ordering::Relaxed) - self.threads * BURST;
        Ok(rate(drawn.min(self.entries), time))
    }

    /// New keys, in keys a second.
    fn batches(&self, map: &dyn Map) -> Result<f64, Error> {
        let next = AtomicU64::new(self.entries);
        let batches = self.for_a_while(|_| {
            let next = &next;
            move || {
                let from = next.fetch_add(BATCH, Ordering::Relaxed);
                let entry = |number| (key(number).to_vec(), value(number, self.value_len()));
                map.insert_batch(&(from..from + BATCH).map(entry).collect::<Vec<_>>())
            }
        })?;
        Ok(batches * float(BATCH))
    }

    pub(super) fn growth(&self, folder: &Path) -> Measured {
        if self.engine == Engine::Limit {
            let per_second = self.hits(&Probe::of(self.entries, self.value_len())?)?;
            return Ok(vec![("get_ns", 1e9 / per_second)]);
        }
        let map = open(self.engine, folder, self.setup())?;
        let last_tenth = self.entries - self.entries / 10;
        self.insert_range(&*map, 0, last_tenth)?;
        let start = Instant::now();
        self.insert_range(&*map, last_tenth, self.entries)?;
        let insert = start.elapsed();
        self.check_len(&*map, self.entries)?;
        let gets_per_second = self.hits(&*map)?;
        let inserts = (self.entries - last_tenth).max(1);
        Ok(vec![
            ("insert_ns", insert.as_secs_f64() * 1e9 / float(inserts)),
            ("get_ns", 1e9 / gets_per_second),
        ])
    }

    /// All numbers of the job, a part for each thread; how long it took.
    fn on_parts(
        &self,
        work: impl Fn(u64, u64) -> Result<(), Error> + Sync,
    ) -> Result<Duration, Error> {
        let start = Instant::now();
        std::thread::scope(|scope| {
            let part = |thread: u64| self.entries * thread / self.threads;
            let work = &work;
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| scope.spawn(move || work(part(thread), part(thread + 1))))
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| PANICKED)?)
        })?;
        Ok(start.elapsed())
    }

    /// Calls from all threads for the job's time; the calls a second. Each thread makes its own call.
    pub(super) fn for_a_while<C: FnMut() -> Result<(), Error>>(
        &self,
        call_of: impl Fn(u64) -> C + Sync,
    ) -> Result<f64, Error> {
        self.again_and_again(if self.level == Level::Power { 1 } else { BURST }, call_of)
    }

    /// The same with so many calls between two looks at the clock.
    fn again_and_again<C: FnMut() -> Result<(), Error>>(
        &self,
        burst: u64,
        call_of: impl Fn(u64) -> C + Sync,
    ) -> Result<f64, Error> {
        let limit = Duration::from_millis(self.millis.max(1));
        let barrier = Barrier::new(usize::try_from(self.threads)?);
        // One clock for all: with more threads than cores, some get one only when the others have run for a while.
        // What each did in its own time, added up, would count cores that were not there.
        let first: OnceLock<Instant> = OnceLock::new();
        let calls_of_thread = |thread: u64| -> Result<(u64, Duration), Error> {
            let mut call = call_of(thread);
            barrier.wait();
            let start: &Instant = first.get_or_init(Instant::now);
            let mut calls = 0;
            loop {
                (0..burst).try_for_each(|_| call())?;
                calls += burst;
                let time = start.elapsed();
                if time >= limit {
                    return Ok((calls, time));
                }
            }
        };
        let counted = std::thread::scope(|scope| -> Result<Vec<(u64, Duration)>, Error> {
            let work = &calls_of_thread;
            let threads: Vec<_> =
                (0..self.threads).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| PANICKED)?).collect()
        })?;
        let end = counted.iter().map(|(_, time)| *time).max().unwrap_or(limit);
        Ok(rate(counted.iter().map(|(calls, _)| calls).sum(), end))
    }
}

fn expect(found: Option<usize>, expected: Option<usize>, number: u64) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(unexpected(found, expected, number)) }
}

#[cold]
#[inline(never)]
fn unexpected(found: Option<usize>, expected: Option<usize>, number: u64) -> Error {
    format!("entry {number}: {found:?} instead of {expected:?}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_time_in_which_all_calls_were_made() {
        let calls = AtomicU64::new(0);
        let job = Job { threads: 256, millis: 100, ..Job::new(Kind::Get, Engine::Pkv, 1) };
        let start = Instant::now();
        let per_second = job
            .for_a_while(|_| {
                || {
                    black_box((0..1000_u64).fold(0, |sum, n| black_box(sum + n)));
                    calls.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
            })
            .unwrap();
        // Starting the threads is in this time, and is short beside the calls.
        let made = rate(calls.load(Ordering::Relaxed), start.elapsed());
        assert!((1.0..1.5).contains(&(per_second / made)), "{per_second} of {made}");
    }
}
