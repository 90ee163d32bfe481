//! Finding out, cheaply, that this process is a forked child.

#[cfg(all(feature = "mmap", target_os = "linux"))]
use crate::mapped::WipedOnFork;

/// Tells a forked child from the process that made the guard.
///
/// A child shares open files, locks and mapped segments with its parent. If it appended or
/// unlocked, it would destroy the parent's data; so whoever owns such a thing keeps a guard and asks
/// it first. Once true in a process, the answer stays true there and in all its children.
///
/// Cost: one page of memory per guard. [`forked`](Self::forked) is one load (about a nanosecond)
/// on Linux from 4.14 on with the feature `mmap`; elsewhere it asks for the process id, a system
/// call (80 to 250 ns).
///
/// ```
/// let guard = pkv_fs::ForkGuard::new();
/// assert!(!guard.forked());
/// ```
#[derive(Debug)]
pub struct ForkGuard(Way);

#[derive(Debug)]
enum Way {
    #[cfg(all(feature = "mmap", target_os = "linux"))]
    Page(WipedOnFork),
    Process(u32),
}

impl ForkGuard {
    /// A guard for the calling process.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(all(feature = "mmap", target_os = "linux"))]
        if let Ok(page) = WipedOnFork::new() {
            return Self(Way::Page(page));
        }
        Self(Way::Process(std::process::id()))
    }

    /// Whether the calling process was forked from the one that made the guard.
    #[inline]
    #[must_use]
    pub fn forked(&self) -> bool {
        match &self.0 {
            #[cfg(all(feature = "mmap", target_os = "linux"))]
            Way::Page(page) => page.is_wiped(),
            Way::Process(id) => *id != std::process::id(),
        }
    }
}

impl Default for ForkGuard {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_wiped_page_the_process_id_decides() {
        assert!(!ForkGuard(Way::Process(std::process::id())).forked());
        assert!(ForkGuard(Way::Process(std::process::id() ^ 1)).forked());
    }

    #[cfg(all(feature = "mmap", target_os = "linux"))]
    #[test]
    fn linux_wipes_pages() {
        assert!(matches!(ForkGuard::new(), ForkGuard(Way::Page(_))));
    }
}
