//! `pkv restore`: a new store's folder from a backup, at its end, at a write or at a time.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pkv_store::{Backup, RestorePoint};

use super::backup::{Ways, finish, restore};
use crate::error::{Exit, Result};
use crate::output::Output;

/// Arguments of `pkv restore`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The backup's folder, or that of a store
    backup: PathBuf,
    /// The new store's folder, which must not be there, or be empty
    path: PathBuf,
    /// A write's sequence number, a time such as 2026-11-25T10:30:00Z (UTC), a date, or @ and the seconds since 1970
    #[arg(long, value_name = "SEQ or TIME", value_parser = point)]
    at: Option<RestorePoint>,
    #[command(flatten)]
    ways: Ways,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let backup = out.folder(&self.backup);
        let how = Backup::new().link(!self.ways.copies());
        let report = restore(&backup, &self.path, self.at.unwrap_or_default(), &how)?;
        finish(&backup.beside(&self.path), self.ways, report, out)
    }
}

/// `2026-11-25`.
const DATE_CHARACTERS: usize = 10;

/// A point as it stands on the command line.
fn point(word: &str) -> Result<RestorePoint, String> {
    if let Ok(seq) = word.parse() {
        return Ok(RestorePoint::Seq(seq));
    }
    let time = match word.strip_prefix('@') {
        Some(seconds) => seconds
            .parse()
            .ok()
            .and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
            .and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)),
        // A date alone is its first moment.
        None if word.len() == DATE_CHARACTERS => {
            humantime::parse_rfc3339_weak(&format!("{word} 00:00:00")).ok()
        }
        None => humantime::parse_rfc3339_weak(word).ok(),
    };
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let since = since.ok_or("neither a number nor a time such as 2026-11-25T10:30:00Z")?;
    Ok(RestorePoint::Time { unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_told_apart() {
        assert_eq!(point("0"), Ok(RestorePoint::Seq(0)));
        assert_eq!(point("18446744073709551615"), Ok(RestorePoint::Seq(u64::MAX)));
        let at = |unix_ms| Ok(RestorePoint::Time { unix_ms });
        assert_eq!(point("@1"), at(1000));
        assert_eq!(point("@1764066600.25"), at(1_764_066_600_250));
        for time in ["2025-11-25T10:30:00Z", "2025-11-25T10:30:00", "2025-11-25 10:30:00"] {
            assert_eq!(point(time), at(1_764_066_600_000), "{time}");
        }
        assert_eq!(point("2025-11-25T10:30:00.5Z"), at(1_764_066_600_500));
        assert_eq!(point("2025-11-25"), at(1_764_028_800_000));
        for wrong in [
            "",
            "now",
            "-1",
            "@",
            "@-1",
            "2025-13-01",
            "1.5",
            "18446744073709551616",
            "1960-01-01T00:00:00Z",
        ] {
            assert!(point(wrong).is_err(), "{wrong}");
        }
    }
}
