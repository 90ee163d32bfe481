//! How long something took, counted by length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts for each power of two of microseconds, four of them: a quantile is at most a quarter too long.
const PARTS_BITS: u32 = 2;
const PARTS: usize = 1 << PARTS_BITS;
/// Up to 2^38 microseconds, three days; what takes longer counts as that.
const COUNTS: usize = 38 * PARTS;

/// Counts while others count. Cost of one: an atomic addition, beside what was measured.
#[derive(Debug)]
pub(crate) struct Timings {
    counts: [AtomicU64; COUNTS],
    max_micros: AtomicU64,
}

impl Default for Timings {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), max_micros: AtomicU64::new(0) }
    }
}

impl Timings {
    /// Counts what began then and ends now.
    pub(crate) fn count_since(&self, started: Instant) {
        self.count(started.elapsed());
    }

    pub(crate) fn count(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(index_of(micros)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.max_micros.fetch_max(micros, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Histogram {
        Histogram {
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            max: Duration::from_micros(self.max_micros.load(Ordering::Relaxed)),
        }
    }
}

/// Which count a time belongs to: the position of its highest bit, and the bits behind that.
fn index_of(micros: u64) -> usize {
    let shift = micros.max(1).ilog2().saturating_sub(PARTS_BITS);
    let above = usize::try_from(shift).unwrap_or(COUNTS) * PARTS;
    let within = usize::try_from(micros >> shift).unwrap_or(COUNTS);
    (above + within).min(COUNTS - 1)
}

/// The longest time that has this count, in microseconds.
fn longest_of(index: usize) -> u64 {
    let shift = (index / PARTS).saturating_sub(1);
    let within = index - shift * PARTS;
    let one_more = u64::try_from(within + 1).unwrap_or(u64::MAX);
    (one_more << shift) - 1
}

/// How long something took, how often. See [`crate::Stats`].
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; COUNTS],
    max: Duration,
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("median", &self.quantile(500))
            .field("p99", &self.quantile(990))
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl Histogram {
    /// How many times it was measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The time within which so many of a thousand ended: 500 for the median, 999 for all but one in a
    /// thousand. At most a quarter longer than the exact one; zero where nothing was measured.
    #[must_use]
    pub fn quantile(&self, per_mille: u32) -> Duration {
        let wanted = self.count().saturating_mul(per_mille.min(1000).into()).div_ceil(1000).max(1);
        let mut below = 0;
        for (time, count) in self.buckets() {
            below += count;
            if below >= wanted {
                return time.min(self.max);
            }
        }
        self.max
    }

    /// Every count that is not zero, with the longest time that belongs to it, from the shortest up: for
    /// metrics of other systems.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(index, count)| (Duration::from_micros(longest_of(index)), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_tile_all_times_without_gap() {
        let mut last = index_of(0);
        assert_eq!(last, 0);
        for micros in (0..10_000).chain((10_000..1 << 30).step_by(99_991)) {
            let index = index_of(micros);
            assert!(index == last || micros >= 10_000 || index == last + 1, "{micros}");
            assert!(index >= last && longest_of(index) >= micros, "{micros}");
            assert!(index == 0 || longest_of(index - 1) < micros, "{micros}");
            assert!(longest_of(index) <= micros + micros / 4, "{micros}");
            last = index;
        }
        assert_eq!(index_of(u64::MAX), COUNTS - 1);
    }

    #[test]
    fn quantiles_are_at_most_a_quarter_too_long() {
        let timings = Timings::default();
        assert_eq!((timings.get().count(), timings.get().quantile(500)), (0, Duration::ZERO));
        for micros in 1..=1000 {
            timings.count(Duration::from_micros(micros));
        }
        let histogram = timings.get();
        assert_eq!((histogram.count(), histogram.max()), (1000, Duration::from_millis(1)));
        for (per_mille, exact) in [(0, 1), (10, 10), (500, 500), (999, 999), (1000, 1000)] {
            let found = u64::try_from(histogram.quantile(per_mille).as_micros()).unwrap();
            assert!((exact..=exact + exact / 4).contains(&found), "{per_mille}: {found}");
        }
        assert_eq!(histogram.buckets().map(|(_, count)| count).sum::<u64>(), 1000);
        timings.count(Duration::MAX);
        assert_eq!(
            timings.get().quantile(1000),
            timings.get().max().min(Duration::from_micros(longest_of(COUNTS - 1)))
        );
    }
}
