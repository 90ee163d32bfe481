//! A barrier in all threads of the process, and how seldom one is made.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(super) use system::is_there;

/// For so many times what a barrier took no bias begins in this process, so that barriers take about a hundredth of its time.
const CALM_TIMES: u32 = 100;
/// For so long at most.
const CALM_MAX: Duration = Duration::from_secs(1);

/// Nanoseconds since this was asked for first.
fn now_ns() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    nanos(FIRST.get_or_init(Instant::now).elapsed())
}

/// No bias begins before.
static CALM_FROM_NS: AtomicU64 = AtomicU64::new(0);

pub(super) fn is_calm() -> bool {
    now_ns() >= CALM_FROM_NS.load(Ordering::Relaxed)
}

/// Behind a barrier that took so long. Times add up, so that many ends in a row are followed by as long a calm as if there was one
/// behind each.
fn be_calm(took: Duration) {
    let now = now_ns();
    let calm_ns = nanos(took * CALM_TIMES);
    let later = |from: u64| from.max(now).saturating_add(calm_ns).min(now + nanos(CALM_MAX));
    let relaxed = Ordering::Relaxed;
    let _ = CALM_FROM_NS.fetch_update(relaxed, relaxed, |from| Some(later(from)));
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Makes one.
pub(super) fn make() {
    let began = Instant::now();
    system::make();
    be_calm(began.elapsed());
}

/// (Miri has none.)
#[cfg(all(feature = "mmap", target_os = "linux", not(miri)))]
mod system {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering, fence};
    use std::time::Duration;

    use rustix::thread::{MembarrierCommand, membarrier};

    /// Where the barrier is refused that was granted before: by far longer than a processor keeps to itself what it has written.
    const INSTEAD: Duration = Duration::from_millis(20);

    static IS_REFUSED: AtomicBool = AtomicBool::new(false);

    /// Whether the system makes them. Cost: two system calls, once.
    pub(in super::super) fn is_there() -> bool {
        static IS_GRANTED: OnceLock<bool> = OnceLock::new();
        !IS_REFUSED.load(Ordering::Relaxed)
            && *IS_GRANTED.get_or_init(|| register().is_ok() && ask().is_ok())
    }

    /// Makes one.
    pub(in super::super) fn make() {
        // A forked child may have to register by itself.
        if ask().is_err() && (register().is_err() || ask().is_err()) {
            // The process has given up the right to this call since (seccomp): there will be no bias any more.
            IS_REFUSED.store(true, Ordering::Relaxed);
            std::thread::sleep(INSTEAD);
        }
        fence(Ordering::SeqCst);
    }

    fn register() -> rustix::io::Result<()> {
        membarrier(MembarrierCommand::RegisterPrivateExpedited)
    }

    fn ask() -> rustix::io::Result<()> {
        membarrier(MembarrierCommand::PrivateExpedited)
    }
}

#[cfg(not(all(feature = "mmap", target_os = "linux", not(miri))))]
mod system {
    pub(in super::super) fn is_there() -> bool {
        false
    }

    pub(in super::super) fn make() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calms_add_up_to_a_second() {
        let calm_for = || CALM_FROM_NS.load(Ordering::Relaxed).saturating_sub(now_ns());
        for _ in 0..3 {
            be_calm(Duration::from_millis(2));
        }
        assert!(!is_calm());
        assert!(calm_for() > nanos(Duration::from_millis(400)), "{}", calm_for());
        (0..10).for_each(|_| be_calm(Duration::from_millis(2)));
        assert!(calm_for() <= nanos(CALM_MAX), "{}", calm_for());
    }
}
