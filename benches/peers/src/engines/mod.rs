//! The engines behind one face. Each is opened as serves it best; what that is, and what it then survives, stands
//! beside it in its file and is printed with every report.

pub(crate) mod bare;
mod dashmap;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
mod papaya;
pub(crate) mod persistent_kv;
pub(crate) mod pkv;
pub(crate) mod probe;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "surrealmx")]
mod surrealmx;

use std::hint::black_box;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::Error;
use crate::workload::KEY_BYTES;

/// Which engine a job measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Pkv,
    PersistentKv,
    DashMap,
    Papaya,
    SurrealMx,
    Redb,
    Fjall,
    Sled,
    Lmdb,
    RocksDb,
    Redis,
    /// No engine: the least that the machine needs for the same, the limit beside which figures are read.
    Limit,
}

/// What a write is asked to survive before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The death of the process.
    Process,
    /// A power cut.
    Power,
}

/// What is said of an engine in the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// How it is opened and called.
    pub(crate) setting: &'static str,
    /// What a write that returned survives where the report says `Process`.
    pub(crate) process: &'static str,
    /// The same where it says `Power`; `None`: it does not offer it.
    pub(crate) power: Option<&'static str>,
    pub(crate) is_built: bool,
}

impl Engine {
    pub(crate) const ALL: [Self; 12] = [
        Self::Pkv,
        Self::PersistentKv,
        Self::DashMap,
        Self::Papaya,
        Self::SurrealMx,
        Self::Redb,
        Self::Fjall,
        Self::Sled,
        Self::Lmdb,
        Self::RocksDb,
        Self::Redis,
        Self::Limit,
    ];

    /// The peers that write files.
    pub(crate) const DURABLE_PEERS: [Self; 8] = [
        Self::PersistentKv,
        Self::SurrealMx,
        Self::Redb,
        Self::Fjall,
        Self::Sled,
        Self::Lmdb,
        Self::RocksDb,
        Self::Redis,
    ];

    pub(crate) fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether it is a peer whose writes survive this. One that calls a write synced and has not flushed the disk's
    /// cache is shown, and is none that goals are held against.
    pub(crate) fn is_peer_at(self, level: Level) -> bool {
        !matches!((self, level), (Self::Pkv | Self::Limit, _) | (Self::Sled, Level::Power))
    }

    /// Why it cannot be measured here, if so.
    pub(crate) fn missing(self) -> Option<&'static str> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis => redis::missing(),
            engine if engine.facts().is_built => None,
            Self::RocksDb => Some("not built in: needs librocksdb-dev and libclang-dev"),
            _ => Some("not built in: `cargo xtask bench` without --quick and --light builds it"),
        }
    }

    pub(crate) fn facts(self) -> Facts {
        match self {
            Self::Pkv => Facts {
                name: "pkv",
                version: env!("CARGO_PKG_VERSION"),
                setting: "its defaults; get_with; one write a call",
                process: "a kill; a power cut takes at most the last second",
                power: Some("a power cut: fdatasync, shared by all who wait"),
                is_built: true,
            },
            Self::PersistentKv => Facts {
                name: "persistent-kv",
                version: "1.0.2",
                setting: "BlockNoExplicitSync, or BlockAndSync for Power; silent; snapshots only where a row says so; a read is a copy",
                process: "a kill",
                power: Some("a power cut by its claim: one sync for each write"),
                is_built: true,
            },
            Self::DashMap => Facts {
                name: "DashMap",
                version: "6",
                setting: "DashMap<Vec<u8>, Vec<u8>>, its defaults",
                process: "nothing: in memory only",
                power: None,
                is_built: true,
            },
            Self::Papaya => Facts {
                name: "papaya",
                version: "0.2",
                setting: "papaya::HashMap<Vec<u8>, Vec<u8>>, one guard a call",
                process: "nothing: in memory only",
                power: None,
                is_built: true,
            },
            Self::SurrealMx => Facts {
                name: "surrealmx",
                version: "1.1",
                setting: "log SynchronousOnCommit; fsync once a second, or EveryAppend for Power; direct set, with_value",
                process: "a kill",
                power: Some("a power cut: fsync by a group committer"),
                is_built: cfg!(feature = "surrealmx"),
            },
            Self::Redb => Facts {
                name: "redb",
                version: "4.6",
                setting: "a transaction a write, Durability::None, or Immediate for Power; a read transaction a read; cache 4 GiB",
                process: "nothing until the next Immediate commit: a kill takes all since",
                power: Some("a power cut: its commit syncs"),
                is_built: cfg!(feature = "redb"),
            },
            Self::Fjall => Facts {
                name: "fjall",
                version: "3.1",
                setting: "no compression; cache 4 GiB, memtable 64 MiB; persist(SyncData) after each write for Power",
                process: "a kill: the journal is written to the system",
                power: Some("a power cut: fdatasync of the journal"),
                is_built: cfg!(feature = "fjall"),
            },
            Self::Sled => Facts {
                name: "sled",
                version: "0.34",
                setting: "HighThroughput, cache 4 GiB, flush every second; flush() after each write for Power",
                process: "not even a kill: its buffers are its own, a kill takes up to the last second",
                power: Some(
                    "not by its design: it writes back with sync_file_range, which flushes no disk cache",
                ),
                is_built: cfg!(feature = "sled"),
            },
            Self::Lmdb => Facts {
                name: "LMDB",
                version: "heed 0.23",
                setting: "a transaction a write, MDB_NOSYNC, or a synced commit for Power; a read transaction a read; map 64 GiB",
                process: "a kill; a power cut may damage the file",
                power: Some("a power cut: a sync and a synchronous write of its root, each commit"),
                is_built: cfg!(feature = "lmdb"),
            },
            Self::RocksDb => Facts {
                name: "RocksDB",
                version: "7.8 of Debian, crate 0.19",
                setting: "no compression, block cache 4 GiB, 4 background jobs; sync of the log for Power",
                process: "a kill: the log is written to the system",
                power: Some("a power cut: its log, synced for a group of writers"),
                is_built: cfg!(feature = "rocksdb"),
            },
            Self::Redis => Facts {
                name: "Redis",
                version: "of this machine",
                setting: "a server of its own on a Unix socket, one connection a thread; appendfsync everysec, or always for Power",
                process: "a kill of the client and of the server",
                power: Some("a power cut: synced before the answer, for all clients of one turn"),
                is_built: cfg!(feature = "redis"),
            },
            Self::Limit => Facts {
                name: "limit",
                version: "-",
                setting: "reads: a fixed table in memory; writes: the same and frames in memory; opening: bytes read; Power: write + fdatasync; bandwidth: large writes, one sync",
                process: "-",
                power: Some("what the same calls give"),
                is_built: true,
            },
        }
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| format!("no engine `{name}`").into())
    }
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Process => "Process",
            Self::Power => "Power",
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = [Self::Process, Self::Power].into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| format!("no level `{name}`").into())
    }
}

