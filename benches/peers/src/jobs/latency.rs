//! How long single writes take.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Job, Measured};
use crate::Error;
use crate::engines::pkv::PkvStore;
use crate::engines::{Engine, Map, Setup, open, pkv};
use crate::workload::{fill, key, value};

impl Job {
    /// Half of the entries are there before; the other half is timed one by one.
    pub(super) fn stall(&self, folder: &Path) -> Measured {
        let setup = Setup {
            sync_interval: Some(Duration::from_millis(10)),
            // As often as the predecessor can: before one ends, the next is due.
            snapshot_interval: Some((self.entries / 20).max(1)),
            ..self.setup()
        };
        let (busy, quiet) = match self.engine {
            Engine::Pkv => {
                let store = pkv::open(folder, setup)?;
                let quiet = self.times_of_inserts(&store, 0, self.entries / 2)?;
                (self.times_while_compacting(&store)?, quiet)
            }
            engine => {
                let map = open(engine, folder, setup)?;
                let quiet = self.times_of_inserts(&*map, 0, self.entries / 2)?;
                (self.times_of_inserts(&*map, self.entries / 2, self.entries)?, quiet)
            }
        };
        Ok(vec![
            ("max_ms", busy.max().as_secs_f64() * 1e3),
            ("p999_us", busy.p999().as_secs_f64() * 1e6),
            ("quiet_max_ms", quiet.max().as_secs_f64() * 1e3),
            ("quiet_p999_us", quiet.p999().as_secs_f64() * 1e6),
            ("p999_ratio", busy.p999().as_secs_f64() / quiet.p999().as_secs_f64()),
        ])
    }

    fn times_of_inserts(&self, map: &dyn Map, from: u64, to: u64) -> Result<Times, Error> {
        let mut nanos = vec![0; usize::try_from(to - from)?];
        let mut value = value(0, self.value_len());
        for (number, slot) in (from..to).zip(&mut nanos) {
            let key = key(number);
            fill(&mut value, number);
            let start = Instant::now();
            map.insert(&key, &value)?;
            *slot = u64::try_from(start.elapsed().as_nanos())?;
        }
        nanos.sort_unstable();
        Ok(Times { sorted_nanos: nanos })
    }

    fn times_while_compacting(&self, store: &PkvStore) -> Result<Times, Error> {
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let compacting = scope.spawn(|| -> Result<u64, Error> {
                let mut snapshots = 0;
                while !is_done.load(Ordering::Relaxed) {
                    store.compact()?;
                    snapshots += 1;
                }
                Ok(snapshots)
            });
            let times = self.times_of_inserts(store, self.entries / 2, self.entries);
            is_done.store(true, Ordering::Relaxed);
            let snapshots = compacting.join().map_err(|_| "the compacting thread panicked")??;
            if snapshots == 0 {
                return Err("no snapshot was written meanwhile".into());
            }
            times
        })
    }
}

/// How long each of many calls took.
struct Times {
    sorted_nanos: Vec<u64>,
}

impl Times {
    fn max(&self) -> Duration {
        Duration::from_nanos(self.sorted_nanos.last().copied().unwrap_or(0))
    }

    fn p999(&self) -> Duration {
        let at = self.sorted_nanos.len() - self.sorted_nanos.len() / 1000;
        Duration::from_nanos(self.sorted_nanos.get(at.saturating_sub(1)).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_in_a_thousand_is_above_the_p999() {
        let times = Times { sorted_nanos: (1..=10_000).collect() };
        assert_eq!(times.p999(), Duration::from_nanos(9_990));
        assert_eq!(times.max(), Duration::from_nanos(10_000));
    }
}
