//! A nightly check: verifies every store below a folder and prints one line for each that needs a person.
//!
//! `cargo run -p pkv-admin --example check_backups -- FOLDER`; without a folder it makes two stores, damages one, and
//! checks these.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use pkv_admin::{Folder, Verdict, verify};
use pkv_fs::{Access, EntryKind, Fs, StdFs};
use pkv_store::Store;

fn main() -> Result<(), Box<dyn Error>> {
    let made = tempfile::tempdir()?;
    let folder = if let Some(folder) = std::env::args_os().nth(1) {
        folder.into()
    } else {
        make_two_stores(made.path())?;
        made.path().to_path_buf()
    };
    let mut out = std::io::stdout().lock();
    for entry in StdFs.list(&folder)? {
        if entry.kind == EntryKind::Directory {
            check(&folder.join(entry.name), &mut out)?;
        }
    }
    Ok(())
}

fn check(path: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    let path_text = path.display();
    match verify(&Folder::at(path)) {
        Err(error) => writeln!(out, "{path_text}: not checked: {error}"),
        Ok(found) if found.is_damaged() => {
            let damaged = found.faults.iter().filter(|fault| fault.verdict == Verdict::Damaged);
            let list: Vec<_> = damaged
                .map(|fault| format!("{} at {}", fault.path.display(), fault.offset))
                .collect();
            writeln!(out, "{path_text}: restore {}", list.join(", "))
        }
        Ok(found) => writeln!(out, "{path_text}: good, {} writes", found.last_seq),
    }
}

fn make_two_stores(folder: &Path) -> Result<(), Box<dyn Error>> {
    for name in ["good", "bad"] {
        let store: Store<String, u64> = Store::open(folder.join(name))?;
        for i in 0..100 {
            store.insert(&format!("key {i}"), &i)?;
        }
        store.close()?;
    }
    let bad = folder.join("bad");
    let log = StdFs.list(&bad)?.into_iter().find(|entry| entry.name != "snapshots.lock");
    let log = StdFs.open(&bad.join(log.ok_or("no log")?.name), Access::Write)?;
    log.write_at(5_000, b"rot")?;
    Ok(())
}
