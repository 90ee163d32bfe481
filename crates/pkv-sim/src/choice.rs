//! What a crash leaves: every unsynced thing (a sector, a size, a name) is one *unit* with several
//! states since its last sync, and a choice picks one state for each unit.

use std::fmt;
use std::str::FromStr;

use crate::rng::Rng;

/// How the machine goes down, and what kind of disk it leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Crash {
    /// The process is killed: everything that a finished call wrote is still there, and so are the
    /// bytes copied into a mapping. The write in flight may be torn.
    Kill,
    /// The power fails, and folders behave as ext4 and xfs order them: creations, renames and
    /// removals survive as a prefix of their order; a file's size never gets ahead of its bytes.
    Linux,
    /// The power fails, and everything that is not in the list of assumptions at [`pkv_fs::Fs`] is
    /// broken: names, sizes and sectors survive independently of each other.
    Strict,
    /// As [`Crash::Strict`]; sectors that were never written before their last sync may show garbage,
    /// and so may those of a size that grew and was not synced.
    StrictGarbage,
}

impl Crash {
    /// All four, for tests that want each.
    pub const ALL: [Crash; 4] = [Crash::Kill, Crash::Linux, Crash::Strict, Crash::StrictGarbage];

    /// Whether only synced things are sure to survive.
    #[must_use]
    pub fn is_power_cut(self) -> bool {
        self != Crash::Kill
    }

    fn name(self) -> &'static str {
        match self {
            Crash::Kill => "kill",
            Crash::Linux => "linux",
            Crash::Strict => "strict",
            Crash::StrictGarbage => "strict-garbage",
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Crash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Crash::ALL.into_iter().find(|crash| crash.name() == text).ok_or_else(|| {
            format!("'{text}' is no crash: say kill, linux, strict or strict-garbage")
        })
    }
}

/// Which of the states that a crash may leave.
///
/// For [`Crash::Kill`] there is one unit at most, the write in flight: `Nothing` has not begun it,
/// `Everything` has finished it, `Random` tears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// Nothing unsynced survives.
    Nothing,
    /// Everything survives.
    Everything,
    /// Everything survives but this unit (counted from 0, modulo their number).
    AllBut(usize),
    /// Only this unit survives.
    Only(usize),
    /// A mix drawn from this seed: single units, coin flips of several weights, the disk as it was at
    /// some earlier operation.
    Random(u64),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Nothing => f.write_str("nothing"),
            Choice::Everything => f.write_str("everything"),
            Choice::AllBut(unit) => write!(f, "all-but-{unit}"),
            Choice::Only(unit) => write!(f, "only-{unit}"),
            Choice::Random(seed) => write!(f, "random-{seed}"),
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text {
            "nothing" => Some(Choice::Nothing),
            "everything" => Some(Choice::Everything),
            _ => match text.rsplit_once('-') {
                Some(("all-but", unit)) => unit.parse().ok().map(Choice::AllBut),
                Some(("only", unit)) => unit.parse().ok().map(Choice::Only),
                Some(("random", seed)) => seed.parse().ok().map(Choice::Random),
                _ => None,
            },
        };
        parsed.ok_or_else(|| {
            format!("'{text}' is no choice: say nothing, everything, all-but-N, only-N or random-N")
        })
    }
}

/// What is unsynced: the number of units and the operations from the first to the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Survey {
    pub(crate) units: usize,
    first_op: u64,
    last_op: u64,
}

impl Survey {
    /// Counts one unit whose states were made by these operations; one state is no unit.
    pub(crate) fn unit(&mut self, mut ops: impl Iterator<Item = u64>) {
        let (_oldest, Some(second)) = (ops.next(), ops.next()) else { return };
        let newest = ops.last().unwrap_or(second);
        self.first_op = if self.units == 0 { second } else { self.first_op.min(second) };
        self.last_op = self.last_op.max(newest);
        self.units = self.units.saturating_add(1);
    }
}

enum Style {
    Oldest,
    Newest,
    AllBut(usize),
    Only(usize),
    Uniform,
    /// The newest state `of_8` times out of 8, else the oldest.
    Biased {
        of_8: u64,
    },
    /// As the disk was after this operation; some units differ.
    Until {
        op: u64,
        noise_one_in: u64,
    },
}

/// Picks a state for one unit after the other.
pub(crate) struct Chooser {
    style: Style,
    rng: Rng,
    unit: usize,
}

