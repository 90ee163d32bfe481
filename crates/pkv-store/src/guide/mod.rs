//! The guide: from a first store to one in production.
//!
//! 1. [`first_store`]: open, write, read, close; types; several changes as one
//! 2. [`durability`]: what survives what, and what it costs
//! 3. [`memory`]: how much a store will take, and how to bound it
//! 4. [`expiry_and_watching`]: entries that go by themselves, and being told of changes
//! 5. [`with_tokio`]: a store in an asynchronous program
//! 6. [`production`]: backup, upgrading, tuning, failures, a list to go through
//! 7. [`coming_from`]: names for who knows persistent-kv, sled, redb, `DashMap` or Redis
//!
//! Every piece of code in it is compiled and run by the tests. Whole programs stand in the folder `examples`:
//!
//! | job | program |
//! |---|---|
//! | a rate limiter that a restart does not reset | `rate_limiter` |
//! | a job queue, each job to one worker, one result for each | `job_queue` |
//! | each event of a stream counted once | `dedup` |
//! | a cache that is warm after a restart | `cache` |
//! | feature flags that take effect at once | `feature_flags` |
//! | an HTTP service with axum | `examples/http-service` of the repository |

#[doc = include_str!("first_store.md")]
pub mod first_store {}

#[doc = include_str!("durability.md")]
pub mod durability {}

#[doc = include_str!("memory.md")]
pub mod memory {}

#[doc = include_str!("expiry_and_watching.md")]
pub mod expiry_and_watching {}

#[doc = include_str!("with_tokio.md")]
pub mod with_tokio {}

#[doc = include_str!("production.md")]
pub mod production {}

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}
