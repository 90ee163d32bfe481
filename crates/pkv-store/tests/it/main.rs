//! The store's tests on a real disk and on the simulated one, a module for each promise.

mod ahead;
mod api;
mod atomic;
mod awaiting;
mod backup;
mod compaction;
mod concurrency;
mod corrupt;
mod crash_expiry;
mod crash_rig;
mod crash_sim;
mod crash_threads;
mod damage;
mod defects;
#[cfg(feature = "tracing")]
mod events;
mod expiring;
mod expiring_format;
mod faults;
mod fuzz_seeds;
mod instant;
mod instant_damage;
mod keyed;
mod kill;
mod linear;
mod options;
mod purging;
mod read_only;
mod real_disk;
mod reopening;
mod salvage;
mod support;
mod upgrade;
mod views;
mod watching;
mod watching_tasks;
#[cfg(any(feature = "prost", feature = "serde"))]
mod wrappers;
