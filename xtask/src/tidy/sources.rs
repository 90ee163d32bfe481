//! Rules for the text of sources: where I/O and printing may stand, characters, sizes, step numbers.

use super::rust::{code_only, lines_with_word, without_tests};
use super::{Finding, TextFile, Tree};

/// The one library crate that does I/O and may hold unsafe code.
const FILE_SYSTEM: &str = "pkv-fs";
/// Programs outside the crates that deny unsafe code and cannot forbid it, each with the reason.
const UNSAFE_DENIED: &[(&str, &str)] =
    &[("benches/peers/src/main.rs", "LMDB can be opened by an unsafe call alone")];
/// The one crate below crates/ that talks to people.
const COMMAND_LINE: &str = "pkv-admin";

/// Files that may hold more than ASCII, and why.
const NOT_ASCII: &[(&str, &str)] = &[];

const LINES_MAX: usize = 600;
/// Files that may be longer than [`LINES_MAX`], and why they are better in one piece.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "crates/pkv-store/src/map/chunk.rs",
        "one structure, with the invariants that hold its parts together",
    ),
    ("crates/pkv-store/src/map/tests.rs", "many short tests of one type, with their helpers"),
    ("crates/pkv-store/tests/it/api.rs", "a list of short tests, one for each call"),
    (
        "crates/pkv-store/tests/it/expiring.rs",
        "a list of short tests, one for each call and each race",
    ),
    (
        "crates/pkv-store/tests/it/backup.rs",
        "a list of tests of one promise, with the writers that they share",
    ),
    ("crates/pkv-store/tests/it/damage.rs", "a list of short tests, one for each kind of damage"),
    ("xtask/src/mutants/planted.rs", "a list of bugs, one after the other"),
];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in &tree.files {
        check_characters(file, findings);
        if file.is_rust() {
            check_length(file, findings);
            check_steps(file, findings);
            check_library(file, findings);
        }
    }
    check_forbidden_unsafe(tree, findings);
    check_reachable(tree, findings);
    check_allow_lists(tree, findings);
}

fn check_characters(file: &TextFile, findings: &mut Vec<Finding>) {
    let may_be_more_than_ascii = NOT_ASCII.iter().any(|(path, _)| *path == file.path);
    let is_rust = file.is_rust();
    // Put together here, so that this file does not find itself.
    let postponed = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for (number, line) in (1..).zip(file.text.lines()) {
        let mut find = |what: &str| findings.push(Finding::new(&file.path, number, what));
        if !line.is_ascii() && !may_be_more_than_ascii {
            find("plain ASCII only");
        }
        if line.ends_with([' ', '\t', '\r']) {
            find("a blank at the end");
        }
        if is_rust && line.contains('\t') {
            find("a tab");
        }
        if postponed.iter().any(|word| lines_with_word(line, word).next().is_some()) {
            find("do it, or open an issue");
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        findings.push(Finding::new(&file.path, file.text.lines().count(), "no newline at the end"));
    }
}

fn check_length(file: &TextFile, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > LINES_MAX && !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
        let what = format!(
            "{lines} lines, more than {LINES_MAX}: split it, or give a reason in LONG_FILES"
        );
        findings.push(Finding::new(&file.path, 0, what));
    }
}

/// An entry of an allow list that allows nothing any more is stale.
fn check_allow_lists(tree: &Tree, findings: &mut Vec<Finding>) {
    for (path, _) in LONG_FILES {
        if tree.get(path).is_none_or(|file| file.text.lines().count() <= LINES_MAX) {
            findings.push(Finding::new(path, 0, "is in LONG_FILES and need not be"));
        }
    }
    for (path, _) in NOT_ASCII {
        if tree.get(path).is_none_or(|file| file.text.is_ascii()) {
            findings.push(Finding::new(path, 0, "is in NOT_ASCII and need not be"));
        }
    }
}

/// One function's numbered steps: their line, first and last number.
type Steps = Vec<(usize, u32, u32)>;

