//! Goals against what came out.

use crate::measure::Measured;
use crate::rows::{Better, Goal, Row};
use crate::statistics::Spread;

/// One goal of a row, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The label of the other, or "best of the others"; `None` for a goal of our figure alone.
    pub(crate) against: Option<String>,
    pub(crate) goal: String,
    pub(crate) is_reached: bool,
    /// How much of the way is missing, in percent of the goal; 0 if it is reached, `None` if nothing was measured.
    pub(crate) short_percent: Option<f64>,
}

/// How ours stands to another in each round: above 1 is better, whichever way the figure is good.
pub(crate) fn advantages(row: &Row, ours: &[Option<f64>], others: &[Option<f64>]) -> Vec<f64> {
    let both = ours.iter().zip(others).filter_map(|(ours, other)| Some(((*ours)?, (*other)?)));
    both.map(|(ours, other)| match row.better {
        Better::Higher => ours / other,
        Better::Lower => other / ours,
    })
    .collect()
}

pub(crate) fn of(row: &Row, measured: &Measured) -> Vec<Verdict> {
    let ours = Spread::of(&known(&measured.ours));
    let mut verdicts = Vec::new();
    let shown = |figure: f64| {
        format!("{} {}", row.unit.show(figure), row.unit.name()).trim_end().to_owned()
    };
    let mut alone =
        |goal: String, figure: Option<f64>, limit: f64, is_most: bool, is_reached: bool| {
            let short = figure.map(|figure| match is_most {
                true => 100.0 * (figure / limit - 1.0),
                false => 100.0 * (1.0 - figure / limit),
            });
            verdicts.push(Verdict {
                against: None,
                goal,
                is_reached,
                short_percent: short.map(|short| if is_reached { 0.0 } else { short }),
            });
        };
    let median = ours.map(|ours| ours.median);
    let max = ours.map(|ours| ours.max);
    match row.goal {
        Goal::AtLeast(limit) => {
            let is_reached = median.is_some_and(|median| median >= limit);
            alone(format!(">= {}", shown(limit)), median, limit, false, is_reached);
        }
        Goal::AtMost(limit) => {
            let is_reached = median.is_some_and(|median| median <= limit);
            alone(format!("<= {}", shown(limit)), median, limit, true, is_reached);
        }
        Goal::AlwaysBelow(limit) => {
            let is_reached = max.is_some_and(|max| max < limit);
            alone(format!("always < {}", shown(limit)), max, limit, true, is_reached);
        }
        Goal::None => {}
    }
    for (other, figures) in row.others.iter().zip(&measured.others) {
        if let Some(least) = other.at_least {
            let advantages = advantages(row, &measured.ours, figures);
            verdicts.push(ratio(other.label.clone(), least, &advantages));
        }
    }
    if let Some(least) = row.best {
        let best = best_of_others(row, measured);
        let advantages = advantages(row, &measured.ours, &best);
        verdicts.push(ratio("the best of them".into(), least, &advantages));
    }
    verdicts
}

fn ratio(against: String, least: f64, advantages: &[f64]) -> Verdict {
    let median = Spread::of(advantages).map(|spread| spread.median);
    let is_reached = median.is_some_and(|median| median >= least);
    let short = median.map(|median| 100.0 * (1.0 - median / least));
    Verdict {
        against: Some(against),
        goal: format!(">= {least} x"),
        is_reached,
        short_percent: short.map(|short| if is_reached { 0.0 } else { short }),
    }
}

/// The best peer's figure of each round. The machine's limit is no peer.
fn best_of_others(row: &Row, measured: &Measured) -> Vec<Option<f64>> {
    let peers: Vec<&Vec<Option<f64>>> = row
        .others
        .iter()
        .zip(&measured.others)
        .filter(|(other, _)| other.job.engine != crate::engines::Engine::Limit)
        .map(|(_, figures)| figures)
        .collect();
    (0..measured.ours.len())
        .map(|round| {
            let of_round = peers.iter().filter_map(|figures| figures.get(round).copied().flatten());
            of_round.reduce(|best, figure| match row.better {
                Better::Higher => best.max(figure),
                Better::Lower => best.min(figure),
            })
        })
        .collect()
}

