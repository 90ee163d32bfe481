//! The linearizability checker: what it takes, what it refuses, and that it agrees with trying every order.

use pkv_sim::{Operation, Recording, Specification};
use proptest::prelude::*;

/// A register with a compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Get,
    Set(u8),
    CompareAndSet(u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Value(u8),
    Done,
    Swapped(bool),
}

struct Register;

impl Specification for Register {
    type State = u8;
    type Call = Call;
    type Answer = Answer;

    fn start(&self) -> u8 {
        0
    }

    fn step(&self, state: &u8, call: &Call, answer: Option<&Answer>) -> Option<u8> {
        let (after, expected) = match *call {
            Call::Get => (*state, Answer::Value(*state)),
            Call::Set(value) => (value, Answer::Done),
            Call::CompareAndSet(old, new) if old == *state => (new, Answer::Swapped(true)),
            Call::CompareAndSet(..) => (*state, Answer::Swapped(false)),
        };
        answer.is_none_or(|answer| *answer == expected).then_some(after)
    }
}

type Line = (u64, Option<u64>, Call, Option<Answer>);

fn operation(line: &Line) -> Operation<Call, Answer> {
    let (called_at, answered_at, call, answer) = *line;
    Operation { call, answer, called_at, answered_at }
}

fn check(lines: &[Line]) -> Result<usize, String> {
    let recording = Recording::with_operations("key", lines.iter().map(operation));
    recording.check(&Register).map_err(|error| error.to_string())
}

#[test]
fn what_overlaps_may_take_either_order() {
    let set = (0, Some(5), Call::Set(7), Some(Answer::Done));
    for seen in [0, 7] {
        let get = (1, Some(2), Call::Get, Some(Answer::Value(seen)));
        assert_eq!(check(&[set, get]), Ok(2));
    }
}

#[test]
fn a_read_that_comes_after_a_write_sees_it() {
    let set = (0, Some(1), Call::Set(7), Some(Answer::Done));
    let get = (2, Some(3), Call::Get, Some(Answer::Value(0)));
    let error = check(&[set, get]).unwrap_err();
    assert!(error.contains("2 to 3: Get answered Some(Value(0))"), "{error}");
}

#[test]
fn what_one_reader_saw_the_next_one_sees() {
    let set = (0, Some(9), Call::Set(7), Some(Answer::Done));
    let first = (1, Some(2), Call::Get, Some(Answer::Value(7)));
    let second = (3, Some(4), Call::Get, Some(Answer::Value(0)));
    check(&[set, first, second]).unwrap_err();
}

#[test]
fn one_of_two_that_expect_the_same_wins() {
    let first = (0, Some(3), Call::CompareAndSet(0, 1), Some(Answer::Swapped(true)));
    let second = (1, Some(2), Call::CompareAndSet(0, 2), Some(Answer::Swapped(true)));
    check(&[first, second]).unwrap_err();
    let second = (1, Some(2), Call::CompareAndSet(0, 2), Some(Answer::Swapped(false)));
    assert_eq!(check(&[first, second]), Ok(2));
}

#[test]
fn a_call_without_an_answer_may_have_happened_at_any_time_or_not() {
    let lost = (0, None, Call::Set(7), None);
    let get = |at: u64, seen| (at, Some(at + 1), Call::Get, Some(Answer::Value(seen)));
    assert_eq!(check(&[lost, get(1, 0), get(3, 0)]), Ok(3));
    assert_eq!(check(&[lost, get(1, 0), get(3, 7)]), Ok(3));
    check(&[lost, get(1, 7), get(3, 0)]).unwrap_err();
    check(&[get(1, 7), get(3, 7), (9, None, Call::Set(7), None)]).unwrap_err();
}

/// What a recorder notes of real threads is taken, and is whole.
#[test]
fn threads_are_recorded() {
    let register = std::sync::Mutex::new(0);
    let recording = Recording::new();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (register, recording) = (&register, &recording);
            scope.spawn(move || {
                let mut recorder = recording.thread();
                for n in 0..200_u8 {
                    let call = if n % 3 == 0 { Call::Set(thread) } else { Call::Get };
                    recorder.run("key", call, |call| {
                        let mut value = register.lock().unwrap();
                        match call {
                            Call::Set(new) => {
                                *value = *new;
                                Answer::Done
                            }
                            _ => Answer::Value(*value),
                        }
                    });
                }
            });
        }
    });
    assert_eq!(recording.check(&Register), Ok(800));
}

/// Every order that the instants allow, one by one.
fn some_order_explains(lines: &mut Vec<Line>, state: u8) -> bool {
    if lines.iter().all(|line| line.1.is_none()) {
        return true;
    }
    (0..lines.len()).any(|index| {
        let line = lines.remove(index);
        let is_next = lines.iter().all(|other| other.1.is_none_or(|at| at > line.0));
        let after = is_next.then(|| Register.step(&state, &line.2, line.3.as_ref())).flatten();
        let explains = after.is_some_and(|after| some_order_explains(lines, after));
        lines.insert(index, line);
        explains
    })
}

fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Get),
        (0..3_u8).prop_map(Call::Set),
        (0..3_u8, 0..3_u8).prop_map(|(old, new)| Call::CompareAndSet(old, new)),
    ]
}

/// Up to six operations, each with an answer that might be right, at instants that overlap as they like.
fn any_lines() -> impl Strategy<Value = Vec<Line>> {
    let line = (any_call(), 0..3_u8, any::<bool>(), prop::bool::weighted(0.9));
    (prop::collection::vec(line, 1..7), any::<u64>()).prop_map(|(drawn, seed)| {
        let mut instants: Vec<u64> = (0..2 * u64::try_from(drawn.len()).unwrap()).collect();
        let mut random = seed | 1;
        for index in (1..instants.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = usize::try_from(random >> 33).unwrap() % (index + 1);
            instants.swap(index, other);
        }
        let pairs =
            instants.chunks_exact(2).map(|pair| (pair[0].min(pair[1]), pair[0].max(pair[1])));
        let line = |((call, value, swapped, is_answered), (from, to))| {
            let answer = match call {
                Call::Get => Answer::Value(value),
                Call::Set(_) => Answer::Done,
                Call::CompareAndSet(..) => Answer::Swapped(swapped),
            };
            if is_answered {
                (from, Some(to), call, Some(answer))
            } else {
                (from, None, call, None)
            }
        };
        drawn.into_iter().zip(pairs).map(line).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_agrees_with_trying_every_order(lines in any_lines()) {
        let explained = some_order_explains(&mut lines.clone(), 0);
        prop_assert_eq!(check(&lines).is_ok(), explained, "{:?}", lines);
    }
}
