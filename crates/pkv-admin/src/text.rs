//! Text for people: names and bytes that a terminal can be trusted with.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// A path in which control characters are escaped: a file's name must not move the cursor.
pub(crate) struct Shown<'a>(pub(crate) &'a Path);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Plain(&self.0.to_string_lossy()).fmt(f)
    }
}

/// A text in which control characters are escaped.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

/// A number with its noun: `1 file`, `2 files`.
pub(crate) struct Count<'a>(pub(crate) u64, pub(crate) &'a str);

impl Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        if *count == 1 {
            return write!(f, "1 {noun}");
        }
        match noun.strip_suffix('y') {
            Some(stem) => write!(f, "{count} {stem}ies"),
            None => write!(f, "{count} {noun}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_the_rest_is_not() {
        assert_eq!(Plain("a\x1b[2J\n \u{e9}\"\\").to_string(), "a\\u{1b}[2J\\n \u{e9}\"\\");
        assert_eq!(Shown(Path::new("x/\r")).to_string(), "x/\\r");
    }

    #[test]
    fn one_is_not_many() {
        let text = |count, noun| Count(count, noun).to_string();
        assert_eq!([text(1, "file"), text(0, "file")], ["1 file", "0 files"]);
        assert_eq!([text(1, "entry"), text(2, "entry")], ["1 entry", "2 entries"]);
    }
}
