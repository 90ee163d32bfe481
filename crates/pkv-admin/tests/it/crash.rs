//! Import, export and migrate on a simulated disk: cut off at every call, and with each call failing once. What is found
//! then opens or says what is missing, never passes for more than it is, and the command can be given again.

use std::path::Path;
use std::sync::{Arc, Mutex};

use pkv_admin::{
    Error, Exit, Folder, Import, InputFormat, backup, compact, del, export, import, incr,
    migrate_persistent_kv, put, restore, salvage, stat, verify,
};
use pkv_fs::{Fs, Op};
use pkv_sim::{Choice, Crash, Fault, FaultKind, SimFs};
use pkv_store::{Backup, Inspection, RestorePoint};

const RECORDS: u64 = 900;
/// Entries of one write of an import.
const BATCH: u64 = 256;

fn input(bad_end: bool) -> String {
    let entry = |i| format!("{{\"key\":\"key {i}\",\"value\":{i}}}\n");
    let mut text: String = (0..RECORDS).map(entry).collect();
    if bad_end {
        text.push_str("{\n");
    }
    text
}

fn disk(text: &str) -> Arc<SimFs> {
    let fs = SimFs::new(11);
    fs.plant(Path::new("/in.jsonl"), text.as_bytes());
    fs
}

fn folder(fs: &Arc<SimFs>, path: &str) -> Folder {
    let fs: Arc<dyn Fs> = fs.clone();
    Folder::on(fs, path)
}

fn what(resume: bool) -> Import {
    Import {
        file: Some("/in.jsonl".into()),
        format: InputFormat::Json,
        types: Some(("string".into(), "u64".into())),
        expiry: false,
        resume,
    }
}

/// How many of the entries are there: those before and none behind. `None`: there is no store.
fn prefix(fs: &Arc<SimFs>, path: &str) -> Option<u64> {
    let fs: Arc<dyn Fs> = fs.clone();
    let look = match Inspection::on(&fs, path) {
        Ok(look) => look,
        Err(pkv_store::Error::NotFound { .. }) => return None,
        Err(error) => panic!("{path} does not open: {error}"),
    };
    let mut numbers: Vec<u64> = Vec::new();
    for entry in &look {
        let (key, value) = entry.unwrap();
        let number = u64::from_le_bytes(value.try_into().unwrap());
        assert_eq!(key, format!("key {number}").as_bytes());
        numbers.push(number);
    }
    numbers.sort_unstable();
    let count = u64::try_from(numbers.len()).unwrap();
    assert!(numbers.into_iter().eq(0..count), "a hole in what was imported");
    Some(count)
}

const CHOICES: [Choice; 3] = [Choice::Everything, Choice::Random(1), Choice::Random(2)];
const CRASHES: [Crash; 3] = [Crash::Kill, Crash::Linux, Crash::Strict];

#[test]
fn an_import_that_is_cut_off_leaves_whole_writes_in_order_and_can_be_done_again() {
    let fs = disk(&input(false));
    let first = fs.last_op();
    fs.start_journal();
    import(&folder(&fs, "/db"), &what(false)).unwrap();
    let last = fs.last_op();
    let journal = fs.take_journal().unwrap();
    let (mut parts, mut wholes) = (0, 0);
    let mut replay = journal.replay();
    for op in first + 1..=last + 1 {
        replay.advance_to(op);
        for crash in CRASHES {
            for choice in CHOICES {
                let after = replay.survivors(crash, choice);
                let found = prefix(&after, "/db").unwrap_or(0);
                assert!(
                    found.is_multiple_of(BATCH) || found == RECORDS,
                    "{found} at {op}, {crash:?}"
                );
                if op == last + 1 {
                    assert_eq!(found, RECORDS, "not durable at its end: {crash:?}, {choice:?}");
                }
                if found == RECORDS { wholes += 1 } else { parts += 1 }
            }
            let after = replay.survivors(crash, Choice::Random(op));
            import(&folder(&after, "/db"), &what(false)).unwrap();
            assert_eq!(prefix(&after, "/db"), Some(RECORDS), "again after {op}, {crash:?}");
        }
    }
    assert!(parts > 0 && wholes > 0, "{parts} parts, {wholes} whole");
}

