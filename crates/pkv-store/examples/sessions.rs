//! Sessions of a web service: a value type of one's own, threads that share the store, expiry.
//!
//! `cargo run -p pkv-store --example sessions`

#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::borrow::Cow;
use std::error::Error;

use pkv_store::codec::{Decode, DecodeError, Encode, EncodeError, Schema};
use pkv_store::{Durability, Options, Store};

#[derive(Clone, Debug, PartialEq)]
struct Session {
    user: String,
    expires_unix: u64,
}

// The bytes are those of a tuple; the long field stands last.
impl Encode for Session {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        (self.expires_unix, self.user.as_str()).encode(out)
    }
}

impl Decode for Session {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (expires_unix, user) = Decode::decode(bytes)?;
        Ok(Self { user, expires_unix })
    }
}

impl Schema for Session {
    // The digit is raised when the layout changes: old folders are then refused and not misread.
    fn schema() -> Cow<'static, str> {
        "session.1".into()
    }
}

type Sessions = Store<[u8; 16], Session>;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    // A lost login is an annoyance: the default durability. A new log after 16 MiB at the latest.
    let options = Options::new().segment_bytes(1 << 20, 16 << 20);
    let sessions: Sessions = options.open(dir.path().join("sessions"))?;

    std::thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let sessions = &sessions;
        let threads: Vec<_> =
            (0..4).map(|worker| scope.spawn(move || log_in(sessions, worker))).collect();
        for thread in threads {
            thread.join().map_err(|_| "a worker panicked")??;
        }
        Ok(())
    })?;
    println!("{} sessions", sessions.len());

    // Longer by an hour, if it is still there: read, changed and written as one step.
    let id = session_id(1, 7);
    let renewed = sessions.update(&id, |session| {
        session.map(|session| Session { expires_unix: session.expires_unix + 3600, ..session })
    })?;
    println!("renewed: {renewed:?}");

    // A logout must hold, whatever happens to the machine.
    sessions.remove_with(&id, Durability::Power)?;

    let now_unix = 50;
    let expired = sessions.retain(|_, session| session.expires_unix > now_unix)?;
    println!("{expired} expired, {} left", sessions.len());
    sessions.close()?;
    Ok(())
}

fn log_in(sessions: &Sessions, worker: u8) -> Result<(), pkv_store::Error> {
    for n in 0..100 {
        let session = Session { user: format!("user {n}"), expires_unix: n.into() };
        sessions.insert(&session_id(worker, n), &session)?;
    }
    Ok(())
}

/// A real service takes a random number.
fn session_id(worker: u8, n: u8) -> [u8; 16] {
    let mut id = [worker; 16];
    id[0] = n;
    id
}
