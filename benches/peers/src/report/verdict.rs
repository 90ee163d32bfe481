//! Goals against what came out.

use crate::measure::Measured;
use crate::rows::{Better, Goal, Row};
use crate::statistics::Spread;

/// What the best of the others is called, of those whose writes survive what the row asks for.
pub(crate) const BEST: &str = "the best peer that syncs";

/// One goal of a row, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The label of the other, or "best of the others"; `None` for a goal of our figure alone.
    pub(crate) against: Option<String>,
    pub(crate) goal: String,
    pub(crate) is_reached: bool,
    /// How much of the way is missing, in percent of the goal; 0 if it is reached, `None` if nothing was measured.
    pub(crate) short_percent: Option<f64>,
    /// Of a goal against another.
    pub(crate) ratio: Option<Spread>,
    /// The older goal, and whether at least it is reached.
    pub(crate) floor: Option<(String, bool)>,
}

impl Verdict {
    /// The goal, with the older one where there is one.
    pub(crate) fn asked(&self) -> String {
        match &self.floor {
            Some((floor, _)) => format!("{} (older: {floor})", self.goal),
            None => self.goal.clone(),
        }
    }

    /// What became of it, in words.
    pub(crate) fn outcome(&self) -> String {
        let outcome = match (self.is_reached, self.short_percent) {
            (true, _) => "yes".to_owned(),
            (false, Some(short)) => format!("NO, {}", shown_short(short)),
            (false, None) => "NO, not measured".to_owned(),
        };
        match &self.floor {
            Some((_, true)) if !self.is_reached => format!("{outcome}; the older: yes"),
            Some((_, false)) => format!("{outcome}; the older: NO"),
            _ => outcome,
        }
    }
}

/// How much is missing, in words; what is missing is never 0 %.
pub(crate) fn shown_short(percent: f64) -> String {
    if percent < 1.0 {
        format!("{:.1} % short", percent.max(0.1))
    } else {
        format!("{percent:.0} % short")
    }
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
    let mut verdicts = Vec::new();
    verdicts.extend(alone(row, Spread::of(&known(&measured.ours))));
    for (other, figures) in row.others.iter().zip(&measured.others) {
        if let Some(least) = other.at_least {
            let advantages = advantages(row, &measured.ours, figures);
            verdicts.push(ratio(other.label.clone(), least, other.floor, &advantages));
        }
    }
    if let Some(least) = row.best {
        let best = best_of_others(row, measured);
        let advantages = advantages(row, &measured.ours, &best);
        verdicts.push(ratio(BEST.into(), least, None, &advantages));
    }
    verdicts
}

/// The goal of our figure alone.
fn alone(row: &Row, ours: Option<Spread>) -> Option<Verdict> {
    let median = ours.map(|ours| ours.median);
    let max = ours.map(|ours| ours.max);
    let (sign, limit, figure) = match row.goal {
        Goal::AtLeast(limit) => (">=", limit, median),
        Goal::AtMost(limit) => ("<=", limit, median),
        Goal::AlwaysBelow(limit) => ("always <", limit, max),
        Goal::None => return None,
    };
    let is_within = |limit: f64| {
        figure.is_some_and(|figure| match row.goal {
            Goal::AtLeast(_) => figure >= limit,
            Goal::AtMost(_) => figure <= limit,
            _ => figure < limit,
        })
    };
    let shown = |figure: f64| {
        format!("{sign} {} {}", row.unit.show(figure), row.unit.name()).trim_end().to_owned()
    };
    let off = figure.map(|figure| 100.0 * (figure / limit - 1.0).abs());
    Some(Verdict {
        against: None,
        goal: shown(limit),
        is_reached: is_within(limit),
        short_percent: if is_within(limit) { Some(0.0) } else { off },
        ratio: None,
        floor: row.floor.map(|floor| (shown(floor), is_within(floor))),
    })
}

fn ratio(against: String, least: f64, floor: Option<f64>, advantages: &[f64]) -> Verdict {
    let ratio = Spread::of(advantages);
    let median = ratio.map(|ratio| ratio.median);
    let is_reached = |least: f64| median.is_some_and(|median| median >= least);
    let short = median.map(|median| 100.0 * (1.0 - median / least));
    Verdict {
        against: Some(against),
        goal: format!(">= {least} x"),
        is_reached: is_reached(least),
        short_percent: short.map(|short| short.max(0.0)),
        ratio,
        floor: floor.map(|floor| (format!("{floor} x"), is_reached(floor))),
    }
}

/// The best peer's figure of each round. The machine's limit is no peer, nor is one that does not do what is asked.
pub(crate) fn best_of_others(row: &Row, measured: &Measured) -> Vec<Option<f64>> {
    let peers: Vec<&Vec<Option<f64>>> = row
        .others
        .iter()
        .zip(&measured.others)
        .filter(|(other, _)| other.job.engine.is_peer_at(other.job.level))
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
    use crate::engines::{Engine, Level};
    use crate::jobs::{Job, Kind};
    use crate::rows::{Other, Scale, Unit, rows};

    fn row(goal: Goal, better: Better, least: Option<f64>, best: Option<f64>) -> Row {
        let other = |engine: Engine, at_least| Other {
            label: engine.name().into(),
            job: Job::new(Kind::Get, engine, 1),
            at_least,
            floor: None,
        };
        let others = vec![other(Engine::DashMap, least), other(Engine::Limit, None)];
        let row = rows(Scale::QUICK).remove(0);
        Row { goal, better, others, best, floor: None, ..row }
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
        // A faster one that does not sync what it calls synced is none.
        let mut synced = best;
        for other in &mut synced.others {
            other.job.level = Level::Power;
        }
        synced.others[0].job.engine = Engine::Sled;
        assert!(of(&synced, &measured(&[2.0], &[9.0])).remove(0).ratio.is_none());
        synced.others[0].job.engine = Engine::Fjall;
        assert!(of(&synced, &measured(&[2.0], &[9.0])).remove(0).ratio.is_some());
    }

    #[test]
    fn what_is_not_reached_is_never_short_of_nothing() {
        let texts = [0.001, 0.4, 2.6].map(shown_short);
        assert_eq!(texts, ["0.1 % short", "0.4 % short", "3 % short"]);
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

    #[test]
    fn an_older_goal_is_judged_beside_the_goal() {
        let mut row = row(Goal::AtMost(1.15), Better::Lower, Some(2.5), None);
        row.unit = Unit::Plain;
        row.floor = Some(1.18);
        row.others[0].floor = Some(1.5);
        let verdicts = of(&row, &measured(&[1.16], &[2.0]));
        assert_eq!(verdicts[0].floor, Some(("<= 1.18".into(), true)));
        assert_eq!(verdicts[0].outcome(), "NO, 0.9 % short; the older: yes");
        assert_eq!(verdicts[1].floor, Some(("1.5 x".into(), true)));
        let verdicts = of(&row, &measured(&[1.2], &[1.2]));
        assert!(verdicts.iter().all(|v| v.outcome().ends_with("; the older: NO")));
        let verdicts = of(&row, &measured(&[1.0], &[3.0]));
        assert!(verdicts.iter().all(|v| v.outcome() == "yes"));
    }
}
