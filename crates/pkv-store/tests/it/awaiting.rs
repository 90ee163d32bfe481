//! Writes that are awaited, under executors made here: what a future says, when, and that it always says
//! something. Tokio and smol have their turn in `examples/http-service`, which depends on them.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pkv_fs::Op;
use pkv_sim::{Fault, FaultKind, SimFs};
use pkv_store::{ByteStore, Durability, Error, LogWay, Options, Store, Update};

use crate::crash_rig::DIR;
use crate::support::{Place, eventually, in_time};

/// An executor of ten lines: one future, one thread, parked until it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A waker that counts.
#[derive(Debug, Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(count));
    std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker))
}

fn shared(fs: &Arc<SimFs>) -> Arc<dyn pkv_fs::Fs> {
    fs.clone()
}

/// A store whose syncs take so long.
fn slow(pause: Duration) -> (Arc<SimFs>, ByteStore) {
    let fs = SimFs::new(7);
    let options = Options::new()
        .file_system(shared(&fs))
        .log_way(LogWay::Mapped)
        .map_shards(4)
        .segment_bytes(64 * 1024, 64 * 1024)
        .sync_interval(Duration::from_secs(3600));
    let store = ByteStore::open(Path::new(DIR), &options).unwrap();
    store.insert(b"first", b"", pkv_store::Durability::Power).unwrap();
    fs.set_sync_pause(pause);
    (fs, store)
}

#[test]
fn an_awaited_write_is_durable_and_answers_as_the_plain_call() {
    let place = Place::new();
    let store: Store<String, u64> = Store::open(place.store()).unwrap();
    let durable = |store: &Store<String, u64>| store.bytes().durable_seq();
    in_time("awaited writes", move || {
        for run in [0, 1] {
            let existed = match run {
                0 => block_on(store.insert_async("alice", &1)),
                _ => pollster::block_on(store.insert_async("alice", &1)),
            };
            assert_eq!(existed.unwrap(), run == 1);
            assert_eq!(durable(&store), store.bytes().last_seq());
            let new = block_on(store.update_async("alice", |n| Some(n.unwrap_or(0) + 1))).unwrap();
            assert_eq!(new, Some(2));
            assert_eq!(durable(&store), store.bytes().last_seq());
            block_on(store.batch().insert("bob", &7).commit_async()).unwrap();
            assert_eq!(durable(&store), store.bytes().last_seq());
            assert!(block_on(store.remove_async("bob")).unwrap());
            assert!(!block_on(store.remove_async("bob")).unwrap());
            store.insert("carol", &3).unwrap();
            block_on(store.sync_async()).unwrap();
            assert_eq!(durable(&store), store.bytes().last_seq());
        }
        let bytes = store.bytes();
        let written = block_on(bytes.insert_async(b"dave", &[0; 8])).unwrap();
        assert!(bytes.durable_seq() >= written.seq && !written.existed);
        block_on(bytes.update_async(b"dave", |_| Update::Keep)).unwrap();
        assert!(block_on(bytes.remove_async(b"dave")).unwrap().existed);
        let seq = block_on(bytes.batch().insert(b"dave", &[1; 8]).commit_async()).unwrap();
        block_on(bytes.wait_durable_async(seq)).unwrap();
        let unwritten = block_on(bytes.wait_durable_async(seq + 1));
        assert!(matches!(unwritten, Err(Error::InvalidOption { .. })), "{unwritten:?}");
    });
}

#[test]
fn futures_that_wait_together_share_syncs() {
    let (fs, store) = slow(Duration::from_millis(20));
    let before = fs.calls(Op::Sync);
    in_time("many futures", move || {
        let writes: Vec<_> = (0..200_u8).map(|n| store.insert_async(&[n], b"value")).collect();
        for write in writes {
            block_on(write).unwrap();
        }
        assert_eq!(store.durable_seq(), store.last_seq());
    });
    let syncs = fs.calls(Op::Sync) - before;
    assert!(syncs < 60, "{syncs} syncs for 200 writes");
}