/// The note of how far an import has come is never ahead of what is durable.
#[test]
fn what_a_resumed_import_skips_is_there() {
    let fs = disk(&input(true));
    let first = fs.last_op();
    fs.start_journal();
    let error = import(&folder(&fs, "/db"), &what(false)).unwrap_err();
    assert!(matches!(error, Error::BadInput { .. }), "{error}");
    let last = fs.last_op();
    let journal = fs.take_journal().unwrap();
    let mut resumed = 0;
    let mut replay = journal.replay();
    for op in first + 1..=last + 1 {
        replay.advance_to(op);
        for crash in CRASHES {
            for choice in CHOICES {
                let after = replay.survivors(crash, choice);
                match import(&folder(&after, "/db"), &what(true)).unwrap_err() {
                    Error::NoResume { .. } => {}
                    Error::BadInput { .. } => {
                        resumed += 1;
                        assert_eq!(prefix(&after, "/db"), Some(RECORDS), "{op}, {crash:?}");
                    }
                    error => panic!("{op}, {crash:?}, {choice:?}: {error}"),
                }
            }
        }
    }
    assert!(resumed > 0, "no note was ever found");
}

const CALLS: [Op; 11] = [
    Op::CreateDir,
    Op::Create,
    Op::Write,
    Op::Preallocate,
    Op::SetLen,
    Op::Sync,
    Op::Rename,
    Op::SyncDir,
    Op::Read,
    Op::Open,
    Op::Lock,
];

/// Each call of `work` fails once. `work` says whether it succeeded; then and after another run it is `done`.
fn fail_each(
    make: impl Fn() -> Arc<SimFs>,
    work: impl Fn(&Arc<SimFs>) -> Result<(), Error>,
    done: impl Fn(&Arc<SimFs>) -> bool,
) {
    for op in CALLS {
        for kind in [FaultKind::Eio, FaultKind::Enospc] {
            for nth in 1.. {
                let fs = make();
                fs.inject(Fault::once(op, nth, kind));
                let result = work(&fs);
                let was_met = !fs.faults_met().is_empty();
                fs.clear_faults();
                match result {
                    Ok(()) => assert!(done(&fs), "{op} {nth}: said to be done"),
                    Err(error) => {
                        assert_ne!(error.exit(), Exit::Good);
                        work(&fs).unwrap_or_else(|error| panic!("again after {op} {nth}: {error}"));
                        assert!(done(&fs), "again after {op} {nth}");
                    }
                }
                if !was_met {
                    break;
                }
            }
        }
    }
}

#[test]
fn an_import_tells_of_each_call_that_fails_and_can_be_done_again() {
    fail_each(
        || disk(&input(false)),
        |fs| import(&folder(fs, "/db"), &what(false)).map(drop),
        |fs| prefix(fs, "/db") == Some(RECORDS),
    );
}

#[test]
fn an_export_is_whole_or_has_another_name() {
    let made = || {
        let fs = disk(&input(false));
        import(&folder(&fs, "/db"), &what(false)).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        fs
    };
    let is_whole = |fs: &Arc<SimFs>| {
        fs.contents(Path::new("/out.jsonl")).is_some_and(|bytes| {
            let text = String::from_utf8(bytes).unwrap();
            let mut lines: Vec<&str> = text.lines().collect();
            let whole = input(false);
            let mut expected: Vec<&str> = whole.lines().collect();
            lines.sort_unstable();
            expected.sort_unstable();
            lines == expected
        })
    };
    let work = |fs: &Arc<SimFs>| match export(
        &folder(fs, "/db"),
        Path::new("/out.jsonl"),
        InputFormat::Json,
        true,
    ) {
        // Its name was there, and only that could not be made durable.
        Err(Error::FileExists { .. }) if is_whole(fs) => Ok(()),
        done => done.map(drop),
    };
    fail_each(made, work, is_whole);

    let fs = made();
    let first = fs.last_op();
    fs.start_journal();
    work(&fs).unwrap();
    let last = fs.last_op();
    let journal = fs.take_journal().unwrap();
    let mut replay = journal.replay();
    for op in first + 1..=last + 1 {
        replay.advance_to(op);
        for crash in CRASHES {
            for choice in CHOICES {
                let after = replay.survivors(crash, choice);
                let is_there = after.contents(Path::new("/out.jsonl")).is_some();
                assert!(!is_there || is_whole(&after), "{op}, {crash:?}, {choice:?}");
                assert!(is_there || op <= last, "not durable: {crash:?}, {choice:?}");
                work(&after).unwrap();
                assert!(is_whole(&after), "again after {op}, {crash:?}, {choice:?}");
            }
        }
    }
}

