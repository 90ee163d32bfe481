//! `pkv get`, `pkv scan` and the formats of entries: what one asks for, as one wrote it.

use std::collections::BTreeSet;

use pkv_store::{Durability, Store};
use serde_json::{Value, json};

use crate::folders::{Folder, closed, empty, flip, killed, nowhere, open, options};
use crate::run::{pkv, run};

/// A store of integers to bytes, with a value that is no text.
fn bytes() -> Folder {
    let folder = nowhere();
    let store: Store<i64, Vec<u8>> = options().open(&folder.path).unwrap();
    store.insert(&-5, &b"\x00\xff\ta\n"[..].to_vec()).unwrap();
    store.close().unwrap();
    folder
}

#[test]
fn a_value_is_printed_by_its_type() {
    let folder = closed();
    let before = folder.bytes();
    assert_eq!(pkv(&["get"], &folder.path, &["key 7"]).exits(0).out, "7\n");
    assert_eq!(
        pkv(&["get", "--raw"], &folder.path, &["key 7"]).exits(0).out.as_bytes(),
        7_u64.to_le_bytes()
    );
    assert_eq!(
        pkv(&["get", "--hex"], &folder.path, &["6b65792037"]).exits(0).out,
        "0700000000000000\n"
    );
    let value = pkv(&["get", "--json"], &folder.path, &["key 7"]).exits(0).json();
    assert_eq!(value, json!({"key": "key 7", "value": 7}));
    assert_eq!(folder.bytes(), before, "get changed something");

    let folder = bytes();
    assert_eq!(pkv(&["get"], &folder.path, &["-5"]).exits(0).out, "00ff09610a\n");
    assert_eq!(
        pkv(&["get", "--hex"], &folder.path, &["fbffffffffffffff"]).exits(0).out,
        "00ff09610a\n"
    );
}

#[test]
fn a_key_that_is_not_there_has_an_exit_code_of_its_own() {
    for folder in [closed(), empty()] {
        let error = pkv(&["get"], &folder.path, &["nobody"]).fails(5);
        assert!(error.contains("no such key: nobody"), "{error}");
        pkv(&["get", "--json"], &folder.path, &["nobody"]).fails(5);
    }
    let error = pkv(&["get"], &bytes().path, &["five"]).fails(2);
    assert!(error.contains("no integer") && error.contains("i64 to bytes"), "{error}");
    let error = pkv(&["get", "--hex"], &bytes().path, &["5"]).fails(2);
    assert!(error.contains("hexadecimal digits"), "{error}");
}

#[test]
fn beside_a_writer_the_latest_value_is_seen() {
    let folder = nowhere();
    let store = open(&folder.path);
    for value in 0..3 {
        store.insert_with("key", &value, Durability::Process).unwrap();
        assert_eq!(pkv(&["get"], &folder.path, &["key"]).exits(0).out, format!("{value}\n"));
    }
}

#[test]
fn a_scan_prints_what_begins_with_the_prefix() {
    let folder = closed();
    let keys = |rest: &[&str]| -> BTreeSet<String> {
        let lines = pkv(&["scan"], &folder.path, rest).exits(0).json_lines();
        lines.iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&[]).len(), 40);
    let expected: BTreeSet<String> =
        [1, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19].map(|i| format!("key {i}")).into();
    assert_eq!(keys(&["--prefix", "key 1"]), expected);
    assert_eq!(keys(&["--limit", "3"]).len(), 3);
    assert_eq!(keys(&["--limit", "0"]).len(), 0);
    let line = pkv(&["scan", "--keys", "--prefix", "key 39"], &folder.path, &[]).exits(0).json();
    assert_eq!(line, json!({"key": "key 39"}));
    let line = pkv(&["scan", "--prefix", "fb"], &bytes().path, &[]).exits(0).json();
    assert_eq!(line["key"], -5);
    assert_eq!(pkv(&["scan", "--prefix", "00"], &bytes().path, &[]).exits(0).out, "");
}

#[test]
fn entries_have_four_formats() {
    let folder = bytes();
    let dump = |format: &str| {
        let mut command = crate::run::command();
        command.args(["dump", "--format", format]).arg(&folder.path).output().unwrap().stdout
    };
    assert_eq!(dump("json"), b"{\"key\":-5,\"value\":\"00ff09610a\"}\n");
    assert_eq!(dump("csv"), b"key,value\n-5,00ff09610a\n");
    assert_eq!(dump("hex"), b"fbffffffffffffff\t00ff09610a\n");
    assert_eq!(dump("raw"), b"\xfb\xff\xff\xff\xff\xff\xff\xff\t\x00\xff\ta\n\n");
    assert_eq!(run(["dump", "--log", "--format", "csv", "x"]).code, 2);
}

#[test]
fn a_torn_end_is_left_out_and_damage_is_an_error() {
    let folder = killed();
    let log = folder.log();
    let last = std::fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    flip(&log, last);
    pkv(&["get"], &folder.path, &["key 39"]).fails(5);
    assert_eq!(pkv(&["get"], &folder.path, &["key 38"]).exits(0).out, "38\n");

    let folder = closed();
    flip(&folder.last("full"), 530);
    for (words, rest) in [(&["get"][..], &["key 1"][..]), (&["scan"], &[])] {
        let error = pkv(words, &folder.path, rest).fails(1);
        assert!(error.contains("damaged at offset 512"), "{error}");
    }
}

#[test]
fn what_json_shows_is_what_csv_shows() {
    let folder = nowhere();
    let store: Store<String, String> = options().open(&folder.path).unwrap();
    let samples = ["", "a,b", "\"quoted\"", "two\nlines", "\u{1f600} \u{e9}", "tab\t"];
    for (at, text) in samples.iter().enumerate() {
        store.insert(&format!("{at}"), *text).unwrap();
    }
    store.close().unwrap();
    let csv = pkv(&["dump", "--format", "csv"], &folder.path, &[]).exits(0).out;
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    let rows: BTreeSet<(String, String)> = rows.deserialize().map(Result::unwrap).collect();
    let lines = pkv(&["dump"], &folder.path, &[]).exits(0).json_lines();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let lines: BTreeSet<(String, String)> =
        lines.iter().map(|line| (text(&line["key"]), text(&line["value"]))).collect();
    assert_eq!(rows, lines);
    assert_eq!(rows.len(), samples.len());
}
