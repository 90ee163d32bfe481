//! Stores whose entries may expire: every command knows deadlines, and what moves entries moves them, too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pkv_store::{Options, Store};
use serde_json::{Value, json};

use crate::folders::{Folder, closed, nowhere, options};
use crate::run::{fields, pkv};

const HOUR: Duration = Duration::from_secs(3600);

fn timed() -> Options {
    options().expiry(true)
}

/// 30 entries of which 10 expire in an hour, 5 that have expired, a snapshot in between.
fn sessions() -> Folder {
    let folder = nowhere();
    let store: Store<String, u64> = timed().open(&folder.path).unwrap();
    for i in 0..10 {
        store.insert(&format!("stays {i}"), &i).unwrap();
        store.insert_with_ttl(&format!("goes {i}"), &i, HOUR).unwrap();
    }
    store.compact().unwrap();
    for i in 0..5 {
        store.insert_with_ttl(&format!("gone {i}"), &i, Duration::ZERO).unwrap();
        store.insert(&format!("late {i}"), &i).unwrap();
        store.insert(&format!("later {i}"), &i).unwrap();
    }
    store.close().unwrap();
    folder
}

fn beside(folder: &Folder, name: &str) -> PathBuf {
    folder.path.parent().unwrap().join(name)
}

/// The entries that a dump shows, with their deadlines.
fn dumped(path: &Path) -> Vec<String> {
    let mut lines: Vec<String> =
        pkv(&["dump"], path, &[]).exits(0).out.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn each_way_to_look_shows_deadlines_and_nothing_that_has_expired() {
    let folder = sessions();
    let before = folder.bytes();
    let lines = pkv(&["dump"], &folder.path, &[]).exits(0).json_lines();
    assert_eq!(lines.len(), 30);
    for line in &lines {
        assert_eq!(fields(line), ["expires_ms", "key", "value"]);
        let is_timed = line["key"].as_str().unwrap().starts_with("goes");
        assert_eq!(line["expires_ms"].as_u64().is_some(), is_timed, "{line}");
    }
    let line = pkv(&["get", "--json"], &folder.path, &["goes 3"]).exits(0).json();
    assert_eq!((&line["value"], line["expires_ms"].is_u64()), (&3.into(), true));
    let line = pkv(&["get", "--json"], &folder.path, &["stays 3"]).exits(0).json();
    assert_eq!(line, json!({"key": "stays 3", "value": 3, "expires_ms": null}));
    pkv(&["get"], &folder.path, &["gone 3"]).fails(5);
    let csv = pkv(&["scan", "--format", "csv", "--prefix", "goes 3"], &folder.path, &[]).exits(0);
    assert!(csv.out.starts_with("key,value,expires_ms\ngoes 3,3,"), "{csv:?}");
    let keys = pkv(&["scan", "--keys", "--prefix", "goes 3"], &folder.path, &[]).exits(0).json();
    assert_eq!(keys, json!({"key": "goes 3"}));

    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!((&stat["value_schema"], &stat["expiry"]), (&"u64".into(), &true.into()));
    let contents = &stat["contents"];
    // What has expired counts until it is swept away.
    let sum = contents["entries"].as_u64().unwrap() - contents["expired"].as_u64().unwrap();
    assert_eq!((sum, &contents["deadlines"]), (30, &10.into()));
    let text = pkv(&["stat"], &folder.path, &[]).exits(0).out;
    assert!(text.contains("types           string to u64\n"), "{text}");
    assert!(text.contains("will expire     10\n"), "{text}");

    let deep = pkv(&["verify", "--deep", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!((&deep["deep"]["entries"], &deep["deep"]["undecodable"]), (&30.into(), &0.into()));
    assert_eq!(folder.bytes(), before, "looking changed something");
    // Where nothing expires nothing is said of it.
    let stat = pkv(&["stat", "--json"], &closed().path, &[]).exits(0).json();
    assert_eq!((&stat["expiry"], &stat["contents"]["deadlines"]), (&false.into(), &Value::Null));
}

#[test]
fn the_log_shows_deadlines_and_the_time_that_was_told() {
    let folder = sessions();
    let lines = pkv(&["dump", "--log", "--json"], &folder.path, &[]).exits(0).json_lines();
    let operations: Vec<&Value> =
        lines.iter().filter_map(|line| line["operations"].as_array()).flatten().collect();
    let of = |key: &str| *operations.iter().find(|op| op["key"] == key).unwrap();
    assert_eq!(of("late 3")["value"], 3);
    assert_eq!(of("late 3")["expires_ms"], Value::Null);
    assert_eq!(of("gone 3")["value"], 3);
    assert!(of("gone 3")["expires_ms"].is_u64());
    pkv(&["del"], &folder.path, &["gone 1"]).exits(0);
    let text = pkv(&["dump", "--log"], &folder.path, &[]).exits(0).out;
    assert!(text.contains("; set \"gone 3\" = 3 until "), "{text}");
    let store: Store<String, u64> = timed().open(&folder.path).unwrap();
    assert_eq!(store.get("gone 2").unwrap(), None);
    store.close().unwrap();
    let text = pkv(&["dump", "--log"], &folder.path, &[]).exits(0).out;
    assert!(text.contains("; time "), "{text}");
    let lines = pkv(&["dump", "--log", "--json"], &folder.path, &[]).exits(0).json_lines();
    let is_time = |line: &Value| {
        line["operations"][0]["op"] == "time" && line["operations"][0]["unix_ms"].is_u64()
    };
    assert!(lines.iter().any(is_time));
}

#[test]
fn what_is_exported_is_imported_again_with_its_deadlines() {
    let folder = sessions();
    let expected = dumped(&folder.path);
    for (name, types) in
        [("out.jsonl", &["string,u64", "--expiry"][..]), ("out.csv", &["string,expiring<u64>"])]
    {
        let file = beside(&folder, name);
        pkv(&["export"], &folder.path, &[file.to_str().unwrap()]).exits(0);
        let copy = nowhere();
        let words = [&["import", "--types"][..], types].concat();
        pkv(&words, &copy.path, &[file.to_str().unwrap()]).exits(0);
        assert_eq!(dumped(&copy.path), expected, "{name}");
        let store: Store<String, u64> = timed().open(&copy.path).unwrap();
        let left = store.ttl("goes 3").unwrap().flatten().unwrap();
        assert!(left <= HOUR && left + Duration::from_secs(600) > HOUR, "{left:?}");
        assert_eq!(store.ttl("stays 3").unwrap(), Some(None));
        store.close().unwrap();
        // Once more, into a store that is there: nothing need be said of it.
        pkv(&["import"], &copy.path, &[file.to_str().unwrap()]).exits(0);
        assert_eq!(dumped(&copy.path), expected, "{name}");

        let plain = nowhere();
        let words = ["import", "--types", "string,u64"];
        let error = pkv(&words, &plain.path, &[file.to_str().unwrap()]).fails(3);
        assert!(error.contains("without expiry") && error.contains("--expiry"), "{error}");
    }
    // What has expired meanwhile is absent, and takes the place of what was there.
    let file = beside(&folder, "old.jsonl");
    std::fs::write(&file, "{\"key\":\"stays 1\",\"value\":7,\"expires_ms\":1000}\n").unwrap();
    pkv(&["import"], &folder.path, &[file.to_str().unwrap()]).exits(0);
    pkv(&["get"], &folder.path, &["stays 1"]).fails(5);
    assert_eq!(dumped(&folder.path).len(), 29);
}

#[test]
fn a_value_can_be_put_for_a_time() {
    let folder = sessions();
    pkv(&["put", "--ttl", "2h"], &folder.path, &["new", "7"]).exits(0);
    pkv(&["put", "--ttl", "0"], &folder.path, &["stays 1", "7"]).exits(0);
    pkv(&["put"], &folder.path, &["goes 1", "7"]).exits(0);
    pkv(&["incr"], &folder.path, &["goes 2"]).exits(0);
    let get = |key| pkv(&["get", "--json"], &folder.path, &[key]).exits(0).json();
    assert!(get("new")["expires_ms"].is_u64());
    assert_eq!(get("goes 1")["expires_ms"], Value::Null);
    assert_eq!(
        (get("goes 2")["value"].as_u64(), get("goes 2")["expires_ms"].is_u64()),
        (Some(3), true)
    );
    pkv(&["get"], &folder.path, &["stays 1"]).fails(5);
    assert_eq!(pkv(&["put", "--ttl", "soon"], &folder.path, &["new", "7"]).code, 2);

    let plain = closed();
    let before = plain.bytes();
    let error = pkv(&["put", "--ttl", "2h"], &plain.path, &["new", "7"]).fails(2);
    assert!(error.contains("made without expiry"), "{error}");
    assert_eq!(plain.bytes(), before);
}

#[test]
fn copies_of_each_kind_keep_deadlines() {
    let folder = sessions();
    let expected = dumped(&folder.path);
    let at = |name: &str| beside(&folder, name).to_str().unwrap().to_owned();
    pkv(&["backup"], &folder.path, &[&at("backup")]).exits(0);
    pkv(&["restore"], Path::new(&at("backup")), &[&at("restored")]).exits(0);
    let report = pkv(&["salvage", "--json"], &folder.path, &[&at("saved")]).exits(0).json();
    assert_eq!((&report["value_schema"], &report["expiry"]), (&"u64".into(), &true.into()));
    for name in ["backup", "restored", "saved"] {
        assert_eq!(dumped(Path::new(&at(name))), expected, "{name}");
        let store: Store<String, u64> = timed().open(at(name)).unwrap();
        assert!(store.ttl("goes 3").unwrap().flatten().is_some(), "{name}");
        store.close().unwrap();
        pkv(&["verify", "--strict", "--deep"], Path::new(&at(name)), &[]).exits(0);
    }
    let early = at("early");
    pkv(&["restore", "--at", "20"], Path::new(&at("backup")), &[&early]).exits(0);
    assert_eq!(dumped(Path::new(&early)).len(), 20);
    pkv(&["compact"], &folder.path, &[]).exits(0);
    assert_eq!(dumped(&folder.path), expected);
}

#[test]
fn a_migrated_store_can_be_one_with_expiry() {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/persistent-kv/log/store");
    let folder = nowhere();
    let words = ["migrate", "persistent-kv", "--types", "string,string", "--expiry"];
    pkv(&words, &source, &[folder.path.to_str().unwrap()]).exits(0);
    let store: Store<String, String> = timed().open(&folder.path).unwrap();
    assert!(!store.is_empty());
    let (key, _) = store.iter().next().unwrap().unwrap();
    assert_eq!(store.ttl(&key).unwrap(), Some(None));
}
