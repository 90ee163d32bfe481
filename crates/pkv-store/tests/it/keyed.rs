//! The operations on one key, as the linearizability checker sees them.
#![expect(clippy::expect_used, reason = "a failure in a helper fails the test")]

use pkv_sim::Specification;
use pkv_store::{ByteStore, Durability, Error, Update};

/// What can be asked of one key. Values are numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    Get,
    Contains,
    Insert(u64),
    Remove,
    CompareAndSet(Option<u64>, Option<u64>),
    /// An update that adds to what is there.
    Add(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Value(Option<u64>),
    Is(bool),
    Swapped(bool),
}

impl Call {
    /// A call of a random kind that sets `new` where it sets something; `seen` is what the thread saw last.
    pub(crate) fn draw(random: u64, new: u64, seen: Option<u64>) -> Self {
        match random % 12 {
            0..3 => Call::Get,
            3 => Call::Contains,
            4..6 => Call::Insert(new),
            6 => Call::Remove,
            7..9 => Call::CompareAndSet(seen, Some(new)),
            9 => Call::CompareAndSet(seen, None),
            _ => Call::Add(new),
        }
    }
}

/// A store's key by itself.
pub(crate) struct OneKey;

impl Specification for OneKey {
    type State = Option<u64>;
    type Call = Call;
    type Answer = Answer;

    fn start(&self) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        call: &Call,
        answer: Option<&Answer>,
    ) -> Option<Option<u64>> {
        let state = *state;
        let (after, expected) = match *call {
            Call::Get => (state, Answer::Value(state)),
            Call::Contains => (state, Answer::Is(state.is_some())),
            Call::Insert(new) => (Some(new), Answer::Is(state.is_some())),
            Call::Remove => (None, Answer::Is(state.is_some())),
            Call::CompareAndSet(old, new) if old == state => (new, Answer::Swapped(true)),
            Call::CompareAndSet(..) => (state, Answer::Swapped(false)),
            Call::Add(new) => (Some(sum(state, new)), Answer::Value(state)),
        };
        answer.is_none_or(|answer| *answer == expected).then_some(after)
    }
}

fn sum(old: Option<u64>, new: u64) -> u64 {
    old.unwrap_or(0).wrapping_add(new)
}

/// A number as a value: a few bytes, some hundred, or so many that they are an allocation of their own.
fn bytes(number: u64) -> Vec<u8> {
    let times = match number % 3 {
        0 => 1,
        1 => 30,
        _ => 200,
    };
    number.to_le_bytes().repeat(times)
}

/// The number again; the whole value must be of one piece.
fn number(bytes: &[u8]) -> u64 {
    let first = bytes.first_chunk::<8>().expect("eight bytes");
    assert!(bytes.chunks_exact(8).all(|chunk| chunk == first), "pieces of two values");
    u64::from_le_bytes(*first)
}

/// Asks the store.
pub(crate) fn answer(
    store: &ByteStore,
    key: &[u8],
    call: &Call,
    durability: Durability,
) -> Result<Answer, Error> {
    Ok(match *call {
        Call::Get => Answer::Value(store.get_with(key, number)?),
        Call::Contains => Answer::Is(store.contains_key(key)?),
        Call::Insert(new) => Answer::Is(store.insert(key, &bytes(new), durability)?.existed),
        Call::Remove => Answer::Is(store.remove(key, durability)?.existed),
        Call::CompareAndSet(old, new) => {
            let (old, new) = (old.map(bytes), new.map(bytes));
            Answer::Swapped(store.compare_and_set(
                key,
                old.as_deref(),
                new.as_deref(),
                durability,
            )?)
        }
        Call::Add(new) => {
            let mut seen = None;
            store.update(key, durability, |old| {
                seen = old.map(number);
                Update::Set(bytes(sum(seen, new)))
            })?;
            Answer::Value(seen)
        }
    })
}
