//! Keys, values and type names as they stand on a command line.

use crate::entries::Types;
use crate::error::{Error, Result};
use crate::field::FieldType;
use crate::parse::{BadField, hex};

/// The bytes of a key on the command line.
pub(crate) fn key_bytes(word: &str, schema: (&str, &str), is_hex: bool) -> Result<Vec<u8>> {
    bytes("KEY", word, Types::of(schema).key, schema, is_hex)
}

/// The bytes of a value on the command line.
pub(crate) fn value_bytes(word: &str, schema: (&str, &str), is_hex: bool) -> Result<Vec<u8>> {
    bytes("VALUE", word, Types::of(schema).value, schema, is_hex)
}

fn bytes(
    what: &'static str,
    word: &str,
    field: FieldType,
    schema: (&str, &str),
    is_hex: bool,
) -> Result<Vec<u8>> {
    let parsed = if is_hex { hex(word) } else { field.encode_text(word) };
    parsed.map_err(|why| bad_value(what, &why, schema))
}

/// The error of a word that is not what the store's types ask for.
pub(crate) fn bad_value(what: &'static str, why: &BadField, (key, value): (&str, &str)) -> Error {
    Error::BadValue { what, reason: why.to_string(), types: format!("{key} to {value}") }
}

/// Two schema names, `KEY,VALUE`. A comma within brackets belongs to a name.
pub(crate) fn types(word: &str) -> Result<(String, String), String> {
    let mut depth = 0_u32;
    let mut borders = Vec::new();
    for (at, c) in word.char_indices() {
        match c {
            '(' | '<' => depth = depth.saturating_add(1),
            ')' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => borders.push(at),
            _ => {}
        }
    }
    let parts = match borders.as_slice() {
        [at] => word.get(..*at).zip(word.get(at.saturating_add(1)..)),
        _ => None,
    };
    match parts {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("two names with a comma between them, as in string,u64".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_are_told_apart() {
        let both = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(types("string,u64"), both("string", "u64"));
        assert_eq!(types("(u8,u8),option<(u8,u8)>"), both("(u8,u8)", "option<(u8,u8)>"));
        for wrong in ["", ",", "string", "string,", ",u64", "a,b,c", "(u8,u8)"] {
            assert!(types(wrong).is_err(), "{wrong}");
        }
    }
}
