//! As much of JSON as the commands print: values appended to a text, fields in the order they are given.
//!
//! Written here and not derived, since the shapes are a promise of the README: a field appears because
//! a line says so.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What can be printed as one JSON value.
pub trait Json {
    /// Appends the value to `out`.
    fn json(&self, out: &mut String);
}

/// Appends an object whose fields `fill` gives.
pub(crate) fn object(out: &mut String, fill: impl FnOnce(&mut Fields<'_>)) {
    out.push('{');
    fill(&mut Fields { out, is_first: true });
    out.push('}');
}

/// The fields of an object in the making.
pub(crate) struct Fields<'a> {
    out: &'a mut String,
    is_first: bool,
}

impl Fields<'_> {
    pub(crate) fn field(&mut self, name: &str, value: &(impl Json + ?Sized)) -> &mut Self {
        value.json(self.name(name));
        self
    }

    /// Appends a field's name; the caller appends its value.
    pub(crate) fn name(&mut self, name: &str) -> &mut String {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
        name.json(self.out);
        self.out.push(':');
        self.out
    }
}

impl Json for str {
    fn json(&self, out: &mut String) {
        out.push('"');
        for c in self.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                // The other control characters, DEL among them: JSON asks for those below 0x20, terminals
                // for the rest.
                c if c.is_control() => append(out, format_args!("\\u{:04x}", u32::from(c))),
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

impl Json for String {
    fn json(&self, out: &mut String) {
        self.as_str().json(out);
    }
}

/// Bytes that are not UTF-8 become U+FFFD.
impl Json for Path {
    fn json(&self, out: &mut String) {
        self.to_string_lossy().json(out);
    }
}

impl Json for PathBuf {
    fn json(&self, out: &mut String) {
        self.as_path().json(out);
    }
}

impl Json for bool {
    fn json(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

macro_rules! numbers {
    ($($number:ident)+) => {$(
        impl Json for $number {
            fn json(&self, out: &mut String) {
                append(out, format_args!("{self}"));
            }
        }
    )+};
}

numbers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 usize }

/// Nothing is `null`, so that every object of a kind has the same fields.
impl<T: Json> Json for Option<T> {
    fn json(&self, out: &mut String) {
        match self {
            Some(value) => value.json(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Json> Json for [T] {
    fn json(&self, out: &mut String) {
        out.push('[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            value.json(out);
        }
        out.push(']');
    }
}

impl<T: Json> Json for Vec<T> {
    fn json(&self, out: &mut String) {
        self.as_slice().json(out);
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn json(&self, out: &mut String) {
        (**self).json(out);
    }
}

/// Bytes as lower-case hexadecimal digits, two each; as JSON a string of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Json for Hex<'_> {
    fn json(&self, out: &mut String) {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
        out.reserve(self.0.len().saturating_mul(2).saturating_add(2));
        out.push('"');
        for byte in self.0 {
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
        out.push('"');
    }
}

/// Appends formatted text.
pub(crate) fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &(impl Json + ?Sized)) -> String {
        let mut out = String::new();
        value.json(&mut out);
        out
    }

    #[test]
    fn every_character_comes_back_from_another_parser() {
        let all: String = (0..0x2_0000).filter_map(char::from_u32).collect();
        let parsed: String = serde_json::from_str(&text(all.as_str())).unwrap();
        assert_eq!(parsed, all);
        assert!(!text(all.as_str()).chars().any(char::is_control));
    }

    #[test]
    fn objects_lists_and_numbers() {
        let mut out = String::new();
        object(&mut out, |fields| {
            fields.field("a", &u128::MAX).field("b", &vec![-1_i8, 2]).field("c", &None::<u8>);
            object(fields.name("d"), |_| {});
            fields.field("e", &Hex(&[0, 0x9f, 0xff])).field("f", &true);
        });
        assert_eq!(
            out,
            r#"{"a":340282366920938463463374607431768211455,"b":[-1,2],"c":null,"d":{},"e":"009fff","f":true}"#
        );
        assert_eq!(Hex(&[0, 0x9f, 0xff]).to_string(), "009fff");
    }
}
