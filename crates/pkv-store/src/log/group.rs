//! Who comes together in a sync.

use std::time::Duration;

/// A sync waits for others for half the time that the last one took, which the manual of `PostgreSQL` advises for its
/// `commit_delay`, and no longer than this.
const WAIT_MAX: Duration = Duration::from_millis(1);
/// And so much longer for each that may come, since those who were woken together go on one after the other; for so many at
/// the most, since of more a part is synced while the others come. At most as long again as a sync takes.
const WAIT_EACH: Duration = Duration::from_micros(2);
const WAIT_EACH_COUNT_MAX: u32 = 64;
/// Behind one that waited in vain two syncs begin at once, then four, at last so many.
const PAUSE_MAX: u32 = 64;

/// Writers that wait for the same sync.
///
/// A sync wakes all who waited for it. The first of them to come back with another write could sync it at once, by itself,
/// and all others would come a moment too late: a half of the syncs would be for few. So it waits until as many have
/// come as there were: those of the last sync, and those that came while it ran. Writers that have something else to do
/// between two writes do not come; after a wait in which fewer than half of those missing came the next syncs begin at once.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Came since the last sync began: the next one is for them, or the one under way was.
    joined: u32,
    /// As many may come.
    expected: u32,
    /// So many had come when a wait began.
    joined_before: u32,
    /// How long the last sync took.
    sync_time: Duration,
    /// So many syncs begin at once.
    pause: u32,
    failures: u32,
}

impl Group {
    /// One more waits.
    pub(super) fn join(&mut self) {
        self.joined = self.joined.saturating_add(1);
    }

    /// Whether all have come that may.
    pub(super) fn is_complete(&self) -> bool {
        self.joined >= self.expected
    }

    /// How long to wait for others before a sync begins, if at all.
    pub(super) fn wait_time(&mut self) -> Option<Duration> {
        if self.is_complete() {
            return None;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        self.joined_before = self.joined;
        let more = WAIT_EACH * self.expected.min(WAIT_EACH_COUNT_MAX);
        Some((self.sync_time / 2 + more.min(self.sync_time)).min(WAIT_MAX))
    }

    /// That wait is over.
    pub(super) fn waited(&mut self) {
        let missing = self.expected.saturating_sub(self.joined_before);
        let came = self.joined.saturating_sub(self.joined_before);
        if came >= missing.div_ceil(2) {
            self.failures = 0;
        } else {
            self.failures = (self.failures + 1).min(PAUSE_MAX.ilog2());
            self.pause = 1 << self.failures;
        }
    }

    /// A sync begins. Returns for how many.
    pub(super) fn begin(&mut self) -> u32 {
        std::mem::take(&mut self.joined)
    }

    /// A sync for so many ended.
    pub(super) fn end(&mut self, joined: u32, sync_time: Duration) {
        self.expected = joined.saturating_add(self.joined);
        self.sync_time = sync_time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC_TIME: Duration = Duration::from_micros(150);

    /// A sync for who has come, and so many come meanwhile.
    fn sync(group: &mut Group, meanwhile: u32) -> u32 {
        let joined = group.begin();
        (0..meanwhile).for_each(|_| group.join());
        group.end(joined, SYNC_TIME);
        joined
    }

    #[test]
    fn one_writer_never_waits() {
        let mut group = Group::default();
        for _ in 0..3 {
            group.join();
            assert_eq!(group.wait_time(), None);
            assert_eq!(sync(&mut group, 0), 1);
        }
    }

    #[test]
    fn all_who_write_again_and_again_come_together() {
        let mut group = Group::default();
        // One syncs, 63 come meanwhile.
        group.join();
        assert_eq!(group.wait_time(), None);
        assert_eq!(sync(&mut group, 63), 1);
        for _ in 0..3 {
            // The first to come back waits for the others.
            assert_eq!(group.wait_time(), Some(SYNC_TIME / 2 + WAIT_EACH * 64));
            while !group.is_complete() {
                group.join();
            }
            group.waited();
            assert_eq!(sync(&mut group, 0), 64);
            group.join();
        }
        // Some are late: that was no wait in vain.
        assert!(group.wait_time().is_some());
        (0..40).for_each(|_| group.join());
        group.waited();
        assert_eq!(sync(&mut group, 23), 41);
        assert!(group.wait_time().is_some());
        group.end(64, WAIT_MAX * 3);
        assert_eq!(group.wait_time(), Some(WAIT_MAX));
        // Of more than 64 not all are waited for, and a quick sync is not waited for for long.
        group.end(256, SYNC_TIME);
        assert_eq!(group.wait_time(), Some(SYNC_TIME / 2 + WAIT_EACH * 64));
        group.end(64, WAIT_EACH * 10);
        assert_eq!(group.wait_time(), Some(WAIT_EACH * 15));
    }

    #[test]
    fn who_does_not_come_is_waited_for_more_and_more_seldom() {
        let mut group = Group::default();
        let mut syncs_between = Vec::new();
        let mut syncs = 0;
        for _ in 0..1000 {
            group.join();
            if group.wait_time().is_some() {
                group.waited();
                syncs_between.push(syncs);
                syncs = 0;
            }
            // Another one comes too late each time.
            sync(&mut group, 1);
            group.begin();
            syncs += 1;
        }
        assert_eq!(syncs_between[1..9], [3, 5, 9, 17, 33, 65, 65, 65]);
        // They come: the next waits again.
        group.pause = 0;
        group.join();
        assert!(group.wait_time().is_some());
        group.join();
        group.waited();
        assert_eq!(group.failures, 0);
    }
}