#[test]
fn a_dropped_future_keeps_its_write_and_lets_go_of_its_task() {
    let (_fs, store) = slow(Duration::from_millis(100));
    let count = Arc::new(Count::default());
    let mut write = store.insert_async(b"key", b"value");
    assert!(poll_once(&mut write, &count).is_pending());
    assert_eq!(Arc::strong_count(&count), 2);
    let seq = write.seq();
    drop(write);
    assert_eq!(Arc::strong_count(&count), 1, "the task is kept");
    assert_eq!(store.get(b"key").unwrap().as_deref(), Some(b"value".as_slice()));
    eventually("the sync", || store.durable_seq() >= seq);
    store.sync().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 0, "woken after it gave up");
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (_fs, store) = slow(Duration::from_millis(100));
    let (old, new) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let mut write = store.insert_async(b"key", b"value");
    assert!(poll_once(&mut write, &old).is_pending());
    assert!(poll_once(&mut write, &new).is_pending());
    eventually("the waker", || new.0.load(Ordering::SeqCst) == 1);
    assert_eq!(old.0.load(Ordering::SeqCst), 0);
    assert!(matches!(poll_once(&mut write, &new), Poll::Ready(Ok(_))));
    assert!(poll_once(&mut write, &new).is_pending(), "nothing is told twice");
}

#[test]
fn a_failed_sync_resolves_every_future_with_an_error() {
    let (fs, store) = slow(Duration::from_millis(20));
    fs.inject(Fault::from_then_on(Op::Sync, 1, FaultKind::Eio));
    in_time("futures of a poisoned store", move || {
        let writes: Vec<_> = (0..20_u8).map(|n| store.insert_async(&[n], b"value")).collect();
        for write in writes {
            let seq = write.seq();
            match block_on(write) {
                Err(Error::Unconfirmed { seq: told, .. }) => assert_eq!(told, seq),
                Err(Error::Poisoned(_)) => assert_eq!(seq, 0, "this one was written"),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(block_on(store.insert_async(b"x", b"")), Err(Error::Poisoned(_))));
    });
}

#[test]
fn a_close_resolves_every_future() {
    for fails in [false, true] {
        let (fs, store) = slow(Duration::from_millis(20));
        let writes: Vec<_> = (0..20_u8).map(|n| store.insert_async(&[n], b"value")).collect();
        if fails {
            fs.inject(Fault::once(Op::Sync, 1, FaultKind::Eio));
        }
        in_time("futures of a closed store", move || {
            let closed = store.close();
            let lost = writes.into_iter().map(block_on).filter(Result::is_err).count();
            // All may have been synced before the close, whose own sync then is the one that fails.
            assert!(closed.is_err() || lost == 0, "{closed:?}, {lost} lost");
            assert!(fails || lost == 0);
        });
    }
}

#[test]
fn without_threads_the_call_syncs_and_the_future_is_ready() {
    let fs = SimFs::new(7);
    let options = Options::new().file_system(shared(&fs)).background(false);
    let store = ByteStore::open(Path::new(DIR), &options).unwrap();
    let mut write = store.insert_async(b"key", b"value");
    let count = Arc::new(Count::default());
    assert!(matches!(poll_once(&mut write, &count), Poll::Ready(Ok(_))));
    assert_eq!(store.durable_seq(), store.last_seq());
}

/// Who asks for a number that is durable already is told at once. It woke the sync thread, which then synced for
/// nobody; or it came too late for that, and its interval began anew: asked often enough, nothing was synced.
#[test]
fn asking_for_what_is_durable_does_not_wake_the_sync_thread() {
    let fs = SimFs::new(7);
    let options = Options::new()
        .file_system(shared(&fs))
        .log_way(LogWay::Mapped)
        .sync_interval(Duration::from_secs(3600));
    let store = ByteStore::open(DIR, &options).unwrap();
    let durable = store.insert(b"a", b"", Durability::Power).unwrap().seq;
    let last = store.insert(b"b", b"", Durability::Process).unwrap().seq;
    let told = Arc::new(AtomicU32::new(0));
    for _ in 0..100 {
        let told = Arc::clone(&told);
        store.on_durable(durable, move |outcome| {
            assert!(outcome.is_ok());
            told.fetch_add(1, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    eventually("all are told", || told.load(Ordering::SeqCst) == 100);
    assert!(store.durable_seq() < last, "synced for nobody");
    store.close().unwrap();
}