impl Chooser {
    pub(crate) fn new(choice: Choice, survey: Survey) -> Self {
        let units = survey.units.max(1);
        let mut rng = Rng::new(0);
        let style = match choice {
            Choice::Nothing => Style::Oldest,
            Choice::Everything => Style::Newest,
            Choice::AllBut(unit) => Style::AllBut(unit.checked_rem(units).unwrap_or(0)),
            Choice::Only(unit) => Style::Only(unit.checked_rem(units).unwrap_or(0)),
            Choice::Random(seed) => {
                rng = Rng::new(seed);
                let span = survey.last_op.saturating_sub(survey.first_op).saturating_add(1);
                match rng.below(8) {
                    0 => Style::AllBut(rng.index(units)),
                    1 => Style::Only(rng.index(units)),
                    2 | 3 => Style::Uniform,
                    4 | 5 => Style::Biased { of_8: rng.below(7).saturating_add(1) },
                    noise => Style::Until {
                        op: survey.first_op.saturating_add(rng.below(span)),
                        noise_one_in: if noise == 6 { 0 } else { 8 },
                    },
                }
            }
        };
        Self { style, rng, unit: 0 }
    }

    /// The index of the state picked, among `states` many, oldest first; `op_of` names the operation
    /// that made a state.
    pub(crate) fn pick(&mut self, states: usize, op_of: impl Fn(usize) -> u64) -> usize {
        if states < 2 {
            return 0;
        }
        let newest = states.saturating_sub(1);
        let unit = self.unit;
        self.unit = unit.saturating_add(1);
        match self.style {
            Style::Oldest => 0,
            Style::Newest => newest,
            Style::AllBut(one) => {
                if unit == one {
                    self.rng.index(newest)
                } else {
                    newest
                }
            }
            Style::Only(one) => {
                if unit == one {
                    newest
                } else {
                    0
                }
            }
            Style::Uniform => self.rng.index(states),
            Style::Biased { of_8 } => {
                if self.rng.below(8) < of_8 {
                    newest
                } else {
                    0
                }
            }
            Style::Until { op, noise_one_in } => {
                if self.rng.one_in(noise_one_in) {
                    self.rng.index(states)
                } else {
                    (1..states).rev().find(|state| op_of(*state) <= op).unwrap_or(0)
                }
            }
        }
    }

    /// Garbage for a unit that may show it, once in a while under a random choice.
    pub(crate) fn garbage(&mut self) -> Option<u64> {
        let random = !matches!(
            self.style,
            Style::Oldest | Style::Newest | Style::AllBut(_) | Style::Only(_)
        );
        (random && self.rng.one_in(8)).then(|| self.rng.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, Chooser, Crash, Survey};

    fn picks(choice: Choice) -> Vec<usize> {
        let mut survey = Survey::default();
        for unit in 0..6_u64 {
            survey.unit([0, 10 + unit, 20 + unit].into_iter());
        }
        survey.unit([0].into_iter());
        assert_eq!(survey.units, 6);
        let mut chooser = Chooser::new(choice, survey);
        (0..6_u64).map(|unit| chooser.pick(3, |state| [0, 10 + unit, 20 + unit][state])).collect()
    }

    #[test]
    fn extreme_choices_are_extreme() {
        assert_eq!(picks(Choice::Nothing), [0; 6]);
        assert_eq!(picks(Choice::Everything), [2; 6]);
        assert_eq!(picks(Choice::Only(2)), [0, 0, 2, 0, 0, 0]);
        let all_but = picks(Choice::AllBut(8));
        assert_eq!(all_but.iter().filter(|state| **state == 2).count(), 5);
        assert_ne!(all_but[2], 2);
    }

    #[test]
    fn random_choices_repeat_and_reach_every_state() {
        let mut seen = [[false; 3]; 6];
        let mut as_of_one_moment = false;
        for seed in 0..400 {
            let picked = picks(Choice::Random(seed));
            assert_eq!(picked, picks(Choice::Random(seed)));
            as_of_one_moment |= picked == [1, 1, 1, 0, 0, 0];
            for (unit, state) in picked.into_iter().enumerate() {
                seen[unit][state] = true;
            }
        }
        assert_eq!(seen, [[true; 3]; 6]);
        assert!(as_of_one_moment, "no choice was the disk of an earlier moment");
    }

    #[test]
    fn names_are_read_back() {
        for crash in Crash::ALL {
            assert_eq!(crash.to_string().parse(), Ok(crash));
        }
        for choice in [
            Choice::Nothing,
            Choice::Everything,
            Choice::AllBut(3),
            Choice::Only(0),
            Choice::Random(u64::MAX),
        ] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("random-".parse::<Choice>().is_err());
        assert!("power".parse::<Crash>().is_err());
    }
}
