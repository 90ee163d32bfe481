//! Awaited writes and watches under tokio and under smol: the store knows neither.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure fails the test")]

use std::path::Path;
use std::time::Duration;

use pkv_store::{Event, Store};
use smol::future::FutureExt;
use smol::stream::StreamExt;

type Numbers = Store<u64, u64>;

fn open(dir: &Path) -> Numbers {
    Store::open(dir.join("store")).unwrap()
}

/// Many writes at once, then a watch as a stream. The same code for every runtime.
async fn write_and_watch(store: &Numbers) {
    let watch = store.watch().start().unwrap();
    let writes: Vec<_> = (0..100).map(|n| store.insert_async(&n, &(n * n))).collect();
    for write in writes {
        assert!(!write.await.unwrap());
    }
    assert_eq!(store.bytes().durable_seq(), 100);
    let values: Vec<u64> = watch
        .take(100)
        .map(|event| match event.unwrap() {
            Event::Set { value, .. } => value,
            other => panic!("{other:?}"),
        })
        .collect()
        .await;
    assert_eq!(values, (0..100).map(|n| n * n).collect::<Vec<_>>());
}

#[test]
fn under_tokio() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(open(dir.path()));
    for builder in
        [tokio::runtime::Builder::new_current_thread(), tokio::runtime::Builder::new_multi_thread()]
    {
        let mut builder = builder;
        let runtime = builder.enable_all().build().unwrap();
        store.clear().unwrap();
        let before = store.bytes().last_seq();
        runtime.block_on(async {
            // Sent to other tasks: a future borrows nothing of the store.
            let tasks: Vec<_> = (0..50).map(|n| tokio::spawn(store.insert_async(&n, &n))).collect();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            // Given up: the write is there all the same.
            let given_up = tokio::time::timeout(Duration::ZERO, store.insert_async(&99, &7)).await;
            assert_eq!(store.get(&99).unwrap(), Some(7), "{given_up:?}");
            let mut watch = store.watch().key(&5).start().unwrap();
            let nothing = tokio::time::timeout(Duration::from_millis(10), watch.recv_async()).await;
            assert!(nothing.is_err());
            store.insert(&5, &6).unwrap();
            assert_eq!(watch.recv_async().await.unwrap().key(), Some(&5));
        });
        assert_eq!(store.bytes().last_seq(), before + 52);
    }
    drop(store);
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(write_and_watch(&open(dir.path())));
}

#[test]
fn under_smol() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    smol::block_on(write_and_watch(&store));
    smol::block_on(async {
        let task = smol::spawn(store.insert_async(&1000, &1));
        assert!(!task.await.unwrap());
        // The first of two wins; the other one is dropped.
        let write = async { store.insert_async(&1001, &1).await.map(Some) };
        let first = write.or(async { Ok(None) }).await.unwrap();
        assert_eq!(store.get(&1001).unwrap(), Some(1), "{first:?}");
    });
}
