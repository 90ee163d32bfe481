//! Where each thread says what it reads without having locked it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// More threads than these lock as usual. All are looked at, at worst, by who ends a bias.
const PLACES: usize = 256;

/// A thread's place: what it reads without having locked it. Nobody else writes there while the thread has it.
#[repr(align(128))]
pub(super) struct Place {
    /// A mark of one lock and of who gave it its bias (`BiasedRwLock::mark`); 0: of none.
    pub(super) lock: AtomicU64,
    /// The number of the `Readers` whose locks these are, or 0, in the upper half; in the lower one a number that is another
    /// after each time.
    pub(super) many: AtomicU64,
    is_taken: AtomicBool,
}

impl Place {
    const fn new(lock: u64, many: u64) -> Place {
        let (lock, many) = (AtomicU64::new(lock), AtomicU64::new(many));
        Place { lock, many, is_taken: AtomicBool::new(false) }
    }
}

static ALL_PLACES: [Place; PLACES] = [const { Place::new(0, 0) }; PLACES];
/// Places from here on were never taken.
static END_OF_PLACES: AtomicUsize = AtomicUsize::new(0);
/// What a thread has that gets no place, or had to give it back: it reads something all the time, so nothing else.
static NO_PLACE: Place = Place::new(u64::MAX, u64::MAX);

thread_local! {
    /// Looked at in each read, so it is a plain cell; `None`: not asked for yet.
    static MINE: Cell<Option<&'static Place>> = const { Cell::new(None) };
    static LEAVING: Leaving = const { Leaving(Cell::new(None)) };
}

/// Gives a thread's place back when the thread ends.
struct Leaving(Cell<Option<&'static Place>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            MINE.set(Some(&NO_PLACE));
            place.is_taken.store(false, Ordering::Release);
        }
    }
}

/// That of this thread.
#[inline]
pub(super) fn mine() -> &'static Place {
    match MINE.get() {
        Some(place) => place,
        None => take_place(),
    }
}

#[cold]
#[inline(never)]
fn take_place() -> &'static Place {
    let place = LEAVING.try_with(|leaving| {
        // Looked at first, since taking it takes its line from whoever reads there.
        let takes = |place: &Place| {
            !place.is_taken.load(Ordering::Relaxed) && !place.is_taken.swap(true, Ordering::AcqRel)
        };
        let (at, place) = ALL_PLACES.iter().enumerate().find(|(_, place)| takes(place))?;
        // Before anything is announced there: who looks at the places behind a barrier finds this one.
        END_OF_PLACES.fetch_max(at + 1, Ordering::SeqCst);
        leaving.0.set(Some(place));
        Some(place)
    });
    let place = place.ok().flatten().unwrap_or(&NO_PLACE);
    MINE.set(Some(place));
    place
}

/// All that somebody may have announced something at, before a barrier that was just made.
pub(super) fn all() -> impl Iterator<Item = &'static Place> {
    ALL_PLACES.iter().take(END_OF_PLACES.load(Ordering::Acquire))
}
