//! `pkv completions` and `pkv man`: made from the command line itself, so that they cannot lag behind.

use std::fs;

use crate::run::run;

#[test]
fn each_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(["completions", shell]).exits(0).out;
        for word in ["prune-backups", "migrate", "dry-run"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(run(["completions", "csh"]).code, 2);
}

#[test]
fn each_command_has_a_page() {
    let page = run(["man"]).exits(0).out;
    assert!(page.starts_with(".ie") && page.contains("prune\\-backups"), "{page}");
    let page = run(["man", "restore"]).exits(0).out;
    assert!(page.contains("\\-\\-at") && page.contains("pkv\\-restore"), "{page}");
    let error = run(["man", "frobnicate"]).fails(2);
    assert!(error.contains("no such command"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        run([std::ffi::OsStr::new("man"), "--dir".as_ref(), dir.path().as_os_str()]).exits(0);
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert!(
            names.len() >= 20 && names.contains(&"pkv-migrate-persistent-kv.1".into()),
            "{names:?}"
        );
    }
}
