//! The store's tests on a real disk and on the simulated one, a module for each promise.

mod api;
mod backup;
mod compaction;
mod concurrency;
mod corrupt;
mod crash_rig;
mod crash_sim;
mod crash_threads;
mod damage;
mod defects;
mod faults;
mod fuzz_seeds;
mod kill;
mod options;
mod reopening;
mod salvage;
mod support;
