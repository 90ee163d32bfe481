//! Text for people: names and bytes that a terminal can be trusted with.

use std::fmt::{self, Display, Write};
use std::path::Path;

use anstyle::AnsiColor;

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

/// A word in a colour, for results that are shown to people: bad, doubtful, good. Where no colours are shown the
/// codes are taken out of the whole text again ([`crate::Output::report`]).
pub(crate) struct Painted<'a>(pub(crate) AnsiColor, pub(crate) &'a str);

impl Display for Painted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.0.on_default().bold();
        write!(f, "{style}{}{style:#}", self.1)
    }
}

/// Rows below heads, in columns as wide as they need to be; numbers stand at the right.
pub(crate) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(heads);
    let mut is_number = vec![true; heads.len()];
    for row in rows {
        for (is_number, cell) in is_number.iter_mut().zip(&row) {
            *is_number &= cell.bytes().all(|byte| byte.is_ascii_digit());
        }
        table.add_row(row);
    }
    for (column, is_number) in table.column_iter_mut().zip(is_number) {
        column.set_padding((0, 2));
        if is_number {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    table.trim_fmt()
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
    fn a_table_is_as_wide_as_its_cells() {
        let rows =
            [vec!["9".to_owned(), "log".to_owned()], vec!["10".to_owned(), "full".to_owned()]];
        assert_eq!(table(&["n", "type"], rows), " n  type\n 9  log\n10  full");
    }

    #[test]
    fn colours_can_be_taken_out() {
        let text = format!("a {} b", Painted(AnsiColor::Red, "damaged"));
        assert!(text.contains('\u{1b}'));
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "a damaged b");
    }

    #[test]
    fn one_is_not_many() {
        let text = |count, noun| Count(count, noun).to_string();
        assert_eq!([text(1, "file"), text(0, "file")], ["1 file", "0 files"]);
        assert_eq!([text(1, "entry"), text(2, "entry")], ["1 entry", "2 entries"]);
    }
}
