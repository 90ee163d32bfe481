//! What a store's users see of expiry: writes with a deadline, typed and of bytes.

use std::time::Duration;

use super::{NEVER, Seen, check_key, stamp, until};
use crate::bytes::{ByteBatch, ByteStore};
use crate::codec::{Encode, Key, Value};
use crate::error::Result;
use crate::options::Durability;
use crate::reentry;
use crate::store::{Batch, Store, encoded, encoded_pair};
use crate::write::{Decision, Prepare, Written};

impl ByteStore {
    /// [`Store::insert_with_ttl`] for bytes.
    pub fn insert_with_ttl(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Duration,
        durability: Durability,
    ) -> Result<Written> {
        let expiry = self.core().expiry()?;
        let deadline_ms = expiry.deadline_ms(ttl);
        let prepare = Prepare::Set(value);
        self.core().write_timed(expiry, key, prepare, deadline_ms, durability, |_, _| {
            Ok(Decision::AsPrepared)
        })
    }

    /// Sets a key until a moment, in milliseconds since 1970: for tools that move entries with the deadlines they
    /// have. One that has passed leaves the key absent. Programs take [`Store::insert_with_ttl`].
    ///
    /// # Errors
    ///
    /// As [`Store::insert_with_ttl`].
    pub fn insert_until(
        &self,
        key: &[u8],
        value: &[u8],
        expires_ms: u64,
        durability: Durability,
    ) -> Result<Written> {
        let expiry = self.core().expiry()?;
        let (prepare, deadline_ms) = (Prepare::Set(value), until(expires_ms));
        self.core().write_timed(expiry, key, prepare, deadline_ms, durability, |_, _| {
            Ok(Decision::AsPrepared)
        })
    }

    /// Whether the store's entries may expire: see [`Options::expiry`](crate::Options::expiry).
    #[must_use]
    pub fn has_expiry(&self) -> bool {
        self.core().expiry.is_some()
    }

    /// [`Store::set_ttl`] for bytes.
    pub fn set_ttl(
        &self,
        key: &[u8],
        ttl: Option<Duration>,
        durability: Durability,
    ) -> Result<bool> {
        let expiry = self.core().expiry()?;
        check_key(key)?;
        let deadline_ms = ttl.map_or(NEVER, |ttl| expiry.deadline_ms(ttl));
        let mut is_there = false;
        let prepare = Prepare::Nothing;
        self.core().write_one(key, prepare, durability, |current, buffer| {
            let seen = current.map(|stored| expiry.see(stored));
            is_there = matches!(seen, Some(Seen::Live { .. }));
            Ok(match seen {
                None => Decision::Keep,
                Some(Seen::Expired { .. }) => Decision::Remove,
                Some(Seen::Live { value, .. }) => {
                    stamp(buffer, deadline_ms, value);
                    Decision::Set
                }
            })
        })?;
        if is_there {
            expiry.expect(deadline_ms);
        }
        Ok(is_there)
    }

    /// [`Store::ttl`] for bytes.
    pub fn ttl(&self, key: &[u8]) -> Result<Option<Option<Duration>>> {
        let core = self.core();
        let expiry = core.expiry()?;
        reentry::check(core)?;
        core.ready_to_read(key)?;
        let hash = core.map.hash(key);
        let shard = core.map.read(core.map.shard_index(hash));
        let seen = shard.get(hash, key).map(|stored| expiry.see(stored.as_bytes()));
        let (answer, expired_ms) = match seen {
            None => (None, 0),
            Some(Seen::Expired { deadline_ms }) => (None, deadline_ms),
            Some(Seen::Live { deadline_ms: NEVER, .. }) => (Some(None), 0),
            Some(Seen::Live { deadline_ms, .. }) => {
                let left_ms = deadline_ms.saturating_sub(expiry.clock.now_ms());
                (Some(Some(Duration::from_millis(left_ms))), 0)
            }
        };
        drop(shard);
        core.record_time_if_possible(expired_ms);
        Ok(answer)
    }

    /// [`Store::sweep`] for bytes.
    pub fn sweep(&self) -> Result<u64> {
        let expiry = self.core().expiry()?;
        reentry::check(self.core())?;
        self.core().sweep(expiry, |_| true)
    }

    /// The deadline of what lives for so long, for a batch.
    pub(crate) fn deadline_ms(&self, ttl: Duration) -> Result<u64> {
        Ok(self.core().expiry()?.deadline_ms(ttl))
    }
}