pub(crate) fn known(figures: &[Option<f64>]) -> Vec<f64> {
    figures.iter().copied().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::Engine;
    use crate::jobs::{Job, Kind};
    use crate::rows::{Other, Scale, rows};

    fn row(goal: Goal, better: Better, least: Option<f64>, best: Option<f64>) -> Row {
        let other = |engine: Engine, at_least| Other {
            label: engine.name().into(),
            job: Job::new(Kind::Get, engine, 1),
            at_least,
        };
        let others = vec![other(Engine::DashMap, least), other(Engine::Limit, None)];
        let row = rows(Scale::QUICK).remove(0);
        Row { goal, better, others, best, ..row }
    }

    fn measured(ours: &[f64], dashmap: &[f64]) -> Measured {
        let some = |figures: &[f64]| figures.iter().copied().map(Some).collect::<Vec<_>>();
        Measured { ours: some(ours), others: vec![some(dashmap), vec![Some(1e9); ours.len()]] }
    }

    fn reached(row: &Row, ours: &[f64], dashmap: &[f64]) -> Vec<bool> {
        of(row, &measured(ours, dashmap)).iter().map(|verdict| verdict.is_reached).collect()
    }

    #[test]
    fn goals_are_judged_by_the_median_and_limits_by_the_worst() {
        let goal = |goal| row(goal, Better::Higher, None, None);
        assert_eq!(reached(&goal(Goal::AtMost(1.06)), &[1.05, 1.06, 2.0], &[]), [true]);
        assert_eq!(reached(&goal(Goal::AtLeast(20.0)), &[19.0], &[]), [false]);
        assert_eq!(reached(&goal(Goal::AlwaysBelow(10.0)), &[1.0, 1.0, 10.0], &[]), [false]);
        assert_eq!(reached(&goal(Goal::AtMost(1.0)), &[], &[]), [false], "nothing is not little");
        assert!(reached(&goal(Goal::None), &[1.0], &[1.0]).is_empty());
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_the_better_way() {
        let higher = row(Goal::None, Better::Higher, Some(1.5), None);
        assert_eq!(reached(&higher, &[3.0, 1.0, 4.0], &[2.0, 2.0, 2.0]), [true]);
        assert_eq!(reached(&higher, &[3.0, 1.0, 2.0], &[2.0, 2.0, 2.0]), [false]);
        assert_eq!(reached(&higher, &[3.0], &[]), [false]);
        let lower = row(Goal::None, Better::Lower, Some(2.0), None);
        assert_eq!(reached(&lower, &[1.0], &[2.0]), [true]);
        assert_eq!(reached(&lower, &[1.0], &[1.9]), [false]);
    }

    #[test]
    fn the_best_of_the_others_is_a_peer_and_not_the_limit() {
        let best = row(Goal::None, Better::Higher, None, Some(1.0));
        assert_eq!(reached(&best, &[2.0], &[1.9]), [true]);
        assert_eq!(reached(&best, &[2.0], &[2.1]), [false]);
    }

    #[test]
    fn what_is_missing_is_said_in_percent() {
        let short = |goal, ours: &[f64]| {
            of(&row(goal, Better::Higher, None, None), &measured(ours, &[])).remove(0).short_percent
        };
        assert_eq!(short(Goal::AtLeast(10.0), &[7.5]), Some(25.0));
        assert_eq!(short(Goal::AtMost(2.0), &[3.0]), Some(50.0));
        assert_eq!(short(Goal::AtLeast(10.0), &[11.0]), Some(0.0));
        assert_eq!(short(Goal::AtLeast(10.0), &[]), None);
    }
}
