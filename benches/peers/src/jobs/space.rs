//! How much memory, how much disk, how many bytes written.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Job, Measured, float};
use crate::Error;
use crate::engines::open;
use crate::machine::{anonymous_memory_bytes, disk_bytes, written_bytes};
use crate::workload::{KEY_BYTES, Random, fill, key, value};

/// How often everything is overwritten.
const CHURN: u64 = 5;

impl Job {
    pub(super) fn memory(&self, folder: &Path) -> Measured {
        let before = anonymous_memory_bytes()?;
        let map = self.open_inserted(folder)?;
        let bytes = float(anonymous_memory_bytes()?.saturating_sub(before));
        self.check_len(&*map, self.entries)?;
        let payload = float(self.entries * self.payload_bytes());
        Ok(vec![("bytes", bytes), ("per_payload", bytes / payload.max(1.0))])
    }

    pub(super) fn memory_churn(&self, folder: &Path) -> Measured {
        // Touched before the first look, so that it does not count.
        let mut sizes: Vec<u32> = (0..self.entries).map(|_| u32::MAX).collect();
        let mut buffer = value(0, 2 * self.value_len());
        let before = anonymous_memory_bytes()?;
        let map = open(self.engine, folder, self.setup())?;
        let mut random = Random::of(0);
        for n in 0..(1 + CHURN) * self.entries {
            let number = if n < self.entries { n } else { random.below(self.entries) };
            let bytes = random.below(2 * self.value_bytes + 1);
            fill(&mut buffer, number);
            map.insert(&key(number), &buffer[..usize::try_from(bytes)?])?;
            sizes[usize::try_from(number)?] = u32::try_from(bytes)?;
        }
        let bytes = float(anonymous_memory_bytes()?.saturating_sub(before));
        self.check_len(&*map, self.entries)?;
        let values: u64 = sizes.iter().map(|bytes| u64::from(*bytes)).sum();
        Ok(vec![("per_payload", bytes / float(values + self.entries * KEY_BYTES as u64))])
    }

    pub(super) fn memory_snapshot(&self, folder: &Path) -> Measured {
        let before = anonymous_memory_bytes()?;
        let mut map = self.open_inserted(folder)?;
        let (outcome, peak) =
            watching(Duration::from_millis(1), anonymous_memory_bytes, || map.compact())?;
        outcome?;
        let payload = float(self.entries * self.payload_bytes());
        Ok(vec![("per_payload", float(peak.saturating_sub(before)) / payload)])
    }

    pub(super) fn disk(&self, folder: &Path) -> Measured {
        let mut map = self.open_loaded(folder)?;
        map.compact()?;
        map.close()?;
        let payload = float(self.entries * self.payload_bytes());
        Ok(vec![("per_payload", float(disk_bytes(folder)?) / payload)])
    }

    pub(super) fn amplification(&self, folder: &Path) -> Measured {
        let map = self.open_loaded(folder)?;
        let before = written_bytes()?;
        let overwrite = || -> Result<(), Error> {
            let mut buffer = value(0, self.value_len());
            let mut random = Random::of(0);
            for _ in 0..CHURN * self.entries {
                let number = random.below(self.entries);
                fill(&mut buffer, number);
                map.insert(&key(number), &buffer)?;
            }
            Ok(())
        };
        let sample = || disk_bytes(folder);
        let (outcome, peak) = watching(Duration::from_millis(20), sample, overwrite)?;
        outcome?;
        map.close()?;
        let live = float(self.entries * self.payload_bytes());
        let written = float(written_bytes()?.saturating_sub(before));
        Ok(vec![("amplification", written / live / float(CHURN)), ("peak", float(peak) / live)])
    }
}

/// Does `work` while `sample` is taken again and again; the most that it was.
fn watching<T>(
    every: Duration,
    sample: impl Fn() -> std::io::Result<u64> + Sync,
    work: impl FnOnce() -> T,
) -> Result<(T, u64), Error> {
    let (is_done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| -> std::io::Result<()> {
            loop {
                let is_last = is_done.load(Ordering::Relaxed);
                peak.fetch_max(sample()?, Ordering::Relaxed);
                if is_last {
                    return Ok(());
                }
                std::thread::sleep(every);
            }
        });
        let outcome = work();
        is_done.store(true, Ordering::Relaxed);
        watching.join().map_err(|_| "the watching thread panicked")??;
        Ok((outcome, peak.load(Ordering::Relaxed)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_of_all_samples_is_kept() {
        let now = AtomicU64::new(3);
        let sample = || Ok(now.load(Ordering::Relaxed));
        let work = || {
            now.store(9, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
            now.store(1, Ordering::Relaxed);
            "done"
        };
        let (outcome, peak) = watching(Duration::from_millis(1), sample, work).unwrap();
        assert_eq!((outcome, peak), ("done", 9));
    }
}