/// A folder of persistent-kv on a simulated disk.
fn old_store() -> Arc<SimFs> {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/persistent-kv/snapshots/store");
    let fs = SimFs::new(5);
    fs.create_dir(Path::new("/old")).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        fs.plant(&Path::new("/old").join(entry.file_name()), &bytes);
    }
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn migrate(fs: &Arc<SimFs>) -> Result<(), Error> {
    migrate_persistent_kv(&folder(fs, "/old"), Path::new("/new"), ("string", "string"), false)
        .map(drop)
}

/// How many entries there are; `None`: nothing, or nothing that opens.
fn migrated(fs: &Arc<SimFs>) -> Option<u64> {
    let fs: Arc<dyn Fs> = fs.clone();
    let look = Inspection::on(&fs, "/new").ok()?;
    look.schema().map(|_| look.entries())
}

#[test]
fn a_migration_is_there_whole_or_not_at_all() {
    let fs = old_store();
    let first = fs.last_op();
    fs.start_journal();
    migrate(&fs).unwrap();
    let last = fs.last_op();
    let expected = migrated(&fs);
    assert!(expected.is_some_and(|entries| entries > 10), "{expected:?}");
    let journal = fs.take_journal().unwrap();
    let (mut wholes, mut nothings) = (0, 0);
    let mut replay = journal.replay();
    for op in first + 1..=last + 1 {
        replay.advance_to(op);
        for crash in CRASHES {
            for choice in CHOICES {
                let after = replay.survivors(crash, choice);
                match migrated(&after) {
                    None => nothings += 1,
                    found => {
                        assert_eq!(found, expected, "a part at {op}, {crash:?}, {choice:?}");
                        wholes += 1;
                    }
                }
                assert!(op <= last || migrated(&after) == expected, "not durable: {crash:?}");
            }
        }
    }
    assert!(wholes > 0 && nothings > 0, "{wholes} whole, {nothings} not there");
}

#[test]
fn a_migration_tells_of_each_call_that_fails() {
    let expected = {
        let fs = old_store();
        migrate(&fs).unwrap();
        migrated(&fs)
    };
    let work = |fs: &Arc<SimFs>| match migrate(fs) {
        // Only the sync behind the commit point failed before: it is there.
        Err(Error::Store(error))
            if matches!(*error, pkv_store::Error::NotEmpty { .. }) && migrated(fs) == expected =>
        {
            Ok(())
        }
        done => done,
    };
    fail_each(old_store, work, |fs| migrated(fs) == expected);
}