/// Steps that comments number (`// 1.`, `// 2. and 3.`, `// 4. to 6.`) rise in each function and leave none
/// out. Two branches may both hold the same step. A function that begins above 1 takes
/// over steps of another one in its file, which leaves these to it.
fn check_steps(file: &TextFile, findings: &mut Vec<Finding>) {
    let functions = steps_of_functions(&file.text);
    let begins_at_one = |steps: &&Steps| steps.first().is_some_and(|(_, from, _)| *from == 1);
    let numbers =
        |steps: &Steps| steps.iter().flat_map(|(_, from, to)| *from..=*to).collect::<Vec<_>>();
    let (main, helpers): (Vec<_>, Vec<_>) = functions.iter().partition(begins_at_one);
    let main_numbers: Vec<u32> = main.iter().flat_map(|steps| numbers(steps)).collect();
    let helper_numbers: Vec<u32> = helpers.iter().flat_map(|steps| numbers(steps)).collect();
    let mut find = |line: usize, from: u32, last: u32| {
        findings.push(Finding::new(&file.path, line, format!("step {from} follows step {last}")));
    };
    for steps in &functions {
        let is_main = begins_at_one(&steps);
        let mut last = 0;
        for &(line, from, to) in steps {
            let is_first_of_helper = !is_main && last == 0;
            let is_in_order = match from {
                _ if is_first_of_helper => main_numbers.contains(&(from - 1)),
                _ if from <= last + 1 => from >= last,
                _ => is_main && (last + 1..from).all(|left_out| helper_numbers.contains(&left_out)),
            };
            if !is_in_order {
                find(line, from, last);
            }
            last = to;
        }
    }
}

fn steps_of_functions(text: &str) -> Vec<Steps> {
    let code = code_only(text);
    let mut functions = vec![Steps::new()];
    for ((number, line), code) in (1..).zip(text.lines()).zip(code.lines()) {
        if lines_with_word(code, "fn").next().is_some() {
            functions.push(Steps::new());
        }
        if let (Some((from, to)), Some(steps)) = (step_numbers(line), functions.last_mut()) {
            steps.push((number, from, to));
        }
    }
    functions
}

/// The first and last number of a line such as `// 3. Sync the folder.`
fn step_numbers(line: &str) -> Option<(u32, u32)> {
    let (from, rest) = step_number(line.trim_start().strip_prefix("// ")?)?;
    let range = rest.strip_prefix(" and ").or(rest.strip_prefix(" to "));
    let to = range.and_then(step_number).map_or(from, |(to, _)| to);
    (from > 0).then_some((from, to))
}

fn step_number(text: &str) -> Option<(u32, &str)> {
    let (number, rest) = text.split_once('.')?;
    let is_end = rest.is_empty() || rest.starts_with(' ');
    Some((number.parse().ok()?, rest)).filter(|_| is_end)
}

/// What library code below crates/ must leave to pkv-fs, and to its callers.
fn check_library(file: &TextFile, findings: &mut Vec<Finding>) {
    let Some((name, _)) = library_source(&file.path) else { return };
    let code = without_tests(&code_only(&file.text));
    if name != FILE_SYSTEM {
        for line in lines_with_word(&code, "unsafe") {
            findings.push(Finding::new(&file.path, line, "unsafe code belongs in pkv-fs"));
        }
        for line in uses_of_std_fs(&code) {
            findings.push(Finding::new(
                &file.path,
                line,
                "go through pkv_fs::Fs: std::fs belongs in pkv-fs",
            ));
        }
    }
    if name != COMMAND_LINE {
        for printing in ["print!", "println!", "eprint!", "eprintln!", "dbg!"] {
            for line in lines_with_word(&code, printing) {
                findings.push(Finding::new(&file.path, line, "a library does not print"));
            }
        }
    }
}

/// `crates/NAME/src/REST` as (NAME, REST).
fn library_source(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("crates/")?.split_once("/src/")
}

