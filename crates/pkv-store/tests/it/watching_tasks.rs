//! Watching from tasks: polled, awaited, as a stream; and what happens while a watch that resumes reads the logs.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pkv_fs::Op;
use pkv_store::{ByteStore, ByteWatch, Durability, Error, Event, Store};

use crate::support::{HookFs, Place, in_time, small};
use crate::watching::{line, sim};

const PROCESS: Durability = Durability::Process;

#[derive(Debug, Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_task_that_polls_is_woken_once_for_what_comes() {
    let (_fs, store) = sim(true);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    let woken = || count.0.load(Ordering::SeqCst);
    let mut process = store.watch().start().unwrap();
    assert!(process.poll_recv(&mut context).is_pending());
    store.insert(b"a", b"1", PROCESS).unwrap();
    store.insert(b"a", b"2", PROCESS).unwrap();
    assert_eq!(woken(), 1);
    assert!(matches!(process.poll_recv(&mut context), Poll::Ready(Ok(_))));
    assert!(matches!(process.poll_recv(&mut context), Poll::Ready(Ok(_))));
    assert!(process.poll_recv(&mut context).is_pending());
    drop(process);

    let mut power = store.watch().durability(Durability::Power).start().unwrap();
    assert!(power.poll_recv(&mut context).is_pending());
    store.insert(b"a", b"3", PROCESS).unwrap();
    assert_eq!(woken(), 2, "woken, though nothing is to be seen yet");
    assert!(power.poll_recv(&mut context).is_pending());
    store.sync().unwrap();
    assert_eq!(woken(), 3);
    assert!(matches!(power.poll_recv(&mut context), Poll::Ready(Ok(_))));
    assert!(power.poll_recv(&mut context).is_pending());
    store.close().unwrap();
    assert_eq!(woken(), 4);
    assert!(matches!(power.poll_recv(&mut context), Poll::Ready(Err(Error::Closed))));
}

#[test]
fn an_awaited_event_comes() {
    let place = Place::new();
    let store: Store<String, u64> = Store::open(place.store()).unwrap();
    let mut watch = store.watch().start().unwrap();
    in_time("an awaited event", move || {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pollster::block_on(watch.recv_async()));
            store.insert("a", &1).unwrap();
            assert!(matches!(waiting.join().unwrap(), Ok(Event::Set { value: 1, .. })));
        });
    });
}

/// As a stream, it gives what `recv` gives, and ends where the store does.
#[cfg(feature = "stream")]
#[test]
fn a_watch_is_a_stream() {
    use futures_core::Stream;
    use futures_core::stream::FusedStream;

    let place = Place::new();
    let store: Store<String, u64> = Store::open(place.store()).unwrap();
    let mut watch = store.watch().start().unwrap();
    store.insert("a", &1).unwrap();
    store.insert("a", &2).unwrap();
    store.close().unwrap();
    let told = pollster::block_on(async {
        let mut told = Vec::new();
        let next = |watch: &mut pkv_store::Watch<String, u64>, context: &mut Context<'_>| {
            std::pin::Pin::new(watch).poll_next(context)
        };
        while let Some(event) = std::future::poll_fn(|context| next(&mut watch, context)).await {
            let Event::Set { value, .. } = event.unwrap() else { panic!("not set") };
            told.push(value);
        }
        told
    });
    assert_eq!(told, [1, 2]);
    assert!(watch.is_terminated());
}

/// A store whose next read of a log, once armed, has another thread do something first: what comes between
/// a watch's question how far it may see and the end of its look.
fn amid_a_read(
    place: &Place,
    act: impl FnOnce(ByteStore) -> Option<ByteStore> + Send + 'static,
) -> (ByteWatch, Arc<AtomicBool>, std::thread::JoinHandle<Option<ByteStore>>) {
    let (reads, read) = std::sync::mpsc::channel();
    let (acted, goes_on) = std::sync::mpsc::channel();
    let goes_on = std::sync::Mutex::new(goes_on);
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = Arc::clone(&armed);
    let fs = HookFs::hooked(move |op, path| {
        let is_log = path.to_string_lossy().ends_with("_diff.bin");
        if op == Op::Read && is_log && is_armed.swap(false, Ordering::SeqCst) {
            reads.send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
        }
        Ok(())
    });
    let options = small().file_system(fs).sync_interval(Duration::from_secs(3600));
    let store = ByteStore::open(place.store(), &options).unwrap();
    store.insert(b"a", b"1", Durability::Power).unwrap();
    store.insert(b"a", b"2", PROCESS).unwrap();
    let watch = store.watch().durability(Durability::Power).after(1).start().unwrap();
    let actor = std::thread::spawn(move || {
        read.recv().unwrap();
        let store = act(store);
        acted.send(()).unwrap();
        store
    });
    (watch, armed, actor)
}

/// A sync that ended while the logs were read woke nobody, since no waker was there yet; and the task then
/// slept although its event was durable.
#[test]
fn a_sync_while_a_resuming_watch_reads_is_not_slept_through() {
    let place = Place::new();
    let (mut watch, armed, actor) = amid_a_read(&place, |store| {
        store.sync().unwrap();
        Some(store)
    });
    armed.store(true, Ordering::SeqCst);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let polled = watch.poll_recv(&mut Context::from_waker(&waker));
    let store = actor.join().unwrap().unwrap();
    assert!(store.durable_seq() >= 2 && !armed.load(Ordering::SeqCst));
    let told = match polled {
        Poll::Ready(event) => Some(event.unwrap()),
        Poll::Pending if count.0.load(Ordering::SeqCst) > 0 => watch.try_recv().unwrap(),
        Poll::Pending => None,
    };
    assert_eq!(told.as_ref().map(line).as_deref(), Some("2 a: unknown -> 2"));
}

/// A close makes the last writes durable. A watch that read the logs meanwhile saw the end and not them.
#[test]
fn a_close_while_a_resuming_watch_reads_loses_no_event() {
    let place = Place::new();
    let (mut watch, armed, actor) = amid_a_read(&place, |store| {
        store.close().unwrap();
        None
    });
    armed.store(true, Ordering::SeqCst);
    let told: Vec<String> = watch.iter().map(|event| line(&event.unwrap())).collect();
    assert!(actor.join().unwrap().is_none());
    assert_eq!(told, ["2 a: unknown -> 2"]);
}
