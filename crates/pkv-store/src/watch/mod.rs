//! Watching: committed changes, in the order of their sequence numbers, to whoever asked for them.
//!
//! ```text
//! a write: step 2 copies key, old and new value (notice.rs), if anybody watches
//!          behind step 5, with nothing locked, hands them in --> hub.rs: back into the order of numbers
//!                                                                  |
//!                             queue.rs: one bounded queue for each watch, filtered
//!                                                                  |
//!          ByteWatch, Watch: waiting, polling, decoding <----------+
//!          backlog.rs: what was written before, out of the logs, for a watch that resumes
//! ```
//!
//! Who does not watch pays for a look at one flag.

mod backlog;
mod builder;
mod hub;
mod notice;
mod queue;
#[cfg(feature = "stream")]
mod stream;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::codec::{Decode, Key, Value};
use crate::error::{Error, Result};
use crate::reentry;

use backlog::Backlog;
pub use builder::{ByteWatchBuilder, WatchBuilder};
pub(crate) use hub::Hub;
pub(crate) use notice::{Notice, Noticed};
use queue::{Next, Queue};

/// A committed change, or the word that some were missed.
///
/// The changes of a batch come one behind the other, with the same number, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<K = Vec<u8>, V = Vec<u8>> {
    /// The key has this value from now on.
    Set {
        /// The write's sequence number.
        seq: u64,
        /// The key.
        key: K,
        /// Its new value.
        value: V,
        /// What it was before.
        old: Old<V>,
    },
    /// The key is gone: removed, or expired and swept away.
    Remove {
        /// The write's sequence number.
        seq: u64,
        /// The key.
        key: K,
        /// What it was before.
        old: Old<V>,
    },
    /// Every key is gone. The old values are not told.
    Clear {
        /// The write's sequence number.
        seq: u64,
    },
    /// The watch was too slow: changes between and with these two were dropped. What follows is newer.
    /// To have them all the same, start another watch with [`WatchBuilder::after`] the last number that came.
    Lagged {
        /// The first write of which a change is missing.
        first_seq: u64,
        /// The last one.
        last_seq: u64,
    },
}

/// What a key was before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old<V> {
    /// It was not there.
    Absent,
    /// It had this value.
    Value(V),
    /// Not known: the change was read from the log, which holds new values alone.
    Unknown,
}

impl<V> Old<V> {
    /// The old value, where there was one and it is known.
    pub fn value(self) -> Option<V> {
        match self {
            Old::Value(value) => Some(value),
            Old::Absent | Old::Unknown => None,
        }
    }

    fn try_map<W, E>(self, map: impl FnOnce(V) -> Result<W, E>) -> Result<Old<W>, E> {
        Ok(match self {
            Old::Absent => Old::Absent,
            Old::Value(value) => Old::Value(map(value)?),
            Old::Unknown => Old::Unknown,
        })
    }
}

impl<K, V> Event<K, V> {
    /// The number of the write; of `Lagged` the last one that was missed.
    pub fn seq(&self) -> u64 {
        match self {
            Event::Set { seq, .. } | Event::Remove { seq, .. } | Event::Clear { seq } => *seq,
            Event::Lagged { last_seq, .. } => *last_seq,
        }
    }

    /// The key, where the event has one.
    pub fn key(&self) -> Option<&K> {
        match self {
            Event::Set { key, .. } | Event::Remove { key, .. } => Some(key),
            Event::Clear { .. } | Event::Lagged { .. } => None,
        }
    }

    fn try_map<K2, V2, E>(
        self,
        map_key: impl FnOnce(K) -> Result<K2, E>,
        map_value: impl Fn(V) -> Result<V2, E>,
    ) -> Result<Event<K2, V2>, E> {
        Ok(match self {
            Event::Set { seq, key, value, old } => Event::Set {
                seq,
                key: map_key(key)?,
                value: map_value(value)?,
                old: old.try_map(&map_value)?,
            },
            Event::Remove { seq, key, old } => {
                Event::Remove { seq, key: map_key(key)?, old: old.try_map(&map_value)? }
            }
            Event::Clear { seq } => Event::Clear { seq },
            Event::Lagged { first_seq, last_seq } => Event::Lagged { first_seq, last_seq },
        })
    }
}

