//! `verify` and opening judge alike: whatever is done to a file that opening reads, the one finds damage exactly
//! where the other refuses, and a torn end exactly where the other cuts.

use std::fs;
use std::path::{Path, PathBuf};

use pkv_admin::{Fault, Verdict, verify};
use pkv_store::Inspection;

use crate::folders::{Folder, closed, flip, killed, name_of, set_len};

#[track_caller]
fn agree(folder: &Folder, what: &str) {
    let found = verify(&pkv_admin::Folder::at(&folder.path)).unwrap();
    let has = |verdict| found.faults.iter().any(|fault: &Fault| fault.verdict == verdict);
    match Inspection::of(&folder.path) {
        Ok(look) => {
            let report = look.report();
            assert!(!found.is_damaged(), "{what}: opens, but {found:?}");
            assert_eq!(report.torn.is_some(), has(Verdict::Torn), "{what}: {report:?}, {found:?}");
            let (last_seq, watermark) = (report.last_seq, report.watermark);
            assert_eq!(
                (found.last_seq, found.watermark),
                (last_seq, watermark),
                "{what}: {found:?}"
            );
        }
        Err(error) => assert!(found.is_damaged(), "{what}: {error}, but {found:?}"),
    }
}

/// The files that opening reads.
fn needed(folder: &Folder) -> Vec<PathBuf> {
    let (mut fulls, mut logs) = (folder.files("full"), folder.files("diff"));
    if !fulls.is_empty() {
        logs.drain(..logs.len() - 1);
    }
    fulls.drain(..fulls.len().saturating_sub(2));
    fulls.append(&mut logs);
    fulls
}

fn bytes_used(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn on_flipped_bits() {
    for folder in [closed(), killed()] {
        for path in needed(&folder) {
            // A stride that is odd meets every field of headers and frames.
            let ends = [bytes_used(&path), fs::read(&path).unwrap().len()];
            for offset in (0..ends[0]).step_by(37).chain((ends[0]..ends[1]).step_by(2_003)) {
                flip(&path, offset);
                agree(&folder, &format!("{} flipped at {offset}", name_of(&path)));
                flip(&path, offset);
            }
        }
        agree(&folder, "as it was");
    }
}

#[test]
fn on_cut_files() {
    for folder in [closed(), killed()] {
        for path in needed(&folder) {
            let whole = fs::read(&path).unwrap();
            for bytes in (0..whole.len()).step_by(397) {
                set_len(&path, bytes.try_into().unwrap());
                agree(&folder, &format!("{} cut to {bytes}", name_of(&path)));
                fs::write(&path, &whole).unwrap();
            }
        }
    }
}

#[test]
fn on_zeroed_sectors() {
    let folder = killed();
    let log = folder.log();
    let whole = fs::read(&log).unwrap();
    for sector in 0..bytes_used(&log).div_ceil(512) {
        let mut bytes = whole.clone();
        bytes[sector * 512..(sector + 1) * 512].fill(0);
        fs::write(&log, bytes).unwrap();
        agree(&folder, &format!("sector {sector} zeroed"));
    }
}

#[test]
fn on_missing_files() {
    for make in [closed, killed] {
        for index in 0..needed(&make()).len() {
            let folder = make();
            let path = needed(&folder).swap_remove(index);
            fs::remove_file(&path).unwrap();
            agree(&folder, &format!("{} removed", name_of(&path)));
        }
    }
}
