//! Seeded random numbers: splitmix64. Small, the same on every machine and in every version of this
//! crate, so that a seed printed today names the same disk tomorrow.

/// A seeded sequence.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0. The bias of the remainder does not matter here.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next_u64().checked_rem(limit).unwrap_or(0)
    }

    /// [`Rng::below`] for lengths of things in memory.
    pub(crate) fn index(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        usize::try_from(self.below(limit)).unwrap_or(0)
    }

    /// True once in `n` times; never for 0.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        n != 0 && self.below(n) == 0
    }
}

/// One seed from two, so that neighbouring seeds give unrelated sequences.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut rng = Rng::new(a);
    let high = rng.next_u64();
    Rng::new(high ^ b.rotate_left(32)).next_u64()
}

#[cfg(test)]
mod tests {
    use super::{Rng, mix};

    #[test]
    fn the_sequence_never_changes() {
        let mut rng = Rng::new(0);
        assert_eq!(rng.next_u64(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(rng.next_u64(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn numbers_stay_below_their_limit() {
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
        assert!(!rng.one_in(0));
        assert!(rng.one_in(1));
    }

    #[test]
    fn mixing_tells_neighbours_and_sides_apart() {
        assert_ne!(mix(1, 2), mix(2, 1));
        assert_ne!(mix(1, 2), mix(1, 3));
    }
}
