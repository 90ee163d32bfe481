//! A rate limiter that a restart does not reset: a token bucket for each client, gone when the client is idle.
//!
//! `cargo run -p pkv-store --example rate_limiter`

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use pkv_store::{Options, Store};

/// Tokens in thousandths, and when they were counted, in milliseconds.
type Bucket = (u64, u64);

struct Limiter {
    buckets: Store<String, Bucket>,
    burst: u64,
    per_second: u64,
}

impl Limiter {
    fn open(path: &Path, burst: u64, per_second: u64) -> Result<Self, pkv_store::Error> {
        Ok(Self { buckets: Options::new().expiry(true).open(path)?, burst, per_second })
    }

    /// Whether the client may do one thing more now. Any number of threads may ask.
    fn allow(&self, client: &str, now_ms: u64) -> Result<bool, pkv_store::Error> {
        let full = self.burst * 1000;
        let mut allowed = false;
        // Read, counted and written as one step; a write is a memory copy, not a trip to the disk.
        self.buckets.update(client, |bucket| {
            let (tokens, counted_ms) = bucket.unwrap_or((full, now_ms));
            let earned = now_ms.saturating_sub(counted_ms) * self.per_second;
            let tokens = (tokens + earned).min(full);
            allowed = tokens >= 1000;
            Some((if allowed { tokens - 1000 } else { tokens }, now_ms))
        })?;
        // A full bucket says no more than none: after that long without a request it is forgotten.
        let idle = Duration::from_secs(self.burst.div_ceil(self.per_second) + 1);
        self.buckets.set_ttl(client, Some(idle))?;
        Ok(allowed)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("limits");
    let limiter = Limiter::open(&path, 5, 2)?;
    let allowed = |limiter: &Limiter, now_ms| -> Result<usize, pkv_store::Error> {
        let answers: Result<Vec<bool>, _> =
            (0..10).map(|_| limiter.allow("10.0.0.7", now_ms)).collect();
        Ok(answers?.into_iter().filter(|allowed| *allowed).count())
    };
    assert_eq!(allowed(&limiter, 0)?, 5, "the burst");
    assert_eq!(allowed(&limiter, 0)?, 0);
    drop(limiter);

    // A restart gives nobody a new burst.
    let limiter = Limiter::open(&path, 5, 2)?;
    assert_eq!(allowed(&limiter, 100)?, 0);
    assert_eq!(allowed(&limiter, 1100)?, 2, "two a second");
    assert!(limiter.allow("10.0.0.8", 1100)?, "another client");
    let left = limiter.buckets.ttl("10.0.0.7")?.flatten();
    println!("{} clients; the first is forgotten in {left:?}", limiter.buckets.len());
    limiter.buckets.close()?;
    Ok(())
}
