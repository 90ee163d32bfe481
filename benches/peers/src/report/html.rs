//! The page: everything in one file, which needs nothing else to be shown.

use std::fmt::Write;

use super::csv::sides;
use super::svg::{Axis, Bar, LIMIT, Line, OTHER, OURS, bars, curves, escaped};
use super::table::engines_of;
use super::verdict::{advantages, known};
use super::{Outcome, Report};
use crate::engines::Engine;
use crate::rows::{Better, Row};
use crate::statistics::Spread;
use crate::workload::{KEY_BYTES, VALUE_BYTES};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem } h3 { margin: 2rem 0 .3rem; font-size: 1rem }
a { color: inherit } summary { cursor: pointer; margin: 1.5rem 0 .5rem; font-weight: 600 }
table { border-collapse: collapse; font-size: .9rem } td, th { text-align: left; padding: .25rem .7rem .25rem 0;
  border-bottom: 1px solid #ddd; vertical-align: top }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.yes { color: #00704f } .no { color: #b03000 } .note { color: #666 } .wide { overflow-x: auto }
svg { max-width: 100%; height: auto }
.ours { fill: #0072b2 } .other { fill: #a9bccb }
.limit { fill: #d9c9a3 } .spread { stroke: #222; stroke-width: 1.2; fill: none } .grid { stroke: #e4e4e4 }
@media (prefers-color-scheme: dark) { body { background: #181a1b; color: #ddd } td, th { border-color: #444 }
  svg text { fill: #ddd } .grid { stroke: #3a3a3a } .spread { stroke: #eee } .other { fill: #64798a }
  .limit { fill: #7d6f4c } .yes { color: #4fd1a5 } .no { color: #ff9a6b } .note { color: #999 } }
";

pub(super) fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>pkv beside its peers</title>\
         <style>{STYLE}</style></head><body>\n<h1>pkv beside its peers</h1>\n"
    );
    if report.is_trial {
        page +=
            "<p class=\"no\"><b>A trial with few entries: these figures mean nothing.</b></p>\n";
    }
    page += "<p><a href=\"#goals\">Goals</a> - <a href=\"#engines\">engines and what their writes survive</a> - \
        <a href=\"#curves\">curves</a> - <a href=\"#rows\">every row</a></p>\n";
    add_machine(&mut page, report);
    add_goals(&mut page, report);
    add_engines(&mut page, report);
    add_curves(&mut page, report);
    add_rows(&mut page, report);
    page + "</body></html>\n"
}

// Writing to a string cannot fail, here and below.

fn add_machine(page: &mut String, report: &Report) {
    let machine = &report.machine;
    let cores = if machine.is_virtual { "virtual cores" } else { "cores" };
    let disk = &machine.disk;
    let minutes = report.time.as_secs().div_ceil(60);
    let facts = [
        ("command", report.command.clone()),
        ("date, length", format!("{}, {minutes} min", report.date)),
        ("revision, compiler", format!("{}, {}", report.revision, report.compiler)),
        (
            "processor",
            format!("{}, {} {cores}, cache {}", machine.processor, machine.cores, machine.cache),
        ),
        ("memory", format!("{} GiB, huge pages: {}", machine.memory_gib(), machine.huge_pages)),
        ("kernel", machine.kernel.clone()),
        ("disk", format!("{} on {}, {}", disk.file_system, disk.device, disk.options)),
        (
            "other work",
            format!(
                "{:.0} % of all processor time of the run (other programs, the kernel's threads, other machines on this \
                 one); load before: {}",
                report.others_percent, machine.load
            ),
        ),
    ];
    *page += "<table>";
    for (name, fact) in facts {
        let _ = write!(page, "<tr><th>{name}</th><td>{}</td></tr>", escaped(&fact));
    }
    let _ = write!(
        page,
        "</table>\n<p class=\"note\">{KEY_BYTES}-byte random keys, {VALUE_BYTES}-byte values unless a row says otherwise. \
         Every measurement is a process of its own. The jobs of a row are interleaved over rounds, and ratios are \
         taken within a round, so that a machine that slows down for a while slows all of them; they are given as the \
         median with the least and the greatest round. <b>A ratio says how many times as good pkv was</b>, whichever \
         way the figure is good: above 1, pkv is ahead. Memory is anonymous memory: the page cache of engines that read \
         from disk is not in it. \"limit\" is no engine but what is left when hardly anything is done. \
         All rounds are in measurements.csv, beside this page.</p>\n"
    );
    if !report.skipped.is_empty() {
        *page += "<p class=\"no\">Not measured:</p><ul>";
        for row in &report.skipped {
            let _ = write!(page, "<li>{}</li>", escaped(row));
        }
        *page += "</ul>\n";
    }
}

fn add_goals(page: &mut String, report: &Report) {
    let verdicts = || report.outcomes.iter().flat_map(|outcome| &outcome.verdicts);
    let reached = verdicts().filter(|verdict| verdict.is_reached).count();
    if verdicts().next().is_none() {
        return;
    }
    let _ = write!(
        page,
        "<h2 id=\"goals\">Goals: {reached} of {} reached</h2>\n<div class=\"wide\"><table><tr><th>figure</th><th>pkv</th>\
         <th>against</th><th>ratio</th><th>goal</th><th>reached</th></tr>",
        verdicts().count()
    );
    for outcome in &report.outcomes {
        for verdict in &outcome.verdicts {
            let class = if verdict.is_reached { "yes" } else { "no" };
            let outcome_words = format!("<td class=\"{class}\">{}</td>", verdict.outcome());
            let _ = writeln!(
                page,
                "<tr><td><a href=\"#{}\">{}</a></td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td>{outcome_words}</tr>",
                anchor(&outcome.row),
                escaped(&outcome.row.title),
                escaped(&median(outcome)),
                escaped(verdict.against.as_deref().unwrap_or("")),
                verdict.ratio.map_or(String::new(), |ratio| ratio.to_string()),
                escaped(&verdict.asked()),
            );
        }
    }
    *page += "</table></div>\n";
}

fn median(outcome: &Outcome) -> String {
    let row = &outcome.row;
    Spread::of(&known(&outcome.measured.ours))
        .map_or("failed".into(), |spread| shown(row, spread.median))
}

fn shown(row: &Row, figure: f64) -> String {
    format!("{} {}", row.unit.show(figure), row.unit.name()).trim_end().to_owned()
}

fn add_engines(page: &mut String, report: &Report) {
    *page += "<h2 id=\"engines\">Engines, their settings, and what a write survives</h2>\n<div class=\"wide\"><table><tr><th>engine</th>\
        <th>setting</th><th>at Process</th><th>at Power</th></tr>";
    let rows: Vec<Row> = report.outcomes.iter().map(|outcome| outcome.row.clone()).collect();
    for engine in engines_of(&rows) {
        let facts = engine.facts();
        let power = facts.power.unwrap_or("not offered");
        let cells = [facts.setting, facts.process, power].map(escaped).join("</td><td>");
        let _ =
            writeln!(page, "<tr><th>{} {}</th><td>{cells}</td></tr>", facts.name, facts.version);
    }
    for (engine, why) in &report.missing {
        let _ = writeln!(
            page,
            "<tr class=\"note\"><th>{}</th><td colspan=\"3\">skipped: {}</td></tr>",
            engine.name(),
            escaped(why)
        );
    }
    *page += "</table></div>\n";
}

/// The rows that are points of a curve, one picture for each curve.
fn add_curves(page: &mut String, report: &Report) {
    let mut charts: Vec<&str> = Vec::new();
    for curve in report.outcomes.iter().filter_map(|outcome| outcome.row.curve.as_ref()) {
        if !charts.contains(&curve.chart) {
            charts.push(curve.chart);
        }
    }
    if !charts.is_empty() {
        *page += "<h2 id=\"curves\">Curves</h2>\n<p class=\"note\">Medians; both axes are logarithmic.</p>\n";
    }
    for chart in charts {
        let points: Vec<&Outcome> = report
            .outcomes
            .iter()
            .filter(|outcome| outcome.row.curve.as_ref().is_some_and(|curve| curve.chart == chart))
            .collect();
        let Some(first) = points.first() else { continue };
        let curves_of = points.iter().filter_map(|outcome| outcome.row.curve.as_ref());
        let axis = Axis {
            name: first.row.curve.as_ref().map_or("", |curve| curve.axis),
            unit: first.row.unit.name(),
            marks: curves_of.map(|curve| (curve.x as f64, curve.mark.as_str())).collect(),
        };
        let show = |figure: f64| first.row.unit.show(figure);
        let picture = curves(chart, &lines(&points), &axis, show);
        let better = better(&first.row);
        let _ = writeln!(page, "<h3>{} ({better})</h3>\n{picture}", escaped(chart));
    }
}

fn better(row: &Row) -> &'static str {
    match row.better {
        Better::Higher => "higher is better",
        Better::Lower => "lower is better",
    }
}

/// One line for each engine of these points.
fn lines(points: &[&Outcome]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for outcome in points {
        let x = outcome.row.curve.as_ref().map_or(0, |curve| curve.x) as f64;
        for (label, job, figures) in sides(outcome) {
            let Some(spread) = Spread::of(&known(figures)) else { continue };
            match lines.iter_mut().find(|line| line.label == label) {
                Some(line) => line.points.push((x, spread.median)),
                None => lines.push(Line {
                    label: label.to_owned(),
                    points: vec![(x, spread.median)],
                    colour: Engine::ALL
                        .iter()
                        .position(|engine| *engine == job.engine)
                        .unwrap_or(0),
                    is_ours: job.engine == Engine::Pkv,
                }),
            }
        }
    }
    lines
}

/// Rows of one name together; those that are points of curves folded, since the curves show them.
fn add_rows(page: &mut String, report: &Report) {
    *page += "<h2 id=\"rows\">Every row</h2>\n<p class=\"note\">Bars are medians, from zero; the line at each end spans the \
        rounds. Behind each: median (least..greatest), then how many times as good pkv was.</p>\n";
    for rows in report.outcomes.chunk_by(|a, b| a.row.name == b.row.name) {
        let Some(first) = rows.first() else { continue };
        let is_folded = first.row.curve.is_some();
        if is_folded {
            let _ = writeln!(
                page,
                "<details><summary>{}: {} rows</summary>",
                first.row.name,
                rows.len()
            );
        }
        rows.iter().for_each(|outcome| add_row(page, outcome));
        if is_folded {
            *page += "</details>\n";
        }
    }
}

fn add_row(page: &mut String, outcome: &Outcome) {
    let row = &outcome.row;
    let (title, unit) = (escaped(&row.title), row.unit.name());
    let unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    let _ = writeln!(
        page,
        "<h3 id=\"{}\">{title}{unit} ({})</h3>\n{}",
        anchor(row),
        better(row),
        bars(&row.title, &bars_of(outcome))
    );
    for verdict in &outcome.verdicts {
        let class = if verdict.is_reached { "yes" } else { "no" };
        let against =
            verdict.against.as_ref().map_or(String::new(), |a| format!(" against {}", escaped(a)));
        let _ = writeln!(
            page,
            "<div class=\"{class}\">goal{against}: {}: {}</div>",
            escaped(&verdict.asked()),
            verdict.outcome()
        );
    }
    if let Some(note) = row.note {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(note));
    }
    let rounds = outcome.measured.ours.len();
    let failed: Vec<&str> = sides(outcome)
        .into_iter()
        .filter(|(_, _, figures)| known(figures).len() < rounds)
        .map(|(label, _, _)| label)
        .collect();
    if !failed.is_empty() {
        let _ = writeln!(
            page,
            "<p class=\"no\">failed in at least one round: {}</p>",
            escaped(&failed.join(", "))
        );
    }
}

/// The place of a row on the page.
fn anchor(row: &Row) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    row.title.chars().map(word).collect()
}

fn bars_of(outcome: &Outcome) -> Vec<Bar> {
    let row = &outcome.row;
    let bar = |(at, (label, job, figures)): (usize, (&str, crate::jobs::Job, &[Option<f64>]))| {
        let spread = Spread::of(&known(figures))?;
        let ratio = (at > 0).then(|| advantages(row, &outcome.measured.ours, figures));
        let ratio = ratio.and_then(|ratios| Spread::of(&ratios));
        let ratio = ratio.map_or(String::new(), |ratio| format!("  x {ratio}"));
        let fill = match job.engine {
            Engine::Pkv => OURS,
            Engine::Limit => LIMIT,
            _ => OTHER,
        };
        let shown = format!("{}{ratio}", row.unit.show_spread(spread));
        Some(Bar {
            label: label.to_owned(),
            min: spread.min,
            median: spread.median,
            max: spread.max,
            shown,
            fill,
        })
    };
    sides(outcome).into_iter().enumerate().filter_map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_page_needs_nothing_else_and_closes_what_it_opens() {
        let page = page(&example());
        for loaded in ["src=", "href=\"h", "href=\"/", "url(", "@import", "<script"] {
            assert!(!page.contains(loaded), "{loaded}");
        }
        for tag in [
            "table", "tr", "td", "th", "svg", "h2", "h3", "div", "p", "a", "ul", "li", "text",
            "details",
        ] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
        assert!(page.contains("&lt;here&gt;") && !page.contains("<here>"));
    }

    #[test]
    fn every_row_and_every_goal_is_on_it() {
        let report = example();
        let page = page(&report);
        for outcome in &report.outcomes {
            let title = escaped(&outcome.row.title);
            assert_eq!(page.matches(&format!("\">{title}, ")).count(), 1, "{title}");
            assert_eq!(
                page.matches(&format!("\">{title}</a></td>")).count(),
                outcome.verdicts.len()
            );
            let id = format!("id=\"{}\"", anchor(&outcome.row));
            assert_eq!(page.matches(&id).count(), 1, "{id}");
        }
    }
}
