//! `cargo run -p pkv-http-service -- DIRECTORY [ADDRESS]`; Ctrl-C ends it.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program of its own: it talks to people")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pkv_store::Options;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: pkv-http-service DIRECTORY [ADDRESS]")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    // Opening reads files: not on a thread that others need. It waits for the process it replaces.
    let opening = tokio::task::spawn_blocking(move || {
        Options::new().expiry(true).lock_timeout(Duration::from_secs(30)).open(directory)
    });
    let store = Arc::new(opening.await??);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, pkv_http_service::router(Arc::clone(&store)))
        .with_graceful_shutdown(interrupted)
        .await?;
    // Dropping would do the same and tell nobody of an error.
    pkv_http_service::close(store).await?;
    Ok(())
}
