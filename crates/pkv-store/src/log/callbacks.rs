//! Callbacks that wait for a sync, and the thread that runs them.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;

use crate::error::{Error, Result};
use crate::health::Cause;
use crate::sync::mpsc::{Sender, channel};
use crate::sync::thread::{self, JoinHandle};

/// Told once whether a write became durable.
pub(crate) type Callback = Box<dyn FnOnce(Result<u64>) + Send>;

/// Callbacks, lowest sequence number first, then in the order they came.
#[derive(Default)]
pub(super) struct Callbacks(VecDeque<Pending>);

impl Callbacks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one. Cost: constant but for one that comes after others with higher numbers.
    pub(super) fn add(&mut self, seq: u64, callback: Callback) {
        let at = if self.0.back().is_none_or(|last| last.seq <= seq) {
            self.0.len()
        } else {
            self.0.partition_point(|pending| pending.seq <= seq)
        };
        self.0.insert(at, Pending { seq, callback });
    }

    /// Takes out those with numbers up to this one.
    pub(super) fn take_up_to(&mut self, seq: u64) -> VecDeque<Pending> {
        let ready = self.0.partition_point(|pending| pending.seq <= seq);
        if ready == 0 {
            return VecDeque::new();
        }
        let behind = self.0.split_off(ready);
        std::mem::replace(&mut self.0, behind)
    }
}

/// A callback that waits.
pub(super) struct Pending {
    seq: u64,
    callback: Callback,
}

/// Callbacks whose outcome is known.
pub(super) struct Outcomes {
    pub(super) callbacks: VecDeque<Pending>,
    pub(super) durable: u64,
    /// Why the others are not durable; `None`: the log has ended.
    pub(super) cause: Option<Cause>,
}

impl Outcomes {
    /// Tells them, in order.
    pub(super) fn tell(self) {
        for Pending { seq, callback } in self.callbacks {
            let outcome = match &self.cause {
                _ if seq <= self.durable => Ok(self.durable),
                Some(cause) => Err(Error::Unconfirmed { seq, cause: cause.clone() }),
                None => Err(Error::Closed),
            };
            run(callback, outcome);
        }
    }
}

/// The thread that runs callbacks, so that a slow one holds up no commit.
pub(super) struct Notifier {
    jobs: Sender<Outcomes>,
    thread: JoinHandle<()>,
}

impl Notifier {
    pub(super) fn start() -> Option<Self> {
        let (jobs, queue) = channel::<Outcomes>();
        let thread = thread::Builder::new()
            .name("pkv-notify".into())
            .spawn(move || queue.into_iter().for_each(Outcomes::tell))
            .ok()?;
        Some(Self { jobs, thread })
    }

    /// Has the thread tell them, or gives them back where it is gone.
    pub(super) fn tell(&self, outcomes: Outcomes) -> Result<(), Outcomes> {
        self.jobs.send(outcomes).map_err(|unsent| unsent.0)
    }

    /// Ends the thread behind what it has to tell.
    pub(super) fn end(self) {
        let Self { jobs, thread } = self;
        drop(jobs);
        // A callback may close the store: the thread cannot wait for itself.
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join();
        }
    }
}

/// A callback's panic is its own: the next one runs all the same.
fn run(callback: Callback, outcome: Result<u64>) {
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| callback(outcome)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_wait_in_the_order_of_their_numbers_and_then_of_their_coming() {
        let (told, order) = std::sync::mpsc::channel();
        let mut waiting = Callbacks::default();
        for (name, seq) in [("a", 5), ("b", 3), ("c", 5), ("d", 4), ("e", 9), ("f", 5)] {
            let told = told.clone();
            waiting.add(seq, Box::new(move |outcome| told.send((name, outcome.is_ok())).unwrap()));
        }
        let tell = |callbacks| Outcomes { callbacks, durable: 5, cause: None }.tell();
        tell(waiting.take_up_to(5));
        assert_eq!(waiting.len(), 1);
        tell(waiting.take_up_to(u64::MAX));
        let expected =
            [("b", true), ("d", true), ("a", true), ("c", true), ("f", true), ("e", false)];
        assert!(order.try_iter().eq(expected));
    }
}
