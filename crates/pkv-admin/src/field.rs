//! Keys and values as a reader of a dump sees them, by their schema names.

use crate::json::{Hex, Json, append, object};

/// What the bytes of a key or value stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldType {
    /// `string`.
    Text,
    /// `u8` to `i128`, and their `nonzero_` forms.
    Integer { is_signed: bool, bytes: usize, is_nonzero: bool },
    /// Everything else.
    Bytes,
}

impl FieldType {
    pub(crate) fn of(schema: &str) -> Self {
        let nonzero = schema.strip_prefix("nonzero_");
        let integer = nonzero.unwrap_or(schema);
        let (is_signed, bytes) = match integer {
            "u8" => (false, 1),
            "u16" => (false, 2),
            "u32" => (false, 4),
            "u64" => (false, 8),
            "u128" => (false, 16),
            "i8" => (true, 1),
            "i16" => (true, 2),
            "i32" => (true, 4),
            "i64" => (true, 8),
            "i128" => (true, 16),
            _ if schema == "string" => return Self::Text,
            _ => return Self::Bytes,
        };
        Self::Integer { is_signed, bytes, is_nonzero: nonzero.is_some() }
    }

    pub(crate) fn value(self, bytes: &[u8]) -> FieldValue<'_> {
        match self {
            Self::Text => match std::str::from_utf8(bytes) {
                Ok(text) => FieldValue::Text(text),
                Err(_) => FieldValue::Undecodable(bytes),
            },
            Self::Integer { bytes: width, .. } if bytes.len() != width => {
                FieldValue::Undecodable(bytes)
            }
            Self::Integer { is_signed, .. } => {
                // Little-endian; a negative number's upper bytes are all ones.
                let is_negative = is_signed && bytes.last().is_some_and(|byte| *byte >= 0x80);
                let mut wide = [if is_negative { 0xff } else { 0 }; 16];
                for (place, byte) in wide.iter_mut().zip(bytes) {
                    *place = *byte;
                }
                if is_signed {
                    FieldValue::Signed(i128::from_le_bytes(wide))
                } else {
                    FieldValue::Unsigned(u128::from_le_bytes(wide))
                }
            }
            Self::Bytes => FieldValue::Bytes(bytes),
        }
    }

    /// At most some sixty characters of it, with its length where it was cut.
    pub(crate) fn short(self, bytes: &[u8]) -> String {
        const CHARACTERS_MAX: usize = 60;
        // Of a long one no more is looked at than can be shown.
        let front = match self {
            Self::Text => {
                let front = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
                front
                    .char_indices()
                    .nth(CHARACTERS_MAX)
                    .map_or(bytes, |(end, _)| bytes.get(..end).unwrap_or_default())
            }
            Self::Integer { .. } => bytes,
            Self::Bytes => bytes.get(..CHARACTERS_MAX / 2).unwrap_or(bytes),
        };
        let mut text = String::new();
        self.value(front).json(&mut text);
        if front.len() < bytes.len() {
            append(&mut text, format_args!("... ({} bytes)", bytes.len()));
        }
        text
    }
}

/// One key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValue<'a> {
    Text(&'a str),
    Signed(i128),
    Unsigned(u128),
    Bytes(&'a [u8]),
    /// Not what the schema says.
    Undecodable(&'a [u8]),
}

impl Json for FieldValue<'_> {
    fn json(&self, out: &mut String) {
        match self {
            Self::Text(text) => text.json(out),
            Self::Signed(number) => number.json(out),
            Self::Unsigned(number) => number.json(out),
            Self::Bytes(bytes) => Hex(bytes).json(out),
            // An object, so that nobody takes it for a text or number of the schema.
            Self::Undecodable(bytes) => object(out, |fields| {
                fields.field("undecodable", &Hex(bytes));
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkv_store::codec::{Encode, Schema};

    fn json<T: Encode + Schema>(value: &T) -> String {
        let (mut bytes, mut out) = (Vec::new(), String::new());
        value.encode(&mut bytes).unwrap();
        FieldType::of(&T::schema()).value(&bytes).json(&mut out);
        out
    }

    #[test]
    fn values_are_shown_by_their_schema() {
        assert_eq!(json(&"a\"\u{e9}".to_owned()), "\"a\\\"\u{e9}\"");
        assert_eq!(json(&String::new()), "\"\"");
        assert_eq!(
            (json(&u8::MAX), json(&i8::MIN), json(&-1_i16)),
            ("255".into(), "-128".into(), "-1".into())
        );
        assert_eq!(json(&u128::MAX), u128::MAX.to_string());
        assert_eq!(json(&i128::MIN), i128::MIN.to_string());
        assert_eq!(json(&u64::MAX), u64::MAX.to_string());
        assert_eq!(json(&std::num::NonZero::new(-5_i32).unwrap()), "-5");
        assert_eq!(json(&vec![0_u8, 255]), "\"00ff\"");
        assert_eq!(json(&[7_u8; 2]), "\"0707\"");
        assert_eq!(json(&(1_u8, 2_u8)), "\"010102\"");
        assert_eq!(json(&true), "\"01\"");
    }

    #[test]
    fn what_does_not_fit_its_schema_cannot_be_mistaken() {
        let mut out = String::new();
        FieldType::of("string").value(b"a\xff").json(&mut out);
        FieldType::of("u32").value(b"abc").json(&mut out);
        FieldType::of("nonzero_i64").value(b"").json(&mut out);
        assert_eq!(out, r#"{"undecodable":"61ff"}{"undecodable":"616263"}{"undecodable":""}"#);
    }

    #[test]
    fn short_forms_are_cut_at_characters_and_say_so() {
        let text = "\u{e9}".repeat(61);
        assert_eq!(
            FieldType::of("string").short(text.as_bytes()),
            format!("\"{}\"... (122 bytes)", "\u{e9}".repeat(60))
        );
        assert_eq!(
            FieldType::of("string").short("\u{e9}".repeat(60).as_bytes()).chars().count(),
            62
        );
        assert_eq!(
            FieldType::of("bytes").short(&[1; 31]),
            format!("\"{}\"... (31 bytes)", "01".repeat(30))
        );
        assert_eq!(FieldType::of("bytes").short(&[1; 30]), format!("\"{}\"", "01".repeat(30)));
    }
}
