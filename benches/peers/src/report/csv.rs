//! The figures as CSV, every round and each row.

use std::fmt::Write;

use super::verdict::{advantages, known};
use super::{Outcome, Report};
use crate::jobs::Job;
use crate::statistics::Spread;

/// One line for each round of each job of each row.
pub(super) fn measurements(report: &Report) -> String {
    let mut text = String::from(
        "row,title,figure,unit,label,engine,durability,entries,threads,value_bytes,keys,round,value\n",
    );
    for outcome in &report.outcomes {
        for (label, job, figures) in sides(outcome) {
            for (round, figure) in (1..).zip(figures) {
                let row = &outcome.row;
                let unit = row.unit.name();
                let words = [row.name, &row.title, row.figure, unit, label, job.engine.name()];
                let words = words.map(quoted).join(",");
                let numbers = [job.entries, job.threads, job.value_bytes].map(|n| n.to_string());
                let value = figure.map_or(String::new(), |figure| figure.to_string());
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "{words},{},{},{},{round},{value}",
                    job.level.name(),
                    numbers.join(","),
                    job.keys.name()
                );
            }
        }
    }
    text
}

/// One line for each side of each row.
pub(super) fn rows(report: &Report) -> String {
    let mut text = String::from(
        "row,title,figure,unit,label,min,median,max,ratio_min,ratio_median,ratio_max,goal,reached\n",
    );
    for outcome in &report.outcomes {
        let row = &outcome.row;
        for (at, (label, _, figures)) in sides(outcome).into_iter().enumerate() {
            let figures_known = known(figures);
            let ratios = match at {
                0 => Vec::new(),
                _ => advantages(row, &outcome.measured.ours, figures),
            };
            let against = (at > 0).then_some(label);
            let verdict =
                outcome.verdicts.iter().find(|verdict| verdict.against.as_deref() == against);
            let words = [row.name, &row.title, row.figure, row.unit.name(), label];
            let _ = writeln!(
                text,
                "{},{},{},{},{}",
                words.map(quoted).join(","),
                spread(&figures_known),
                spread(&ratios),
                quoted(verdict.map_or("", |verdict| verdict.goal.as_str())),
                verdict.map_or("", |verdict| if verdict.is_reached { "yes" } else { "no" })
            );
        }
        for verdict in &outcome.verdicts {
            let is_of_all = |label: &str| row.others.iter().all(|other| other.label != label);
            if let Some(against) = verdict.against.as_deref().filter(|label| is_of_all(label)) {
                let words = [row.name, &row.title, row.figure, row.unit.name(), against];
                let reached = if verdict.is_reached { "yes" } else { "no" };
                let words = words.map(quoted).join(",");
                let ratio = verdict
                    .ratio
                    .map_or(",,".into(), |r| format!("{},{},{}", r.min, r.median, r.max));
                let _ = writeln!(text, "{words},,,,{ratio},{},{reached}", quoted(&verdict.goal));
            }
        }
    }
    text
}

/// Ours first, then the others.
pub(super) fn sides(outcome: &Outcome) -> Vec<(&str, Job, &[Option<f64>])> {
    let ours = ("pkv", outcome.row.ours, outcome.measured.ours.as_slice());
    let others = outcome.row.others.iter().zip(&outcome.measured.others);
    let others =
        others.map(|(other, figures)| (other.label.as_str(), other.job, figures.as_slice()));
    std::iter::once(ours).chain(others).collect()
}

fn spread(figures: &[f64]) -> String {
    Spread::of(figures)
        .map_or(",,".into(), |spread| format!("{},{},{}", spread.min, spread.median, spread.max))
}

fn quoted(word: &str) -> String {
    if word.contains([',', '"', '\n']) {
        return format!("\"{}\"", word.replace('"', "\"\""));
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    /// How many fields a line has, by the rules of RFC 4180.
    fn fields(line: &str) -> usize {
        let mut is_quoted = false;
        1 + line
            .chars()
            .filter(|c| {
                is_quoted ^= *c == '"';
                *c == ',' && !is_quoted
            })
            .count()
    }

    #[test]
    fn every_line_has_as_many_fields_as_the_head() {
        let report = example();
        for text in [measurements(&report), rows(&report)] {
            let head = fields(text.lines().next().unwrap());
            assert!(text.lines().count() > 5);
            assert!(text.lines().all(|line| fields(line) == head), "{text}");
        }
    }

    #[test]
    fn a_round_that_failed_has_an_empty_value() {
        assert!(measurements(&example()).lines().any(|line| line.ends_with(",2,")));
    }

    #[test]
    fn commas_and_quotes_are_quoted() {
        assert_eq!(
            [quoted("a,b"), quoted("say \"x\""), quoted("plain")],
            ["\"a,b\"", "\"say \"\"x\"\"\"", "plain"]
        );
    }
}
