//! The number in a snapshot's name: what orders the snapshots of a folder.

/// The number of a snapshot. Snapshots are applied in ascending order of it; a number is never used twice.
///
/// The first one is [`SnapshotOrdinal::FIRST`]. Zero never names a file; it stands for "below all".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotOrdinal(pub u64);

impl SnapshotOrdinal {
    /// The ordinal of the first snapshot in an empty folder.
    pub const FIRST: Self = Self(1);

    /// The ordinal above this one; `None` at the end of the numbers.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(ordinal) => Some(Self(ordinal)),
            None => None,
        }
    }
}

impl std::fmt::Display for SnapshotOrdinal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::SnapshotOrdinal;

    #[test]
    fn next_rises_by_one_and_stops_at_the_end_of_the_numbers() {
        assert_eq!(SnapshotOrdinal(0).next(), Some(SnapshotOrdinal::FIRST));
        assert_eq!(SnapshotOrdinal(u64::MAX - 1).next(), Some(SnapshotOrdinal(u64::MAX)));
        assert_eq!(SnapshotOrdinal(u64::MAX).next(), None);
    }

    #[test]
    fn order_is_that_of_the_numbers_and_display_is_plain() {
        assert!(SnapshotOrdinal(2) < SnapshotOrdinal(10));
        assert_eq!(SnapshotOrdinal(10).to_string(), "10");
    }
}