impl<K: Key, V: Value> Store<K, V> {
    /// Sets a key for a time: when it is over, the entry is gone. Returns whether the key was there before.
    ///
    /// The store must have been opened with [`Options::expiry`](crate::Options::expiry). The deadline is kept on disk and holds over
    /// restarts. From it on the entry is invisible to every call; its memory is won back by a sweep in the
    /// background. What was once seen to be gone does not come back, also when the machine's clock is set
    /// back: see [`Options::expiry`](crate::Options::expiry).
    ///
    /// [`Store::insert`] and [`Store::replace`] set an entry that does not expire; [`Store::update`] and what
    /// else makes a value from the current one keep its deadline.
    ///
    /// # Errors
    ///
    /// Those of [`Store::insert`]; [`Error::InvalidOption`](crate::Error::InvalidOption) where the store was opened without expiry.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pkv_store::{Options, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("sessions");
    /// let sessions: Store<String, String> = Options::new().expiry(true).open(&path)?;
    /// sessions.insert_with_ttl("token", "alice", Duration::from_secs(1800))?;
    /// assert!(sessions.ttl("token")?.flatten().is_some_and(|left| left.as_secs() > 1790));
    /// sessions.set_ttl("token", None)?;                       // stays for good
    /// assert_eq!(sessions.ttl("token")?, Some(None));
    /// sessions.insert_with_ttl("token", "alice", Duration::ZERO)?;
    /// assert_eq!(sessions.get("token")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_with_ttl<Q, W>(&self, key: &Q, value: &W, ttl: Duration) -> Result<bool>
    where
        K: std::borrow::Borrow<Q>,
        Q: Encode + ?Sized,
        V: std::borrow::Borrow<W>,
        W: Encode + ?Sized,
    {
        encoded_pair(key, value, |key, value| {
            Ok(self.bytes().insert_with_ttl(key, value, ttl, self.durability())?.existed)
        })
    }

    /// Gives an entry another time to live from now on, or none at all: then it does not expire. Returns whether
    /// the key is there. Its value is written again. Errors as for [`Store::insert_with_ttl`].
    pub fn set_ttl<Q>(&self, key: &Q, ttl: Option<Duration>) -> Result<bool>
    where
        K: std::borrow::Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| self.bytes().set_ttl(key, ttl, self.durability()))
    }

    /// How long an entry still lives: `None` if the key is not there, `Some(None)` if it does not expire.
    pub fn ttl<Q>(&self, key: &Q) -> Result<Option<Option<Duration>>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Encode + ?Sized,
    {
        encoded(key, |key| self.bytes().ttl(key))
    }

    /// Removes now what has expired; returns how many entries. Happens by itself where the store has threads.
    ///
    /// Cost: every entry is copied once, some dozens of KiB at a time under the read lock of
    /// one shard; each that goes is a write of its own.
    pub fn sweep(&self) -> Result<u64> {
        self.bytes().sweep()
    }
}

impl<K: Key, V: Value> Batch<'_, K, V> {
    /// Adds setting a key for a time, from now on. See [`Store::insert_with_ttl`].
    pub fn insert_with_ttl<Q, W>(mut self, key: &Q, value: &W, ttl: Duration) -> Self
    where
        K: std::borrow::Borrow<Q>,
        Q: Encode + ?Sized,
        V: std::borrow::Borrow<W>,
        W: Encode + ?Sized,
    {
        let added = self.store().bytes().deadline_ms(ttl).and_then(|deadline_ms| {
            encoded_pair(key, value, |key, value| {
                self.ops_mut().set_until(key, value, deadline_ms);
                Ok(())
            })
        });
        self.note(added);
        self
    }
}

impl ByteBatch<'_> {
    /// Adds setting a key until a moment. See [`ByteStore::insert_until`].
    pub fn insert_until(mut self, key: &[u8], value: &[u8], expires_ms: u64) -> Self {
        match self.store().core().expiry() {
            Ok(_) => self.ops_mut().set_until(key, value, until(expires_ms)),
            Err(error) => self.ops_mut().fail(error),
        }
        self
    }

    /// Adds setting a key for a time, from now on. See [`Store::insert_with_ttl`].
    pub fn insert_with_ttl(mut self, key: &[u8], value: &[u8], ttl: Duration) -> Self {
        match self.store().deadline_ms(ttl) {
            Ok(deadline_ms) => self.ops_mut().set_until(key, value, deadline_ms),
            Err(error) => self.ops_mut().fail(error),
        }
        self
    }
}
