//! The promises of the traits, kept by the real file system in real folders.

#[cfg(all(feature = "mmap", target_os = "linux", not(miri)))]
mod biased;
mod counting;
mod files;
#[cfg(target_os = "linux")]
mod fork;
mod lock;
mod segments;

use std::io::ErrorKind;
use std::path::Path;

use pkv_fs::{Error, Op};

/// Fails unless `result` is an error of this call on this path.
#[track_caller]
fn assert_fails<T>(result: Result<T, Error>, op: Op, path: &Path, kind: ErrorKind) {
    let error = result.err();
    let found = error.as_ref().map(|error| (error.op, error.path.as_path(), error.kind()));
    assert_eq!(found, Some((op, path, kind)), "{error:?}");
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains(&op.to_string()) && text.contains(&path.display().to_string()), "{text}");
}
