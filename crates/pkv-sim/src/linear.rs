//! Linearizability: what threads did at once must be explained by some order in which they did it one after
//! the other, each operation at one instant between its call and its answer.
//!
//! The search is that of Wing and Gong with the memory of Lowe: place one operation after the other that
//! may come next, go back where none fits, and never look at the same set of placed operations in the same
//! state twice. Keys are looked at one by one, since operations on one key say nothing of another.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What one key does when it is used by one thread at a time.
pub trait Specification {
    /// What it holds.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Call: Debug;
    /// What it answers.
    type Answer: Debug;

    /// What it holds at first.
    fn start(&self) -> Self::State;

    /// What it holds after this call; `None` if it cannot have answered so from this state. No answer:
    /// the caller never heard of it, so any will do.
    fn step(
        &self,
        state: &Self::State,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

/// One call and what came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<C, A> {
    /// What was asked.
    pub call: C,
    /// What was answered; `None` where nothing came back: it may have happened, at any time since, or not.
    pub answer: Option<A>,
    /// When it was called. Instants are numbers of one counter, no two the same.
    pub called_at: u64,
    /// When the answer was there.
    pub answered_at: Option<u64>,
}

/// What threads do with keys, written down as they do it.
#[derive(Debug)]
pub struct Recording<K, C, A> {
    clock: AtomicU64,
    operations: Mutex<BTreeMap<K, Vec<Operation<C, A>>>>,
}

impl<K: Ord + Clone, C, A> Default for Recording<K, C, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Clone, C, A> Recording<K, C, A> {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: AtomicU64::new(0), operations: Mutex::new(BTreeMap::new()) }
    }

    /// Operations of one key that were noted elsewhere.
    pub fn with_operations(key: K, operations: impl IntoIterator<Item = Operation<C, A>>) -> Self {
        let operations = BTreeMap::from([(key, operations.into_iter().collect())]);
        Self { operations: Mutex::new(operations), ..Self::new() }
    }

    /// One thread's part. It is added when it is dropped, so that threads do not wait for each other.
    pub fn thread(&self) -> Recorder<'_, K, C, A> {
        Recorder { recording: self, done: Vec::new() }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// Whether each key's operations have an order that explains them. Returns how many operations there were.
    /// Takes time in proportion to their number as long as few of them run at once.
    ///
    /// # Errors
    ///
    /// The first key without such an order, and how far the search came.
    pub fn check<S>(&self, specification: &S) -> Result<usize, NotLinearizable>
    where
        K: Debug,
        S: Specification<Call = C, Answer = A>,
    {
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut checked = 0_usize;
        for (key, operations) in &*operations {
            let mut operations: Vec<_> = operations.iter().collect();
            operations.sort_by_key(|operation| operation.called_at);
            Search::new(specification, &operations)
                .run()
                .map_err(|why| NotLinearizable { message: format!("key {key:?}: {why}") })?;
            checked = checked.saturating_add(operations.len());
        }
        Ok(checked)
    }
}

/// See [`Recording::thread`].
#[derive(Debug)]
pub struct Recorder<'a, K: Ord + Clone, C, A> {
    recording: &'a Recording<K, C, A>,
    done: Vec<(K, Operation<C, A>)>,
}

impl<K: Ord + Clone, C, A: Clone> Recorder<'_, K, C, A> {
    /// Does something and notes it; a panic in `work` leaves a call without an answer.
    pub fn run(&mut self, key: K, call: C, work: impl FnOnce(&C) -> A) -> A {
        let called_at = self.recording.now();
        let open = Operation { call, answer: None, called_at, answered_at: None };
        self.done.push((key, open));
        let Some((_, operation)) = self.done.last_mut() else {
            unreachable!("it was pushed just now")
        };
        let answer = work(&operation.call);
        operation.answered_at = Some(self.recording.now());
        operation.answer = Some(answer.clone());
        answer
    }
}

impl<K: Ord + Clone, C, A> Drop for Recorder<'_, K, C, A> {
    fn drop(&mut self) {
        let operations = &self.recording.operations;
        let mut operations = operations.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, operation) in self.done.drain(..) {
            operations.entry(key).or_default().push(operation);
        }
    }
}

/// No order of one key's operations explains what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotLinearizable {
    message: String,
}

impl fmt::Display for NotLinearizable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NotLinearizable {}

/// What was placed, as far as it matters for the rest, and the state it led to.
type Seen<State> = (usize, Vec<usize>, State);

struct Search<'a, S: Specification> {
    specification: &'a S,
    /// In the order of their calls.
    operations: &'a [&'a Operation<S::Call, S::Answer>],
    placed: Vec<bool>,
    /// The first that is not placed.
    first: usize,
    /// How many with an answer are not placed.
    left: usize,
    seen: HashSet<Seen<S::State>>,
}

