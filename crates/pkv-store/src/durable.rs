//! A write that is awaited: a future that resolves when the write survives a power cut, under any executor.
//!
//! It is a callback ([`ByteStore::on_durable`]) and a place for a waker; no runtime is known here. Reads
//! are plain calls: they never wait for a disk.

use std::borrow::Borrow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::bytes::{ByteBatch, ByteStore, Update};
use crate::codec::{Encode, Key, Value};
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::store::{Batch, Store, encoded, encoded_pair};
use crate::sync::Mutex;
use crate::write::Written;

/// A write on its way to the disk: resolves when it survives a power cut, to what the plain call returns.
///
/// **The write was made by the call that returned this**, in memory and in the log, as with
/// [`Durability::Process`]; awaiting it adds the sync, which all who wait share. So it is cancel safe:
/// dropping it, as `select!` and time-outs do, gives up the answer and neither undoes nor repeats the write.
/// It borrows nothing and can be sent to another task.
///
/// The call itself is as long as a plain write: memory copies, and a wait where a plain write waits (for the
/// next log file, for `max_unsynced_bytes`, for `max_log_bytes`). Where a runtime's thread must not wait
/// for those, make the call in its `spawn_blocking`.
///
/// # Errors
///
/// Those of the plain call; [`Error::Unconfirmed`] when the sync failed, and [`Error::Closed`] when the
/// store was closed without one. It always resolves: neither a failed disk nor a close leaves it pending.
/// With [`crate::Options::background`]`(false)` nobody syncs but the caller: the call syncs before it returns.
///
/// ```
/// # fn block_on<F: Future>(future: F) -> F::Output { pollster::block_on(future) }
/// use pkv_store::Store;
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("orders");
/// let orders: Store<u64, String> = Store::open(&path)?;
/// block_on(async {
///     let existed = orders.insert_async(&1, "two apples").await?;   // survives a power cut now
///     assert!(!existed);
///     // Many at once share a sync: make the writes, then await them.
///     let writes: Vec<_> = (2..10).map(|n| orders.insert_async(&n, "a pear")).collect();
///     for write in writes {
///         write.await?;
///     }
///     assert_eq!(orders.get(&5)?.as_deref(), Some("a pear"));
///     Ok::<(), pkv_store::Error>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the write was made, but only the awaited future says whether it survives a power cut"]
#[derive(Debug)]
pub struct Durable<T> {
    seq: u64,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Ready(Result<T>),
    Waiting(T, Arc<Slot>),
    Taken,
}

/// Where the callback leaves the outcome, and the task its waker.
#[derive(Debug, Default)]
struct Slot(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    outcome: Option<Result<u64>>,
    waker: Option<Waker>,
}

impl Slot {
    fn resolve(&self, outcome: Result<u64>) {
        let waker = {
            let mut shared = self.0.lock();
            shared.outcome = Some(outcome);
            shared.waker.take()
        };
        // A waker is foreign code: it runs with nothing locked.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Durable<T> {
    fn failed(error: Error) -> Self {
        Self { seq: 0, state: State::Ready(Err(error)) }
    }

    fn of(store: &ByteStore, seq: u64, answer: T) -> Self {
        if store.durable_seq() >= seq {
            return Self { seq, state: State::Ready(Ok(answer)) };
        }
        let slot = Arc::new(Slot::default());
        let resolved = Arc::clone(&slot);
        store.on_durable(seq, move |outcome| resolved.resolve(outcome));
        Self { seq, state: State::Waiting(answer, slot) }
    }

    /// The sequence number that is waited for: that of the write, or of one that came right behind it; 0 if
    /// the call failed.
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// Nothing in it is ever pinned.
impl<T> Unpin for Durable<T> {}

impl<T> Future for Durable<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let replaced;
        let outcome = match &self.state {
            // Told already. Polling again is a mistake of the caller's; a panic would make it the store's.
            State::Taken => return Poll::Pending,
            State::Ready(_) => None,
            State::Waiting(_, slot) => {
                let mut shared = slot.0.lock();
                if shared.outcome.is_none() {
                    let is_same =
                        shared.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
                    replaced = (!is_same).then(|| shared.waker.replace(context.waker().clone()));
                    drop(shared);
                    drop(replaced);
                    return Poll::Pending;
                }
                shared.outcome.take()
            }
        };
        match (std::mem::replace(&mut self.state, State::Taken), outcome) {
            (State::Ready(answer), _) => Poll::Ready(answer),
            (State::Waiting(answer, _), Some(outcome)) => Poll::Ready(outcome.map(|_| answer)),
            (State::Waiting(..) | State::Taken, _) => Poll::Pending,
        }
    }
}

