//! Keys and values as a user writes them, turned into bytes: the other way round than `field.rs`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::field::FieldType;

/// Why a text is no key or value of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadField {
    #[error("`{0}` is no integer that fits the type")]
    Integer(String),
    #[error("`{0}` is not an even number of hexadecimal digits")]
    Hex(String),
    #[error(
        "{0} is not what the type is written as: text as a string, integers as numbers, all others as hexadecimal digits in a string"
    )]
    Json(String),
}

/// Hexadecimal digits as bytes.
pub(crate) fn hex(text: &str) -> Result<Vec<u8>, BadField> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    push_hex(text, &mut bytes)?;
    Ok(bytes)
}

fn push_hex(text: &str, out: &mut Vec<u8>) -> Result<(), BadField> {
    let bad = || BadField::Hex(front(text));
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(bad());
    }
    for [high, low] in pairs {
        let (high, low) = digit(*high).zip(digit(*low)).ok_or_else(bad)?;
        out.push(high << 4 | low);
    }
    Ok(())
}

/// As much of a text as an error shows.
pub(crate) fn front(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_default).collect()
}

impl FieldType {
    /// Appends the encoding of what a user wrote: text as it is, integers in decimal, all others as hexadecimal
    /// digits.
    pub(crate) fn push_text(self, text: &str, out: &mut Vec<u8>) -> Result<(), BadField> {
        match self {
            Self::Text => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Self::Integer { .. } => self
                .push_integer(text, out)
                .then_some(())
                .ok_or_else(|| BadField::Integer(front(text))),
            Self::Bytes => push_hex(text, out),
        }
    }

    /// The encoding of what a user wrote.
    pub(crate) fn encode_text(self, text: &str) -> Result<Vec<u8>, BadField> {
        let mut out = Vec::new();
        self.push_text(text, &mut out)?;
        Ok(out)
    }

    /// Appends an integer of the type. False: it is none.
    fn push_integer(self, text: &str, out: &mut Vec<u8>) -> bool {
        let Self::Integer { is_signed, bytes, is_nonzero } = self else { return false };
        let bits = u32::try_from(bytes).unwrap_or(16).saturating_mul(8);
        let wide = if is_signed {
            text.parse::<i128>()
                .ok()
                .filter(|number| {
                    // What is left of the type's own bits is the sign alone.
                    let rest = number.checked_shr(bits.saturating_sub(1)).unwrap_or(0);
                    bits >= 128 || rest == 0 || rest == -1
                })
                .map(i128::to_le_bytes)
        } else {
            text.parse::<u128>()
                .ok()
                .filter(|number| number.checked_shr(bits).unwrap_or(0) == 0)
                .map(u128::to_le_bytes)
        };
        let Some(encoded) = wide.filter(|wide| !is_nonzero || *wide != [0; 16]) else {
            return false;
        };
        out.extend_from_slice(encoded.get(..bytes).unwrap_or_default());
        true
    }

    /// Appends the encoding of a JSON value, as `pkv dump` prints it.
    pub(crate) fn push_json(self, raw: &RawValue, out: &mut Vec<u8>) -> Result<(), BadField> {
        let json = raw.get();
        let bad = || BadField::Json(front(json));
        match (json.as_bytes().first(), self) {
            (Some(b'{'), _) => {
                let bytes: Undecodable<'_> = serde_json::from_str(json).map_err(|_| bad())?;
                push_hex(&bytes.undecodable, out)
            }
            (Some(b'"'), Self::Text | Self::Bytes) => {
                let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
                if inner.contains('\\') {
                    let text: String = serde_json::from_str(json).map_err(|_| bad())?;
                    self.push_text(&text, out)
                } else {
                    self.push_text(inner, out)
                }
            }
            (Some(b'-' | b'0'..=b'9'), Self::Integer { .. }) => self
                .push_integer(json, out)
                .then_some(())
                .ok_or_else(|| BadField::Integer(front(json))),
            _ => Err(bad()),
        }
    }
}

/// Bytes that do not fit their schema, as a dump shows them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Undecodable<'a> {
    #[serde(borrow)]
    undecodable: std::borrow::Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    const SCHEMAS: [&str; 14] = [
        "string",
        "u8",
        "u16",
        "u32",
        "u64",
        "u128",
        "i8",
        "i16",
        "i32",
        "i64",
        "i128",
        "bytes",
        "nonzero_u16",
        "(u8,string)",
    ];

    #[test]
    fn what_is_printed_is_read_back() {
        let samples: [&[u8]; 7] =
            [b"", b"a\"\\\n\xc3\xa9", &[0; 16], &[0xff; 16], &[1, 0x80], &[0x80], &[7; 8]];
        for schema in SCHEMAS {
            let field = FieldType::of(schema);
            for bytes in samples {
                for bytes in
                    [bytes, bytes.get(..4).unwrap_or(bytes), bytes.get(..1).unwrap_or(bytes)]
                {
                    if schema.starts_with("nonzero") && bytes.iter().all(|byte| *byte == 0) {
                        continue;
                    }
                    let (mut text, mut back) = (String::new(), Vec::new());
                    field.value(bytes).json(&mut text);
                    let raw: Box<RawValue> = serde_json::from_str(&text).unwrap();
                    field
                        .push_json(&raw, &mut back)
                        .unwrap_or_else(|why| panic!("{schema} {text}: {why}"));
                    assert_eq!(back, bytes, "{schema} {text}");
                }
            }
        }
    }

    #[test]
    fn integers_that_do_not_fit_are_refused() {
        let take = |schema, text: &str| FieldType::of(schema).encode_text(text);
        assert_eq!(take("u8", "255"), Ok(vec![255]));
        assert_eq!(take("i8", "-128"), Ok(vec![0x80]));
        assert_eq!(take("i128", &i128::MIN.to_string()), Ok(i128::MIN.to_le_bytes().to_vec()));
        assert_eq!(take("u128", &u128::MAX.to_string()), Ok(vec![255; 16]));
        for (schema, text) in [
            ("u8", "256"),
            ("u8", "-1"),
            ("i8", "128"),
            ("i8", "-129"),
            ("i64", "9223372036854775808"),
            ("u64", ""),
            ("u64", "1.0"),
            ("u64", "1e3"),
            ("nonzero_u32", "0"),
            ("u128", "340282366920938463463374607431768211456"),
        ] {
            assert!(take(schema, text).is_err(), "{schema} {text}");
        }
        for text in ["0", "0g", "\u{e9}"] {
            assert!(matches!(hex(text), Err(BadField::Hex(_))), "{text}");
        }
    }
}
