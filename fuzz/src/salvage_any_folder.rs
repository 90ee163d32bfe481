//! Reading and salvage of any folder: they never change it; what salvage wrote is a store with what it
//! reported; and where opening finds nothing wrong all of them show the same.

use std::path::PathBuf;

use pkv_sim::SimFs;
use pkv_store::{ByteStore, Error, LogWay, ReadOnlyByteStore, RecoveryMode};

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
        assert_eq!(&shown(view), saved, "salvage and reading for salvage differ");
    }
    let Ok(store) = open(&fs, LogWay::Written) else { return };
    let opened = contents(&store);
    if let Ok(view) = &read {
        assert_eq!(shown(view), opened, "reading and opening differ");
    }
    match (report, saved) {
        (Ok(report), Some(saved)) if report.is_complete() => {
            assert_eq!(saved, opened, "a complete salvage and opening differ");
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

fn shown(view: &ReadOnlyByteStore) -> Contents {
    view.iter().collect::<Result<_, _>>().expect("entries that can be copied")
}
