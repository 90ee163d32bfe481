//! The threads that load and save shards: a rayon pool of the store's own, started when first needed.

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

/// See the module's words.
#[derive(Debug)]
pub(crate) struct IoPool {
    threads: usize,
    pool: OnceLock<Option<ThreadPool>>,
}

impl IoPool {
    /// A pool of this many threads; 0: one for each core; 1: none, work is done by the caller.
    pub(crate) fn new(threads: usize) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { threads: if threads == 0 { cores() } else { threads }, pool: OnceLock::new() }
    }

    /// How many calls run at once.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` on every item, several at a time, and returns the answers in order.
    pub(crate) fn map<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> R + Sync,
    ) -> Vec<R> {
        if items.len() > 1
            && let Some(pool) = self.pool()
        {
            return pool.install(|| items.par_iter().with_max_len(1).map(&work).collect());
        }
        items.iter().map(work).collect()
    }

    /// The same, with `beside` called meanwhile; returns its answer, too.
    pub(crate) fn map_beside<T: Sync, R: Send, B: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> R + Sync,
        beside: impl FnOnce() -> B + Send,
    ) -> (Vec<R>, B) {
        if let Some(pool) = self.pool() {
            let all = || items.par_iter().with_max_len(1).map(&work).collect();
            // The second one is what other threads take from the one that begins here.
            let (beside, answers) = pool.install(|| rayon::join(beside, all));
            return (answers, beside);
        }
        (items.iter().map(work).collect(), beside())
    }

    fn pool(&self) -> Option<&ThreadPool> {
        if self.threads < 2 {
            return None;
        }
        // Where the system gives no threads the work is done by the caller: slower, and right.
        let start = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(self.threads)
                .thread_name(|i| format!("pkv-io-{i}"))
                .build()
                .ok()
        };
        self.pool.get_or_init(start).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_beside_other_work_is_done_once_and_in_order() {
        for threads in [1, 2, 3] {
            let pool = IoPool::new(threads);
            let items: Vec<usize> = (0..64).collect();
            let (answers, beside) = pool.map_beside(&items, |item| item * 2, || "beside");
            assert!(answers.into_iter().eq((0..64).map(|item| item * 2)), "{threads}");
            assert_eq!(beside, "beside");
        }
    }
}
