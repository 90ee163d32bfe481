//! README's table: every goal, in Markdown.

use std::fmt::Write;

use super::verdict::{advantages, known};
use super::{Outcome, Report};
use crate::rows::Rank;
use crate::statistics::Spread;
use crate::workload::{KEY_BYTES, VALUE_BYTES};

/// The text between the marks of README.
pub(super) fn table(report: &Report) -> String {
    let mut text = wrapped(&format!(
        "Printed by `{}` on {}: {}. {KEY_BYTES}-byte random keys, {VALUE_BYTES}-byte values, medians of interleaved \
         rounds; a ratio says how many times as good pkv was within a round. What each engine survives is printed with \
         the report.",
        report.command,
        report.date,
        report.machine.description()
    ));
    if report.is_trial {
        text += "\nA trial with few entries: these figures mean nothing.\n";
    }
    text += "\n| figure | pkv | other | ratio | goal | reached |\n|---|---|---|---|---|---|\n";
    for outcome in report.outcomes.iter().filter(|outcome| outcome.row.rank == Rank::Goal) {
        add_row(&mut text, outcome);
    }
    text
}

fn add_row(text: &mut String, outcome: &Outcome) {
    let Outcome { row, measured, verdicts } = outcome;
    let unit = row.unit.name();
    let title = if unit.is_empty() { row.title.clone() } else { format!("{}, {unit}", row.title) };
    let shown = |figures: &[Option<f64>]| {
        Spread::of(&known(figures)).map_or("failed".into(), |spread| row.unit.show(spread.median))
    };
    let ours = shown(&measured.ours);
    // Each goal is a line; the title stands in the first.
    for (at, verdict) in verdicts.iter().enumerate() {
        let figure = if at == 0 { title.as_str() } else { "" };
        let other = verdict.against.as_deref().and_then(|label| {
            let others = row.others.iter().zip(&measured.others);
            others.filter(|(other, _)| other.label == label).map(|(_, figures)| figures).next()
        });
        let ratio = other.map(|figures| advantages(row, &measured.ours, figures));
        let ratio = ratio.and_then(|ratios| Spread::of(&ratios));
        let other = match (&verdict.against, other) {
            (Some(label), Some(figures)) => format!("{label} {}", shown(figures)),
            (Some(label), None) => label.clone(),
            (None, _) => String::new(),
        };
        let ratio = ratio.map_or(String::new(), |ratio| format!("{:.2}", ratio.median));
        let ours = if at == 0 { ours.as_str() } else { "" };
        let (asked, outcome) = (verdict.asked(), verdict.outcome());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {figure} | {ours} | {other} | {ratio} | {asked} | {outcome} |");
    }
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
    fn each_goal_is_a_line_with_its_outcome() {
        let report = example();
        let text = table(&report);
        let goals: usize = report.outcomes.iter().map(|outcome| outcome.verdicts.len()).sum();
        let lines = text.lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(lines, goals + 1, "{text}");
        assert!(
            text.lines().filter(|line| line.starts_with('|')).all(|l| l.matches('|').count() == 7)
        );
        // Of three rounds one failed: 2 / 1 and 4 / 2 are left.
        assert!(
            text.contains(
                "| DashMap 1.50 | 2.00 | >= 2.5 x (older: 1.5 x) | NO, 20 % short; the older: yes |"
            ),
            "{text}"
        );
        assert!(text.contains("| papaya 1.50 | 2.00 | >= 2 x | yes |"), "{text}");
        assert!(text.is_ascii() && text.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn lines_are_broken_at_blanks() {
        let text = wrapped(&"word ".repeat(60));
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.len() <= 120), "{text}");
    }
}