/// One operation placed.
struct Step<State> {
    /// `None` for the start.
    operation: Option<usize>,
    state: State,
    /// Those that may come next and were not tried.
    untried: Vec<usize>,
}

impl<'a, S: Specification> Search<'a, S> {
    fn new(specification: &'a S, operations: &'a [&'a Operation<S::Call, S::Answer>]) -> Self {
        let left = operations.iter().filter(|operation| operation.answered_at.is_some()).count();
        let placed = vec![false; operations.len()];
        Self { specification, operations, placed, first: 0, left, seen: HashSet::new() }
    }

    fn run(mut self) -> Result<(), String> {
        if self.left == 0 {
            return Ok(());
        }
        let start =
            Step { operation: None, state: self.specification.start(), untried: self.next_ones() };
        let mut steps = vec![start];
        let mut furthest = (0, String::new());
        while let Some(step) = steps.last_mut() {
            let Some(index) = step.untried.pop() else {
                if steps.len() > furthest.0 {
                    furthest = (steps.len(), self.describe(&steps));
                }
                if let Some(Step { operation: Some(index), .. }) = steps.pop() {
                    self.take_back(index);
                }
                continue;
            };
            let Some(state) = self.operations.get(index).and_then(|operation| {
                let answer = operation.answer.as_ref();
                self.specification.step(&step.state, &operation.call, answer)
            }) else {
                continue;
            };
            self.place(index);
            if self.left == 0 {
                return Ok(());
            }
            let next_ones = self.next_ones();
            if self.seen.insert((self.first, self.placed_behind(), state.clone())) {
                steps.push(Step { operation: Some(index), state, untried: next_ones });
            } else {
                self.take_back(index);
            }
        }
        Err(furthest.1)
    }

    fn place(&mut self, index: usize) {
        self.mark(index, true);
        while self.placed.get(self.first) == Some(&true) {
            self.first = self.first.saturating_add(1);
        }
    }

    fn take_back(&mut self, index: usize) {
        self.mark(index, false);
        self.first = self.first.min(index);
    }

    fn mark(&mut self, index: usize, is_placed: bool) {
        if let Some(place) = self.placed.get_mut(index) {
            *place = is_placed;
        }
        let has_answer = |operation: &&Operation<_, _>| operation.answered_at.is_some();
        if self.operations.get(index).is_some_and(has_answer) {
            self.left =
                if is_placed { self.left.saturating_sub(1) } else { self.left.saturating_add(1) };
        }
    }

    /// Those called before the first answer among those that are not placed; the last called first, so that
    /// the first called is tried first.
    fn next_ones(&self) -> Vec<usize> {
        let mut first_answer = u64::MAX;
        let mut found = Vec::new();
        let open = self.operations.iter().zip(&self.placed).enumerate().skip(self.first);
        for (index, (operation, is_placed)) in open {
            if operation.called_at > first_answer {
                break;
            }
            if !is_placed {
                first_answer = first_answer.min(operation.answered_at.unwrap_or(u64::MAX));
                found.push((index, operation.called_at));
            }
        }
        let before = found.into_iter().filter(|(_, called_at)| *called_at < first_answer);
        let mut before: Vec<usize> = before.map(|(index, _)| index).collect();
        before.reverse();
        before
    }

    /// Those placed behind the first that is not.
    fn placed_behind(&self) -> Vec<usize> {
        let last_open = |index: &usize| {
            self.operations.get(*index).zip(self.operations.get(self.first)).is_some_and(
                |(operation, first)| operation.called_at > first.answered_at.unwrap_or(u64::MAX),
            )
        };
        (self.first..self.operations.len())
            .take_while(|index| !last_open(index))
            .filter(|index| self.placed.get(*index) == Some(&true))
            .collect()
    }

    fn describe(&self, steps: &[Step<S::State>]) -> String {
        const SHOWN: usize = 6;
        let show = |index: usize| {
            self.operations.get(index).map_or(String::new(), |operation| {
                let Operation { call, answer, called_at, answered_at } = operation;
                let answered_at = answered_at.map_or("never".into(), |at| at.to_string());
                format!("\n  {called_at} to {answered_at}: {call:?} answered {answer:?}")
            })
        };
        let last: Vec<String> =
            steps.iter().rev().filter_map(|step| step.operation).take(SHOWN).map(show).collect();
        let last: String = last.into_iter().rev().collect();
        let next: String = self.next_ones().into_iter().rev().map(show).collect();
        let state = steps.last().map(|step| &step.state);
        format!(
            "no order explains {} operations; the search came as far as{last}\n  with {state:?}, where none of these fits:{next}",
            self.operations.len()
        )
    }
}