/// The lines that say `std::fs`, or `fs` inside of `std::{..}`.
fn uses_of_std_fs(code: &str) -> Vec<usize> {
    let mut lines: Vec<usize> = lines_with_word(code, "std::fs").collect();
    for (at, group) in code.match_indices("std::{") {
        let from = code.get(at + group.len()..).unwrap_or("");
        let inside = from.split(';').next().unwrap_or("");
        if lines_with_word(inside, "fs").next().is_some() {
            lines.push(code.get(..at).unwrap_or("").lines().count().max(1));
        }
    }
    lines
}

/// The roots of all our crates but pkv-fs forbid unsafe code, which clippy cannot ask for.
fn check_forbidden_unsafe(tree: &Tree, findings: &mut Vec<Finding>) {
    let except = format!("crates/{FILE_SYSTEM}/");
    for file in &tree.files {
        let is_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
        let is_excepted = UNSAFE_DENIED.iter().any(|(path, _)| *path == file.path);
        let level = if is_excepted { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        let is_there = code_only(&file.text).contains(level);
        if is_root && !file.path.starts_with(&except) && !is_there {
            findings.push(Finding::new(&file.path, 0, format!("lacks {level}")));
        }
    }
}

/// Every source belongs to its crate by a chain of `mod`: a file that nobody names is dead.
fn check_reachable(tree: &Tree, findings: &mut Vec<Finding>) {
    let is_root = |rest: &str| matches!(rest, "lib.rs" | "main.rs") || rest.starts_with("bin/");
    let sources = || tree.files.iter().filter(|file| file.path.contains("src/") && file.is_rust());
    let mut reached: Vec<&str> = Vec::new();
    let mut open: Vec<&TextFile> = sources()
        .filter(|file| file.path.split_once("src/").is_some_and(|(_, rest)| is_root(rest)))
        .collect();
    while let Some(file) = open.pop() {
        reached.push(&file.path);
        for module in modules(&code_only(&file.text)) {
            let folder = module_folder(&file.path);
            let as_file = format!("{folder}{module}.rs");
            let as_folder = format!("{folder}{module}/mod.rs");
            open.extend(tree.get(&as_file).or_else(|| tree.get(&as_folder)));
        }
    }
    for file in sources().filter(|file| !reached.contains(&file.path.as_str())) {
        findings.push(Finding::new(&file.path, 0, "no `mod` leads here"));
    }
}

/// The modules that this code keeps in files of their own.
fn modules(code: &str) -> Vec<&str> {
    let declared = |line: &str| -> bool {
        let words =
            line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        words.trim_start_matches("pub ").starts_with("mod ")
    };
    let lines = code.lines().filter(|line| declared(line));
    lines.filter_map(|line| line.split_once("mod ")?.1.trim_end().strip_suffix(';')).collect()
}

/// Where the modules of this file lie: `src/` for `src/lib.rs`, `src/log/` for `src/log.rs`.
fn module_folder(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/"),
        _ => format!("{folder}/{}/", name.trim_end_matches(".rs")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines_found;
    use super::*;

    const NOTHING: [usize; 0] = [];

    fn each(rule: fn(&TextFile, &mut Vec<Finding>), path: &str, text: &str) -> Vec<usize> {
        let mut findings = Vec::new();
        rule(&TextFile { path: path.into(), text: text.into() }, &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn bad_characters_are_found() {
        assert_eq!(each(check_characters, "a.md", "good\nna\u{ef}ve\nblank \n"), [2, 3]);
        assert_eq!(each(check_characters, "a.rs", "\tx\n"), [1]);
        assert_eq!(each(check_characters, "a.toml", "\tx\n"), NOTHING);
        assert_eq!(each(check_characters, "a.rs", "x"), [1]);
        assert_eq!(
            each(check_characters, "a.rs", concat!("// TO", "DO: later\n// FIX", "ME\n// fine\n")),
            [1, 2]
        );
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(each(check_length, "a.rs", &"\n".repeat(LINES_MAX + 1)), [0]);
        assert_eq!(each(check_length, "a.rs", &"\n".repeat(LINES_MAX)), NOTHING);
    }

    #[test]
    fn gaps_between_steps_are_found() {
        let steps =
            |text: &str| each(check_steps, "a.rs", &text.replace(' ', "\n").replace('_', " "));
        let good = "fn_a //_1. //_2. //_2. //_3._why fn_b //_1. //_1.5_is_none";
        assert_eq!(steps(good), NOTHING);
        assert_eq!(steps("fn_a //_1. //_2._and_3. //_4._to_6. //_7."), NOTHING);
        assert_eq!(steps("fn_a //_1. //_3. //_4."), [3]);
        assert_eq!(steps("fn_a //_1. //_2._and_3. //_5."), [4]);
        assert_eq!(steps("fn_a //_1. //_2. //_1."), [4]);
        assert_eq!(steps("fn_a //_1. fn_b //_3."), [4]);
        // Steps that a function leaves to another one.
        assert_eq!(steps("fn_a //_1. //_4. fn_b //_2. //_3."), NOTHING);
        assert_eq!(steps("fn_a //_1. fn_b //_2. //_3."), NOTHING);
        assert_eq!(steps("fn_a //_1. //_4. fn_b //_2. //_4."), [3, 6]);
        assert_eq!(steps("fn_a //_1. //_3. fn_b //_1. //_2. //_3."), [3]);
    }

    #[test]
    fn files_printing_and_unsafe_in_a_library_are_found() {
        let text = "use std::fs::File;\nuse std::{\n io,\n fs,\n};\nfn a() { unsafe { println!(\"x\") } }\n\
            // std::fs and unsafe in words\n#[cfg(test)]\nmod tests { use std::fs; fn t() { println!() } }\n";
        let mut lines = each(check_library, "crates/pkv-store/src/log.rs", text);
        lines.sort_unstable();
        assert_eq!(lines, [1, 2, 6, 6]);
        assert_eq!(each(check_library, "crates/pkv-fs/src/std_fs.rs", text), [6]);
        assert_eq!(each(check_library, "crates/pkv-store/tests/it/main.rs", text), NOTHING);
        assert_eq!(
            each(check_library, "crates/pkv-admin/src/main.rs", "fn a() { println!() }\n"),
            NOTHING
        );
    }

    #[test]
    fn a_crate_that_allows_unsafe_code_is_found() {
        let rule = check_forbidden_unsafe;
        assert_eq!(
            lines_found(
                rule,
                "crates/pkv-store/src/lib.rs",
                "mod a;\n// #![forbid(unsafe_code)]\n"
            ),
            [0]
        );
        assert_eq!(lines_found(rule, "xtask/src/main.rs", "#![forbid(unsafe_code)]\n"), NOTHING);
        assert_eq!(lines_found(rule, "crates/pkv-fs/src/lib.rs", "mod a;\n"), NOTHING);
        let excepted = "benches/peers/src/main.rs";
        assert_eq!(lines_found(rule, excepted, "#![deny(unsafe_code)]\n"), NOTHING);
        assert_eq!(lines_found(rule, excepted, "mod a;\n"), [0]);
    }

    #[test]
    fn a_source_that_no_mod_names_is_found() {
        let tree = Tree::of(&[
            ("c/src/lib.rs", "mod a;\n#[cfg(test)]\npub(crate) mod b;\n// mod dead;\n"),
            ("c/src/a.rs", "mod inner;\nmod inline { }\n"),
            ("c/src/a/inner.rs", ""),
            ("c/src/b/mod.rs", "pub mod c;\n"),
            ("c/src/b/c.rs", ""),
            ("c/src/dead.rs", ""),
            ("c/src/a/dead.rs", ""),
        ]);
        let mut findings = Vec::new();
        check_reachable(&tree, &mut findings);
        let paths: Vec<_> = findings.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["c/src/dead.rs", "c/src/a/dead.rs"]);
    }
}
