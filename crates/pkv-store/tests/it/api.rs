//! The public face, used as a user would.

use pkv_store::{Durability, Error, Options, Store};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = dir();
    let path = dir.path().join("store");
    let store: Store<String, u64> = Store::open(&path).unwrap();
    for i in 0..10_000_u64 {
        assert!(!store.insert(&format!("key {i}"), &i).unwrap());
    }
    assert!(store.remove("key 7").unwrap());
    assert!(!store.remove("key 7").unwrap());
    assert_eq!(store.update("key 8", |n| Some(n.unwrap() + 100)).unwrap(), Some(108));
    assert_eq!(store.len(), 9_999);
    store.close().unwrap();

    let store: Store<String, u64> = Store::open(&path).unwrap();
    assert_eq!(store.len(), 9_999);
    assert_eq!(store.get("key 8").unwrap(), Some(108));
    assert_eq!(store.get("key 7").unwrap(), None);
    assert_eq!(store.get("key 9999").unwrap(), Some(9999));
    store.compact().unwrap();
    store.insert("after", &1).unwrap();
    store.insert_with("power", &2, Durability::Power).unwrap();
    drop(store);

    let store: Store<String, u64> = Store::open(&path).unwrap();
    assert_eq!(store.len(), 10_001);
    assert_eq!(store.get("after").unwrap(), Some(1));
    assert_eq!(store.get("power").unwrap(), Some(2));
    assert!(store.recovery_report().snapshot.is_some());
    assert!(store.recovery_report().torn.is_none());
    drop(store);
    assert!(matches!(Options::new().open::<u64, u64>(&path), Err(Error::WrongType { .. })));
}
