//! README's table: the figures that have goals, in Markdown.

use std::fmt::Write;

use super::verdict::{BEST, Verdict, advantages, best_of_others, known, shown_short};
use super::{Outcome, Report};
use crate::engines::Engine;
use crate::jobs::Kind;
use crate::rows::{Better, Rank, Row};
use crate::statistics::Spread;
use crate::workload::{KEY_BYTES, VALUE_BYTES};

/// Words of titles that are code.
const CODE: [&str; 7] =
    ["Process", "Power", "get_with", "get_many", "get_many_with", "on_durable", "instant_open"];

/// The text between the marks of README.
pub(super) fn table(report: &Report) -> String {
    let mut text = wrapped(&format!(
        "Printed by `{}` on {}: {}. {KEY_BYTES}-byte random keys, {VALUE_BYTES}-byte values, medians of interleaved \
         rounds; the ratio is pkv / other, with the least and the greatest of a round. What each engine survives is \
         printed with the report.",
        report.command,
        report.date,
        report.machine.description()
    ));
    if report.is_trial {
        text += "\nA trial with few entries: these figures mean nothing.\n";
    }
    if report.is_part {
        text += "\nA part of the report: not all goals are in it.\n";
    }
    text += "\n| figure | pkv | other | ratio |\n|---|---|---|---|\n";
    for outcome in report.outcomes.iter().filter(|outcome| outcome.row.rank == Rank::Goal) {
        add_row(&mut text, outcome);
    }
    text + "\n" + &wrapped(&reached(report))
}

fn add_row(text: &mut String, outcome: &Outcome) {
    let Outcome { row, measured, .. } = outcome;
    let unit = row.unit.name();
    let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    let title = format!("{}{unit}", with_code(&row.title));
    let shown = |figures: &[Option<f64>]| {
        Spread::of(&known(figures)).map_or("failed".into(), |spread| row.unit.show(spread.median))
    };
    let ours = shown(&measured.ours);
    let mut lines: Vec<String> = Vec::new();
    for (label, figures) in compared(outcome) {
        let ratio = Spread::of(&quotients(row, &measured.ours, &figures));
        let ratio = ratio.map_or(String::new(), |ratio| ratio.to_string());
        lines.push(format!("; {label} | {ours} | {} | {ratio} |", shown(&figures)));
    }
    if lines.is_empty() {
        lines.push(format!(" | {ours} | | |"));
    }
    for (at, line) in lines.iter().enumerate() {
        let figure = if at == 0 { title.as_str() } else { "the same" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {figure}{line}");
    }
}

/// With what a line of README compares: those with a goal, else the first that stands beside.
fn compared(outcome: &Outcome) -> Vec<(String, Vec<Option<f64>>)> {
    let Outcome { row, measured, .. } = outcome;
    let others = row.others.iter().zip(&measured.others);
    let mut compared: Vec<(String, Vec<Option<f64>>)> = Vec::new();
    for (other, figures) in others.clone().filter(|(other, _)| other.at_least.is_some()) {
        let forgets = matches!(other.job.engine, Engine::DashMap | Engine::Papaya)
            && matches!(row.ours.kind, Kind::Insert | Kind::Overwrite);
        let suffix = if forgets { ", no persistence" } else { "" };
        compared.push((format!("{}{suffix}", other.label), figures.clone()));
    }
    if row.best.is_some() {
        compared.push((BEST.into(), best_of_others(row, measured)));
    }
    if compared.is_empty() {
        compared
            .extend(others.take(1).map(|(other, figures)| (other.label.clone(), figures.clone())));
    }
    compared
}

/// Ours / other, in each round.
fn quotients(row: &Row, ours: &[Option<f64>], others: &[Option<f64>]) -> Vec<f64> {
    let advantages = advantages(row, ours, others);
    let quotient = |advantage: f64| match row.better {
        Better::Higher => advantage,
        Better::Lower => 1.0 / advantage,
    };
    advantages.into_iter().map(quotient).collect()
}

/// A sentence on the goals, with those that are not reached.
fn reached(report: &Report) -> String {
    let count = report.outcomes.iter().map(|outcome| outcome.verdicts.len()).sum::<usize>();
    let mut missed = 0;
    let mut rows: Vec<String> = Vec::new();
    for outcome in &report.outcomes {
        let of_row: Vec<&Verdict> = outcome.verdicts.iter().filter(|v| !v.is_reached).collect();
        if of_row.is_empty() {
            continue;
        }
        missed += of_row.len();
        let goals: Vec<String> = of_row
            .into_iter()
            .map(|verdict| {
                let against = verdict.against.as_ref().map_or(String::new(), |a| format!("{a} "));
                let short = verdict.short_percent.map_or("not measured".into(), shown_short);
                format!("{against}{} ({short})", verdict.goal)
            })
            .collect();
        rows.push(format!("{}: {}", with_code(&outcome.row.title), goals.join(", ")));
    }
    let reached = count - missed;
    if rows.is_empty() {
        return format!("All {count} goals of the project are reached.");
    }
    format!(
        "{reached} of {count} goals of the project are reached. Not reached: {}.",
        rows.join("; ")
    )
}

fn with_code(title: &str) -> String {
    let words = title.split_inclusive(' ').map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
        if CODE.contains(&bare) {
            word.replace(bare, &format!("`{bare}`"))
        } else {
            word.to_owned()
        }
    });
    words.collect()
}

/// Lines of at most 120 characters, broken at blanks.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        if length + word.len() >= 120 {
            lines.push('\n');
            length = 0;
        } else if length > 0 {
            lines.push(' ');
        }
        lines += word;
        length += word.len() + 1;
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn each_comparison_with_a_goal_is_a_line_in_the_shape_of_readme() {
        let report = example();
        let text = table(&report);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(lines.iter().all(|line| line.matches('|').count() == 5), "{text}");
        let first = "| insert of 1 M new keys, `Process`, 1 thread, M/s; DashMap, no persistence | 3.00 | 1.50 |";
        // Of three rounds one failed: 2 / 1 and 4 / 2 are left.
        assert!(
            text.contains(&format!("{first} 2.00 |\n| the same; papaya, no persistence |")),
            "{text}"
        );
        let ratios: usize = report
            .outcomes
            .iter()
            .map(|outcome| {
                outcome.row.others.iter().filter(|other| other.at_least.is_some()).count()
            })
            .sum();
        assert_eq!(lines.len(), 2 + ratios, "{text}");
        assert!(text.contains("surrealmx >= 8 x (75 % short)"), "{text}");
        assert!(text.is_ascii() && text.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn code_is_marked_and_nothing_else() {
        assert_eq!(with_code("commits, Power, 1 thread"), "commits, `Power`, 1 thread");
        assert_eq!(
            with_code("get_with of Powerful (on_durable)"),
            "`get_with` of Powerful (`on_durable`)"
        );
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        let text = wrapped(&"word ".repeat(60));
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.len() <= 120), "{text}");
    }
}
