//! Closures that may run under a lock of the store must not call it: that would wait for ever. They get an
//! error instead, always, so that a mistake shows at once.

use std::cell::{Cell, RefCell};

use crate::core::Core;
use crate::error::{Error, Result};

thread_local! {
    /// The store in whose closure this thread is; 0: in none. Every call looks at it, so it is a plain cell.
    static INNERMOST: Cell<usize> = const { Cell::new(0) };
    /// The stores around that one, where a closure of one store calls another: outermost first.
    static OUTER: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn address(core: &Core) -> usize {
    std::ptr::from_ref(core).addr()
}

/// [`Error::Reentrant`] inside a closure of an operation of the same store.
#[inline]
pub(crate) fn check(core: &Core) -> Result<()> {
    if INNERMOST.get() == 0 || !is_inside(core) { Ok(()) } else { Err(Error::Reentrant) }
}

#[cold]
fn is_inside(core: &Core) -> bool {
    INNERMOST.get() == address(core) || OUTER.with_borrow(|stores| stores.contains(&address(core)))
}

/// Whether this thread is inside a closure of an operation of any store.
pub(crate) fn is_inside_any() -> bool {
    INNERMOST.get() != 0
}

/// Runs a closure of the user's while a lock of the store may be held.
#[inline]
pub(crate) fn run<R>(core: &Core, closure: impl FnOnce() -> R) -> R {
    struct Inside {
        outer: usize,
    }
    impl Drop for Inside {
        #[inline]
        fn drop(&mut self) {
            INNERMOST.set(self.outer);
            if self.outer != 0 {
                leave();
            }
        }
    }
    let outer = INNERMOST.replace(address(core));
    if outer != 0 {
        enter(outer);
    }
    let _inside = Inside { outer };
    closure()
}

#[cold]
fn enter(outer: usize) {
    OUTER.with_borrow_mut(|stores| stores.push(outer));
}

#[cold]
fn leave() {
    OUTER.with_borrow_mut(Vec::pop);
}
