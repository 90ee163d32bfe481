//! The service over real connections on the loopback.
#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_store::Options;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running service, and how to end it.
struct Service {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

fn start(runtime: &Runtime, path: &Path) -> Service {
    let store = Arc::new(Options::new().expiry(true).open(path).unwrap());
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = runtime.spawn(async move {
        axum::serve(listener, pkv_http_service::router(Arc::clone(&store)))
            .with_graceful_shutdown(async {
                let _ = stopped.await;
            })
            .await
            .unwrap();
        pkv_http_service::close(store).await.unwrap();
    });
    Service { address, stop, ended }
}

impl Service {
    fn stop(self, runtime: &Runtime) {
        self.stop.send(()).unwrap();
        runtime.block_on(self.ended).unwrap();
    }
}

/// Status and body.
fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn keys_are_written_read_removed_and_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let runtime = Runtime::new().unwrap();
    let service = start(&runtime, &path);
    let at = service.address;
    assert_eq!(request(at, "GET", "/health", ""), (200, "good\n".to_owned()));
    assert_eq!(request(at, "GET", "/keys/alice", "").0, 404);
    assert_eq!(request(at, "PUT", "/keys/alice", "one").0, 201);
    assert_eq!(request(at, "PUT", "/keys/alice", "two").0, 204);
    assert_eq!(request(at, "GET", "/keys/alice", ""), (200, "two".to_owned()));
    assert_eq!(request(at, "PUT", "/keys/bob", "three").0, 201);
    assert_eq!(request(at, "DELETE", "/keys/bob", "").0, 204);
    assert_eq!(request(at, "DELETE", "/keys/bob", "").0, 404);
    assert_eq!(request(at, "PUT", "/keys/brief?ttl=0", "gone").0, 201);
    assert_eq!(request(at, "GET", "/keys/brief", "").0, 404);
    assert_eq!(request(at, "PUT", "/keys/long?ttl=1000", "stays").0, 201);
    assert_eq!(request(at, "PUT", "/keys/long?ttl=soon", "").0, 400);
    service.stop(&runtime);

    let service = start(&runtime, &path);
    assert_eq!(request(service.address, "GET", "/keys/alice", ""), (200, "two".to_owned()));
    assert_eq!(request(service.address, "GET", "/keys/long", ""), (200, "stays".to_owned()));
    service.stop(&runtime);
}

/// The server says that it has ended while a connection's task still holds the store, now and then.
#[test]
fn closing_waits_for_who_still_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let store = Arc::new(Options::new().open(&path).unwrap());
    let held = Arc::clone(&store);
    Runtime::new().unwrap().block_on(async {
        let request = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            held.insert("late", &b"value"[..]).unwrap();
        });
        pkv_http_service::close(store).await.unwrap();
        request.await.unwrap();
    });
    let store: pkv_store::Store<String, Vec<u8>> = Options::new().open(&path).unwrap();
    assert_eq!(store.get("late").unwrap().as_deref(), Some(&b"value"[..]));
}

#[test]
fn many_clients_write_at_once_and_each_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let service = start(&runtime, &dir.path().join("store"));
    let at = service.address;
    std::thread::scope(|scope| {
        for client in 0..8 {
            scope.spawn(move || {
                for n in 0..10 {
                    let path = format!("/keys/{client}-{n}");
                    assert_eq!(request(at, "PUT", &path, "value").0, 201);
                    assert_eq!(request(at, "GET", &path, "").0, 200);
                }
            });
        }
    });
    service.stop(&runtime);
}

#[test]
fn a_client_that_asks_for_changes_gets_old_ones_and_waits_for_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let service = start(&runtime, &dir.path().join("store"));
    let at = service.address;
    request(at, "PUT", "/keys/a", "1");
    request(at, "DELETE", "/keys/a", "");
    assert_eq!(request(at, "GET", "/changes/0", ""), (200, "1 set a\n".to_owned()));
    assert_eq!(request(at, "GET", "/changes/1", ""), (200, "2 removed a\n".to_owned()));
    assert_eq!(request(at, "GET", "/changes/99", "").0, 400);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || request(at, "GET", "/changes/2", ""));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        request(at, "PUT", "/keys/b", "2");
        assert_eq!(waiting.join().unwrap(), (200, "3 set b\n".to_owned()));
    });
    service.stop(&runtime);
}
