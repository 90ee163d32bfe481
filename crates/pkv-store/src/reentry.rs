//! Closures that run under a lock of the store must not call it: that would wait for ever. They get an
//! error instead.

use std::cell::{Cell, RefCell};

use crate::core::Core;
use crate::error::{Error, Result};

thread_local! {
    /// How many closures of operations this thread is inside of. Looked at by every call, so it is a
    /// plain counter.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// The stores whose closures they are.
    static STORES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn address(core: &Core) -> usize {
    std::ptr::from_ref(core).addr()
}

/// [`Error::Reentrant`] inside a closure of an operation of the same store.
#[inline]
pub(crate) fn check(core: &Core) -> Result<()> {
    if DEPTH.get() == 0 || STORES.with_borrow(|stores| !stores.contains(&address(core))) {
        Ok(())
    } else {
        Err(Error::Reentrant)
    }
}

/// Runs a closure of the user's while a lock of the store is held.
pub(crate) fn run<R>(core: &Core, closure: impl FnOnce() -> R) -> R {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get().saturating_sub(1));
            STORES.with_borrow_mut(Vec::pop);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    STORES.with_borrow_mut(|stores| stores.push(address(core)));
    let _inside = Inside;
    closure()
}