impl<T> Drop for Durable<T> {
    fn drop(&mut self) {
        if let State::Waiting(_, slot) = &self.state {
            // A task that gave up is not woken, and not kept alive until the next sync.
            let waker = slot.0.lock().waker.take();
            drop(waker);
        }
    }
}

impl ByteStore {
    /// Resolves when the write with this number, and all before it, survive a power cut:
    /// [`ByteStore::wait_durable`], awaited.
    pub fn wait_durable_async(&self, seq: u64) -> Durable<()> {
        if seq > self.last_seq() {
            // The plain call has the error for a number that was never written.
            return match self.wait_durable(seq) {
                Ok(()) => Durable::of(self, seq, ()),
                Err(error) => Durable::failed(error),
            };
        }
        Durable::of(self, seq, ())
    }

    /// [`ByteStore::sync`], awaited. After any plain calls it makes them all survive a power cut.
    pub fn sync_async(&self) -> Durable<()> {
        Durable::of(self, self.last_seq(), ())
    }

    /// [`ByteStore::insert`], awaited until it is durable.
    pub fn insert_async(&self, key: &[u8], value: &[u8]) -> Durable<Written> {
        self.awaited(self.insert(key, value, Durability::Process))
    }

    /// [`ByteStore::remove`], awaited until it is durable.
    pub fn remove_async(&self, key: &[u8]) -> Durable<Written> {
        self.awaited(self.remove(key, Durability::Process))
    }

    /// [`ByteStore::update`], awaited until it is durable. The closure has run when this returns.
    pub fn update_async(
        &self,
        key: &[u8],
        change: impl FnMut(Option<&[u8]>) -> Update,
    ) -> Durable<Written> {
        self.awaited(self.update(key, Durability::Process, change))
    }

    fn awaited(&self, written: Result<Written>) -> Durable<Written> {
        match written {
            Ok(written) => Durable::of(self, written.seq, written),
            Err(error) => Durable::failed(error),
        }
    }
}

impl ByteBatch<'_> {
    /// [`ByteBatch::commit`], awaited until it is durable.
    pub fn commit_async(self) -> Durable<u64> {
        let store = self.store();
        match self.commit(Durability::Process) {
            Ok(seq) => Durable::of(store, seq, seq),
            Err(error) => Durable::failed(error),
        }
    }
}

impl<K: Key, V: Value> Store<K, V> {
    /// [`Store::sync`], awaited. After any plain calls it makes them all survive a power cut: that is how
    /// every method that has no twin here is awaited.
    pub fn sync_async(&self) -> Durable<()> {
        self.bytes().sync_async()
    }

    /// [`Store::insert`], awaited until it is durable. See [`Durable`] for when the write is made.
    pub fn insert_async<Q, W>(&self, key: &Q, value: &W) -> Durable<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
        V: Borrow<W>,
        W: Encode + ?Sized,
    {
        self.awaited(encoded_pair(key, value, |key, value| {
            self.bytes().insert(key, value, Durability::Process)
        }))
    }

    /// [`Store::remove`], awaited until it is durable. See [`Durable`] for when the write is made.
    pub fn remove_async<Q>(&self, key: &Q) -> Durable<bool>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.awaited(encoded(key, |key| self.bytes().remove(key, Durability::Process)))
    }

    /// [`Store::update`], awaited until it is durable. The closure has run when this returns; see [`Durable`].
    pub fn update_async<Q>(
        &self,
        key: &Q,
        change: impl FnMut(Option<V>) -> Option<V>,
    ) -> Durable<Option<V>>
    where
        K: Borrow<Q>,
        Q: Encode + ?Sized,
    {
        self.awaited_behind(self.update_with(key, Durability::Process, change))
    }

    fn awaited(&self, written: Result<Written>) -> Durable<bool> {
        match written {
            Ok(written) => Durable::of(self.bytes(), written.seq, written.existed),
            Err(error) => Durable::failed(error),
        }
    }

    /// For a write whose own number was not kept: the last number is its own or follows it.
    pub(crate) fn awaited_behind<T>(&self, answer: Result<T>) -> Durable<T> {
        match answer {
            Ok(answer) => Durable::of(self.bytes(), self.bytes().last_seq(), answer),
            Err(error) => Durable::failed(error),
        }
    }
}

impl<K: Key, V: Value> Batch<'_, K, V> {
    /// [`Batch::commit`], awaited until it is durable. See [`Durable`] for when the write is made.
    pub fn commit_async(self) -> Durable<()> {
        let store = self.store();
        store.awaited_behind(self.commit_with(Durability::Process))
    }
}