/// How an engine that persists is opened, where jobs differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) level: Level,
    /// How often the log is synced; the engine's default if `None`. Ours alone.
    pub(crate) sync_interval: Option<Duration>,
    /// When the predecessor takes a snapshot by itself; never if `None`. Ours decides by size, its default.
    pub(crate) snapshot_interval: Option<u64>,
    /// Whether ours compacts by itself.
    pub(crate) compacts: bool,
}

impl Setup {
    pub(crate) fn at(level: Level) -> Self {
        Self { level, sync_interval: None, snapshot_interval: None, compacts: true }
    }
}

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// The calls that jobs time.
pub(crate) trait Map: Send + Sync {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// The length of the value, read without a copy of it where the engine can. Always inlined, for [`Map::get_lens`].
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error>;
    /// [`Map::get_len`] of each of these, one after the other, up to the first with another length than this one. Returns how many
    /// have it.
    ///
    /// A loop of each engine's own: its call stands in it, as with its users, and not behind a table of functions.
    fn get_lens(&self, keys: &[[u8; KEY_BYTES]], expected: Option<usize>) -> Result<usize, Error> {
        // Keys whose length a compiler sees would be found by other code than those of most users.
        let key_bytes = black_box(KEY_BYTES);
        for (before, key) in keys.iter().enumerate() {
            if self.get_len(key.get(..key_bytes).unwrap_or_default())? != expected {
                return Ok(before);
            }
        }
        Ok(keys.len())
    }

    /// Whether it is there, by the call that returns a copy of the value.
    fn get_copy(&self, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get_len(key)?.is_some())
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error>;
    fn len(&self) -> Result<u64, Error>;

    /// Several keys at once; one by one where the engine has nothing better. Returns how many were there.
    fn get_many(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        keys.iter().try_fold(0, |found, key| Ok(found + usize::from(self.get_len(key)?.is_some())))
    }

    /// The same without copies.
    fn get_many_lens(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        keys.iter().try_fold(0, |found, key| Ok(found + usize::from(self.get_len(key)?.is_some())))
    }

    /// All or nothing, where the engine can; one by one where not.
    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        entries.iter().try_for_each(|(key, value)| self.insert(key, value))
    }

    /// Makes the files as small as the engine can. Nothing where it cannot.
    fn compact(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Ends as its user ends it, everything on disk.
    fn close(self: Box<Self>) -> Result<(), Error>;
}

pub(crate) fn open(engine: Engine, folder: &Path, setup: Setup) -> Result<Box<dyn Map>, Error> {
    if setup.level == Level::Power && engine.facts().power.is_none() {
        return Err(format!("{} has nothing that survives a power cut", engine.name()).into());
    }
    match engine {
        Engine::Pkv => Ok(Box::new(pkv::open(folder, setup)?)),
        Engine::PersistentKv => Ok(Box::new(persistent_kv::open(folder, setup)?)),
        Engine::DashMap => Ok(Box::new(dashmap::open())),
        Engine::Papaya => Ok(Box::new(papaya::open())),
        #[cfg(feature = "surrealmx")]
        Engine::SurrealMx => Ok(Box::new(surrealmx::open(folder, setup)?)),
        #[cfg(feature = "redb")]
        Engine::Redb => Ok(Box::new(redb::open(folder, setup)?)),
        #[cfg(feature = "fjall")]
        Engine::Fjall => Ok(Box::new(fjall::open(folder, setup)?)),
        #[cfg(feature = "sled")]
        Engine::Sled => Ok(Box::new(sled::open(folder, setup)?)),
        #[cfg(feature = "lmdb")]
        Engine::Lmdb => Ok(Box::new(lmdb::open(folder, setup)?)),
        #[cfg(feature = "rocksdb")]
        Engine::RocksDb => Ok(Box::new(rocksdb::open(folder, setup)?)),
        #[cfg(feature = "redis")]
        Engine::Redis => Ok(Box::new(redis::open(folder, setup)?)),
        engine => Err(format!("{} is not built in, or is no map", engine.name()).into()),
    }
}

/// What an engine that caches blocks may keep in memory: all that the report puts into it.
#[cfg(any(feature = "redb", feature = "fjall", feature = "sled", feature = "rocksdb"))]
const CACHE_BYTES: usize = 4 << 30;

/// A number of entries as every engine counts it.
pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
