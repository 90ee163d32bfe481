//! Reading and salvage of any folder: they never change it; what salvage wrote is a store with what it
//! reported; reading for salvage shows and reports the same; reading refuses what opening refuses and else shows
//! what it shows, and where opening finds nothing wrong all of them show the same.

use std::path::PathBuf;

use pkv_sim::SimFs;
use pkv_store::{
    ByteStore, Error, LogWay, ReadOnlyByteStore, RecoveryMode, RecoveryReport, SalvageReport,
};

use super::open_any_folder::folder;
use super::store::{Contents, DIR, contents, open, options};

const SAVED: &str = "/saved";

/// What holds of any bytes.
pub fn run(data: &[u8]) {
    let fs = folder(data);
    let before = image(&fs);
    let options = options(&fs, LogWay::Written);
    let read = ReadOnlyByteStore::open(DIR, &options);
    let lenient = options.clone().recovery(RecoveryMode::Salvage);
    let read_for_salvage = ReadOnlyByteStore::open(DIR, &lenient);
    assert!(image(&fs) == before, "reading changed the folder");
    let report = pkv_store::salvage(DIR, SAVED, &options);
    assert!(image(&fs) == before, "salvage changed the folder");

    let saved = report.as_ref().ok().and_then(|report| match ByteStore::open(SAVED, &options) {
        Ok(store) => {
            assert_eq!(store.len(), report.entries);
            Some(contents(&store))
        }
        Err(error) => {
            // The folder's types are kept.
            let is_type = matches!(error, Error::WrongType { .. });
            assert!(is_type, "what salvage wrote does not open: {error}");
            None
        }
    });
    if let (Some(saved), Ok(view)) = (&saved, &read_for_salvage) {
        assert!(shown(view) == *saved, "salvage and reading for salvage differ");
    }
    if let (Ok(report), Ok(view)) = (&report, &read_for_salvage) {
        assert_eq!(
            told(view),
            told_by(report),
            "salvage and reading for salvage report other things"
        );
    }
    let store = match open(&fs, LogWay::Written) {
        Ok(store) => store,
        Err(error) => {
            assert!(read.is_err(), "reading shows what opening refuses: {error}");
            return;
        }
    };
    let opened = contents(&store);
    match &read {
        Ok(view) => {
            assert!(shown(view) == opened, "reading and opening differ");
            let is_torn = |report: &RecoveryReport| report.torn.is_some();
            let torn = is_torn(view.recovery_report());
            assert_eq!(
                torn,
                is_torn(store.recovery_report()),
                "reading and opening see other ends"
            );
        }
        Err(error) => {
            // Opening makes the folder.
            let is_missing = matches!(error, Error::NotFound { .. }) && opened.is_empty();
            assert!(is_missing, "opens, but cannot be read: {error}");
        }
    }
    match (report, saved) {
        (Ok(report), Some(saved)) if report.is_complete() => {
            assert!(saved == opened, "a complete salvage and opening differ");
        }
        (Ok(_), _) => {}
        (Err(error), _) => {
            assert!(opened.is_empty(), "opens with entries, but no salvage: {error}")
        }
    }
}

/// Every file of the folder.
fn image(fs: &SimFs) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let paths = fs.paths().into_iter().filter(|path| path.starts_with(DIR));
    paths.map(|path| (path.clone(), fs.contents(&path))).collect()
}

/// What was kept and lost; whether a log that is in use, but holds nothing, is one does not matter.
fn told_by(report: &SalvageReport) -> SalvageReport {
    let mut report = report.clone();
    (report.destination, report.logs) = (None, 0);
    report
}

fn told(view: &ReadOnlyByteStore) -> SalvageReport {
    told_by(view.recovery_report().salvage.as_deref().expect("a report"))
}

fn shown(view: &ReadOnlyByteStore) -> Contents {
    view.iter().collect::<Result<_, _>>().expect("entries that can be copied")
}
