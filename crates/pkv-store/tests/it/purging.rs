//! What a snapshot makes obsolete is removed, and nobody waits for its space.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use pkv_fs::{Fs, Op};
use pkv_store::{ByteStore, Durability, Options};

use crate::support::{
    CLOCK, Contents, HookFs, Image, Place, blob, contents, copy, eventually, in_time, is_there,
    small, write_file,
};

const PROCESS: Durability = Durability::Process;

/// A disk that is slow to give the space of a snapshot's file back, as long as this says so, and full until it has.
///
/// As with every file system here, the space is given back by who removes the last name, or by who lets go
/// of the file last.
#[derive(Debug, Default)]
struct Space {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what goes wrong, each apart from the others")]
struct State {
    /// How often each file is open.
    open: BTreeMap<PathBuf, usize>,
    is_kept: bool,
    /// No room is to be had, or only none is told of.
    is_full: bool,
    says_full: bool,
    /// A snapshot's file cannot be synced for want of room.
    fails: bool,
    /// How many files are open without a name, and the most of them.
    nameless: usize,
    nameless_max: usize,
    /// How many wait for it.
    waiting: usize,
    given_back: usize,
}

impl Space {
    fn file_system(self: &Arc<Self>) -> Arc<dyn Fs> {
        let (space, closing) = (Arc::clone(self), Arc::clone(self));
        HookFs::hooked_with_closed(
            Arc::new(move |op, path| {
                match op {
                    Op::Open | Op::Create => space.opened(path),
                    Op::Remove if space.is_open(path) => space.loses_name(path),
                    Op::Remove => space.give_back(path),
                    Op::Write if is_pending(path) && space.state.lock().unwrap().fails => {
                        return Err(ErrorKind::StorageFull.into());
                    }
                    Op::Preallocate if space.state.lock().unwrap().is_full => {
                        return Err(ErrorKind::StorageFull.into());
                    }
                    Op::Stat if path.as_os_str() != CLOCK && space.says_full() => {
                        return Err(ErrorKind::StorageFull.into());
                    }
                    _ => {}
                }
                Ok(())
            }),
            Arc::new(move |path| {
                closing.closed(path);
                if !is_there(path) && !closing.is_open(path) {
                    closing.give_back(path);
                }
            }),
        )
    }

    fn opened(&self, path: &Path) {
        *self.state.lock().unwrap().open.entry(path.to_owned()).or_default() += 1;
    }

    fn closed(&self, path: &Path) {
        if let Some(count) = self.state.lock().unwrap().open.get_mut(path) {
            *count -= 1;
        }
    }

    fn is_open(&self, path: &Path) -> bool {
        self.state.lock().unwrap().open.get(path).is_some_and(|count| *count > 0)
    }

