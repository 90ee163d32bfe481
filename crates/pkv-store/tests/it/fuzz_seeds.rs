//! The seeds of the fuzz targets, replayed by a plain test: what the fuzzer found once stays found.

use std::path::Path;

#[path = "../../../../fuzz/src/lib.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::pedantic,
    clippy::type_complexity,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the rules of the fuzz targets, which are no library"
)]
mod targets;

#[test]
#[expect(clippy::disallowed_methods, reason = "reads files of the source tree")]
fn every_seed_holds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    for (name, run) in targets::TARGETS {
        let folder = fuzz.join("seeds").join(name);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).expect("a folder of seeds") {
            let path = entry.expect("an entry").path();
            run(&std::fs::read(&path).expect("a seed"));
            seeds += 1;
        }
        assert!(seeds >= 4, "{}: {seeds} seeds", folder.display());
    }
}
