//! Two kinds of pictures as SVG: bars with their spread, and curves over a logarithmic axis.

use std::fmt::Write;

/// A colour: its class, by which a page may change it, and what it is where no page does.
type Fill = (&'static str, &'static str);

pub(super) const OURS: Fill = ("ours", "#0072b2");
pub(super) const OTHER: Fill = ("other", "#a9bccb");
pub(super) const LIMIT: Fill = ("limit", "#d9c9a3");

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
    /// What stands behind it.
    pub(super) shown: String,
    pub(super) fill: Fill,
}

const WIDTH: f64 = 880.0;
const LABEL: f64 = 190.0;
const FIGURE: f64 = 330.0;
const BAR: f64 = 22.0;

/// Horizontal bars from zero; a line across each bar's end spans its rounds.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.max).fold(0.0, f64::max);
    let room = WIDTH - LABEL - FIGURE;
    let x = |figure: f64| LABEL + if most > 0.0 { figure / most * room } else { 0.0 };
    let mut svg = opened(title, WIDTH, BAR * bars.len() as f64 + 4.0);
    for (at, bar) in bars.iter().enumerate() {
        let top = BAR * at as f64 + 3.0;
        let (middle, base) = (top + BAR / 2.0 - 1.0, top + BAR / 2.0 + 3.0);
        let label = escaped(&bar.label);
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{label}</text>\
             <rect x=\"{LABEL}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\" class=\"{}\"/>",
            LABEL - 8.0,
            x(bar.median) - LABEL,
            BAR - 5.0,
            bar.fill.1,
            bar.fill.0,
        );
        if bar.max > bar.min {
            let _ = write!(
                svg,
                "<path d=\"M{:.1} {middle:.1}H{:.1}M{:.1} {:.1}v8M{:.1} {:.1}v8\" stroke=\"#222\" fill=\"none\" class=\"spread\"/>",
                x(bar.min),
                x(bar.max),
                x(bar.min),
                middle - 4.0,
                x(bar.max),
                middle - 4.0,
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{base:.1}\">{}</text>",
            x(bar.max) + 8.0,
            escaped(&bar.shown),
        );
    }
    svg + "</svg>"
}

/// One engine's points, by x.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<(f64, f64)>,
    /// Of the list of colours, so that an engine has the same in every picture.
    pub(super) colour: usize,
    pub(super) is_ours: bool,
}

/// What stands below a picture of curves.
pub(super) struct Axis<'a> {
    pub(super) name: &'a str,
    pub(super) unit: &'a str,
    /// Each x with its words.
    pub(super) marks: Vec<(f64, &'a str)>,
}

const HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 170.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 44.0;
/// Told apart without red against green; from the seventh on, the lines are dashed.
const COLOURS: [&str; 12] = [
    "#0072b2", "#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#8c6d31", "#4d7bd1",
    "#b5a800", "#8a63b3", "#a63603", "#8c8c8c",
];
const DASHED_FROM: usize = 6;

/// Curves; both axes are logarithmic, since what they show spans decades.
pub(super) fn curves(
    title: &str,
    lines: &[Line],
    axis: &Axis<'_>,
    show: impl Fn(f64) -> String,
) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some(xs) = Scale::of(points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT) else {
        return String::new();
    };
    let Some(ys) = Scale::of(points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP) else {
        return String::new();
    };
    let mut svg = opened(title, WIDTH, HEIGHT);
    for (mark, words) in &axis.marks {
        let at = xs.at(*mark);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#e4e4e4\" class=\"grid\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            escaped(words),
        );
    }
    for mark in ys.marks() {
        let at = ys.at(mark);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e4e4e4\" class=\"grid\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            escaped(&show(mark)),
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text x=\"4\" y=\"12\">{}</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0,
        escaped(axis.name),
        escaped(axis.unit),
    );
    for (at, line) in lines.iter().enumerate() {
        let colour = COLOURS[line.colour % COLOURS.len()];
        let dashes = if line.colour >= DASHED_FROM { " stroke-dasharray=\"6 3\"" } else { "" };
        let width = if line.is_ours { 3.0 } else { 1.5 };
        let path: Vec<String> =
            line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", xs.at(*x), ys.at(*y))).collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>",
            path.join(" ")
        );
        for (x, y) in &line.points {
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\" fill=\"{colour}\"><title>{}: {}</title></circle>",
                xs.at(*x),
                ys.at(*y),
                width + 1.0,
                escaped(&line.label),
                escaped(&show(*y)),
            );
        }
        let legend = TOP + 18.0 * at as f64 + 8.0;
        let _ = write!(
            svg,
            "<path d=\"M{:.1} {:.1}h20\" stroke=\"{colour}\" stroke-width=\"{width}\"{dashes}/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT + 14.0,
            legend - 2.0,
            WIDTH - RIGHT + 40.0,
            legend + 2.0,
            escaped(&line.label),
        );
    }
    svg + "</svg>"
}

/// A logarithmic axis from one place to another.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// `None` without a positive figure.
    fn of(figures: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let logs = figures.filter(|figure| *figure > 0.0).map(f64::log10);
        let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| {
            (low.min(log), high.max(log))
        });
        (low <= high).then(|| Self { low: low - 0.03, high: high + 0.03, from, to })
    }

    fn at(&self, figure: f64) -> f64 {
        let log = figure.max(f64::MIN_POSITIVE).log10().clamp(self.low, self.high);
        self.from + (log - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// Round figures within it: 1, 2 and 5 of each decade, or decades where there are many.
    fn marks(&self) -> Vec<f64> {
        let decades = (self.low.floor() as i32)..=(self.high.ceil() as i32);
        let steps: &[f64] = if self.high - self.low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        decades
            .flat_map(|decade| steps.iter().map(move |step| step * 10.0_f64.powi(decade)))
            .filter(|mark| (self.low..=self.high).contains(&mark.log10()))
            .collect()
    }
}

fn opened(title: &str, width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"{}\">",
        escaped(title)
    )
}

/// Text for HTML and SVG.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(median: f64) -> Bar {
        let shown = format!("{median}");
        Bar { label: "a < b".into(), min: median / 2.0, median, max: median, shown, fill: OTHER }
    }

    fn axis() -> Axis<'static> {
        Axis { name: "x", unit: "y", marks: vec![(1.0, "one")] }
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let svg = bars("t", &[bar(1.0), bar(4.0)]);
        let widths: Vec<f64> = svg
            .split("<rect ")
            .skip(1)
            .filter_map(|rect| rect.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert!((widths[1] / widths[0] - 4.0).abs() < 0.01, "{widths:?}");
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"));
    }

    #[test]
    fn nothing_measured_is_no_picture_and_no_panic() {
        assert!(bars("t", &[bar(0.0)]).ends_with("</svg>"));
        assert_eq!(curves("t", &[], &axis(), |y| y.to_string()), "");
        let line = |y| Line { label: "a".into(), points: vec![(1.0, y)], colour: 0, is_ours: true };
        assert_eq!(curves("t", &[line(0.0)], &axis(), |y| y.to_string()), "");
        assert!(curves("t", &[line(1.0)], &axis(), |y| y.to_string()).contains(">one</text>"));
    }

    #[test]
    fn equal_steps_of_a_logarithmic_axis_are_equal_ratios() {
        let scale = Scale::of([1.0, 10.0, 100.0].into_iter(), 0.0, 100.0).unwrap();
        let (first, second) = (scale.at(10.0) - scale.at(1.0), scale.at(100.0) - scale.at(10.0));
        assert!((first - second).abs() < 1e-9 && first > 40.0);
        assert_eq!(scale.marks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }
}
