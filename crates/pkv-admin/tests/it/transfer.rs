//! `pkv import` and `pkv export`: what goes out comes in again, byte for byte, also when it was cut off.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use pkv_store::{Options, Store};
use serde_json::Value;

use crate::folders::{Folder, closed, empty, nowhere, open, options};
use crate::run::{command, pkv};

fn beside(folder: &Folder, name: &str) -> PathBuf {
    folder.path.parent().unwrap().join(name)
}

fn lines(path: &Path) -> Vec<String> {
    let mut lines: Vec<String> =
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn what_is_exported_is_imported_again() {
    let folder = nowhere();
    let store: Store<String, Vec<u8>> = options().open(&folder.path).unwrap();
    let mut expected = BTreeMap::new();
    for i in 0..2_000_u32 {
        let key = format!("{i} \"quoted\", \u{e9}\n\\ {}", char::from_u32(i % 0xd800).unwrap());
        let value: Vec<u8> = (0..i % 40).map(|at| u8::try_from((at * i) % 256).unwrap()).collect();
        store.insert(&key, &value).unwrap();
        expected.insert(key, value);
    }
    store.close().unwrap();
    let before = folder.bytes();
    for format in ["json", "csv"] {
        let file = beside(&folder, &format!("out.{format}"));
        let report =
            pkv(&["export", "--json"], &folder.path, &[file.to_str().unwrap()]).exits(0).json();
        assert_eq!((&report["records"], &report["seq"]), (&2_000.into(), &2_000.into()));
        assert_eq!(folder.bytes(), before, "export changed something");
        let copy = nowhere();
        let words = ["import", "--json", "--types", "string,bytes"];
        let report = pkv(&words, &copy.path, &[file.to_str().unwrap()]).exits(0).json();
        assert_eq!(
            (&report["records"], &report["bytes"]),
            (&2_000.into(), &fs::metadata(&file).unwrap().len().into())
        );
        let store: Store<String, Vec<u8>> = options().open(&copy.path).unwrap();
        let found: BTreeMap<String, Vec<u8>> = store.iter().map(Result::unwrap).collect();
        assert!(found == expected, "{format}");
        store.close().unwrap();
        let again = beside(&copy, &format!("again.{format}"));
        pkv(&["export"], &copy.path, &[again.to_str().unwrap()]).exits(0);
        assert!(lines(&again) == lines(&file), "{format}");
        assert!(!copy.names().contains(&"import.resume".to_owned()));
    }
}

/// A round trip of any size: `PKV_RECORDS=10000000 cargo test --release -p pkv-admin --test it -- a_round_trip`.
#[test]
fn a_round_trip_of_many_records_loses_no_byte() {
    let records: u64 =
        std::env::var("PKV_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let folder = nowhere();
    let file = beside(&folder, "in.jsonl");
    let mut out = std::io::BufWriter::new(fs::File::create(&file).unwrap());
    for i in 0..records {
        writeln!(out, "{{\"key\":\"key {i:012}\",\"value\":\"{i:0>100}\"}}").unwrap();
    }
    drop(out);
    let report = pkv(
        &["import", "--json", "--types", "string,string"],
        &folder.path,
        &[file.to_str().unwrap()],
    );
    let report = report.exits(0).json();
    assert_eq!(report["records"], records);
    let exported = beside(&folder, "out.jsonl");
    pkv(&["export"], &folder.path, &[exported.to_str().unwrap()]).exits(0);
    // Each line once: its number says where it belongs.
    let mut seen = vec![false; usize::try_from(records).unwrap()];
    let text = std::io::BufReader::new(fs::File::open(&exported).unwrap());
    let mut count = 0;
    for line in std::io::BufRead::lines(text) {
        let line = line.unwrap();
        let number: u64 = line[12..24].parse().unwrap();
        assert_eq!(line, format!("{{\"key\":\"key {number:012}\",\"value\":\"{number:0>100}\"}}"));
        assert!(
            !std::mem::replace(&mut seen[usize::try_from(number).unwrap()], true),
            "{line} twice"
        );
        count += 1;
    }
    assert_eq!(count, records);
    assert_eq!(fs::metadata(&file).unwrap().len(), fs::metadata(&exported).unwrap().len());
}

#[test]
fn stdin_and_stdout_do_as_well() {
    let folder = nowhere();
    let mut child = command()
        .args(["import", "--types", "string,u64"])
        .arg(&folder.path)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":2}\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(open(&folder.path).len(), 2);
    let out = pkv(&["export"], &folder.path, &["-"]).exits(0).json_lines();
    assert_eq!(out.len(), 2);
    let csv = pkv(&["export", "--format", "csv"], &folder.path, &["-"]).exits(0).out;
    assert!(csv.starts_with("key,value\n") && csv.lines().count() == 3, "{csv}");
}

#[test]
fn an_input_that_is_no_entry_is_named_and_taken_up_behind_it() {
    for (name, head, good, bad) in [
        ("in.jsonl", "", "{\"key\":\"KEY\",\"value\":1}\n", "{\"key\":\"bad\",\"value\":-1}\n"),
        ("in.csv", "key,value\n", "KEY,1\n", "bad,-1\n"),
    ] {
        let folder = empty();
        open(&folder.path).insert("first", &1).unwrap();
        let file = beside(&folder, name);
        let entry = |i: u64| good.replace("KEY", &format!("key {i:06}"));
        let before: String = (0..1000).map(entry).collect();
        let after: String = (1000..2000).map(entry).collect();
        fs::write(&file, format!("{head}{before}{bad}{after}")).unwrap();
        let error = pkv(&["import"], &folder.path, &[file.to_str().unwrap()]).fails(3);
        let at = head.len() + before.len();
        assert!(error.contains(&format!("offset {at}")) && error.contains("--resume"), "{error}");
        assert_eq!(open(&folder.path).len(), 1001);
        let other = beside(&folder, "other.jsonl");
        fs::write(&other, "").unwrap();
        let error = pkv(&["import", "--resume"], &folder.path, &[other.to_str().unwrap()]).fails(3);
        assert!(error.contains("leave --resume out"), "{error}");
        // Mended without a change of its length, as an editor would that replaces a line.
        let mended =
            if name.ends_with("csv") { "bad,11\n" } else { "{\"key\":\"bad\",\"value\":11}\n" };
        fs::write(&file, format!("{head}{before}{mended}{after}")).unwrap();
        let report =
            pkv(&["import", "--resume", "--json"], &folder.path, &[file.to_str().unwrap()])
                .exits(0)
                .json();
        assert_eq!((&report["records"], &report["bytes_skipped"]), (&1001.into(), &at.into()));
        assert_eq!(open(&folder.path).len(), 2002);
        pkv(&["import", "--resume"], &folder.path, &[file.to_str().unwrap()]).fails(3);
    }
}

#[test]
fn an_import_that_is_killed_can_be_done_again() {
    let folder = nowhere();
    let file = beside(&folder, "in.jsonl");
    let lines: Vec<String> =
        (0..200_000).map(|i| format!("{{\"key\":\"key {i}\",\"value\":{i}}}\n")).collect();
    fs::write(&file, lines.concat()).unwrap();
    let mut child = command()
        .args(["import", "--types", "string,u64"])
        .arg(&folder.path)
        .arg(&file)
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(150));
    child.kill().unwrap();
    child.wait().unwrap();
    pkv(&["import", "--types", "string,u64"], &folder.path, &[file.to_str().unwrap()]).exits(0);
    assert_eq!(open(&folder.path).len(), 200_000);
}

#[test]
fn an_export_that_was_cut_off_goes_on() {
    let folder = closed();
    for name in ["out.jsonl", "out.csv"] {
        let whole = beside(&folder, name);
        pkv(&["export"], &folder.path, &[whole.to_str().unwrap()]).exits(0);
        let expected = lines(&whole);
        let bytes = fs::read(&whole).unwrap();
        let partial = beside(&folder, &format!("{name}.60.partial"));
        for cut in (0..bytes.len()).step_by(37).chain([bytes.len()]) {
            fs::remove_file(&whole).unwrap();
            fs::write(&partial, &bytes[..cut]).unwrap();
            let report =
                pkv(&["export", "--resume", "--json"], &folder.path, &[whole.to_str().unwrap()]);
            let report = report.exits(0).json();
            assert_eq!(report["records"], 40);
            assert!(lines(&whole) == expected, "{name} cut at {cut}: {report}");
            assert!(cut < 200 || report["records_resumed"].as_u64().unwrap() > 0, "{report}");
            assert!(!partial.exists());
        }
        let error = pkv(&["export"], &folder.path, &[whole.to_str().unwrap()]).fails(3);
        assert!(error.contains("is there already"), "{error}");
    }
}

#[test]
fn a_full_disk_leaves_the_part_and_says_how_to_go_on() {
    let folder = nowhere();
    let store: Store<u64, Vec<u8>> = Options::new().open(&folder.path).unwrap();
    for i in 0..2_000 {
        store.insert(&i, &vec![7; 1000]).unwrap();
    }
    store.close().unwrap();
    let file = beside(&folder, "out.jsonl");
    let script = format!(
        "trap '' XFSZ; ulimit -f 4000; exec {} export '{}' '{}'",
        env!("CARGO_BIN_EXE_pkv"),
        folder.path.display(),
        file.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("--resume") && !file.exists(), "{error}");
    let report = pkv(&["export", "--resume", "--json"], &folder.path, &[file.to_str().unwrap()])
        .exits(0)
        .json();
    assert_eq!(report["records"], 2_000);
    assert!(report["records_resumed"].as_u64().unwrap() > 0, "{report}");
    let keys: std::collections::BTreeSet<u64> = lines(&file)
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].as_u64().unwrap())
        .collect();
    assert_eq!(keys.len(), 2_000);
}

#[test]
fn an_import_needs_the_store_for_itself_and_its_types() {
    let folder = nowhere();
    let file = beside(&folder, "in.jsonl");
    fs::write(&file, "{\"key\":\"a\",\"value\":1}\n").unwrap();
    pkv(&["import"], &folder.path, &[file.to_str().unwrap()]).fails(3);
    assert!(!folder.path.exists());
    let store = open(&folder.path);
    store.insert("a", &5).unwrap();
    pkv(&["import"], &folder.path, &[file.to_str().unwrap()]).fails(4);
    store.close().unwrap();
    let error =
        pkv(&["import", "--types", "string,string"], &folder.path, &[file.to_str().unwrap()])
            .fails(3);
    assert!(error.contains("u64"), "{error}");
    pkv(&["import"], &folder.path, &[file.to_str().unwrap()]).exits(0);
    assert_eq!(open(&folder.path).get("a").unwrap(), Some(1));
}