    fn give_back(&self, path: &Path) {
        if !is_meant(path) {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.changed.notify_all();
        while state.is_kept {
            state = self.changed.wait(state).unwrap();
        }
        state.waiting -= 1;
        state.nameless = state.nameless.saturating_sub(1);
        state.given_back += 1;
        (state.is_full, state.says_full) = (false, false);
    }

    fn says_full(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.is_full || state.says_full
    }

    fn loses_name(&self, path: &Path) {
        if !is_meant(path) {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.nameless += 1;
        state.nameless_max = state.nameless_max.max(state.nameless);
    }

    /// Keeps it until what this returns is dropped: at the latest when a test fails, whose store would wait for it.
    fn keep(self: &Arc<Self>) -> Kept {
        self.state.lock().unwrap().is_kept = true;
        Kept(Arc::clone(self))
    }

    /// Until somebody waits for it.
    fn wait(&self) {
        let state = self.state.lock().unwrap();
        let long = Duration::from_secs(60);
        let until = self.changed.wait_timeout_while(state, long, |state| state.waiting == 0);
        assert!(!until.unwrap().1.timed_out(), "nobody removes the snapshot before");
    }

    fn given_back(&self) -> usize {
        self.state.lock().unwrap().given_back
    }
}

#[derive(Debug)]
struct Kept(Arc<Space>);

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_kept = false;
        self.0.changed.notify_all();
    }
}

/// Of a snapshot in the making, or that did not come to be: when it has come to be its files have other names.
fn is_pending(path: &Path) -> bool {
    path.to_string_lossy().ends_with("_pending.bin")
}

/// Of a snapshot, and not of a log.
fn is_meant(path: &Path) -> bool {
    path.to_string_lossy().ends_with("_full.bin") || is_pending(path)
}

/// What the names of an interrupted snapshot begin with.
const INTERRUPTED: &str = "snapshot_900_";

/// A store with a snapshot of as many files as the options say.
fn with_snapshot(place: &Place, options: Options) -> (Arc<ByteStore>, Arc<Space>) {
    let space = Arc::<Space>::default();
    // Some dozens of files are removed at once, and the logs are among them.
    let options = options.segment_bytes(1 << 16, 1 << 16).file_system(space.file_system());
    let store = ByteStore::open(place.store(), &options).unwrap();
    write(&store, 0);
    store.compact().unwrap();
    (Arc::new(store), space)
}

/// Fills several segments.
fn write(store: &ByteStore, round: u64) {
    for i in 0..200_u64 {
        store.insert(&i.to_le_bytes(), &blob(i + round, 4000), PROCESS).unwrap();
    }
}

fn expected(round: u64) -> Contents {
    (0..200_u64).map(|i| (i.to_le_bytes().to_vec(), blob(i + round, 4000))).collect()
}

/// To give the space of a large snapshot back takes seconds on some disks. It was done with the set of files locked, and
/// who needed a new log waited for it: writers, once the log made ahead was full.
#[test]
fn writers_do_not_wait_for_the_space_of_the_snapshot_before() {
    let place = Place::new();
    let (store, space) = with_snapshot(&place, small().snapshot_shards(3));
    let kept = space.keep();
    let compacting = Arc::clone(&store);
    let compaction = std::thread::spawn(move || compacting.compact().unwrap());
    space.wait();
    let writing = Arc::clone(&store);
    in_time("writes of several segments", move || write(&writing, 1));
    assert_eq!(space.given_back(), 0, "it was waited for");
    drop(kept);
    compaction.join().unwrap();
    assert_eq!(contents(&store), expected(1));
}

/// Who asks for a snapshot has it when it is published and the files before it are gone; their space may come later. A close
/// does not leave it to others.
#[test]
fn who_compacts_by_hand_does_not_wait_for_that_space_and_who_closes_does() {
    let place = Place::new();
    let (store, space) = with_snapshot(&place, small().snapshot_shards(3));
    for round in 1..3 {
        write(&store, round);
        eventually("the space", || space.given_back() == 3 * usize::try_from(round - 1).unwrap());
        let _kept = space.keep();
        let compacting = Arc::clone(&store);
        let ordinal = in_time("a compaction", move || compacting.compact().unwrap());
        space.wait();
        let image = Image::of(&place.store());
        let of_another = |name: &&String| !name.contains(&format!("snapshot_{ordinal}_"));
        assert_eq!(image.named("full").iter().filter(of_another).count(), 0, "{image:?}");
        assert!(image.named("diff").len() <= 2, "{image:?}");
    }
    eventually("the space", || space.given_back() == 6);
    let kept = space.keep();
    store.compact().unwrap();
    space.wait();
    let store = Arc::into_inner(store).unwrap();
    let close = std::thread::spawn(move || store.close().unwrap());
    std::thread::sleep(Duration::from_millis(50));
    assert!(!close.is_finished());
    drop(kept);
    close.join().unwrap();
    assert_eq!(space.given_back(), 9);
}

#[test]
fn a_snapshot_of_many_files_goes_in_turns() {
    let place = Place::new();
    for background in [true, false] {
        let options = small().map_shards(256).snapshot_shards(150).background(background);
        let (store, space) = with_snapshot(&place, options);
        let before = space.given_back();
        let ordinal = store.compact().unwrap();
        let image = Image::of(&place.store());
        assert_eq!(image.named("full").len(), 150, "{image:?}");
        assert!(image.named("full").iter().all(|name| name.contains(&format!("_{ordinal}_"))));
        eventually("the space", || space.given_back() == before + 150);
        assert_eq!(contents(&store), expected(0));
        let nameless_max = space.state.lock().unwrap().nameless_max;
        assert!((1..=64).contains(&nameless_max), "{nameless_max} files are open without a name");
    }
}

/// Writes several segments to a disk that is full, or says so, until the space that is on its way is there.
fn write_while_full(store: &Arc<ByteStore>, space: &Space, kept: Kept, round: u64, is_full: bool) {
    {
        let mut state = space.state.lock().unwrap();
        (state.is_full, state.says_full) = (is_full, true);
    }
    let writing = Arc::clone(store);
    let writer = std::thread::spawn(move || write(&writing, round));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!writer.is_finished(), "several segments on a full disk");
    drop(kept);
    in_time("writes to a disk with room", move || writer.join().unwrap());
    assert_eq!(contents(store), expected(round));
}

/// Space that comes later must not be missed: a write would find the disk full, or a snapshot be written in vain.
#[test]
fn a_disk_that_is_full_of_what_was_removed_is_waited_for() {
    let place = Place::new();
    let (store, space) = with_snapshot(&place, small().snapshot_shards(3));
    let kept = space.keep();
    store.compact().unwrap();
    write_while_full(&store, &space, kept, 1, false);
    // One in vain would be there by then.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(store.stats().snapshots, 2);
}

