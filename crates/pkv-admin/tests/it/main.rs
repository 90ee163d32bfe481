//! The binary `pkv` as a user runs it: a child process for each command, on folders that a store has written.

#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the tests damage and copy files behind the store's back"
)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails is a failed test"
)]

mod change;
mod copies;
mod crash;
mod differential;
mod dump;
mod entries;
mod expiring;
mod faults;
mod folders;
mod migrate;
mod promises;
mod prune;
mod run;
mod salvage;
mod shell;
mod speed;
mod stat;
mod transfer;
mod verify;
mod versions;
mod wrong_use;
