use super::*;
use crate::workload::{key, value};

/// A folder that goes away with the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn create(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pkv-peers-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn maps(level: Level) -> impl Iterator<Item = Engine> {
    Engine::ALL.into_iter().filter(move |engine| {
        let offers = level == Level::Process || engine.facts().power.is_some();
        *engine != Engine::Limit && engine.missing().is_none() && offers
    })
}

#[test]
fn every_engine_gives_back_what_it_got() {
    for level in [Level::Process, Level::Power] {
        for engine in maps(level) {
            let name = engine.name();
            let folder = Folder::create(&format!("{name}-{}", level.name()));
            let mut map = open(engine, &folder.0.join("store"), Setup::at(level)).unwrap();
            map.insert(&key(1), &value(1, 100)).unwrap();
            map.insert(&key(1), &value(1, 70)).unwrap();
            assert_eq!(map.get_len(&key(1)).unwrap(), Some(70), "{name}");
            assert_eq!(map.get_len(&key(2)).unwrap(), None, "{name}");
            let batch = [2, 3, 4].map(|number| (key(number).to_vec(), value(number, 1000)));
            map.insert_batch(&batch).unwrap();
            assert_eq!(map.len().unwrap(), 4, "{name}");
            let keys: [&[u8]; 3] = [&key(2), &key(9), &key(4)];
            assert_eq!(map.get_many(&keys).unwrap(), 2, "{name}");
            assert_eq!(map.get_many_lens(&keys).unwrap(), 2, "{name}");
            map.remove(&key(2)).unwrap();
            assert_eq!(map.get_len(&key(2)).unwrap(), None, "{name}");
            map.compact().unwrap();
            assert_eq!(map.len().unwrap(), 3, "{name}");
            map.close().unwrap();
        }
    }
}

#[test]
fn every_durable_engine_has_its_entries_after_a_close() {
    for engine in maps(Level::Power) {
        let name = engine.name();
        let folder = Folder::create(&format!("{name}-reopened"));
        let path = folder.0.join("store");
        let map = open(engine, &path, Setup::at(Level::Process)).unwrap();
        (0..100).for_each(|number| map.insert(&key(number), &value(number, 100)).unwrap());
        map.close().unwrap();
        let map = open(engine, &path, Setup::at(Level::Process)).unwrap();
        assert_eq!(map.len().unwrap(), 100, "{name}");
        map.close().unwrap();
    }
}

#[test]
fn names_are_read_as_they_are_printed() {
    for engine in Engine::ALL {
        assert_eq!(engine.name().parse::<Engine>().unwrap(), engine);
    }
    assert!("LevelDB".parse::<Engine>().is_err());
    assert!("Disk".parse::<Level>().is_err());
}
