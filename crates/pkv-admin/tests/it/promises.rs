//! What the README, the manual pages and the completions promise is what the program does: fields of JSON, exit codes,
//! options.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::folders::{closed, flip, killed, nowhere};
use crate::run::{pkv, run};

const README: &str = include_str!("../../README.md");

/// The names in the first column of the table behind this line.
fn documented(heading: &str) -> BTreeSet<String> {
    let mut lines = README.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "the README has no line {heading:?}");
    let rows = lines.skip_while(|line| !line.starts_with('|')).skip(2);
    let cells = rows.take_while(|line| line.starts_with('|'));
    let mut names = BTreeSet::new();
    for cell in cells.filter_map(|row| row.split('|').nth(1)) {
        let mut group = String::new();
        for name in cell.split('`').skip(1).step_by(2) {
            let name = match name.split_once('.') {
                Some(("", rest)) => format!("{group}.{rest}"),
                Some((before, _)) => {
                    before.clone_into(&mut group);
                    name.to_owned()
                }
                None => name.to_owned(),
            };
            names.insert(name);
        }
    }
    names
}

/// The names of an object's fields; those of an object in this field with its name before.
fn shown(value: &Value, inner: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, value) in value.as_object().unwrap() {
        names.insert(name.clone());
        if name == inner {
            let inner = value.as_object().unwrap();
            names.extend(inner.keys().map(|field| format!("{name}.{field}")));
        }
    }
    names
}

#[test]
fn the_fields_of_json_are_those_of_the_readme() {
    let folder = closed();
    let around = folder.path.parent().unwrap().to_path_buf();
    let at = |name: &str| around.join(name).to_str().unwrap().to_owned();
    let json = |words: &[&str], path: &Path, rest: &[&str]| {
        pkv(&[words, &["--json"]].concat(), path, rest).exits(0).json()
    };
    let check = |heading: &str, value: &Value, inner: &str| {
        assert_eq!(shown(value, inner), documented(heading), "{heading}");
    };
    check("`stat`:", &json(&["stat"], &folder.path, &[]), "contents");
    check("`verify`:", &json(&["verify", "--deep"], &folder.path, &[]), "deep");
    check("`backup` and `restore`:", &json(&["backup"], &folder.path, &[&at("backup")]), "");
    let restored = json(&["restore"], Path::new(&at("backup")), &[&at("restored")]);
    check("`backup` and `restore`:", &restored, "");
    check("`salvage`:", &json(&["salvage"], &folder.path, &[&at("saved")]), "");
    check("`salvage`:", &json(&["salvage", "--dry-run"], &folder.path, &[]), "");
    let exported = shown(&json(&["export"], &folder.path, &[&at("out.jsonl")]), "");
    let imported = shown(&json(&["import"], &folder.path, &[&at("out.jsonl")]), "");
    let both: BTreeSet<_> = exported.union(&imported).cloned().collect();
    assert_eq!(both, documented("`import` and `export`:"));
    let heading = "`prune-backups` and `delete-failed-pending-snapshots`:";
    check(heading, &json(&["prune-backups", "--dry-run"], &folder.path, &["1"]), "");
    check(heading, &json(&["delete-failed-pending-snapshots"], &folder.path, &[]), "");
    check("`compact`:", &json(&["compact"], &folder.path, &[]), "");
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/persistent-kv/log/store");
    let words = ["migrate", "persistent-kv", "--types", "string,string"];
    check("`migrate persistent-kv`:", &json(&words, &source, &[&at("migrated")]), "");
    // The small ones stand in a sentence.
    for (words, rest, sentence) in [
        (&["put"][..], &["a", "1"][..], "`put`: `seq` (integer), `existed` (boolean)."),
        (&["del"], &["a"], "`del`: `dry_run` (boolean), `removed` (integer)."),
        (&["incr"], &["a"], "`incr`: `seq`, `value` (integers)."),
    ] {
        assert!(README.contains(sentence), "the README lacks {sentence}");
        for name in shown(&json(words, &folder.path, rest), "") {
            assert!(sentence.contains(&format!("`{name}`")), "{words:?}: {name}");
        }
    }
}

/// The fields of a log's lines, by their kind.
#[test]
fn the_fields_of_log_lines_are_those_of_the_readme() {
    let (folder, torn) = (closed(), killed());
    let log = torn.log();
    let last = std::fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    flip(&log, last);
    let mut kinds = BTreeSet::new();
    for folder in [folder, torn] {
        for line in pkv(&["dump", "--log", "--json"], &folder.path, &[]).exits(0).json_lines() {
            let kind = line["kind"].as_str().unwrap().to_owned();
            let row = README.lines().find(|row| row.starts_with(&format!("| `{kind}` |"))).unwrap();
            for name in shown(&line, "") {
                let is_common = ["file", "offset", "kind"].contains(&name.as_str());
                assert!(is_common || row.contains(&format!("`{name}`")), "{row} lacks {name}");
            }
            kinds.insert(kind);
        }
    }
    assert!(kinds.len() >= 6, "{kinds:?}");
}

/// All commands with the words behind which their options stand.
fn commands() -> Vec<Vec<String>> {
    let of = |words: &[&str]| -> Vec<String> {
        let help = run(words.iter().copied().chain(["--help"])).exits(0).out;
        let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = list.take_while(|line| !line.is_empty());
        let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        names
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    };
    let mut all: Vec<Vec<String>> = of(&[]).into_iter().map(|name| vec![name]).collect();
    all.extend(of(&["migrate"]).into_iter().map(|name| vec!["migrate".to_owned(), name]));
    all
}

#[test]
fn every_command_and_option_is_in_the_manual_the_completions_and_the_readme() {
    let all = commands();
    assert!(all.len() >= 20, "{all:?}");
    for words in &all {
        let help = run(words.iter().map(String::as_str).chain(["--help"])).exits(0).out;
        let options: BTreeSet<&str> = help
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with('-'))
            .flat_map(|line| line.split([' ', ',']))
            .filter(|word| word.starts_with("--"))
            .collect();
        assert!(options.contains("--json"), "{words:?}: {options:?}");
        let page = run(["man", &words.join("-")]).exits(0).out.replace("\\-", "-");
        for option in &options {
            assert!(page.contains(option), "the page of {words:?} lacks {option}");
        }
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let script = run(["completions", shell]).exits(0).out;
            for option in &options {
                let name = option.trim_start_matches('-');
                assert!(script.contains(name), "{shell} lacks {option} of {words:?}");
            }
            assert!(script.contains(words.last().unwrap().as_str()), "{shell} lacks {words:?}");
        }
        assert!(README.contains(&format!("`pkv {}", words[0])), "the README lacks {words:?}");
    }
}

#[test]
fn every_exit_code_of_the_readme_is_one_that_help_tells() {
    let help = run(["--help"]).exits(0).out;
    let table = README.lines().skip_while(|line| !line.starts_with("| code")).skip(2);
    let codes: Vec<&str> = table
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split('|').nth(1).map(str::trim))
        .collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5"]);
    for code in codes {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "{code}"
        );
    }
}

#[test]
fn other_words_that_people_know_do_as_well() {
    let folder = closed();
    assert_eq!(pkv(&["set"], &folder.path, &["a", "1"]).exits(0).out, "OK\n");
    assert_eq!(pkv(&["delete"], &folder.path, &["a"]).exits(0).out, "1\n");
    pkv(&["info"], &folder.path, &[]).exits(0);
    pkv(&["check"], &folder.path, &[]).exits(0);
    pkv(&["check"], &nowhere().path, &[]).fails(3);
}
