//! `ratchet`: counts of calls, allocations and instructions against those that were blessed. Counts, because a machine
//! that checks changes is never quiet enough for seconds; a ratchet, because what was won is not to be lost bit by bit.

use std::process::Command;

use crate::arguments::Arguments;
use crate::cargo::{Cargo, workspace};
use crate::{Failure, Outcome, failed};

const BLESSED: &str = "benches/ratchet.toml";
/// More than this above the blessed count fails; as much below it is worth blessing.
const TOLERANCE: f64 = 0.03;
/// Below this a difference is none: what is 0 may not become a rounding error.
const LEAST: f64 = 0.005;
/// What valgrind counts, which not every machine has.
const OPTIONAL: &str = ".instructions";

const HEAD: &str = "# What the calls of the store cost, in counts: `cargo xtask ratchet` compares, `cargo xtask ratchet --bless`
# writes it anew. Made by benches/counts.rs, which says what each is. Instructions are compared where the compiler and
# the processor are those they were blessed with.

";

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let blesses = arguments.flag("--bless");
    arguments.finish()?;
    let printed = Cargo::new(["bench", "--quiet", "--package", "pkv-benches", "--bench", "counts"])
        .telling()
        .output()?;
    let mut counted = counts(&printed, ' ')?;
    let path = workspace().join(BLESSED);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if blesses && error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(failed(BLESSED))?,
    };
    let blessed = counts(&text, '=')?;
    let machine = machine();
    if !blesses && !text.lines().any(|line| line == machine) {
        println!(
            "skipped: instructions: blessed with another compiler or processor than {machine}"
        );
        counted.retain(|(name, _)| !name.ends_with(OPTIONAL));
    }
    let findings = compare(&blessed, &counted);
    for finding in &findings {
        println!("{finding}");
    }
    if blesses {
        std::fs::write(&path, toml(&machine, &blessed, &counted)).map_err(failed(BLESSED))?;
        println!("ratchet: {BLESSED} says so now");
        return Ok(());
    }
    match findings.iter().filter(|finding| finding.is_worse()).count() {
        0 => {
            println!("ratchet: {} counts, none is worse", counted.len());
            Ok(())
        }
        worse => Err(Failure::Task(format!(
            "{worse} counts are not as {BLESSED} has them. If that is not meant, find what made them grow; if it is, run \
             `cargo xtask ratchet --bless`, commit the file and say why"
        ))),
    }
}

/// What instructions depend on, as a line of the file.
fn machine() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.map_or(Vec::new(), |output| output.stdout);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = processor.map_or("an unknown processor", |(_, name)| name);
    format!("# {} on {processor}", String::from_utf8_lossy(&version).trim())
}

/// A name with its number.
type Count = (String, f64);

/// Lines of `name number` or `"name" = number`; others are none.
fn counts(text: &str, between: char) -> Result<Vec<Count>, Failure> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    lines
        .map(|line| {
            let bad = || Failure::Task(format!("`{line}` is no count"));
            let (name, number) = line.split_once(between).ok_or_else(bad)?;
            let number = number.trim().parse().map_err(|_| bad())?;
            Ok((name.trim().trim_matches('"').to_owned(), number))
        })
        .collect()
}

fn find(counts: &[Count], name: &str) -> Option<f64> {
    counts.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
}

/// One difference.
#[derive(Debug, PartialEq)]
enum Finding {
    Worse(String, f64, f64),
    Better(String, f64, f64),
    /// Counted and not blessed.
    New(String),
    /// Blessed and not counted.
    Gone(String),
    /// Blessed, and not countable here.
    Skipped(String),
}

impl Finding {
    fn is_worse(&self) -> bool {
        matches!(self, Self::Worse(..) | Self::New(_) | Self::Gone(_))
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worse(name, before, now) => {
                write!(f, "WORSE   {name}: {now}, blessed is {before}{}", percent(*before, *now))
            }
            Self::Better(name, before, now) => {
                let percent = percent(*before, *now);
                write!(f, "better  {name}: {now}, blessed is {before}{percent}: worth a --bless")
            }
            Self::New(name) => write!(f, "NEW     {name}: not blessed yet"),
            Self::Gone(name) => write!(f, "GONE    {name}: blessed, and no longer counted"),
            Self::Skipped(name) => write!(f, "skipped {name}: cannot be counted on this machine"),
        }
    }
}

