//! The table on the terminal, printed row by row as it is measured.

use super::verdict::{Verdict, advantages, known};
use super::{Outcome, Report};
use crate::engines::Engine;
use crate::rows::Row;
use crate::statistics::Spread;
use crate::workload::{KEY_BYTES, VALUE_BYTES};

pub(super) fn print_head(report: &Report, rows: &[Row]) {
    println!("{KEY_BYTES}-byte random keys, {VALUE_BYTES}-byte values unless a row says otherwise");
    println!("{}", report.machine.description());
    if report.is_trial {
        println!("A TRIAL: it shows that everything runs, and its figures mean nothing");
    }
    println!();
    for engine in engines_of(rows) {
        let facts = engine.facts();
        println!("{} {}: {}", facts.name, facts.version, facts.setting);
        let power = facts.power.unwrap_or("not offered");
        println!("    survives, Process: {}; Power: {power}", facts.process);
    }
    for (engine, why) in &report.missing {
        println!("skipped: {}: {why}", engine.name());
    }
    println!(
        "\nmedian (least..greatest) over interleaved rounds, each job a process of its own; ratio: how many times as\n\
         good ours was within a round\n"
    );
}

/// The engines that these rows measure, in the order of the list of all.
pub(super) fn engines_of(rows: &[Row]) -> Vec<Engine> {
    let is_asked = |engine: &Engine| {
        let others = rows.iter().flat_map(|row| &row.others);
        others.map(|other| other.job.engine).chain([Engine::Pkv]).any(|asked| asked == *engine)
    };
    Engine::ALL.into_iter().filter(is_asked).collect()
}

pub(super) fn print(outcome: &Outcome) {
    let Outcome { row, measured, verdicts } = outcome;
    let unit = row.unit.name();
    let name = row.name;
    println!("{}{}{unit}   [{name}]", row.title, if unit.is_empty() { "" } else { ", " });
    line(row, "pkv", &measured.ours, None, of(verdicts, None));
    for (other, figures) in row.others.iter().zip(&measured.others) {
        let ratio = Spread::of(&advantages(row, &measured.ours, figures));
        line(row, &other.label, figures, ratio, of(verdicts, Some(&other.label)));
    }
    // The best of the others has no line of its own figures.
    let labels: Vec<&str> = row.others.iter().map(|other| other.label.as_str()).collect();
    for verdict in verdicts {
        if let Some(against) = verdict.against.as_deref().filter(|label| !labels.contains(label)) {
            println!("    {against:24} {:56} {}", "", said(verdict));
        }
    }
}

fn of<'a>(verdicts: &'a [Verdict], against: Option<&str>) -> Option<&'a Verdict> {
    verdicts.iter().find(|verdict| verdict.against.as_deref() == against)
}

fn line(
    row: &Row,
    label: &str,
    figures: &[Option<f64>],
    ratio: Option<Spread>,
    verdict: Option<&Verdict>,
) {
    let shown = Spread::of(&known(figures))
        .map_or("failed".to_owned(), |spread| row.unit.show_spread(spread));
    let ratio = ratio.map_or(String::new(), |ratio| ratio.to_string());
    let verdict = verdict.map_or(String::new(), said);
    println!("{}", format!("    {label:24} {shown:>30} {ratio:>25} {verdict}").trim_end());
}

fn said(verdict: &Verdict) -> String {
    format!("{:>18}  {}", verdict.asked(), verdict.outcome())
}

pub(super) fn print_end(report: &Report) {
    let verdicts = || report.outcomes.iter().flat_map(|outcome| &outcome.verdicts);
    let reached = verdicts().filter(|verdict| verdict.is_reached).count();
    println!(
        "\n{reached} of {} goals are reached; {:.0} s",
        verdicts().count(),
        report.time.as_secs_f64()
    );
    println!("{:.0} % of the machine's time went to others", report.others_percent);
    report.skipped.iter().for_each(|row| println!("    not measured: {row}"));
    for outcome in &report.outcomes {
        for verdict in outcome.verdicts.iter().filter(|verdict| !verdict.is_reached) {
            let against = verdict.against.as_ref().map_or(String::new(), |a| format!(", {a}"));
            println!("    not reached: {}{against}: {}", outcome.row.title, said(verdict).trim());
        }
    }
}
