//! The line from which one state is built again.

use std::fmt;
use std::str::FromStr;

use crate::choice::{Choice, Crash};

/// One crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) crash: Crash,
    pub(crate) op: u64,
    pub(crate) choice: Choice,
}

/// Where a violation was found: `seed/crash:op:choice`, and once more for a nested crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        for Step { crash, op, choice } in &self.steps {
            write!(f, "/{crash}:{op}:{choice}")?;
        }
        Ok(())
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let number = |text: &str| {
            text.parse::<u64>().map_err(|_| format!("'{text}' is no number; {REPLAY_FORM}"))
        };
        let seed = number(parts.next().unwrap_or_default())?;
        let steps = parts.map(|part| {
            let mut fields = part.split(':');
            let (Some(crash), Some(op), Some(choice), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return Err(format!("'{part}' is no crash; {REPLAY_FORM}"));
            };
            Ok(Step { crash: crash.parse()?, op: number(op)?, choice: choice.parse()? })
        });
        let steps = steps.collect::<Result<Vec<Step>, String>>()?;
        if steps.is_empty() {
            return Err(format!("'{text}' names no crash; {REPLAY_FORM}"));
        }
        Ok(Self { seed, steps })
    }
}

const REPLAY_FORM: &str =
    "copy what stands after PKV_SIM_REPLAY= in a violation, such as 1/strict:42:random-7";

#[cfg(test)]
mod tests {
    use super::{Place, Step};
    use crate::{Choice, Crash};

    #[test]
    fn a_place_is_read_back() {
        let place = Place {
            seed: 7,
            steps: vec![
                Step { crash: Crash::Kill, op: 12, choice: Choice::Random(3) },
                Step { crash: Crash::StrictGarbage, op: 14, choice: Choice::AllBut(2) },
            ],
        };
        assert_eq!(place.to_string(), "7/kill:12:random-3/strict-garbage:14:all-but-2");
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in
            ["", "7", "x/kill:1:nothing", "7/kill:1", "7/kill:1:nothing:2", "7/kill:1:some"]
        {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
