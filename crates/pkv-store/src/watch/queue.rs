//! One watch's queue: bounded, filtered, with a consumer that waits or is woken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use super::hub::Hub;
use super::notice::Told;
use crate::error::{Error, Result};
use crate::health::Cause;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Which keys a watch asks for.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    All,
    Key(Vec<u8>),
    Prefix(Vec<u8>),
}

impl Filter {
    /// `None` is a change of all keys, which concerns everybody.
    pub(super) fn takes(&self, key: Option<&[u8]>) -> bool {
        match (self, key) {
            (Filter::All, _) | (_, None) => true,
            (Filter::Key(wanted), Some(key)) => wanted == key,
            (Filter::Prefix(prefix), Some(key)) => key.starts_with(prefix),
        }
    }
}

/// What the consumer finds.
pub(super) enum Next {
    /// This change of a write.
    Change(Arc<Told>, usize),
    /// Writes that were dropped, first and last.
    Lagged(u64, u64),
    Pending,
    /// Nothing comes any more.
    Ended(End),
}

/// Why no event comes any more.
#[derive(Clone, Debug)]
pub(super) enum End {
    Closed,
    /// The store takes no writes because of this.
    Poisoned(Cause),
}

impl From<End> for Error {
    fn from(end: End) -> Self {
        match end {
            End::Closed => Error::Closed,
            End::Poisoned(cause) => Error::Poisoned(cause),
        }
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    filter: Filter,
    events_max: usize,
    /// Events wait here until their write is durable.
    pub(super) only_durable: bool,
    /// Writes up to this one are not wanted.
    after_seq: u64,
    inner: Mutex<Inner>,
    /// With `inner`: something changed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<(Arc<Told>, usize)>,
    /// The first and last write dropped behind `events`.
    lost: Option<(u64, u64)>,
    waker: Option<Waker>,
    /// Rises with every change, so that a consumer does not sleep through one.
    ticket: u64,
    ended: Option<End>,
}

impl Queue {
    pub(super) fn new(
        filter: Filter,
        events_max: usize,
        only_durable: bool,
        after_seq: u64,
    ) -> Self {
        Self {
            filter,
            events_max,
            only_durable,
            after_seq,
            inner: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Takes what concerns this watch of a write, whole or not at all: a batch is never told in part. Returns
    /// the task to wake.
    pub(super) fn push(&self, told: &Arc<Told>) -> Option<Waker> {
        if told.seq <= self.after_seq {
            return None;
        }
        let mine =
            || (0..told.notice.len()).filter(|index| self.filter.takes(told.notice.key(*index)));
        let count = mine().count();
        if count == 0 {
            return None;
        }
        let mut inner = self.inner.lock();
        // A batch that is larger than the queue would else never come.
        let has_room = inner.events.is_empty() || inner.events.len() + count <= self.events_max;
        match &mut inner.lost {
            Some((_, last)) => *last = told.seq,
            None if has_room => {
                inner.events.extend(mine().map(|index| (Arc::clone(told), index)));
            }
            None => inner.lost = Some((told.seq, told.seq)),
        }
        self.wake(inner)
    }

    /// Has the consumer look again.
    pub(super) fn nudge(&self) -> Option<Waker> {
        self.wake(self.inner.lock())
    }

    /// Nothing comes any more. What is there is still told, as far as it may be.
    pub(super) fn end(&self, end: &End) -> Option<Waker> {
        let mut inner = self.inner.lock();
        inner.ended.get_or_insert_with(|| end.clone());
        self.wake(inner)
    }

    fn wake(&self, mut inner: MutexGuard<'_, Inner>) -> Option<Waker> {
        inner.ticket += 1;
        self.changed.notify_one();
        inner.waker.take()
    }

    /// The next thing to tell.
    pub(super) fn next(&self, hub: &Hub, context: Option<&mut Context<'_>>) -> Next {
        let mut inner = self.inner.lock();
        let visible_seq = hub.visible_seq(self);
        match inner.events.front() {
            Some((told, _)) if told.seq <= visible_seq => {
                if let Some((told, index)) = inner.events.pop_front() {
                    return Next::Change(told, index);
                }
            }
            None => {
                if let Some((first, last)) = inner.lost.take() {
                    return Next::Lagged(first, last);
                }
            }
            Some(_) => {}
        }
        // What is left in the queue of an ended store never became durable.
        if let Some(end) = &inner.ended {
            return Next::Ended(end.clone());
        }
        leave_waker(inner, context);
        Next::Pending
    }

    /// Leaves the waker, to be woken when the watch may see further than up to `visible_seq`. False: it may
    /// already. An error where nothing comes any more.
    pub(super) fn wait_for_more(
        &self,
        hub: &Hub,
        visible_seq: u64,
        context: Option<&mut Context<'_>>,
    ) -> Result<bool> {
        let inner = self.inner.lock();
        // Asked again with the queue locked: whoever moves it tells the queue behind that, and an end comes
        // behind the last move.
        if hub.visible_seq(self) != visible_seq {
            return Ok(false);
        }
        if let Some(end) = &inner.ended {
            return Err(end.clone().into());
        }
        leave_waker(inner, context);
        Ok(true)
    }

    /// Says how far the queue has changed; see [`Queue::wait_past`].
    pub(super) fn ticket(&self) -> u64 {
        self.inner.lock().ticket
    }

    /// Waits until the queue has changed since the ticket. False: the time is over.
    pub(super) fn wait_past(&self, ticket: u64, deadline: Option<Instant>) -> bool {
        let mut inner = self.inner.lock();
        while inner.ticket == ticket {
            match deadline {
                None => self.changed.wait(&mut inner),
                Some(deadline) => {
                    if self.changed.wait_until(&mut inner, deadline).timed_out() {
                        return inner.ticket != ticket;
                    }
                }
            }
        }
        true
    }
}

/// Leaves the task's waker for the next change.
fn leave_waker(mut inner: MutexGuard<'_, Inner>, context: Option<&mut Context<'_>>) {
    let Some(context) = context else { return };
    let is_same = inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
    if !is_same {
        let old = inner.waker.replace(context.waker().clone());
        drop(inner);
        drop(old);
    }
}
