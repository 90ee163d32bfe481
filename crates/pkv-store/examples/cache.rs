//! A cache that is warm after a restart: answers that are dear to get, kept for a time and within a bound.
//!
//! `cargo run -p pkv-store --example cache`

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pkv_store::{Error as StoreError, Options, Store};

struct Cache {
    answers: Store<String, String>,
    ttl: Duration,
    misses: AtomicU32,
}

impl Cache {
    fn open(path: &Path, ttl: Duration) -> Result<Self, StoreError> {
        let options = Options::new().expiry(true).max_memory_bytes(64 << 20);
        Ok(Self { answers: options.open(path)?, ttl, misses: AtomicU32::new(0) })
    }

    /// The answer that is kept, or the one that `fetch` gets.
    fn get(
        &self,
        question: &str,
        fetch: impl FnOnce(&str) -> Result<String, StoreError>,
    ) -> Result<String, StoreError> {
        if let Some(answer) = self.answers.get(question)? {
            return Ok(answer);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let answer = fetch(question)?;
        match self.answers.insert_with_ttl(question, &answer, self.ttl) {
            // A cache need not keep everything: one that is full, on disk or in memory, still answers.
            Ok(_) | Err(StoreError::MemoryCap { .. } | StoreError::DiskFull(_)) => Ok(answer),
            Err(other) => Err(other),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("cache");
    let slow = |question: &str| {
        std::thread::sleep(Duration::from_millis(2));
        Ok(question.chars().rev().collect())
    };
    let ask_all = |cache: &Cache| -> Result<u32, StoreError> {
        for n in 0..100 {
            let answer = cache.get(&format!("question {n}"), slow)?;
            assert!(answer.ends_with("noitseuq"));
        }
        Ok(cache.misses.swap(0, Ordering::Relaxed))
    };

    let cache = Cache::open(&path, Duration::from_secs(3600))?;
    assert_eq!(ask_all(&cache)?, 100, "cold");
    assert_eq!(ask_all(&cache)?, 0);
    cache.answers.close()?;

    let cache = Cache::open(&path, Duration::from_millis(50))?;
    assert_eq!(ask_all(&cache)?, 0, "warm after a restart");
    cache.answers.clear()?;
    assert_eq!(ask_all(&cache)?, 100);
    std::thread::sleep(Duration::from_millis(60));
    // Some have expired, perhaps all: what comes now is fetched again.
    let misses = ask_all(&cache)?;
    assert!(misses > 0);
    println!("{misses} answers were too old; {} are kept", cache.answers.len());
    cache.answers.close()?;
    Ok(())
}
