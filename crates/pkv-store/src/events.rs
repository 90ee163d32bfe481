//! What the store tells of itself while it runs, with the feature `tracing`: without it these functions are
//! empty. They are called with no lock held, and never for a single read or write.
//!
//! The target of all events is `pkv_store`; every one has the folder as `path`.
#![cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "without the feature nothing is told")
)]

use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::health::Health;
use crate::recover::RecoveryReport;

/// The store is open; a torn end that was cut is a warning of its own.
pub(crate) fn opened(dir: &Path, report: &RecoveryReport) {
    #[cfg(feature = "tracing")]
    {
        let path = dir.display();
        if let Some(torn) = &report.torn {
            tracing::warn!(
                target: "pkv_store",
                %path,
                log = %torn.path.display(),
                offset = torn.offset,
                bytes_dropped = torn.bytes_dropped,
                reason = %torn.reason,
                "a torn end of the log was cut"
            );
        }
        tracing::info!(
            target: "pkv_store",
            %path,
            snapshot_records = report.snapshot_records,
            writes_replayed = report.writes,
            bytes_read = report.bytes_read,
            time_ms = millis(report.total_time),
            "opened"
        );
    }
}

/// The store was closed, with or without success.
pub(crate) fn closed(dir: &Path, ended: Result<(), &Error>) {
    #[cfg(feature = "tracing")]
    {
        let path = dir.display();
        match ended {
            Ok(()) => tracing::info!(target: "pkv_store", %path, "closed"),
            Err(error) => tracing::error!(target: "pkv_store", %path, %error, "closing failed"),
        }
    }
}

/// A full snapshot was published.
pub(crate) fn compacted(dir: &Path, ordinal: u64, bytes: u64, time: Duration) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        target: "pkv_store",
        path = %dir.display(),
        ordinal,
        bytes,
        time_ms = millis(time),
        "compacted"
    );
}

/// A compaction failed. Its files were dropped.
pub(crate) fn compaction_failed(dir: &Path, error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "pkv_store", path = %dir.display(), %error, "compaction failed");
}

/// Whether writes are taken has changed, or why not. Told by the store's keeper thread.
pub(crate) fn health_changed(dir: &Path, health: &Health) {
    #[cfg(feature = "tracing")]
    {
        let path = dir.display();
        match health {
            Health::Good => tracing::info!(target: "pkv_store", %path, "in good health again"),
            Health::CompactionFailing(_) => {}
            Health::LoadFailing(cause) => {
                tracing::error!(target: "pkv_store", %path, %cause, "a part of the snapshot cannot be read");
            }
            Health::DiskFull(cause) => {
                tracing::error!(target: "pkv_store", %path, %cause, "the disk is full: writes fail");
            }
            Health::LogUnavailable(cause) => {
                tracing::error!(target: "pkv_store", %path, %cause, "the log cannot grow: writes fail");
            }
            Health::Damaged(cause) => {
                tracing::error!(target: "pkv_store", %path, %cause, "a snapshot is damaged: no writes");
            }
            Health::Poisoned(cause) => tracing::error!(
                target: "pkv_store",
                %path,
                %cause,
                "poisoned: no writes until the store is opened again"
            ),
        }
    }
}

#[cfg(feature = "tracing")]
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
