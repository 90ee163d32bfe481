//! The speeds that are aimed at, by hand on a machine with nothing else to do:
//! `cargo test --release -p pkv-admin --test it -- --ignored speed --nocapture`.

use std::fs;
use std::io::Write;
use std::time::Instant;

use pkv_admin::{Folder, Import, InputFormat, import, verify};
use pkv_store::Store;

use crate::folders::nowhere;

const RECORDS: u32 = 2_000_000;

#[test]
#[ignore = "a figure, which says nothing on a busy machine"]
fn speed_of_import_and_verify() {
    let key = |i: u32| format!("key {i:012}");
    let value = |i: u32| format!("{i:0>100}");

    let plain = nowhere();
    let store: Store<String, String> = Store::open(&plain.path).unwrap();
    let entries: Vec<(String, String)> = (0..RECORDS).map(|i| (key(i), value(i))).collect();
    let started = Instant::now();
    for (key, value) in &entries {
        store.insert(key, value).unwrap();
    }
    let insert = f64::from(RECORDS) / started.elapsed().as_secs_f64();
    store.close().unwrap();
    drop(entries);

    let imported = nowhere();
    let file = imported.path.with_file_name("in.jsonl");
    let mut out = std::io::BufWriter::new(fs::File::create(&file).unwrap());
    for i in 0..RECORDS {
        writeln!(out, "{{\"key\":\"{}\",\"value\":\"{}\"}}", key(i), value(i)).unwrap();
    }
    drop(out);
    let what = Import {
        file: Some(file),
        format: InputFormat::Json,
        types: Some(("string".into(), "string".into())),
        expiry: false,
        resume: false,
    };
    let report = import(&Folder::at(&imported.path), &what).unwrap();
    let import = f64::from(RECORDS) / report.time.as_secs_f64();

    println!("insert {insert:.0}/s, import {import:.0}/s, ratio {:.2}, aim 0.5", import / insert);
    let mut rates = Vec::new();
    // Logs of single writes, as a store leaves them that goes on; and of batches.
    for folder in [&plain, &imported] {
        let folder = Folder::at(&folder.path);
        verify(&folder).unwrap();
        let started = Instant::now();
        let found = verify(&folder).unwrap();
        assert!(!found.is_damaged());
        let bytes = u32::try_from(found.bytes / 1_000_000).unwrap();
        rates.push(f64::from(bytes) / 1000.0 / started.elapsed().as_secs_f64());
        println!(
            "verify of {bytes} MB, {} frames: {:.2} GB/s, aim 1",
            found.frames,
            rates[rates.len() - 1]
        );
    }
    assert!(import / insert >= 0.5 && rates.iter().all(|rate| *rate >= 1.0));
}
