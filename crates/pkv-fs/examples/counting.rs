//! How many syncs does a program cost? Wrap its file system and ask.
//!
//! The program here is somebody's note keeper: it knows only `dyn Fs`, and two ways to be durable.

use std::path::Path;
use std::sync::Arc;

use pkv_fs::{CountingFs, Counts, Fs, Op, Result, StdFs};

/// Appends all notes to a new file; `each` syncs after every note, else once at the end.
fn keep_notes(fs: &dyn Fs, dir: &Path, name: &str, notes: &[&str], each: bool) -> Result<()> {
    let file = fs.create_new(&dir.join(name))?;
    for note in notes {
        file.write_at(file.len()?, note.as_bytes())?;
        if each {
            file.sync_data()?;
        }
    }
    if !each {
        file.sync_data()?;
    }
    fs.sync_dir(dir)
}

#[expect(clippy::print_stdout, reason = "an example that shows what it found")]
fn report(title: &str, counts: &Counts) {
    println!(
        "{title}: {} syncs, {} writes, {} bytes, {} calls in all",
        counts.syncs(),
        counts.calls(Op::Write),
        counts.bytes_written,
        Op::ALL.iter().map(|op| counts.calls(*op)).sum::<u64>(),
    );
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let fs = CountingFs::new(Arc::new(StdFs));
    let notes = ["milk\n", "bread\n", "call the dentist\n"];

    keep_notes(&fs, dir.path(), "each.txt", &notes, true)?;
    let each = fs.counts();
    report("sync after each note", &each);

    keep_notes(&fs, dir.path(), "once.txt", &notes, false)?;
    let once = fs.counts().since(&each);
    report("sync at the end", &once);

    assert_eq!((each.syncs(), once.syncs()), (4, 2));
    Ok(())
}