/// The same where there are no threads, and another caller compacts.
#[test]
fn what_another_caller_has_removed_is_waited_for() {
    let place = Place::new();
    let (store, space) = with_snapshot(&place, small().snapshot_shards(3).background(false));
    let kept = space.keep();
    let compacting = Arc::clone(&store);
    let compaction = std::thread::spawn(move || compacting.compact().unwrap());
    space.wait();
    write_while_full(&store, &space, kept, 1, true);
    compaction.join().unwrap();
}

/// And of a compaction in the background.
#[test]
fn what_the_background_has_removed_is_waited_for() {
    let place = Place::new();
    let options = small().snapshot_shards(3).compact_log_bytes_min(1 << 20).compact_log_percent(10);
    let (store, space) = with_snapshot(&place, options);
    let kept = space.keep();
    // The logs hold a megabyte again.
    (1..3).for_each(|round| write(&store, round));
    space.wait();
    write_while_full(&store, &space, kept, 3, true);
}

/// An opening behind a crash waited for the space of the snapshot that had been in the making.
#[test]
fn an_opening_does_not_wait_for_the_space_of_an_interrupted_snapshot() {
    for background in [true, false] {
        let place = Place::new();
        let (store, space) = with_snapshot(&place, small());
        Arc::into_inner(store).unwrap().close().unwrap();
        for shard in 0..3 {
            let name = format!("{INTERRUPTED}{shard}-of-3_pending.bin");
            write_file(&place.store().join(name), &blob(shard, 4000));
        }
        let given_back = space.given_back();
        let kept = background.then(|| space.keep());
        let options = small().background(background).file_system(space.file_system());
        let path = place.store();
        let store = in_time("an opening", move || ByteStore::open(path, &options).unwrap());
        assert_eq!(store.recovery_report().dropped_pending, [900]);
        if background {
            space.wait();
            assert_eq!(contents(&store), expected(0));
            assert_eq!(space.given_back(), given_back);
        }
        drop(kept);
        eventually("the space", || space.given_back() == given_back + 3);
        assert!(Image::of(&place.store()).named("pending").is_empty());
    }
}

/// A writer at the limit of the logs waits for the snapshot that makes them obsolete, and not for the space of what it replaced.
#[test]
fn a_writer_at_the_limit_of_the_logs_does_not_wait_for_space() {
    let place = Place::new();
    let (store, space) = with_snapshot(&place, small().snapshot_shards(3).max_log_bytes(2_000_000));
    let kept = space.keep();
    // At half of the limit a snapshot is written.
    (0..2).for_each(|_| write(&store, 1));
    space.wait();
    let writing = Arc::clone(&store);
    in_time("more than the logs may hold with those before", move || write(&writing, 2));
    drop(kept);
    assert_eq!(contents(&store), expected(2));
}

/// So it is with the files of a snapshot that failed.
#[test]
fn writers_do_not_wait_for_the_space_of_a_snapshot_that_failed() {
    let place = Place::new();
    let (store, space) = with_snapshot(&place, small().snapshot_shards(3));
    space.state.lock().unwrap().fails = true;
    let kept = space.keep();
    let compacting = Arc::clone(&store);
    let compaction = std::thread::spawn(move || compacting.compact().is_err());
    space.wait();
    let writing = Arc::clone(&store);
    in_time("writes of several segments", move || write(&writing, 1));
    write_while_full(&store, &space, kept, 2, true);
    assert!(compaction.join().unwrap(), "a snapshot on a full disk");
}

/// Repair may need the room that a snapshot half made takes, and to fail would be to fail each time.
#[test]
fn an_opening_that_lacks_room_removes_what_a_crash_left_and_goes_on() {
    let place = Place::new();
    let (store, _) = with_snapshot(&place, small());
    write(&store, 1);
    let killed = place.at("killed");
    copy(&place.store(), &killed);
    let left = killed.join(format!("{INTERRUPTED}0-of-1_pending.bin"));
    write_file(&left, &blob(0, 4000));
    let is_in_the_way = left.clone();
    let refused = Arc::new(Mutex::new(0));
    let count = Arc::clone(&refused);
    let fs = HookFs::hooked(move |op, path| {
        let is_log = path.to_string_lossy().ends_with("_diff.bin");
        if is_log && matches!(op, Op::Write | Op::SetLen | Op::Sync) && is_there(&is_in_the_way) {
            *count.lock().unwrap() += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    });
    let store = ByteStore::open(&killed, &small().file_system(fs)).unwrap();
    assert_eq!(*refused.lock().unwrap(), 1);
    assert!(!is_there(&left));
    assert_eq!(contents(&store), expected(1));
}
