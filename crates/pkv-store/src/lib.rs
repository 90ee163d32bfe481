#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod batch;
mod bytes;
pub mod codec;
mod compact;
mod condition;
mod core;
mod durable;
mod error;
mod events;
mod expiry;
mod folder;
mod frame;
pub mod guide;
mod health;
mod histogram;
mod inspect;
mod iter;
mod log;
mod many;
mod map;
mod options;
mod par;
mod pool;
mod recover;
mod reentry;
mod stats;
mod store;
mod view;
mod watch;
mod write;

pub use bytes::{ByteBatch, ByteStore, Update};
pub use durable::Durable;
pub use error::{Error, Holder, Result};
pub use health::{Cause, Health};
pub use histogram::Histogram;
pub use inspect::Inspection;
pub use iter::ByteIter;
pub use options::{Durability, LogWay, Options, RecoveryMode};
pub use par::ParIter;
pub use recover::{Phase, Progress, RecoveryReport, TornEnd};
pub use stats::Stats;
pub use store::{Batch, Entry, Integer, Iter, ModifiedEntry, Store, Transaction, View};
pub use view::ByteView;
pub use watch::{ByteWatch, ByteWatchBuilder, Event, Events, Old, Watch, WatchBuilder};
pub use write::Written;
