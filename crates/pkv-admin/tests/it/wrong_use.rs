//! Wrong words, wrong paths, folders one may not read, an output that is full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::folders::{closed, nowhere};
use crate::run::{command, pkv, run};

/// A command: its words before the path, what it needs behind the path, and whether it changes the folder.
type Row = (&'static [&'static str], &'static [&'static str], bool);

/// Each command that works on a store.
const COMMANDS: [Row; 19] = [
    (&["stat"], &[], false),
    (&["verify"], &[], false),
    (&["dump"], &[], false),
    (&["dump", "--log"], &[], false),
    (&["get"], &["key 1"], false),
    (&["scan"], &["--limit", "1"], false),
    (&["export"], &["-"], false),
    (&["put"], &["key 1", "7"], true),
    (&["del"], &["key 1"], true),
    (&["del", "--dry-run"], &["key 1"], false),
    (&["incr"], &["key 2"], true),
    (&["compact"], &[], true),
    (&["compact", "--dry-run"], &[], false),
    (&["prune-backups"], &["1"], true),
    (&["prune-backups", "--dry-run"], &["1"], false),
    (&["delete-failed-pending-snapshots"], &[], true),
    (&["delete-failed-pending-snapshots", "--dry-run"], &[], false),
    (&["--json", "stat"], &[], false),
    (&["--json", "get"], &["key 1"], false),
];

#[test]
fn a_wrong_path_is_an_error_and_is_not_created() {
    for (words, rest, _) in COMMANDS {
        let folder = nowhere();
        let error = pkv(words, &folder.path, rest).fails(3);
        assert!(error.contains("no such folder: check the path"), "{error}");
        assert!(!folder.path.exists());

        fs::write(&folder.path, "a file").unwrap();
        let error = pkv(words, &folder.path, rest).fails(3);
        assert!(error.contains("not a folder"), "{error}");

        // A folder that is somebody else's.
        let parent = folder.path.parent().unwrap();
        let error = pkv(words, parent, rest).fails(3);
        assert!(error.contains("holds no store"), "{error}");
        assert_eq!(fs::read_dir(parent).unwrap().count(), 1, "nothing was created");
    }
}

#[test]
fn wrong_words_exit_with_2_and_help_teaches() {
    for words in [
        &[][..],
        &["frobnicate"],
        &["stat"],
        &["stat", "--frobnicate", "x"],
        &["prune-backups", "x"],
        &["prune-backups", "x", "-1"],
        &["prune-backups", "x", "many"],
    ] {
        let ran = run(words);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{words:?}");
        assert!(ran.err.contains("--help"), "{words:?}: {}", ran.err);
    }
    let help = run(["--help"]).exits(0).out;
    for word in [
        "Exit codes:",
        "4  a program has the store open",
        "stat",
        "verify",
        "dump",
        "prune-backups",
    ] {
        assert!(help.contains(word), "{help}");
    }
    for (words, ..) in COMMANDS.iter().filter(|(words, ..)| words[0] != "--json") {
        let help = run([words[0], "--help"]).exits(0).out;
        assert!(help.contains("--json") && help.lines().count() > 10, "{help}");
    }
    assert!(run(["--version"]).exits(0).out.starts_with("pkv "));
}

#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let folder = closed();
    for words in [&["stat"][..], &["verify"], &["dump"], &["dump", "--log"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command().args(words).arg(&folder.path).stdout(full).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{words:?}: {error}");
        assert!(error.contains("cannot write the output"), "{error}");
    }
}

/// Runs as a user without rights, where this one may choose. Started from where it was built, the program could
/// not be reached by that user if the checkout is in a private folder; run as root instead, nothing is denied.
fn as_nobody(program: &Path, words: &[&str], path: &Path, rest: &[&str]) -> Output {
    const NOT_PERMITTED: i32 = 1;
    let with = |as_nobody: bool| {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).args(words).arg(path).args(rest);
        if as_nobody {
            command.uid(65_534).gid(65_534);
        }
        command.output()
    };
    match with(true) {
        Err(error) if error.raw_os_error() == Some(NOT_PERMITTED) => with(false).unwrap(),
        outcome => outcome.unwrap(),
    }
}

#[test]
fn a_folder_that_one_may_only_read_can_be_looked_at() {
    let folder = closed();
    let set =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let around = folder.path.parent().unwrap();
    set(around, 0o755);
    let program = around.join("pkv");
    fs::copy(env!("CARGO_BIN_EXE_pkv"), &program).unwrap();
    for name in folder.names() {
        set(&folder.path.join(name), 0o444);
    }
    set(&folder.path, 0o555);
    for (words, rest, changes) in COMMANDS {
        let output = as_nobody(&program, words, &folder.path, rest);
        let code = if changes { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
    }
    set(&folder.path, 0o000);
    for (words, rest, _) in COMMANDS {
        let output = as_nobody(&program, words, &folder.path, rest);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{words:?}: {error}");
        assert!(error.contains("ermission denied"), "{words:?}: {error}");
    }
    set(&folder.path, 0o755);
}