/// By how much, where that can be said.
fn percent(before: f64, now: f64) -> String {
    if before == 0.0 { String::new() } else { format!(" ({:+.1} %)", 100.0 * (now / before - 1.0)) }
}

fn compare(blessed: &[Count], counted: &[Count]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Without valgrind none of its counts is there; with it, one that is missing is gone.
    let has_optional = counted.iter().any(|(name, _)| name.ends_with(OPTIONAL));
    for (name, before) in blessed {
        let name = name.clone();
        match find(counted, &name) {
            Some(now) if now > before * (1.0 + TOLERANCE) + LEAST => {
                findings.push(Finding::Worse(name, *before, now));
            }
            Some(now) if now < before * (1.0 - TOLERANCE) - LEAST => {
                findings.push(Finding::Better(name, *before, now));
            }
            Some(_) => {}
            None if name.ends_with(OPTIONAL) && !has_optional => {
                findings.push(Finding::Skipped(name));
            }
            None => findings.push(Finding::Gone(name)),
        }
    }
    let new = counted.iter().filter(|(name, _)| find(blessed, name).is_none());
    findings.extend(new.map(|(name, _)| Finding::New(name.clone())));
    findings
}

/// The file to commit. What could not be counted here stays as it was.
fn toml(machine: &str, blessed: &[Count], counted: &[Count]) -> String {
    let kept = compare(blessed, counted).into_iter().filter_map(|finding| match finding {
        Finding::Skipped(name) => find(blessed, &name).map(|number| (name, number)),
        _ => None,
    });
    let all = counted.iter().cloned().chain(kept);
    let lines = all.map(|(name, number)| format!("\"{name}\" = {number:?}\n"));
    format!("{HEAD}{machine}\n\n[counts]\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, f64)]) -> Vec<Count> {
        pairs.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    #[test]
    fn more_is_worse_less_is_better_and_a_little_is_neither() {
        let blessed = of(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 0.0), ("e", 0.0)]);
        let counted = of(&[("a", 103.1), ("b", 96.0), ("c", 102.9), ("d", 0.004), ("e", 0.01)]);
        assert_eq!(
            compare(&blessed, &counted),
            [
                Finding::Worse("a".into(), 100.0, 103.1),
                Finding::Better("b".into(), 100.0, 96.0),
                Finding::Worse("e".into(), 0.0, 0.01),
            ]
        );
    }

    #[test]
    fn a_finding_says_by_how_much() {
        let worse = Finding::Worse("get.calls".into(), 2.0, 3.0).to_string();
        assert_eq!(worse, "WORSE   get.calls: 3, blessed is 2 (+50.0 %)");
        let better = Finding::Better("get.calls".into(), 2.0, 1.0).to_string();
        assert_eq!(better, "better  get.calls: 1, blessed is 2 (-50.0 %): worth a --bless");
        assert!(Finding::Worse("a".into(), 0.0, 3.0).to_string().ends_with("blessed is 0"));
    }

    #[test]
    fn what_is_new_or_gone_fails_and_what_cannot_be_counted_here_does_not() {
        let blessed = of(&[("a", 1.0), ("get.instructions", 400.0)]);
        let findings = compare(&blessed, &of(&[("b", 1.0)]));
        let worse: Vec<bool> = findings.iter().map(Finding::is_worse).collect();
        assert_eq!(
            findings,
            [
                Finding::Gone("a".into()),
                Finding::Skipped("get.instructions".into()),
                Finding::New("b".into())
            ]
        );
        assert_eq!(worse, [true, false, true]);
        let findings = compare(&blessed, &of(&[("a", 1.0), ("set.instructions", 1.0)]));
        assert!(findings.contains(&Finding::Gone("get.instructions".into())));
    }

    #[test]
    fn what_is_blessed_is_read_as_it_was_written() {
        let counted = of(&[("a.calls", 0.0), ("b", 43.5)]);
        let blessed = of(&[("c.instructions", 7.0)]);
        let text = toml("# a compiler", &blessed, &counted);
        assert!(text.lines().any(|line| line == "# a compiler"));
        let read = counts(&text, '=').unwrap();
        assert_eq!(read, of(&[("a.calls", 0.0), ("b", 43.5), ("c.instructions", 7.0)]));
        assert!(compare(&read, &counted).iter().all(|finding| !finding.is_worse()));
        assert!(counts("a = many", '=').is_err());
    }
}
