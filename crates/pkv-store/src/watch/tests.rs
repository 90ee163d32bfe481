//! The order in the hub, which no call from outside can bring about.

use std::sync::Arc;

use super::hub::Hub;
use super::notice::{Notice, Noticed};
use super::queue::{End, Filter, Next, Queue};

fn notice(n: u64) -> Notice {
    let value = Noticed::new(&n.to_le_bytes(), None);
    Notice::of(b"key", None, Some(value))
}

fn seqs(hub: &Hub, queue: &Queue) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        match queue.next(hub, None) {
            Next::Change(told, _) => seqs.push(told.seq),
            Next::Lagged(first, last) => panic!("lagged: {first} to {last}"),
            Next::Pending | Next::Ended(_) => return seqs,
        }
    }
}

fn queue(only_durable: bool) -> Arc<Queue> {
    Arc::new(Queue::new(Filter::All, 100, only_durable, 0))
}

#[test]
fn notices_in_any_order_are_told_in_the_order_of_their_numbers() {
    let (hub, queue) = (Hub::default(), queue(false));
    assert_eq!(hub.join(&queue, 0, || 10), 10);
    for seq in [13, 12, 10, 15] {
        hub.tell(seq, notice(seq));
        assert_eq!(seqs(&hub, &queue), []);
    }
    hub.tell(11, notice(11));
    assert_eq!(seqs(&hub, &queue), [11, 12, 13]);
    hub.tell(14, notice(14));
    assert_eq!(seqs(&hub, &queue), [14, 15]);
}

#[test]
fn what_comes_while_a_watch_begins_is_told_from_its_number_on() {
    let (hub, queue) = (Hub::default(), queue(false));
    assert!(!hub.is_on());
    let start = hub.join(&queue, 0, || {
        assert!(hub.is_on(), "the flag comes first");
        for seq in [8, 7, 5, 4] {
            hub.tell(seq, notice(seq));
        }
        6
    });
    assert_eq!(start, 6);
    assert_eq!(seqs(&hub, &queue), [7, 8]);
}

#[test]
fn a_watch_that_comes_later_begins_where_the_first_one_is() {
    let (hub, first, second) = (Hub::default(), queue(false), queue(false));
    hub.join(&first, 0, || 0);
    hub.tell(1, notice(1));
    hub.tell(3, notice(3));
    assert_eq!(hub.join(&second, 0, || panic!("watching has begun")), 1);
    hub.tell(2, notice(2));
    assert_eq!(seqs(&hub, &first), [1, 2, 3]);
    assert_eq!(seqs(&hub, &second), [2, 3]);
}

#[test]
fn the_last_to_leave_lowers_the_flag_and_forgets_what_waited() {
    let (hub, first, second) = (Hub::default(), queue(false), queue(false));
    hub.join(&first, 0, || 0);
    hub.join(&second, 0, || 0);
    hub.leave(&first);
    assert!(hub.is_on());
    hub.tell(2, notice(2));
    hub.leave(&second);
    assert!(!hub.is_on());
    // A write that saw the flag before it was lowered.
    hub.tell(3, notice(3));
    assert_eq!(hub.join(&first, 0, || 5), 5);
    hub.tell(6, notice(6));
    assert_eq!(seqs(&hub, &first), [6]);
}

#[test]
fn a_watch_of_durable_changes_sees_them_when_they_are() {
    let (hub, queue) = (Hub::default(), queue(true));
    hub.join(&queue, 2, || 2);
    (3..=6).for_each(|seq| hub.tell(seq, notice(seq)));
    assert_eq!(seqs(&hub, &queue), []);
    let ticket = queue.ticket();
    hub.settle(5, None);
    assert_ne!(queue.ticket(), ticket, "nobody was told");
    assert_eq!(seqs(&hub, &queue), [3, 4, 5]);
    hub.close();
    assert_eq!(seqs(&hub, &queue), []);
    assert!(matches!(queue.next(&hub, None), Next::Ended(End::Closed)));
}

#[test]
fn a_batch_is_queued_whole_or_not_at_all() {
    let (hub, queue) = (Hub::default(), Arc::new(Queue::new(Filter::All, 3, false, 0)));
    hub.join(&queue, 0, || 0);
    let batch = |changes: u8| {
        let mut notice = Notice::default();
        (0..changes).for_each(|n| notice.push(&[n], None, Some(Noticed::new(&[], None))));
        notice
    };
    hub.tell(1, batch(2));
    hub.tell(2, batch(2));
    hub.tell(3, batch(1));
    assert!(matches!(queue.next(&hub, None), Next::Change(told, 0) if told.seq == 1));
    assert!(matches!(queue.next(&hub, None), Next::Change(told, 1) if told.seq == 1));
    // What follows a gap is dropped, too, until the consumer has learned of it.
    hub.tell(4, batch(1));
    assert!(matches!(queue.next(&hub, None), Next::Lagged(2, 4)));
    // One that is larger than the queue comes when nothing else waits.
    hub.tell(5, batch(4));
    for index in 0..4 {
        let next = queue.next(&hub, None);
        assert!(matches!(next, Next::Change(told, at) if told.seq == 5 && at == index));
    }
    hub.tell(6, batch(0));
    assert!(matches!(queue.next(&hub, None), Next::Pending), "a write of nothing is no event");
}
