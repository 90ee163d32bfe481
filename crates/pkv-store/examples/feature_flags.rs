//! Feature flags: read a million times a second without a lock on the way, changed now and then, and each
//! change is in effect at once, in its order, with a word in the audit log.
//!
//! `cargo run -p pkv-store --example feature_flags`

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use pkv_store::{Event, Old, Store, Watch};

type Failure = Box<dyn Error + Send + Sync>;

/// Flags that the program's hot paths look at: an atomic each, kept up by a watch.
#[derive(Default)]
struct Flags {
    fuzzy_search: AtomicBool,
    new_checkout: AtomicBool,
}

impl Flags {
    fn place(&self, name: &str) -> Option<&AtomicBool> {
        match name {
            "flag/fuzzy search" => Some(&self.fuzzy_search),
            "flag/new checkout" => Some(&self.new_checkout),
            _ => None,
        }
    }

    /// Begins with what the store holds, goes on with every change, and ends when the store is closed.
    fn follow(
        &self,
        mut watch: Watch<String, bool>,
        audit: &mut Vec<String>,
    ) -> Result<(), Failure> {
        for event in watch.iter() {
            let (name, is_on) = match event? {
                Event::Set { seq, key, value, old } => {
                    let was = match old {
                        Old::Value(true) => "on",
                        Old::Value(false) => "off",
                        Old::Absent => "unset",
                        Old::Unknown => "unknown",
                    };
                    audit.push(format!(
                        "{seq}: {key} was {was}, is {}",
                        if value { "on" } else { "off" }
                    ));
                    (key, value)
                }
                Event::Remove { key, .. } => (key, false),
                Event::Clear { .. } => {
                    self.fuzzy_search.store(false, Ordering::Release);
                    self.new_checkout.store(false, Ordering::Release);
                    continue;
                }
                // Too slow for the queue: a program that must see all resumes behind the last number it saw.
                Event::Lagged { first_seq, last_seq } => {
                    return Err(format!("{first_seq} to {last_seq} were missed").into());
                }
                _ => continue,
            };
            if let Some(place) = self.place(&name) {
                place.store(is_on, Ordering::Release);
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store: Store<String, bool> = Store::open(dir.path().join("flags"))?;
    store.insert("flag/fuzzy search", &true)?;

    let flags = Flags::default();
    // The watch first, then what is there: so nothing falls between the two.
    let watch = store.watch().prefix("flag/").start()?;
    for entry in &store {
        let (name, is_on) = entry?;
        if let Some(place) = flags.place(&name) {
            place.store(is_on, Ordering::Release);
        }
    }
    assert!(flags.fuzzy_search.load(Ordering::Acquire));

    let audit = std::thread::scope(|scope| -> Result<Vec<String>, Box<dyn Error>> {
        let follower = scope.spawn(|| {
            let mut audit = Vec::new();
            flags.follow(watch, &mut audit).map(|()| audit)
        });
        store.insert("flag/new checkout", &true)?;
        while !flags.new_checkout.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        store
            .batch()
            .insert("flag/fuzzy search", &false)
            .insert("flag/new checkout", &false)
            .commit()?;
        store.close()?;
        let audit = follower.join().map_err(|_| "the follower panicked")?;
        Ok(audit.map_err(|failure| failure.to_string())?)
    })?;
    assert!(
        !flags.new_checkout.load(Ordering::Acquire) && !flags.fuzzy_search.load(Ordering::Acquire)
    );
    assert_eq!(audit.len(), 3);
    println!("{}", audit.join("\n"));
    Ok(())
}
