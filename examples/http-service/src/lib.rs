//! A key-value service over HTTP: what an axum program on a store looks like.
//!
//! | request | answer |
//! |---|---|
//! | `GET /keys/{key}` | the value, or 404 |
//! | `PUT /keys/{key}` | 201 or 204, when a power cut cannot take the value any more |
//! | `PUT /keys/{key}?ttl=SECONDS` | the same for a time |
//! | `DELETE /keys/{key}` | 204, or 404 |
//! | `GET /changes/{after}` | the next change behind that number, as soon as there is one; 410 where the logs do not reach back |
//! | `GET /health` | 200, or 503 with the reason |
//!
//! Reads are plain calls: they are memory look-ups, shorter than a switch of tasks. Writes are awaited. The
//! store is in an `Arc` like any other state; closing it is the last thing the program does.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use pkv_store::{Error, Event, Health, Store};

/// What the handlers share.
pub type Keys = Arc<Store<String, Vec<u8>>>;

/// The routes of the service.
pub fn router(store: Keys) -> Router {
    Router::new()
        .route("/keys/{key}", get(read).put(write).delete(remove))
        .route("/changes/{after}", get(next_change))
        .route("/health", get(health))
        .with_state(store)
}

/// Closes the store behind a server that has ended: as soon as the last of its connections has let go of it, which can be
/// a moment after the server says that all are done.
pub async fn close(mut store: Keys) -> Result<(), Error> {
    loop {
        match Arc::try_unwrap(store) {
            Ok(store) => return store.close(),
            Err(held) => store = held,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// An error of the store as a status that tells the client what to do.
struct Failed(Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = match &self.0 {
            Error::TooLarge { .. } | Error::Encode(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Error::InvalidOption { .. } | Error::ReservedKey => StatusCode::BAD_REQUEST,
            Error::WatchTooOld { .. } => StatusCode::GONE,
            // They heal: the client comes again.
            Error::DiskFull(_) | Error::LogUnavailable(_) | Error::LogFull { .. } => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            Error::MemoryCap { .. } | Error::OutOfMemory => StatusCode::INSUFFICIENT_STORAGE,
            // Somebody has to look at the disk. An unconfirmed write may or may not be there later.
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, self.0.to_string()).into_response()
    }
}

async fn read(State(store): State<Keys>, Path(key): Path<String>) -> Result<Response, Failed> {
    Ok(match store.get(&key)? {
        Some(value) => value.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn write(
    State(store): State<Keys>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    body: axum::body::Bytes,
) -> Result<StatusCode, Failed> {
    let query: HashMap<&str, &str> =
        query.as_deref().unwrap_or("").split('&').filter_map(|pair| pair.split_once('=')).collect();
    let existed = match query.get("ttl").map(|ttl| ttl.parse().map(Duration::from_secs)) {
        None => store.insert_async(key.as_str(), &body[..]).await?,
        Some(Ok(ttl)) => {
            let existed = store.insert_with_ttl(key.as_str(), &body[..], ttl)?;
            // Any plain call, and then this: the write and all before it survive a power cut.
            store.sync_async().await?;
            existed
        }
        Some(Err(_)) => return Ok(StatusCode::BAD_REQUEST),
    };
    Ok(if existed { StatusCode::NO_CONTENT } else { StatusCode::CREATED })
}

async fn remove(State(store): State<Keys>, Path(key): Path<String>) -> Result<StatusCode, Failed> {
    let existed = store.remove_async(&key).await?;
    Ok(if existed { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
}

/// Waits for a change. A client that goes away drops the watch with the request.
async fn next_change(
    State(store): State<Keys>,
    Path(after): Path<u64>,
) -> Result<Response, Failed> {
    let mut watch = store.watch().after(after).start()?;
    let text = match watch.recv_async().await? {
        Event::Set { seq, key, .. } => format!("{seq} set {key}\n"),
        Event::Remove { seq, key, .. } => format!("{seq} removed {key}\n"),
        Event::Clear { seq } => format!("{seq} cleared\n"),
        _ => return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response()),
    };
    Ok(text.into_response())
}

async fn health(State(store): State<Keys>) -> Response {
    match store.health() {
        Health::Good => "good\n".into_response(),
        other => (StatusCode::SERVICE_UNAVAILABLE, format!("{other:?}\n")).into_response(),
    }
}
