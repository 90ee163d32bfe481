//! What must hold before a change is taken, in one command; `.ci/run` calls it.

use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::{Failure, Outcome, checks, crash, fuzz, ratchet, run_demo, run_kill, stress, tidy};

struct Step {
    name: &'static str,
    words: &'static [&'static str],
    run: fn(Arguments) -> Outcome,
}

/// The cheap ones first; the tests last, since what they print is what one reads a log for.
const STEPS: &[Step] = &[
    Step { name: "lint", words: &[], run: checks::lint },
    Step { name: "tidy", words: &[], run: tidy::run },
    Step { name: "ratchet", words: &[], run: ratchet::run },
    // With a seed: a change that is taken must not fail the next time for something that it did not bring.
    Step {
        name: "fuzz",
        words: &["--seconds", "20", "--jobs", "3", "--seed", "1", "--if-possible"],
        run: fuzz::run,
    },
    Step { name: "crash", words: &[], run: crash::run },
    Step { name: "stress", words: &["--schedules", "1000"], run: stress::run },
    Step { name: "kill", words: &["--rounds", "50"], run: run_kill },
    Step { name: "demo", words: &["--kills", "7"], run: run_demo },
    Step { name: "test", words: &[], run: checks::test },
];

pub(crate) fn run(mut arguments: Arguments) -> Outcome {
    let mut skipped = Vec::new();
    while let Some(name) = arguments.value::<String>("--skip")? {
        if !STEPS.iter().any(|step| step.name == name) {
            return Err(Failure::Usage(format!("--skip: there is no step `{name}`")));
        }
        skipped.push(name);
    }
    arguments.finish()?;

    let mut done: Vec<(&str, Duration)> = Vec::new();
    for step in STEPS.iter().filter(|step| !skipped.iter().any(|name| name == step.name)) {
        println!("\n== {}", step.name);
        let words = step.words.iter().map(|&word| word.to_owned()).collect();
        let start = Instant::now();
        let outcome = (step.run)(Arguments::new(words));
        done.push((step.name, start.elapsed()));
        if outcome.is_err() {
            println!("\n{}", times(&done));
            return outcome;
        }
    }
    println!("\n{}", times(&done));
    Ok(())
}

fn times(done: &[(&str, Duration)]) -> String {
    let each = done.iter().map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64()));
    each.collect::<Vec<_>>().join(", ")
}