/// A command on a disk.
type Command = (&'static str, fn(&Arc<SimFs>) -> Result<(), Error>);

const WRITING: [Command; 8] = [
    ("put", |fs| put(&folder(fs, "/db"), b"key 1", &1_u64.to_le_bytes(), None).map(drop)),
    ("del", |fs| del(&folder(fs, "/db"), &[b"none".to_vec(), b"key 1".to_vec()]).map(drop)),
    ("incr", |fs| incr(&folder(fs, "/db"), b"key 1", 0).map(drop)),
    ("import", |fs| import(&folder(fs, "/db"), &what(false)).map(drop)),
    ("compact", |fs| compact(&folder(fs, "/db"), None).map(drop)),
    ("export", |fs| {
        export(&folder(fs, "/db"), Path::new("/out.jsonl"), InputFormat::Json, true).map(drop)
    }),
    ("backup", |fs| {
        let how = Backup::new().link(false);
        backup(&folder(fs, "/db"), Path::new("/backup"), &how).map(drop)
    }),
    ("salvage", |fs| salvage(&folder(fs, "/db"), Path::new("/saved")).map(drop)),
];

/// On a full disk each command that writes is an error, and the store is as it was; with space again it does its work.
#[test]
fn a_full_disk_is_an_error_that_leaves_the_store_as_it_was() {
    for (name, command) in WRITING {
        let fs = disk(&input(false));
        import(&folder(&fs, "/db"), &what(false)).unwrap();
        fs.set_capacity_bytes(Some(fs.used_bytes()));
        let error = command(&fs).expect_err(name);
        assert_eq!(error.exit(), Exit::Unreadable, "{name}: {error}");
        assert_eq!(prefix(&fs, "/db"), Some(RECORDS), "{name}");
        assert!(!verify(&folder(&fs, "/db")).unwrap().is_damaged(), "{name}");
        fs.set_capacity_bytes(None);
        // A part of it is no store; what is there of one has to go first.
        for path in fs.paths() {
            if path.starts_with("/saved") && fs.contents(&path).is_some() {
                fs.remove(&path).unwrap();
            }
        }
        command(&fs).unwrap_or_else(|error| panic!("{name}: {error}"));
        let left = if name == "del" { None } else { Some(RECORDS) };
        assert!(left.is_none() || prefix(&fs, "/db") == left, "{name}");
        assert!(!verify(&folder(&fs, "/db")).unwrap().is_damaged(), "{name}");
    }
}

/// What takes long tells how far it has come.
#[test]
fn each_long_command_tells_how_far_it_has_come() {
    let writing = WRITING.iter().map(|(name, _)| *name);
    for name in writing.chain(["stat", "verify", "restore", "migrate"]) {
        let fs = if name == "migrate" { old_store() } else { disk(&input(false)) };
        if name != "migrate" {
            import(&folder(&fs, "/db"), &what(false)).unwrap();
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        let path = if name == "migrate" { "/old" } else { "/db" };
        let folder =
            folder(&fs, path).on_progress(move |progress| notes.lock().unwrap().push(progress));
        let how = Backup::new();
        let new = Path::new("/new");
        let done: Result<(), Error> = match name {
            "put" => put(&folder, b"key 1", &1_u64.to_le_bytes(), None).map(drop),
            "del" => del(&folder, &[b"key 1".to_vec()]).map(drop),
            "incr" => incr(&folder, b"key 1", 1).map(drop),
            "import" => import(&folder, &what(false)).map(drop),
            "compact" => compact(&folder, None).map(drop),
            "export" => export(&folder, new, InputFormat::Json, false).map(drop),
            "backup" => backup(&folder, new, &how).map(drop),
            "restore" => restore(&folder, new, RestorePoint::Latest, &how).map(drop),
            "salvage" => salvage(&folder, new).map(drop),
            "stat" => stat(&folder).map(drop),
            "verify" => verify(&folder).map(drop),
            _ => migrate_persistent_kv(&folder, new, ("string", "string"), false).map(drop),
        };
        done.unwrap();
        let told = told.lock().unwrap();
        assert!(!told.is_empty(), "{name} tells nothing");
        for progress in told.iter() {
            assert!(!progress.what.is_empty());
            assert!(
                progress.bytes_total.is_none_or(|total| progress.bytes_done <= total),
                "{name}: {progress:?}"
            );
        }
        if name == "compact" {
            assert!(told.iter().any(|progress| progress.what == "writing a snapshot"), "{told:?}");
        }
        if name == "verify" {
            let last = told.iter().max_by_key(|progress| progress.bytes_done).unwrap();
            // Headers are not told of.
            let is_near = last.bytes_total.is_some_and(|total| last.bytes_done > total / 4 * 3);
            assert!(last.what == "verifying" && is_near, "{last:?}");
        }
    }
}
