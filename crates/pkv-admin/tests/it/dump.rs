//! `pkv dump`: every entry, every frame, and nothing that cannot be trusted.

use std::collections::BTreeMap;
use std::fs;

use pkv_store::Store;
use serde_json::{Value, json};

use crate::folders::{closed, empty, flip, killed, nowhere, options};
use crate::run::pkv;

#[test]
fn every_entry_is_a_line() {
    let folder = closed();
    let before = folder.bytes();
    for words in [&["dump"][..], &["dump", "--json"]] {
        let lines = pkv(words, &folder.path, &[]).exits(0).json_lines();
        let entries: BTreeMap<String, u64> = lines
            .iter()
            .map(|line| (line["key"].as_str().unwrap().to_owned(), line["value"].as_u64().unwrap()))
            .collect();
        let expected = (0..40).map(|i| (format!("key {i}"), i)).collect();
        assert_eq!((lines.len(), entries), (40, expected));
    }
    assert_eq!(folder.bytes(), before, "dump changed something");
    assert_eq!(pkv(&["dump"], &empty().path, &[]).exits(0).out, "");
}

#[test]
fn keys_and_values_are_shown_by_their_types() {
    let folder = nowhere();
    let store: Store<i64, Vec<u8>> = options().open(&folder.path).unwrap();
    store.insert(&-5, &b"\x00\xffa"[..].to_vec()).unwrap();
    store.close().unwrap();
    assert_eq!(
        pkv(&["dump"], &folder.path, &[]).exits(0).out,
        "{\"key\":-5,\"value\":\"00ff61\"}\n"
    );
}

#[test]
fn a_torn_end_is_left_out_and_a_damaged_store_prints_nothing() {
    let folder = killed();
    let log = folder.log();
    let last = fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    flip(&log, last);
    assert_eq!(pkv(&["dump"], &folder.path, &[]).exits(0).json_lines().len(), 39);

    let folder = closed();
    flip(&folder.last("full"), 530);
    let error = pkv(&["dump"], &folder.path, &[]).fails(1);
    assert!(error.contains("damaged at offset 512") && error.contains("pkv verify"), "{error}");
}

/// A log of each kind of frame and operation.
fn varied() -> crate::folders::Folder {
    let folder = nowhere();
    let store: Store<String, u64> = options().open(&folder.path).unwrap();
    store.batch().insert("a", &1).insert("b", &2).commit().unwrap();
    store.remove("a").unwrap();
    store.clear().unwrap();
    store.close().unwrap();
    folder
}

#[test]
fn the_log_is_shown_frame_by_frame() {
    let folder = varied();
    let lines = pkv(&["dump", "--log", "--json"], &folder.path, &[]).exits(0).json_lines();
    let of =
        |kind: &str| -> Vec<&Value> { lines.iter().filter(|line| line["kind"] == kind).collect() };
    assert_eq!((of("header").len(), of("link").len(), of("seal").len()), (1, 1, 1));
    assert_eq!(of("header")[0]["segment_bytes"], 16 * 1024);
    assert_eq!(
        (&of("link")[0]["offset"], &of("link")[0]["previous_ordinal"]),
        (&4096.into(), &0.into())
    );
    let operations: Vec<_> =
        of("data").iter().map(|line| (line["seq"].clone(), line["operations"].clone())).collect();
    assert_eq!(
        operations,
        [
            (json!(1), json!([{"op":"set","key":"a","value":1},{"op":"set","key":"b","value":2}])),
            (json!(2), json!([{"op":"remove","key":"a"}])),
            (json!(3), json!([{"op":"clear"}])),
        ]
    );
    assert_eq!(
        (&of("seal")[0]["watermark"], &of("seal")[0]["next_ordinal"]),
        (&3.into(), &0.into())
    );

    let text = pkv(&["dump", "--log"], &folder.path, &[]).exits(0).out;
    for part in
        ["4096 link: ", "data: write 1; set \"a\" = 1; set \"b\" = 2\n", "write 2; remove \"a\"\n"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        text.contains("write 3; clear\n")
            && text.contains("seal: write 3, synced up to 3, closed\n")
    );
}

#[test]
fn rotated_logs_name_each_other() {
    let lines = pkv(&["dump", "--log", "--json"], &closed().path, &[]).exits(0).json_lines();
    let ordinal = |kind: &str, field: &str| -> Vec<u64> {
        lines
            .iter()
            .filter(|line| line["kind"] == kind)
            .map(|line| line[field].as_u64().unwrap())
            .collect()
    };
    let logs = ordinal("header", "ordinal");
    assert!(logs.len() > 1);
    assert_eq!(ordinal("link", "previous_ordinal")[1..], logs[..logs.len() - 1]);
    // By a successor record, by the seal, or by both.
    let named = [ordinal("successor", "next_ordinal"), ordinal("seal", "next_ordinal")].concat();
    assert!(logs[1..].iter().all(|log| named.contains(log)), "{named:?}");
}

#[test]
fn bad_places_of_a_log_are_lines_too() {
    let folder = varied();
    let log = folder.last("diff");
    let link_bytes = 48;
    flip(&log, 4096 + link_bytes + 24);
    let lines = pkv(&["dump", "--log", "--json"], &folder.path, &[]).exits(0).json_lines();
    let bad = lines.iter().find(|line| line["kind"] == "bad").unwrap();
    assert_eq!(
        (&bad["offset"], lines.last().unwrap()["kind"].as_str()),
        (&(4096 + link_bytes).into(), Some("seal"))
    );
    assert!(bad["bytes"].as_u64().unwrap() >= 32, "{bad}");
    assert!(pkv(&["dump", "--log"], &folder.path, &[]).exits(0).out.contains("BAD: "));
    flip(&log, 20);
    let text = pkv(&["dump", "--log"], &folder.path, &[]).exits(1).out;
    assert!(text.contains("BAD: the header's checksum"), "{text}");
}

#[test]
fn a_reader_who_goes_away_is_no_error() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let folder = nowhere();
    let store: Store<u64, Vec<u8>> =
        options().segment_bytes(1 << 20, 1 << 20).open(&folder.path).unwrap();
    for key in 0..100 {
        store.insert(&key, &vec![1; 5_000]).unwrap();
    }
    store.close().unwrap();
    for log in [false, true] {
        let mut command = crate::run::command();
        command.arg("dump").arg(&folder.path).args(log.then_some("--log"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert_eq!((child.wait().unwrap().code(), error.as_str()), (Some(0), ""));
    }
}
