//! What is written and asked for: keys, values, and in which order.

pub(crate) const KEY_BYTES: usize = 16;
/// The size of a value where a row says nothing else.
pub(crate) const VALUE_BYTES: u64 = 100;

/// Random keys that need no memory of their own: the key of each number, by splitmix64.
pub(crate) fn key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let (front, back) = key.split_at_mut(8);
    front.copy_from_slice(&mix(2 * number).to_le_bytes());
    back.copy_from_slice(&mix(2 * number + 1).to_le_bytes());
    key
}

/// A bijection on 64 bits whose results look random.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The value of each number: its key as far as it fits, then filling.
pub(crate) fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = vec![FILLING; bytes];
    fill(&mut value, number);
    value
}

const FILLING: u8 = 0xa5;

/// Makes a buffer the value of a number.
pub(crate) fn fill(value: &mut [u8], number: u64) {
    value.iter_mut().zip(key(number)).for_each(|(byte, of_key)| *byte = of_key);
}

/// Random numbers for one thread of a job: the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Self {
        Self(mix(seed ^ 0x5eed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// Below `limit`, which is not 0; even enough for limits far below 2^64.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Which keys are asked for how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    Uniform,
    /// As YCSB has it, with its constant 0.99: about half of all calls go to a few thousandths of the keys.
    Zipfian,
}

impl Keys {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipfian => "zipfian",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Zipfian].into_iter().find(|keys| keys.name() == name)
    }
}

/// Draws ranks, 0 the most frequent (Gray et al., "Quickly generating billion-record synthetic databases").
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    items: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// Takes a few dozen nanoseconds an item.
    pub(crate) fn over(items: u64) -> Self {
        let zeta_of = |items: u64| (1..=items).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let zeta = zeta_of(items);
        let count = items as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - THETA)) / (1.0 - zeta_of(2) / zeta);
        Self { items: count, alpha: 1.0 / (1.0 - THETA), zeta, eta }
    }

    // Apart, so that loops with uniform keys are short.
    #[inline(never)]
    pub(crate) fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let rank = self.items * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.items as u64 - 1)
    }
}

/// Draws the numbers of entries that are there.
#[derive(Clone, Debug)]
pub(crate) struct Chooser {
    entries: u64,
    zipf: Option<Zipf>,
}

impl Chooser {
    pub(crate) fn new(keys: Keys, entries: u64) -> Self {
        let zipf = (keys == Keys::Zipfian).then(|| Zipf::over(entries));
        Self { entries, zipf }
    }

    pub(crate) fn choose(&self, random: &mut Random) -> u64 {
        match &self.zipf {
            None => random.below(self.entries),
            // Frequent keys lie anywhere, not beside each other.
            Some(zipf) => mix(zipf.rank(random)) % self.entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn keys_differ() {
        assert_eq!((0..100_000).map(key).collect::<HashSet<_>>().len(), 100_000);
    }

    #[test]
    fn values_have_their_size_and_begin_with_their_key() {
        assert_eq!(value(7, 100)[..KEY_BYTES], key(7));
        assert_eq!(value(7, 8), key(7)[..8]);
    }

    #[test]
    fn zipfian_ranks_fall_as_they_should() {
        let zipf = Zipf::over(1000);
        let mut random = Random::of(1);
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for _ in 0..100_000 {
            *counts.entry(zipf.rank(&mut random)).or_default() += 1;
        }
        assert!(counts.keys().all(|rank| *rank < 1000));
        // The expected counts are 100,000 / rank^0.99 / zeta, zeta = 7.73.
        assert!((11_500..14_500).contains(&counts[&0]), "{}", counts[&0]);
        assert!((5_500..7_500).contains(&counts[&1]), "{}", counts[&1]);
        assert!(counts[&0] > 50 * counts.get(&500).copied().unwrap_or(0));
    }

    #[test]
    fn uniform_keys_are_all_drawn() {
        let chooser = Chooser::new(Keys::Uniform, 100);
        let mut random = Random::of(2);
        let drawn: HashSet<u64> = (0..5000).map(|_| chooser.choose(&mut random)).collect();
        assert_eq!(drawn.len(), 100);
    }
}
