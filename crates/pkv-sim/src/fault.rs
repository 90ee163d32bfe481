//! Calls that fail.

use std::fmt;
use std::io;

use pkv_fs::Op;

/// A call that will fail, for [`crate::SimFs::inject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The class of the call; `None` counts calls of every class.
    ///
    /// A copy into a mapped segment is no call and cannot fail.
    pub op: Option<Op>,
    /// Which call of this class, from the injection on; the next one is 1.
    pub nth: u64,
    /// How it fails.
    pub kind: FaultKind,
    /// Whether all later calls of the class fail, too.
    pub sticky: bool,
}

impl Fault {
    /// The `nth` next call of this class fails once.
    #[must_use]
    pub fn once(op: Op, nth: u64, kind: FaultKind) -> Self {
        Self { op: Some(op), nth, kind, sticky: false }
    }

    /// The `nth` next call of this class fails, and all that follow.
    #[must_use]
    pub fn from_then_on(op: Op, nth: u64, kind: FaultKind) -> Self {
        Self { op: Some(op), nth, kind, sticky: true }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.op {
            Some(op) => write!(f, "call {} to {op}", self.nth)?,
            None => write!(f, "call {}", self.nth)?,
        }
        let times = if self.sticky { "and all later ones fail" } else { "fails once" };
        write!(f, " {times} with {:?}", self.kind)
    }
}

/// How a call fails.
///
/// A failed call has no effect, but for two: a torn write leaves some of its pages, and a failed sync
/// (of whatever kind but [`FaultKind::Interrupted`]) marks what it should have written as clean, so
/// that it stays readable, is not durable, and no later sync makes it so until it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The disk fails: `EIO`.
    Eio,
    /// The disk fails in the middle of a write: some of its first pages are there. `EIO`.
    TornWrite,
    /// The disk is full: [`io::ErrorKind::StorageFull`], and nothing of a write is there.
    Enospc,
    /// The disk becomes full in the middle of a write: as the `Enospc` kind, but some pages are there.
    /// A written segment keeps its promise and leaves none of the first page.
    ShortWrite,
    /// The call was interrupted: [`io::ErrorKind::Interrupted`]; calling again works.
    Interrupted,
    /// [`io::ErrorKind::PermissionDenied`].
    Permission,
}

impl FaultKind {
    /// All kinds, for sweeps.
    pub const ALL: [FaultKind; 6] = [
        FaultKind::Eio,
        FaultKind::TornWrite,
        FaultKind::Enospc,
        FaultKind::ShortWrite,
        FaultKind::Interrupted,
        FaultKind::Permission,
    ];

    /// Whether it leaves a part of a write, and so differs from its plain kind for writes only.
    pub(crate) fn tears(self) -> bool {
        matches!(self, FaultKind::TornWrite | FaultKind::ShortWrite)
    }

    pub(crate) fn error(self) -> io::Error {
        match self {
            FaultKind::Eio | FaultKind::TornWrite => eio(),
            FaultKind::Enospc | FaultKind::ShortWrite => io::ErrorKind::StorageFull.into(),
            FaultKind::Interrupted => io::ErrorKind::Interrupted.into(),
            FaultKind::Permission => io::ErrorKind::PermissionDenied.into(),
        }
    }
}

/// `EIO` has no stable [`io::ErrorKind`], so it is given as the system gives it.
fn eio() -> io::Error {
    if cfg!(unix) {
        const EIO: i32 = 5;
        io::Error::from_raw_os_error(EIO)
    } else {
        io::Error::other("simulated input/output error")
    }
}

/// The faults that wait for their calls.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts one call; how it fails, if it does. The fault injected first wins.
    pub(crate) fn meet(&mut self, op: Op) -> Option<FaultKind> {
        let mut met = None;
        self.0.retain_mut(|fault| {
            if fault.op.is_some_and(|class| class != op) {
                return true;
            }
            fault.nth = fault.nth.saturating_sub(1);
            if fault.nth > 0 {
                return true;
            }
            met = met.or(Some(fault.kind));
            fault.sticky
        });
        met
    }
}
