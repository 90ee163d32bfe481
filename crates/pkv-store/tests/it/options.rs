//! Every option with a value that cannot work is an error that names it, and opening touches nothing.

use std::time::Duration;

use pkv_store::{ByteStore, Error, Options};

use crate::support::{Place, is_there};

#[test]
fn an_absurd_value_is_an_error_that_names_the_option() {
    let o = Options::new;
    let table: Vec<(&str, Options)> = vec![
        ("sync_interval", o().sync_interval(Duration::ZERO)),
        ("sync_interval", o().sync_interval(Duration::from_micros(999))),
        ("sync_interval", o().sync_interval(Duration::from_secs(86_401))),
        ("sync_interval", o().sync_interval(Duration::MAX)),
        ("map_shards", o().map_shards(0)),
        ("map_shards", o().map_shards(3)),
        ("map_shards", o().map_shards(8192)),
        ("map_shards", o().map_shards(usize::MAX)),
        ("snapshot_shards", o().snapshot_shards(0)),
        ("snapshot_shards", o().snapshot_shards(1025)),
        ("snapshot_shards", o().snapshot_shards(u32::MAX)),
        ("snapshot_shard_bytes", o().snapshot_shard_bytes(0)),
        ("snapshot_shard_bytes", o().snapshot_shard_bytes(65_535)),
        ("compact_log_percent", o().compact_log_percent(0)),
        ("compact_log_percent", o().compact_log_percent(9)),
        ("compact_log_bytes_min", o().compact_log_bytes_min(0)),
        ("compact_log_bytes_min", o().compact_log_bytes_min(4095)),
        ("compact_log_count", o().compact_log_count(0)),
        ("snapshot_interval", o().snapshot_interval(0)),
        ("io_threads", o().io_threads(1025)),
        ("io_threads", o().io_threads(usize::MAX)),
        ("segment_bytes", o().segment_bytes(0, 0)),
        ("segment_bytes", o().segment_bytes(4096, 1 << 20)),
        ("segment_bytes", o().segment_bytes(16_385, 1 << 20)),
        ("segment_bytes", o().segment_bytes(1 << 20, 1 << 16)),
        ("segment_bytes", o().segment_bytes(1 << 20, (1 << 20) + 1)),
        ("segment_bytes", o().segment_bytes(1 << 20, (1 << 30) + 4096)),
        ("segment_bytes", o().segment_bytes(1 << 20, u64::MAX)),
        ("segment_bytes", o().segment_bytes(u64::MAX, u64::MAX)),
        ("max_unsynced_bytes", o().max_unsynced_bytes(0)),
        ("max_unsynced_bytes", o().max_unsynced_bytes(65_535)),
        ("max_log_bytes", o().max_log_bytes(0)),
        ("max_log_bytes", o().segment_bytes(1 << 20, 1 << 20).max_log_bytes((4 << 20) - 1)),
        ("max_memory_bytes", o().max_memory_bytes(0)),
    ];
    let place = Place::new();
    for (name, options) in table {
        match ByteStore::open(place.store(), &options) {
            Err(error @ Error::InvalidOption { option, .. }) => {
                assert_eq!(option, name);
                assert!(error.to_string().contains(name), "{error}");
            }
            other => panic!("{name}: {options:?}: {other:?}"),
        }
        assert!(!is_there(&place.store()), "{name}: the folder was made");
    }
}

#[test]
fn the_extremes_that_are_allowed_work() {
    let o = || Options::new().segment_bytes(16 << 10, 16 << 10);
    let table = [
        o().map_shards(1),
        o().map_shards(4096),
        o().snapshot_shards(1024).map_shards(1),
        o().snapshot_shards(64).map_shards(64),
        o().snapshot_shard_bytes(u64::MAX),
        o().compact_log_percent(u32::MAX),
        o().compact_log_bytes_min(u64::MAX),
        o().compact_log_count(u32::MAX),
        o().snapshot_interval(u64::MAX),
        o().io_threads(1),
        o().io_threads(64),
        o().keep_backups(u32::MAX),
        o().segment_bytes(16 << 10, 1 << 30),
        o().max_unsynced_bytes(u64::MAX),
        o().max_log_bytes(u64::MAX),
        o().max_memory_bytes(u64::MAX),
        o().sync_interval(Duration::from_millis(1)),
        o().sync_interval(Duration::from_secs(86_400)),
        o().lock_timeout(Duration::MAX),
    ];
    for options in table {
        let place = Place::new();
        for round in 0..2_u64 {
            let store = options.open::<u64, u64>(place.store()).unwrap();
            assert_eq!(store.len(), round, "{options:?}");
            store.insert(&round, &round).unwrap();
            store.compact().unwrap();
            assert_eq!(store.get(&round).unwrap(), Some(round));
            store.close().unwrap();
        }
    }
}

#[test]
fn a_missing_folder_is_made_only_where_that_is_wanted() {
    let place = Place::new();
    let missing = Options::new().create(false).open::<u64, u64>(place.store());
    assert!(matches!(missing, Err(Error::NotFound { path }) if path == place.store()));
    assert!(!is_there(&place.store()));
    // One level is made, not two: a mistyped path is an error.
    let error = Options::new().open::<u64, u64>(place.at("a").join("b")).unwrap_err();
    assert!(error.to_string().contains("/a"), "{error}");
    assert!(!is_there(&place.at("a")));
    drop(Options::new().open::<u64, u64>(place.store()).unwrap());
    drop(Options::new().create(false).open::<u64, u64>(place.store()).unwrap());
}