/// An event that is still where it was found.
type Raw<'a> = Event<&'a [u8], &'a [u8]>;

/// The changes of a store of bytes. See [`crate::ByteStore::watch`]; [`Watch`] is the same with types.
#[derive(Debug)]
#[must_use = "a watch that is dropped sees nothing"]
pub struct ByteWatch {
    hub: Arc<Hub>,
    queue: Arc<Queue>,
    /// What was written before the watch began and is still to be read from the logs.
    backlog: Option<Backlog>,
    start_seq: u64,
    /// The end was told.
    ended: bool,
}

impl ByteWatch {
    fn new(hub: Arc<Hub>, queue: Arc<Queue>, start_seq: u64) -> Self {
        Self { hub, queue, backlog: None, start_seq, ended: false }
    }

    /// The number behind which this watch begins: every later change that it asks for comes.
    pub fn start_seq(&self) -> u64 {
        self.start_seq
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the store was closed and everything was told, [`Error::Poisoned`] when it
    /// takes no writes any more; [`Error::Reentrant`] inside a closure of an operation, where it could
    /// wait for ever; and what reading the logs brings, for a watch that resumes.
    pub fn recv(&mut self) -> Result<Event> {
        self.wait_with(None, owned)?.ok_or(Error::Closed)
    }

    /// Waits for the next event, at most so long; `None`: none came. Errors as for [`ByteWatch::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event>> {
        self.wait_with(Instant::now().checked_add(timeout), owned)
    }

    /// The next event if there is one. Errors as for [`ByteWatch::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Event>> {
        self.next_with(None, owned)
    }

    /// The next event, or a promise to wake this task when there is one. Errors as for [`ByteWatch::recv`].
    /// Resuming reads the logs on the thread that polls.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Event>> {
        self.poll_with(context, owned)
    }

    /// [`ByteWatch::recv`], awaited. Cancel safe: an event comes once, to a call that returns it.
    pub async fn recv_async(&mut self) -> Result<Event> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Goes over the events, waiting for each: see [`Watch::iter`].
    pub fn iter(&mut self) -> Events<'_, Self> {
        Events(self)
    }

    /// The next event as `give` makes it; without one the task's waker is left in the queue.
    fn next_with<R>(
        &mut self,
        mut context: Option<&mut Context<'_>>,
        give: impl FnOnce(Raw<'_>) -> R,
    ) -> Result<Option<R>> {
        while let Some(backlog) = &mut self.backlog {
            let visible_seq = self.hub.visible_seq(&self.queue);
            if let Some(event) = backlog.next(visible_seq)? {
                return Ok(Some(give(event.as_raw())));
            }
            if backlog.is_done() {
                self.backlog = None;
            } else if self.queue.wait_for_more(&self.hub, visible_seq, context.as_deref_mut())? {
                // Written, but not durable yet: the queue's own events come later still.
                return Ok(None);
            }
        }
        match self.queue.next(&self.hub, context) {
            Next::Change(notice, index) => Ok(notice.event(index).map(give)),
            Next::Lagged(first_seq, last_seq) => {
                Ok(Some(give(Event::Lagged { first_seq, last_seq })))
            }
            Next::Pending => Ok(None),
            Next::Ended(end) => Err(end.into()),
        }
    }

    /// For who goes over events: an end comes once.
    fn unless_ended<T>(&mut self, event: Result<T>) -> Option<Result<T>> {
        self.ended = matches!(event, Err(Error::Closed | Error::Poisoned(_)));
        if matches!(event, Err(Error::Closed)) { None } else { Some(event) }
    }

    fn poll_with<R>(
        &mut self,
        context: &mut Context<'_>,
        give: impl FnOnce(Raw<'_>) -> R,
    ) -> Poll<Result<R>> {
        match self.next_with(Some(context), give) {
            Ok(Some(event)) => Poll::Ready(Ok(event)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn wait_with<R>(
        &mut self,
        deadline: Option<Instant>,
        give: impl FnOnce(Raw<'_>) -> R,
    ) -> Result<Option<R>> {
        if reentry::is_inside_any() {
            return Err(Error::Reentrant);
        }
        let mut give = Some(give);
        loop {
            let ticket = self.queue.ticket();
            let found = self.next_with(None, |event| give.take().map(|give| give(event)))?;
            if let Some(found) = found {
                return Ok(found);
            }
            if !self.queue.wait_past(ticket, deadline) {
                return Ok(None);
            }
        }
    }
}

impl Drop for ByteWatch {
    fn drop(&mut self) {
        self.hub.leave(&self.queue);
    }
}

/// Goes over the events of a watch, waiting for each: see [`Watch::iter`].
#[derive(Debug)]
pub struct Events<'a, W>(&'a mut W);

impl Iterator for Events<'_, ByteWatch> {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.ended {
            return None;
        }
        let event = self.0.recv();
        self.0.unless_ended(event)
    }
}

/// The changes of a store, decoded. See [`crate::Store::watch`].
#[must_use = "a watch that is dropped sees nothing"]
pub struct Watch<K, V> {
    bytes: ByteWatch,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> std::fmt::Debug for Watch<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("bytes", &self.bytes).finish()
    }
}

