//! `pkv stat`: says what is there, also beside a writer and where opening would fail.

use std::fs;

use crate::folders::{closed, empty, fill, flip, killed, nowhere, open};
use crate::run::{fields, pkv};

#[test]
fn it_says_what_is_in_a_closed_store() {
    let folder = closed();
    let before = folder.bytes();
    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!(
        fields(&stat),
        [
            "contents",
            "expiry",
            "foreign",
            "format_version",
            "key_schema",
            "older_value_schemas",
            "opener",
            "path",
            "problem",
            "salvage",
            "snapshots",
            "store_id",
            "value_schema"
        ]
    );
    let contents = &stat["contents"];
    assert_eq!(
        fields(contents),
        [
            "dead_bytes",
            "deadlines",
            "entries",
            "expired",
            "last_seq",
            "log_bytes",
            "payload_bytes",
            "torn",
            "watermark"
        ]
    );
    assert_eq!((&contents["entries"], &contents["last_seq"]), (&40.into(), &60.into()));
    // "key 0" to "key 9" and "key 10" to "key 39", eight bytes each value.
    assert_eq!(contents["payload_bytes"], 10 * 5 + 30 * 6 + 40 * 8);
    let newest = fs::metadata(folder.last("diff")).unwrap().len();
    assert_eq!(contents["log_bytes"], newest);
    // A closed store's files have no reserved space: what is not live is dead.
    let fulls = folder.files("full");
    let current: u64 = fulls[2..].iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let dead = current + newest - contents["payload_bytes"].as_u64().unwrap();
    assert_eq!(contents["dead_bytes"], dead);
    assert_eq!((&stat["key_schema"], &stat["value_schema"]), (&"string".into(), &"u64".into()));
    assert_eq!((&stat["format_version"], &stat["problem"]), (&2.into(), &serde_json::Value::Null));
    assert_eq!(stat["store_id"].as_str().unwrap().len(), 32);
    assert_eq!(stat["opener"]["pid"], std::process::id());

    let snapshots = stat["snapshots"].as_array().unwrap();
    let fulls: Vec<_> = snapshots.iter().filter(|one| one["type"] == "full").collect();
    assert_eq!(fields(fulls[0]), ["bytes", "files", "ordinal", "role", "shards", "type"]);
    assert_eq!((&fulls[0]["role"], &fulls[1]["role"]), (&"backup".into(), &"current".into()));
    assert_eq!((&fulls[0]["shards"], &fulls[0]["files"]), (&2.into(), &2.into()));

    let text = pkv(&["stat"], &folder.path, &[]).exits(0).out;
    for line in ["types           string to u64\n", "entries         40\n", "last write      60\n"]
    {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(folder.bytes(), before, "stat changed something");
}

#[test]
fn an_empty_store_has_nothing_in_it() {
    let stat = pkv(&["stat", "--json"], &empty().path, &[]).exits(0).json();
    assert_eq!(
        (&stat["contents"]["entries"], &stat["contents"]["last_seq"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn it_works_beside_a_writer_and_says_who_that_is() {
    let folder = nowhere();
    let store = open(&folder.path);
    fill(&store, 0..7);
    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!(stat["contents"]["entries"], 7);
    assert_eq!(stat["opener"]["pid"], std::process::id());
    assert_eq!(stat["opener"]["running"], true);
    let text = pkv(&["stat"], &folder.path, &[]).exits(0).out;
    assert!(text.contains(&format!("process {}, which is running", std::process::id())), "{text}");
    fill(&store, 7..9);
    store.close().unwrap();

    // No process has this id: it is over every limit that Linux knows.
    fs::write(folder.path.join("snapshots.lock"), "pid 4194999\n                    ").unwrap();
    let text = pkv(&["stat"], &folder.path, &[]).exits(0).out;
    assert!(text.contains("process 4194999, which is gone"), "{text}");
}

#[test]
fn a_torn_end_is_shown_and_is_no_fault() {
    let folder = killed();
    let log = folder.log();
    let bytes = fs::read(&log).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    flip(&log, last);
    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(0).json();
    let torn = &stat["contents"]["torn"];
    assert_eq!(fields(torn), ["bytes_dropped", "offset", "path", "reason", "seq"]);
    assert_eq!((&torn["seq"], &stat["contents"]["last_seq"]), (&40.into(), &39.into()));
    let text = pkv(&["stat"], &folder.path, &[]).exits(0).out;
    assert!(text.contains("torn end") && text.contains("write 40"), "{text}");
}

#[test]
fn a_folder_that_will_not_open_is_listed_with_the_reason() {
    let folder = closed();
    flip(&folder.last("full"), 530);
    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(1).json();
    assert_eq!(stat["contents"], serde_json::Value::Null);
    assert!(stat["problem"].as_str().unwrap().contains("damaged at offset 512"), "{stat}");
    // The snapshot before it and the logs from there are whole.
    assert_eq!(
        (&stat["salvage"]["entries"], &stat["salvage"]["complete"]),
        (&40.into(), &true.into())
    );
    let files: u64 = stat["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["files"].as_u64().unwrap())
        .sum();
    assert_eq!(files, u64::try_from(folder.names().len()).unwrap() - 1);
    assert_eq!(stat["key_schema"], "string");

    let folder = closed();
    fs::remove_file(folder.last("full")).unwrap();
    let text = pkv(&["stat"], &folder.path, &[]).exits(1).out;
    assert!(text.contains("will not open"), "{text}");
    assert!(text.contains("could be saved") && text.contains("pkv salvage --dry-run"), "{text}");
    let is_row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        cells.get(1) == Some(&"full") && cells.get(3..5) == Some(&["2", "1"][..])
    };
    assert!(text.lines().any(is_row), "{text}");
}
