//! How many calls a second.

use std::hint::black_box;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Job, Kind, Measured, float, rate};
use crate::Error;
use crate::engines::probe::Probe;
use crate::engines::{Engine, Level, Map, open};
use crate::workload::{Chooser, Keys, Random, Zipf, fill, key, value};

/// Keys of one `get_many`.
const MANY: usize = 16;
/// Keys of one batch.
const BATCH: u64 = 100;
/// Calls between two looks at the clock.
const BURST: u64 = 64;
const PANICKED: &str = "a thread of the job panicked";

impl Job {
    pub(super) fn insert(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, self.setup())?;
        let time = self.on_parts(|from, to| self.insert_range(&*map, from, to))?;
        self.check_len(&*map, self.entries)?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }

    pub(super) fn overwrite(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        let chooser = Chooser::new(self.keys, self.entries);
        let longest =
            if self.kind == Kind::Resize { 2 * self.value_len() } else { self.value_len() };
        let per_second = self.for_a_while(|thread| {
            let (map, chooser, mut random) = (&*map, &chooser, Random::of(thread));
            let mut buffer = value(0, longest);
            move || {
                let number = chooser.choose(&mut random);
                let bytes = match self.kind {
                    Kind::Resize => self.resized(&mut random),
                    _ => self.value_len(),
                };
                fill(&mut buffer, number);
                map.insert(&key(number), &buffer[..bytes])
            }
        })?;
        self.check_len(&*map, self.entries)?;
        Ok(vec![("per_second", per_second)])
    }

    /// From half to twice the size of a value.
    fn resized(&self, random: &mut Random) -> usize {
        let half = self.value_bytes / 2;
        usize::try_from(half + random.below(3 * half + 1)).unwrap_or(0)
    }

    pub(super) fn get(&self, folder: &Path) -> Measured {
        let map: Box<dyn Map> = match self.engine {
            Engine::Limit => Box::new(Probe::of(self.entries, self.value_len())?),
            _ => self.open_loaded(folder)?,
        };
        let chooser = Chooser::new(self.keys, self.entries);
        let keys_per_call = if self.kind == Kind::GetMany { MANY } else { 1 };
        let calls_per_second = self.for_a_while(|thread| {
            let (map, chooser, mut random) = (&*map, &chooser, Random::of(thread));
            move || match self.kind {
                Kind::GetMany => get_many(map, chooser, &mut random),
                Kind::GetMiss => {
                    let number = self.entries + chooser.choose(&mut random);
                    expect(black_box(map.get_len(&key(number))?), None, number)
                }
                _ => {
                    let number = chooser.choose(&mut random);
                    expect(black_box(map.get_len(&key(number))?), Some(self.value_len()), number)
                }
            }
        })?;
        Ok(vec![("per_second", calls_per_second * float(keys_per_call))])
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

    pub(super) fn ycsb(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        let chooser = Chooser::new(Keys::Zipfian, self.entries);
        let recency = Zipf::over(self.entries);
        let reads_percent = match self.kind {
            Kind::YcsbA | Kind::YcsbF => 50,
            Kind::YcsbB | Kind::YcsbD => 95,
            _ => 100,
        };
        // For D: the next number to insert, and how many numbers are surely there.
        let next = AtomicU64::new(self.entries);
        let is_latest = self.kind == Kind::YcsbD;
        let per_second = self.for_a_while(|thread| {
            let (map, chooser, recency, next) = (&*map, &chooser, &recency, &next);
            let mut random = Random::of(thread);
            let mut buffer = value(0, self.value_len());
            move || {
                let is_read = random.below(100) < reads_percent;
                if is_latest && !is_read {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    fill(&mut buffer, number);
                    return map.insert(&key(number), &buffer);
                }
                let number = match is_latest {
                    true => next.load(Ordering::Relaxed) - 1 - recency.rank(&mut random),
                    false => chooser.choose(&mut random),
                };
                if is_read || self.kind == Kind::YcsbF {
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
        })?;
        Ok(vec![("per_second", per_second)])
    }

    pub(super) fn remove(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        let time = self.on_parts(|from, to| (from..to).try_for_each(|n| map.remove(&key(n))))?;
        self.check_len(&*map, 0)?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }

    pub(super) fn batch(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, self.setup())?;
        let time = self.on_parts(|from, to| {
            let mut start = from;
            while start < to {
                let end = to.min(start + BATCH);
                let entry = |number| (key(number).to_vec(), value(number, self.value_len()));
                map.insert_batch(&(start..end).map(entry).collect::<Vec<_>>())?;
                start = end;
            }
            Ok(())
        })?;
        self.check_len(&*map, self.entries)?;
        Ok(vec![("per_second", rate(self.entries, time))])
    }

    pub(super) fn growth(&self, folder: &Path) -> Measured {
        let map = open(self.engine, folder, self.setup())?;
        let last_tenth = self.entries - self.entries / 10;
        self.insert_range(&*map, 0, last_tenth)?;
        let start = Instant::now();
        self.insert_range(&*map, last_tenth, self.entries)?;
        let insert = start.elapsed();
        self.check_len(&*map, self.entries)?;
        let chooser = Chooser::new(Keys::Uniform, self.entries);
        let gets_per_second = self.for_a_while(|thread| {
            let (map, chooser, mut random) = (&*map, &chooser, Random::of(thread));
            move || {
                let number = chooser.choose(&mut random);
                expect(black_box(map.get_len(&key(number))?), Some(self.value_len()), number)
            }
        })?;
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
        let burst = if self.level == Level::Power { 1 } else { BURST };
        let limit = Duration::from_millis(self.millis.max(1));
        let barrier = Barrier::new(usize::try_from(self.threads)?);
        let calls_of_thread = |thread: u64| -> Result<(u64, Duration), Error> {
            let mut call = call_of(thread);
            barrier.wait();
            let start = Instant::now();
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
        // Threads start when they get a core: each one's own rate, added, would count cores that were not there.
        let longest = counted.iter().map(|(_, time)| *time).max().unwrap_or(limit);
        Ok(rate(counted.iter().map(|(calls, _)| calls).sum(), longest))
    }
}

fn get_many(map: &dyn Map, chooser: &Chooser, random: &mut Random) -> Result<(), Error> {
    let keys: [_; MANY] = std::array::from_fn(|_| key(chooser.choose(random)));
    let found = black_box(map.get_many(&keys.each_ref().map(|key| key.as_slice()))?);
    if found == MANY { Ok(()) } else { Err(format!("{found} of {MANY} keys are there").into()) }
}

fn expect(found: Option<usize>, expected: Option<usize>, number: u64) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(format!("entry {number}: {found:?} instead of {expected:?}").into())
}
