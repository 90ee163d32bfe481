//! Micro-benchmarks: what one write and one read are made of. `cargo xtask bench micro`.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may panic")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pkv_benches::{KEY_BYTES, VALUE, VALUE_BYTES, key, mix};
use pkv_format::{
    FRAMES_OFFSET, FileSeed, FrameHeader, FrameKind, Scanner, Step, body_checksum, push_frame,
    push_set,
};
use pkv_store::{Durability, Options, Store};

/// Entries of the map that is read and written: beyond the caches, as a store is.
const ENTRIES: u64 = 1_000_000;

fn seed() -> FileSeed {
    FileSeed::new([7; 16], 1, 2, 0, 1)
}

fn body() -> Vec<u8> {
    let mut body = Vec::new();
    push_set(&mut body, &key(1), &VALUE);
    body
}

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for bytes in [128_u64, 4096, 65536] {
        let data = vec![0x5a; usize::try_from(bytes).unwrap()];
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(format!("body of {bytes} B"), |bencher| {
            bencher.iter(|| body_checksum(black_box(&data)));
        });
    }
    group.finish();
}

fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let mut buffer = Vec::new();
    group.bench_function("encode a set's body", |bencher| {
        bencher.iter(|| {
            buffer.clear();
            push_set(&mut buffer, black_box(&key(1)), black_box(&VALUE));
            buffer.len()
        });
    });
    let body = body();
    group.bench_function("checksum the body", |bencher| {
        bencher.iter(|| FrameHeader::for_body(FrameKind::Data, 1, black_box(&body)));
    });
    let header = FrameHeader::for_body(FrameKind::Data, 1, &body).unwrap();
    group.bench_function("encode the header", |bencher| {
        bencher.iter(|| header.encode(seed(), black_box(4096)));
    });

    let base_offset = FRAMES_OFFSET;
    let frames = 1000;
    let mut log = Vec::new();
    for seq in 1..=frames {
        let offset = base_offset + u64::try_from(log.len()).unwrap();
        push_frame(&mut log, seed(), offset, FrameKind::Data, seq, &body).unwrap();
    }
    group.throughput(Throughput::Elements(frames));
    group.bench_function("scan a thousand", |bencher| {
        bencher.iter(|| {
            let mut scanner = Scanner::new(seed(), base_offset, black_box(&log));
            let mut found = 0;
            while let Step::Frame(_) = scanner.next_frame() {
                found += 1;
            }
            assert_eq!(found, frames);
        });
    });
    group.finish();
}

fn map(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let store: Map = Store::open(folder.path()).unwrap();
    for number in 0..ENTRIES {
        store.insert(&key(number), &VALUE).unwrap();
    }
    let mut group = criterion.benchmark_group("map of a million");
    group.throughput(Throughput::Elements(1));
    let mut count = 0;
    let mut random = move || {
        count += 1;
        key(mix(count) % ENTRIES)
    };
    group.bench_function("get_with, hit", |bencher| {
        bencher.iter_batched(
            &mut random,
            |key| store.get_with(&key, |value| value.first().copied()).unwrap(),
            BatchSize::SmallInput,
        );
    });
    let mut absent = ENTRIES;
    group.bench_function("get_with, miss", |bencher| {
        bencher.iter(|| {
            absent += 1;
            store.get_with(&key(absent), |value| value.first().copied()).unwrap()
        });
    });
    group.bench_function("overwrite", |bencher| {
        bencher.iter_batched(
            &mut random,
            |key| store.insert(&key, &VALUE).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("update", |bencher| {
        bencher.iter_batched(
            &mut random,
            |key| store.update(&key, |value| value).unwrap(),
            BatchSize::SmallInput,
        );
    });
    let mut next = ENTRIES;
    group.bench_function("insert and remove", |bencher| {
        bencher.iter(|| {
            next += 1;
            let key = key(next);
            store.insert(&key, &VALUE).unwrap();
            store.remove(&key).unwrap()
        });
    });
    group.finish();
    store.close().unwrap();
}

/// Inserts of new keys, the growth of the map included: a store for each sample.
fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    let entries = 100_000;
    group.throughput(Throughput::Elements(entries)).sample_size(10);
    group.bench_function("new keys into an empty store", |bencher| {
        bencher.iter_batched(
            || Empty::open(&Options::new()),
            |empty| {
                insert_all(&empty.store, entries);
                empty
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// The group commit: one writer, and many that share a sync. On the disk of the target folder, since a temporary one
/// may be in memory.
fn commit_queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit queue");
    let options = Options::new().durability(Durability::Power);
    for threads in [1_u64, 8, 64] {
        let empty = Empty::open(&options);
        let commits_per_thread = 16;
        group.throughput(Throughput::Elements(threads * commits_per_thread)).sample_size(10);
        group.bench_function(format!("commits of {threads} threads"), |bencher| {
            bencher.iter(|| {
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let store = &empty.store;
                        scope.spawn(move || {
                            for number in 0..commits_per_thread {
                                let number = thread * commits_per_thread + number;
                                store.insert(&key(number), &VALUE).unwrap();
                            }
                        });
                    }
                });
            });
        });
    }
    let empty = Empty::open(&Options::new());
    group.throughput(Throughput::Elements(1000)).sample_size(10);
    group.bench_function("a thousand that are awaited by one callback", |bencher| {
        bencher.iter(|| {
            insert_all(&empty.store, 1000);
            let (sender, receiver) = std::sync::mpsc::channel();
            let bytes = empty.store.bytes();
            bytes.on_durable(bytes.last_seq(), move |seq| sender.send(seq).unwrap());
            receiver.recv().unwrap().unwrap()
        });
    });
    group.finish();
}

/// Writing a full snapshot, and opening what it left.
fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    let entries = 200_000;
    let Empty { folder, store } = Empty::open(&Options::new());
    insert_all(&store, entries);
    group.throughput(Throughput::Elements(entries)).sample_size(10);
    group.bench_function("write", |bencher| bencher.iter(|| store.compact().unwrap()));
    store.close().unwrap();
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let store: Map = Store::open(folder.path()).unwrap();
            assert_eq!(store.len(), entries);
            store.close().unwrap();
        });
    });
    group.finish();
}

type Map = Store<[u8; KEY_BYTES], [u8; VALUE_BYTES]>;

/// A store in a folder that goes away with it.
struct Empty {
    store: Map,
    folder: tempfile::TempDir,
}

impl Empty {
    fn open(options: &Options) -> Self {
        let program = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        Self { store: options.open(folder.path()).unwrap(), folder }
    }
}

fn insert_all(store: &Map, entries: u64) {
    for number in 0..entries {
        store.insert(&key(number), &VALUE).unwrap();
    }
}

criterion_group!(benches, checksum, frame, map, insert, commit_queue, snapshot);
criterion_main!(benches);