impl<K: Key, V: Value> Watch<K, V> {
    /// The number behind which this watch begins: every later change that it asks for comes.
    pub fn start_seq(&self) -> u64 {
        self.bytes.start_seq()
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// As for [`ByteWatch::recv`], and [`Error::Decode`] for stored bytes that are no `K` or `V`; the next
    /// call goes on behind them.
    pub fn recv(&mut self) -> Result<Event<K, V>> {
        self.bytes.wait_with(None, decoded)?.unwrap_or(Err(Error::Closed))
    }

    /// Goes over the events, waiting for each. Ends when the store is closed and everything was told, and
    /// behind the error of a store that takes no writes any more. (A watch is no iterator itself, since it is a
    /// stream.)
    pub fn iter(&mut self) -> Events<'_, Self> {
        Events(self)
    }

    /// Waits for the next event, at most so long; `None`: none came. Errors as for [`Watch::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event<K, V>>> {
        self.bytes.wait_with(Instant::now().checked_add(timeout), decoded)?.transpose()
    }

    /// The next event if there is one. Errors as for [`Watch::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Event<K, V>>> {
        self.bytes.next_with(None, decoded)?.transpose()
    }

    /// The next event, or a promise to wake this task when there is one. Errors as for [`Watch::recv`].
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Event<K, V>>> {
        self.bytes.poll_with(context, decoded).map(|event| event.and_then(|event| event))
    }

    /// [`Watch::recv`], awaited. Cancel safe: an event comes once, to a call that returns it.
    pub async fn recv_async(&mut self) -> Result<Event<K, V>> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }
}

impl<K: Key, V: Value> Iterator for Events<'_, Watch<K, V>> {
    type Item = Result<Event<K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.bytes.ended {
            return None;
        }
        let event = self.0.recv();
        self.0.bytes.unless_ended(event)
    }
}

fn owned(event: Raw<'_>) -> Event {
    let copied: Result<Event, std::convert::Infallible> =
        event.try_map(|key| Ok(key.to_vec()), |value| Ok(value.to_vec()));
    match copied {
        Ok(event) => event,
        Err(never) => match never {},
    }
}

fn decoded<K: Decode, V: Decode>(event: Raw<'_>) -> Result<Event<K, V>> {
    event.try_map(K::decode, V::decode).map_err(Error::Decode)
}
