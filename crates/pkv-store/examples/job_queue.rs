//! A job queue that hands each job to one worker at a time and takes one result for it, whatever dies when.
//!
//! A claim is a lease: an entry that expires. Claiming and finishing are batches with conditions, so that of
//! two workers who try one succeeds. A worker that hangs loses its lease, and then its result too.
//!
//! `cargo run -p pkv-store --example job_queue`

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use pkv_store::{Durability, Error as StoreError, Options, Store};

/// What the number of a job is the key of.
const WAITING: u8 = 0;
const LEASE: u8 = 1;
const RESULT: u8 = 2;

struct Queue {
    store: Store<(u8, u64), String>,
    lease: Duration,
}

impl Queue {
    fn open(path: &Path, lease: Duration) -> Result<Self, StoreError> {
        // Who was told that a job is taken, or done, can rely on it: nothing is lost by a power cut.
        let options = Options::new().durability(Durability::Power).expiry(true);
        Ok(Self { store: options.open(path)?, lease })
    }

    fn add(&self, id: u64, job: &str) -> Result<(), StoreError> {
        self.store.insert(&(WAITING, id), job).map(drop)
    }

    /// A job that nobody has, for this worker alone as long as the lease lasts.
    fn claim(&self, worker: &str) -> Result<Option<(u64, String)>, StoreError> {
        for entry in &self.store {
            let ((kind, id), job) = entry?;
            if kind != WAITING || self.store.contains_key(&(LEASE, id))? {
                continue;
            }
            let claim = self
                .store
                .batch()
                .if_present(&(WAITING, id))
                .if_absent(&(LEASE, id))
                .insert_with_ttl(&(LEASE, id), worker, self.lease);
            if succeeded(claim.commit())? {
                return Ok(Some((id, job)));
            }
        }
        Ok(None)
    }

    /// Takes the result, if the worker still has the job. The job goes, the lease goes, and the result comes
    /// in one write.
    fn finish(&self, id: u64, worker: &str, result: &str) -> Result<bool, StoreError> {
        let done = self
            .store
            .batch()
            .if_equals(&(LEASE, id), worker)
            .remove(&(WAITING, id))
            .remove(&(LEASE, id))
            .insert(&(RESULT, id), result);
        succeeded(done.commit())
    }
}

/// Whether the conditions of a batch held.
fn succeeded(commit: Result<(), StoreError>) -> Result<bool, StoreError> {
    match commit {
        Ok(()) => Ok(true),
        Err(StoreError::ConditionFailed { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("jobs");
    let queue = Queue::open(&path, Duration::from_millis(200))?;
    for id in 0..40 {
        queue.add(id, &format!("resize picture {id}"))?;
    }

    // A worker takes a job and dies with it.
    let (lost, _) = queue.claim("the worker that hangs")?.ok_or("no job")?;
    drop(queue);

    let queue = Queue::open(&path, Duration::from_millis(200))?;
    let work = |worker: String| -> Result<u64, StoreError> {
        let mut finished = 0;
        let mut idle = 0;
        while idle < 20 {
            let Some((id, job)) = queue.claim(&worker)? else {
                idle += 1;
                std::thread::sleep(Duration::from_millis(25));
                continue;
            };
            finished += u64::from(queue.finish(id, &worker, &format!("{job}: done"))?);
        }
        Ok(finished)
    };
    let finished = std::thread::scope(|scope| -> Result<u64, Box<dyn Error>> {
        let workers: Vec<_> = (0..3)
            .map(|n| {
                let work = &work;
                scope.spawn(move || work(format!("worker {n}")))
            })
            .collect();
        let mut finished = 0;
        for worker in workers {
            finished += worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(finished)
    })?;
    assert_eq!(finished, 40, "each job was finished once");
    assert!(!queue.finish(lost, "the worker that hangs", "too late")?, "its lease is over");
    let results = queue.store.keys().filter(|key| matches!(key, Ok((RESULT, _)))).count();
    assert_eq!(results, 40);
    println!("{finished} jobs done, the one of the dead worker among them");
    queue.store.close()?;
    Ok(())
}
