//! The tasks of this workspace: `cargo xtask` lists them.
//!
//! Its own argument parsing and no dependency by default, so that the first task starts in seconds.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to people")]

mod arguments;
mod asan;
mod bench;
mod cargo;
mod checks;
mod ci;
mod crash;
#[cfg(feature = "demo")]
mod demo;
mod fuzz;
#[cfg(feature = "demo")]
mod kill;
mod migrate;
mod miri;
mod mutants;
mod ratchet;
mod stress;
mod tidy;

use std::fmt::Write;
use std::process::ExitCode;

use arguments::Arguments;

/// Why a task failed: one message for people.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The words of the command line are wrong: exit code 2.
    Usage(String),
    /// The task ran and found something: exit code 1.
    Task(String),
    /// This program, started once more, failed with this exit code and said why itself.
    #[cfg(not(feature = "demo"))]
    Told(u8),
}

/// What a task returns.
pub(crate) type Outcome = Result<(), Failure>;

/// Makes a [`Failure::Task`] of any error, with what was tried.
pub(crate) fn failed<E: std::fmt::Display>(
    what: impl std::fmt::Display,
) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Task(format!("{what}: {error}"))
}

struct Command {
    name: &'static str,
    synopsis: &'static str,
    help: &'static str,
    run: fn(Arguments) -> Outcome,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        synopsis: "demo [FILES..] [--kills N] [--seed N]",
        help: "count words in a child that is killed again and again, and compare with a plain count",
        run: run_demo,
    },
    Command {
        name: "test",
        synopsis: "test [--quick]",
        help: "every test, doc test and example; each feature alone (--quick: unit and integration tests only)",
        run: checks::test,
    },
    Command {
        name: "lint",
        synopsis: "lint",
        help: "formatting, clippy and rustdoc, warnings are errors",
        run: checks::lint,
    },
    Command {
        name: "tidy",
        synopsis: "tidy",
        help: "the house rules that no compiler knows: layers, names, documents, step numbers",
        run: tidy::run,
    },
    Command {
        name: "ci",
        synopsis: "ci [--skip STEP]..",
        help: "lint, tidy, ratchet, fuzz, crash, stress, kill, demo, test; stops at the first failure",
        run: ci::run,
    },
    Command {
        name: "bench",
        synopsis: "bench [NAME].. [--quick] [..]",
        help: "the report against peers, or its rows NAME; `bench micro`; see benches/README.md",
        run: bench::run,
    },
    Command {
        name: "ratchet",
        synopsis: "ratchet [--bless]",
        help: "calls, allocations and instructions of each operation: none may grow by over 3 %",
        run: ratchet::run,
    },
    Command {
        name: "fuzz",
        synopsis: "fuzz [TARGET] [--seconds N] [..]",
        help: "fuzz one target or each, --jobs N at a time (60 s each); --seed N: repeatable",
        run: fuzz::run,
    },
    Command {
        name: "kill",
        synopsis: "kill [--rounds N] [--seed N]",
        help: "kill a process amid its writes N times, and compare with what it was told",
        run: run_kill,
    },
    Command {
        name: "migrate",
        synopsis: "migrate [--entries N]",
        help: "a folder that the real persistent-kv wrote, through `pkv migrate`: are all entries the same?",
        run: migrate::run,
    },
    Command {
        name: "mutants",
        synopsis: "mutants [NAME]",
        help: "plant a bug into a copy of the tree, one at a time: do the tests notice?",
        run: mutants::run,
    },
    Command {
        name: "crash",
        synopsis: "crash [--long] [--part K/N]",
        help: "cut the power, fail calls, damage bytes: 100,000 states of a simulated disk (--long: 10,000,000)",
        run: crash::run,
    },
    Command {
        name: "asan",
        synopsis: "asan",
        help: "the tests of pkv-fs and pkv-store with AddressSanitizer",
        run: asan::run,
    },
    Command {
        name: "miri",
        synopsis: "miri [--seeds N]",
        help: "what is read without a lock, with N draws of what the memory model allows (nightly's Miri)",
        run: miri::run,
    },
    Command {
        name: "stress",
        synopsis: "stress [--schedules N]",
        help: "the store's threads in N orders for each test, one at a time; then all at once, with random pauses",
        run: stress::run,
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    let arguments = Arguments::new(words.collect());
    let outcome = match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(arguments),
        #[cfg(feature = "demo")]
        None if name == demo::CHILD_COMMAND => demo::run_child(arguments),
        #[cfg(feature = "demo")]
        None if name == kill::CHILD_COMMAND => kill::run_child(arguments),
        None if matches!(name.as_str(), "help" | "--help" | "-h") => {
            print!("{}", help());
            Ok(())
        }
        None => Err(Failure::Usage(format!("there is no task `{name}`"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        #[cfg(not(feature = "demo"))]
        Err(Failure::Told(code)) => ExitCode::from(code),
        Err(Failure::Task(message)) => {
            eprintln!("xtask {name}: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprint!("xtask: {message}\n\n{}", help());
            ExitCode::from(2)
        }
    }
}

fn help() -> String {
    let width = COMMANDS.iter().map(|command| command.synopsis.len()).max().unwrap_or(0);
    let mut text = String::from("cargo xtask TASK\n\n");
    for command in COMMANDS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:width$}  {}", command.synopsis, command.help);
    }
    text
}

/// What needs the store, optimised: this program once more, with its feature `demo`.
#[cfg(not(feature = "demo"))]
fn run_with_store(task: &str, arguments: Arguments) -> Outcome {
    let words = ["run", "--quiet", "--release", "--package", "xtask", "--features", "demo", "--"];
    cargo::Cargo::new(words)
        .in_current_directory()
        .arguments([task.to_owned()])
        .arguments(arguments.into_words())
        .run_as_this()
}

#[cfg(not(feature = "demo"))]
fn run_demo(arguments: Arguments) -> Outcome {
    run_with_store("demo", arguments)
}

#[cfg(feature = "demo")]
fn run_demo(arguments: Arguments) -> Outcome {
    demo::run(arguments)
}

#[cfg(not(feature = "demo"))]
fn run_kill(arguments: Arguments) -> Outcome {
    run_with_store("kill", arguments)
}

#[cfg(feature = "demo")]
fn run_kill(arguments: Arguments) -> Outcome {
    kill::run(arguments)
}

/// What rustc compiles for here.
pub(crate) fn host_triple() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        std::process::Command::new(rustc).arg("-vV").output().map_err(failed("rustc -vV"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).ok_or_else(|| Failure::Task("rustc -vV names no host".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_command_in_one_line() {
        let help = help();
        for command in COMMANDS {
            let lines = help.lines().filter(|line| line.contains(command.help)).count();
            assert_eq!(lines, 1, "{}", command.name);
            assert!(command.synopsis.starts_with(command.name), "{}", command.name);
        }
        assert!(help.lines().all(|line| line.len() <= 140), "{help}");
    }
}
