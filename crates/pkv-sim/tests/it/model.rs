//! The reference for maps: what it allows, and what it calls each wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use pkv_fs::Fs;
use pkv_sim::{
    AckLog, Acked, Change, Condition, Crash, Durability, Explorer, History, SimFs, WriteEvent,
};

type Event = WriteEvent<&'static str, u32>;
type Map = BTreeMap<&'static str, u32>;

/// Notes events, crashes after the last of the first part, and hands the history to a check.
fn at_crash(
    crash: Crash,
    before: impl Fn(&AckLog<Event>),
    after: impl Fn(&AckLog<Event>),
    check: impl Fn(History<&'static str, u32>) + Sync,
) {
    let explorer = Explorer { replay: None, threads: 1, ..Explorer::new(crash) };
    let report = explorer.run(
        |fs: &Arc<SimFs>, log| {
            before(log);
            fs.create_dir(Path::new("/crash")).unwrap();
            after(log);
        },
        |fs, acked: &Acked<Event>| {
            // The first cut: the folder's creation is in flight.
            if fs.last_op() == 0 {
                check(History::new(acked));
            }
            Ok(())
        },
    );
    assert!(report.ok().unwrap().states >= 2);
}

fn set(key: &'static str, value: u32) -> [Change<&'static str, u32>; 1] {
    [Change::Set(key, value)]
}

#[test]
fn a_prefix_no_shorter_than_the_acknowledged_is_right() {
    for (crash, min) in [(Crash::Kill, 2), (Crash::Linux, 1), (Crash::Strict, 1)] {
        at_crash(
            crash,
            |log| {
                log.issue(1, set("a", 1));
                log.acknowledge(1, None, Durability::Power);
                log.issue(2, set("a", 2));
                log.acknowledge(2, None, Durability::Process);
                log.issue(3, [Change::Remove("a"), Change::Set("b", 3)]);
            },
            |log| {
                log.acknowledge(3, None, Durability::Power);
                log.issue(4, set("c", 4));
                log.acknowledge(4, None, Durability::Power);
            },
            |history| {
                assert_eq!((history.prefix_min(), history.prefix_max()), (min, 3));
                let lost = history.check(&Map::new()).unwrap_err();
                assert!(lost.starts_with(&format!("lost: 0 writes are there, {min} ")), "{lost}");
                assert_eq!(history.check(&Map::from([("a", 1)])).is_ok(), min == 1);
                assert_eq!(history.check(&Map::from([("a", 2)])), Ok(2));
                assert_eq!(history.check(&Map::from([("b", 3)])), Ok(3));
                let torn = history.check(&Map::from([("a", 2), ("b", 3)])).unwrap_err();
                assert!(torn.contains("no prefix") && torn.contains("of write 2"), "{torn}");
                let early = history.check(&Map::from([("b", 3), ("c", 4)])).unwrap_err();
                assert!(early.contains("write 4, which was not issued yet"), "{early}");
                let wild = history.check(&Map::from([("b", 9)])).unwrap_err();
                assert!(wild.contains("which nobody wrote"), "{wild}");
            },
        );
    }
}

#[test]
fn the_order_is_that_of_the_sequence_numbers() {
    at_crash(
        Crash::Kill,
        |log| {
            log.issue(1, set("a", 1));
            log.issue(2, set("a", 2));
            log.acknowledge(2, Some(10), Durability::Process);
        },
        |log| log.acknowledge(1, Some(11), Durability::Process),
        |history| {
            // Write 2 came first in the store's order; write 1 was in flight.
            assert_eq!(history.check(&Map::from([("a", 2)])), Ok(1));
            assert_eq!(history.check(&Map::from([("a", 1)])), Ok(2));
            assert!(history.check(&Map::new()).is_err());
        },
    );
}

#[test]
fn a_hole_is_no_prefix() {
    at_crash(
        Crash::Strict,
        |log| {
            for (id, key) in [(1, "a"), (2, "b"), (3, "c")] {
                log.issue(id, set(key, 7));
                log.acknowledge(id, Some(id), Durability::Process);
            }
        },
        |_| (),
        |history| {
            assert_eq!(history.check(&Map::new()), Ok(0));
            assert_eq!(history.check(&Map::from([("a", 7), ("b", 7)])), Ok(2));
            assert!(history.check(&Map::from([("a", 7), ("c", 7)])).is_err());
            assert!(history.check(&Map::from([("b", 7)])).is_err());
        },
    );
}

#[test]
fn a_refused_write_is_a_ghost_and_an_unconfirmed_one_is_not() {
    at_crash(
        Crash::Kill,
        |log| {
            log.issue(1, set("a", 1));
            log.refuse(1);
            log.issue(2, set("a", 2));
            log.acknowledge(2, None, Durability::Process);
            log.issue(3, set("a", 3));
            log.leave_unconfirmed(3, None);
        },
        |_| (),
        |history| {
            let ghost = history.check(&Map::from([("a", 1)])).unwrap_err();
            assert!(ghost.contains("a ghost: write 1 was refused"), "{ghost}");
            assert_eq!(history.check(&Map::from([("a", 2)])), Ok(1));
            assert_eq!(history.check(&Map::from([("a", 3)])), Ok(2));
            assert!(history.check(&Map::new()).is_err());
        },
    );
}

#[test]
fn a_later_sync_raises_what_a_write_survives() {
    at_crash(
        Crash::Strict,
        |log| {
            log.issue(1, set("a", 1));
            log.acknowledge(1, None, Durability::Process);
            log.acknowledge(1, None, Durability::Power);
            log.acknowledge(1, None, Durability::Process);
        },
        |_| (),
        |history| assert!(history.check(&Map::new()).is_err()),
    );
}

#[test]
fn clearing_is_a_change_like_any_other() {
    at_crash(
        Crash::Linux,
        |log| {
            log.issue(1, [Change::Set("a", 1), Change::Set("b", 1)]);
            log.issue(2, [Change::Clear, Change::Set("b", 2)]);
            log.issue(3, [Change::Set("b", 3)]);
            log.acknowledge(3, None, Durability::Process);
        },
        |_| (),
        |history| {
            assert_eq!(history.check(&Map::from([("a", 1), ("b", 1)])), Ok(1));
            assert_eq!(history.check(&Map::from([("b", 2)])), Ok(2));
            assert!(history.check(&Map::from([("a", 1), ("b", 2)])).is_err());
        },
    );
}

/// A write of this value to `b` that depends on `a` having another.
fn if_a_is(log: &AckLog<Event>, id: u64, expected: u32, value: u32) {
    log.issue_if(id, [Condition::Equals("a", expected), Condition::Absent("c")], set("b", value));
}

#[test]
fn a_write_made_against_its_condition_is_found_wherever_it_stands_in_the_order() {
    let wrong_order = |log: &AckLog<Event>| {
        log.issue(1, set("a", 1));
        log.acknowledge(1, Some(10), Durability::Process);
        log.issue(2, set("a", 2));
        // It read `a` before write 2, and came to stand behind it.
        if_a_is(log, 3, 1, 7);
        log.acknowledge(3, Some(12), Durability::Process);
        log.acknowledge(2, Some(11), Durability::Process);
    };
    at_crash(
        Crash::Kill,
        wrong_order,
        |_| (),
        |history| {
            let wrong = history.check(&Map::from([("a", 2), ("b", 7)])).unwrap_err();
            assert!(wrong.contains("write 3 with sequence number 12 was made although"), "{wrong}");
            assert!(wrong.contains("condition 0 did not hold"), "{wrong}");
        },
    );
    at_crash(
        Crash::Kill,
        |log| {
            log.issue(1, set("a", 1));
            log.acknowledge(1, Some(10), Durability::Process);
            if_a_is(log, 2, 1, 7);
            log.acknowledge(2, Some(11), Durability::Process);
            if_a_is(log, 3, 2, 8);
            log.refuse(3);
            // Present holds, and equal to another value would not.
            log.issue_if(4, [Condition::Present("b")], set("c", 1));
            log.acknowledge(4, Some(12), Durability::Process);
        },
        |_| (),
        |history| {
            assert_eq!(history.check(&Map::from([("a", 1), ("b", 7), ("c", 1)])), Ok(3));
            let ghost = history.check(&Map::from([("a", 1), ("b", 8), ("c", 1)])).unwrap_err();
            assert!(ghost.contains("a ghost: write 3 was refused"), "{ghost}");
        },
    );
}

#[test]
fn a_write_in_flight_is_made_if_its_conditions_hold_and_else_not() {
    for (expected, found) in [(1, Map::from([("a", 1), ("b", 7)])), (2, Map::from([("a", 1)]))] {
        at_crash(
            Crash::Kill,
            |log| {
                log.issue(1, set("a", 1));
                log.acknowledge(1, Some(10), Durability::Process);
                if_a_is(log, 2, expected, 7);
            },
            |_| (),
            |history| {
                assert!(history.check(&found).is_ok(), "{expected}");
                let made = Map::from([("a", 1), ("b", 7)]);
                assert_eq!(history.check(&made).is_ok(), expected == 1);
            },
        );
    }
}

#[test]
fn what_was_seen_to_be_gone_may_not_come_back_and_what_was_not_may() {
    let run = |log: &AckLog<Event>| {
        log.issue(1, [Change::SetUntil("a", 1, 100), Change::SetUntil("b", 2, 200)]);
        log.acknowledge(1, Some(1), Durability::Process);
        log.issue(2, [Change::Expire(150)]);
        log.acknowledge(2, Some(2), Durability::Process);
    };
    let with_both = Map::from([("a", 1), ("b", 2)]);
    at_crash(
        Crash::Kill,
        run,
        |_| (),
        |history| {
            // The clock was set back to 50: `a` was told to be gone, `b` was not.
            let history = history.looked_at(50);
            assert_eq!(history.check(&Map::from([("b", 2)])), Ok(2));
            let back = history.check(&with_both).unwrap_err();
            assert!(back.contains("lost: 1 writes are there"), "{back}");
            // At 250 both are gone, and one that is not is found.
            let history = history.looked_at(250);
            assert_eq!(history.check(&Map::new()), Ok(2));
            assert!(history.check(&Map::from([("b", 2)])).is_err());
        },
    );
    // A power cut may take the word that `a` is gone, as it was not synced.
    at_crash(
        Crash::Strict,
        run,
        |_| (),
        |history| assert_eq!(history.looked_at(50).check(&with_both), Ok(1)),
    );
}
