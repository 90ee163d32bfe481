//! What a word is, for the plain count and for the child alike.

use std::collections::HashMap;
use std::path::Path;

use crate::{Failure, failed};

/// Before a word in the store's keys.
pub(super) const WORD_PREFIX: &str = "w:";
/// Before a file that is done.
pub(super) const FILE_PREFIX: &str = "f:";

/// Longer runs of letters are data, not words.
const WORD_BYTES_MAX: usize = 200;

/// The words of one file.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) words: HashMap<String, u64>,
    pub(super) total: u64,
    pub(super) text_bytes: u64,
}

pub(super) fn count_words(file: &Path) -> Result<Counted, Failure> {
    let bytes = std::fs::read(file).map_err(failed(file.display()))?;
    Ok(count(&String::from_utf8_lossy(&bytes)))
}

fn count(text: &str) -> Counted {
    let mut counted =
        Counted { text_bytes: u64::try_from(text.len()).unwrap_or(u64::MAX), ..Counted::default() };
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
        if word.is_empty() || word.len() > WORD_BYTES_MAX {
            continue;
        }
        match counted.words.get_mut(word) {
            Some(n) => *n += 1,
            None => drop(counted.words.insert(word.to_owned(), 1)),
        }
        counted.total += 1;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_digits_and_underscores() {
        let counted = count(&format!("fn sync_dir(&self) -> fn 1.5; {}", "x".repeat(201)));
        let mut words: Vec<_> = counted.words.iter().map(|(word, &n)| (word.as_str(), n)).collect();
        words.sort_unstable();
        assert_eq!(words, [("1", 1), ("5", 1), ("fn", 2), ("self", 1), ("sync_dir", 1)]);
        assert_eq!(counted.total, 6);
    }
}
