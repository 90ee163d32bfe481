//! The words behind a task's name: flags, values and names. Every word must be taken, or it is an error.

use std::str::FromStr;

use crate::{Failure, Outcome};

/// The words of a command line that no one took yet.
#[derive(Debug)]
pub(crate) struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    /// Takes `name` (such as `--quick`): was it there?
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() != before
    }

    /// Takes `name` and the word behind it, or `name=value`. `None` if it was not there.
    pub(crate) fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.take_value(name)? else { return Ok(None) };
        let value =
            text.parse().map_err(|_| Failure::Usage(format!("{name}: `{text}` will not do")))?;
        Ok(Some(value))
    }

    fn take_value(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let with_equals = format!("{name}=");
        let Some(at) =
            self.words.iter().position(|word| word == name || word.starts_with(&with_equals))
        else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        if let Some(value) = word.strip_prefix(&with_equals) {
            return Ok(Some(value.to_owned()));
        }
        if at < self.words.len() {
            return Ok(Some(self.words.remove(at)));
        }
        Err(Failure::Usage(format!("{name} needs a value")))
    }

    /// Takes the first word that is no flag.
    pub(crate) fn name(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with('-'))?;
        Some(self.words.remove(at))
    }

    /// Takes all words that are no flags.
    pub(crate) fn names(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.name()).collect()
    }

    /// An error if a word is left.
    pub(crate) fn finish(self) -> Outcome {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(Failure::Usage(format!("`{word}` means nothing here"))),
        }
    }

    /// All words as they are, to hand them on.
    #[cfg(not(feature = "demo"))]
    pub(crate) fn into_words(self) -> Vec<String> {
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Arguments {
        Arguments::new(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn takes_flags_values_and_names_in_any_order() {
        let mut words = arguments(&["a.txt", "--kills", "9", "--quick", "b.txt", "--seed=3"]);
        assert!(words.flag("--quick"));
        assert!(!words.flag("--quick"));
        assert_eq!(words.value::<u32>("--kills").unwrap(), Some(9));
        assert_eq!(words.value::<u64>("--seed").unwrap(), Some(3));
        assert_eq!(words.value::<u64>("--absent").unwrap(), None);
        assert_eq!(words.names(), ["a.txt", "b.txt"]);
        assert!(words.finish().is_ok());
    }

    #[test]
    fn bad_and_left_over_words_are_usage_errors() {
        assert!(matches!(
            arguments(&["--kills", "many"]).value::<u32>("--kills"),
            Err(Failure::Usage(_))
        ));
        assert!(matches!(arguments(&["--kills"]).value::<u32>("--kills"), Err(Failure::Usage(_))));
        assert!(matches!(arguments(&["--bogus"]).finish(), Err(Failure::Usage(_))));
    }
}
