//! A Redis server of our own on a Unix socket, ended with the map.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisResult};

use super::{Entry, Level, Map, Setup};
use crate::Error;

const PROGRAM: &str = "redis-server";
/// How long its start, which reads its log, may take.
const START: Duration = Duration::from_secs(120);

pub(super) struct Redis {
    server: Server,
    client: Client,
    /// Each call takes one and puts it back, so there are as many as threads.
    connections: Mutex<Vec<Connection>>,
}

struct Server {
    process: Child,
    socket: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

pub(super) fn missing() -> Option<&'static str> {
    let found = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status();
    found.is_err().then_some("there is no redis-server on this machine")
}

pub(super) fn open(folder: &Path, setup: Setup) -> Result<Redis, Error> {
    std::fs::create_dir_all(folder)?;
    // The path of a socket is short, whatever the folder's is.
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let number = OPENED.fetch_add(1, Ordering::Relaxed);
    let name = format!("pkv-peers-{}-{number}.sock", std::process::id());
    let socket = std::env::temp_dir().join(name);
    let fsync = match setup.level {
        Level::Process => "everysec",
        Level::Power => "always",
    };
    let process = Command::new(PROGRAM)
        .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", fsync])
        .args(["--maxclients", "1000", "--unixsocket"])
        .arg(&socket)
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()?;
    let server = Server { process, socket };
    let client = Client::open(format!("redis+unix://{}", server.socket.display()))?;
    let redis = Redis { server, client, connections: Mutex::default() };
    let start = Instant::now();
    while let Err(error) = redis.call(|connection| redis::cmd("DBSIZE").query::<u64>(connection)) {
        if start.elapsed() > START {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(redis)
}

impl Redis {
    fn call<T>(&self, call: impl FnOnce(&mut Connection) -> RedisResult<T>) -> Result<T, Error> {
        let pooled = self.connections.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match pooled {
            Some(connection) => connection,
            None => self.client.get_connection()?,
        };
        let answer = call(&mut connection)?;
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }
}

impl Map for Redis {
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.call(|connection| redis::cmd("SET").arg(key).arg(value).query(connection))
    }

    #[inline(always)]
    fn get_len(&self, key: &[u8]) -> Result<Option<usize>, Error> {
        let value: Option<Vec<u8>> =
            self.call(|connection| redis::cmd("GET").arg(key).query(connection))?;
        Ok(value.map(|value| value.len()))
    }

    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.call(|connection| redis::cmd("DEL").arg(key).query(connection))
    }

    fn len(&self) -> Result<u64, Error> {
        self.call(|connection| redis::cmd("DBSIZE").query(connection))
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<usize, Error> {
        let values: Vec<Option<Vec<u8>>> =
            self.call(|connection| redis::cmd("MGET").arg(keys).query(connection))?;
        Ok(values.iter().flatten().count())
    }

    fn insert_batch(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for (key, value) in entries {
            pipe.cmd("SET").arg(key).arg(value).ignore();
        }
        self.call(|connection| pipe.query(connection))
    }

    /// Writes its log anew, and waits for it.
    fn compact(&mut self) -> Result<(), Error> {
        self.call(|connection| redis::cmd("BGREWRITEAOF").query::<String>(connection))?;
        loop {
            std::thread::sleep(Duration::from_millis(20));
            let info: String =
                self.call(|connection| redis::cmd("INFO").arg("persistence").query(connection))?;
            let is_under_way = ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
            if !is_under_way.iter().any(|line| info.contains(line)) {
                return Ok(());
            }
        }
    }

    fn close(mut self: Box<Self>) -> Result<(), Error> {
        // It answers by ending.
        let _ = self.call(|connection| redis::cmd("SHUTDOWN").query::<()>(connection));
        self.server.process.wait()?;
        Ok(())
    }
}
