//! The engines behind one face. Each gets the calls that serve it best; what that is stands here.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use persistent_kv::{Config, PersistentKeyValueStore, SyncMode};
use pkv_store::{Options, Store};

use crate::Error;

pub(crate) const KEY_BYTES: usize = 16;
pub(crate) const VALUE_BYTES: usize = 100;
/// What an entry is worth: its key and its value.
pub(crate) const PAYLOAD_BYTES: usize = KEY_BYTES + VALUE_BYTES;

/// Random keys that need no memory of their own: the key of each number, by splitmix64.
pub(crate) fn key(number: u64) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let (front, back) = key.split_at_mut(8);
    front.copy_from_slice(&mix(2 * number).to_le_bytes());
    back.copy_from_slice(&mix(2 * number + 1).to_le_bytes());
    key
}

/// A bijection on 64 bits whose results look random.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The value of each number: its key, then filling.
pub(crate) fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0xa5; VALUE_BYTES];
    value[..KEY_BYTES].copy_from_slice(&key(number));
    value
}

/// Which engine a job measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// This project's store with its defaults.
    Pkv,
    /// The predecessor, 1.0.2, with its defaults but silent, and snapshots when the job says so.
    PersistentKv,
    /// In memory only, `DashMap<Vec<u8>, Vec<u8>>`.
    DashMap,
    /// In memory only, `papaya::HashMap<Vec<u8>, Vec<u8>>`, one guard for each call.
    Papaya,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pkv => "pkv",
            Self::PersistentKv => "persistent-kv",
            Self::DashMap => "DashMap",
            Self::Papaya => "papaya",
        }
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = [Self::Pkv, Self::PersistentKv, Self::DashMap, Self::Papaya];
        let found = all.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| format!("no engine `{name}`").into())
    }
}

/// How an engine that persists is opened, where jobs differ.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    /// When the predecessor takes a snapshot by itself; never if `None`. Ours decides by size, its default.
    pub(crate) snapshot_interval: Option<u64>,
    /// How often our log is synced; its default if `None`.
    pub(crate) sync_interval: Option<Duration>,
}

/// The calls that jobs time.
pub(crate) trait Map: Send + Sync {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error>;
    /// The length of the value, read without a copy of it where the engine can.
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error>;
    fn len(&self) -> u64;
}

pub(crate) type PkvStore = Store<Vec<u8>, Vec<u8>>;
pub(crate) type PredecessorStore = PersistentKeyValueStore<Vec<u8>, Vec<u8>>;

pub(crate) fn open_pkv(folder: &Path, setup: Setup) -> Result<PkvStore, Error> {
    let mut options = Options::new();
    if let Some(interval) = setup.sync_interval {
        options = options.sync_interval(interval);
    }
    Ok(options.open(folder)?)
}

pub(crate) fn open_predecessor(
    folder: &Path,
    setup: Setup,
    sync_mode: SyncMode,
) -> Result<PredecessorStore, Error> {
    std::fs::create_dir_all(folder)?;
    let snapshot_interval = setup.snapshot_interval.unwrap_or(u64::MAX);
    let config = Config { silent: true, snapshot_interval, sync_mode, ..Config::default() };
    Ok(PersistentKeyValueStore::new(folder, config)?)
}

pub(crate) fn open(engine: Engine, folder: &Path, setup: Setup) -> Result<Box<dyn Map>, Error> {
    Ok(match engine {
        Engine::Pkv => Box::new(open_pkv(folder, setup)?),
        Engine::PersistentKv => {
            Box::new(open_predecessor(folder, setup, SyncMode::BlockNoExplicitSync)?)
        }
        Engine::DashMap => Box::new(dashmap::DashMap::<Vec<u8>, Vec<u8>>::new()),
        Engine::Papaya => Box::new(papaya::HashMap::<Vec<u8>, Vec<u8>>::new()),
    })
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl Map for PkvStore {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        Store::insert(self, key, value)?;
        Ok(())
    }

    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.get_with(key, <[u8]>::len)?)
    }

    fn len(&self) -> u64 {
        Store::len(self)
    }
}

impl Map for PredecessorStore {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.set(key.to_vec(), value.to_vec())?;
        Ok(())
    }

    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.get(&key.to_vec()).map(|value| value.len()))
    }

    fn len(&self) -> u64 {
        count(self.iter().count())
    }
}

impl Map for dashmap::DashMap<Vec<u8>, Vec<u8>> {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        dashmap::DashMap::insert(self, key.to_vec(), value.to_vec());
        Ok(())
    }

    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.get(key).map(|value| value.len()))
    }

    fn len(&self) -> u64 {
        count(dashmap::DashMap::len(self))
    }
}

impl Map for papaya::HashMap<Vec<u8>, Vec<u8>> {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.pin().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        Ok(self.pin().get(key).map(Vec::len))
    }

    fn len(&self) -> u64 {
        count(self.pin().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_differ() {
        let keys: HashSet<_> = (0..100_000).map(key).collect();
        assert_eq!(keys.len(), 100_000);
    }

    #[test]
    fn every_engine_gives_back_what_it_got() {
        for engine in [Engine::Pkv, Engine::PersistentKv, Engine::DashMap, Engine::Papaya] {
            let folder = std::env::temp_dir().join(format!(
                "pkv-peers-{}-{}",
                engine.name(),
                std::process::id()
            ));
            let map = open(engine, &folder, Setup::default()).unwrap();
            map.insert(&key(1), &value(1)).unwrap();
            assert_eq!(map.get_len(&key(1)).unwrap(), Some(VALUE_BYTES), "{}", engine.name());
            assert_eq!(map.get_len(&key(2)).unwrap(), None, "{}", engine.name());
            assert_eq!(map.len(), 1, "{}", engine.name());
            drop(map);
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}
