//! Operations, then a kill or a power cut that takes and tears what it likes, then another life: what is
//! there is a prefix of the writes, no shorter than what was acknowledged.

use pkv_sim::{AckLog, Choice, Crash, History, Journal, SimFs, WriteEvent};
use pkv_store::{ByteStore, Durability};

use super::input::Input;
use super::store::{Bytes, changes, contents, durability, open, way, write};

/// What holds of any bytes.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let crash = match input.byte() % 4 {
        0 => Crash::Kill,
        1 => Crash::Linux,
        2 => Crash::Strict,
        _ => Crash::StrictGarbage,
    };
    let (first, second) = (way(input.byte()), way(input.byte()));
    let (cut, tear, cut_again) = (input.u16(), input.u32(), input.u16());
    let fs = SimFs::new(1);
    fs.start_journal();
    let acks: AckLog<WriteEvent<Bytes, Bytes>> = AckLog::new(&fs);
    let mut store = open(&fs, first).expect("an empty disk opens");
    for id in 0..64 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 16 {
            0 => drop(store.compact().expect("a compaction")),
            1 => store.sync().expect("a sync"),
            2 => {
                store.close().expect("a close");
                store = open(&fs, second).expect("a closed store opens");
            }
            _ => {
                let changes = changes(&mut input);
                let durability = durability(input.byte());
                let no_write = matches!(
                    changes.as_slice(),
                    [pkv_sim::Change::Remove(key)] if !store.contains_key(key).expect("a read")
                );
                if no_write {
                    continue;
                }
                acks.issue(id, changes.clone());
                let seq = write(&store, &changes, durability).expect("a write");
                let survives = match durability {
                    Durability::Power => pkv_sim::Durability::Power,
                    _ => pkv_sim::Durability::Process,
                };
                acks.acknowledge(id, Some(seq), survives);
            }
        }
    }
    let journal = kill(&fs, store);
    let cuts = journal.cuts();
    let op = cuts[usize::from(cut) % cuts.len()];
    let disk = journal.state_at(op).survivors(crash, Choice::Random(tear.into()));

    // The next life is cut, too, somewhere in its opening or its first write.
    disk.start_journal();
    let acked = acks.before(op, crash);
    let check = |found| History::new(&acked).check(&found).map(drop);
    let store = open(&disk, second).expect("opens after a crash");
    let mut found = contents(&store);
    check(found.clone()).expect("a prefix");
    store.insert(b"after", b"the crash", Durability::Power).expect("a write after a crash");
    let journal = kill(&disk, store);
    let cuts = journal.cuts();
    let op = cuts[usize::from(cut_again) % cuts.len()];
    let again = journal.state_at(op).survivors(crash, Choice::Random(tear.into()));
    let store = open(&again, first).expect("opens after a crash of the recovery");
    let mut kept = contents(&store);
    let after = kept.remove(b"after".as_slice());
    if crash == Crash::Kill || after.is_some() {
        found.remove(b"after".as_slice());
        assert_eq!(kept, found, "what was there once is gone");
    }
    check(kept).expect("a prefix after two crashes");
}

/// The run so far; the store is dropped on a disk that is off, so that nothing more is written or leaks.
fn kill(fs: &SimFs, store: ByteStore) -> Journal {
    let journal = fs.take_journal().expect("a journal");
    fs.crash_at(fs.last_op() + 1);
    drop(store);
    journal
}
