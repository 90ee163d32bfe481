//! Types made of others: options and tuples.

use std::borrow::Cow;

use super::{Decode, DecodeError, Encode, EncodeError, Schema};

impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out)?;
            }
        }
        Ok(())
    }
}

impl<T: Decode + Schema> Decode for Option<T> {
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reason = match bytes {
            [0] => return Ok(None),
            [1, value @ ..] => return T::decode(value).map(Some),
            [] => "the tag is missing",
            [0, ..] => "bytes follow the tag 0",
            [_, ..] => "the tag is neither 0 nor 1",
        };
        Err(DecodeError::invalid(Self::schema(), bytes.len(), reason))
    }
}

impl<T: Schema> Schema for Option<T> {
    fn schema() -> Cow<'static, str> {
        Cow::Owned(format!("option<{}>", T::schema()))
    }
}

/// Appends the length of `field` and `field`.
#[inline]
fn encode_field<T: Encode>(field: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let prefix_at = out.len();
    // The length is known only afterwards. Most fields are short, so room for one byte saves moving
    // them.
    out.push(0);
    let start = out.len();
    field.encode(out)?;
    let Some(field_bytes) = out.len().checked_sub(start) else {
        return Err(EncodeError::BufferShrunk { type_name: std::any::type_name::<T>() });
    };
    match u8::try_from(field_bytes) {
        Ok(len @ ..0x80) => {
            if let Some(prefix) = out.get_mut(prefix_at) {
                *prefix = len;
            }
        }
        _ => {
            out.splice(prefix_at..start, varint(field_bytes));
        }
    }
    Ok(())
}

/// The unsigned LEB128 of `len`: seven bits a byte, lowest first, the top bit set in all but the
/// last.
fn varint(len: usize) -> impl Iterator<Item = u8> {
    std::iter::successors(Some(len), |rest| Some(rest >> 7).filter(|rest| *rest > 0)).map(|rest| {
        let [low, ..] = rest.to_le_bytes();
        if rest < 0x80 { low } else { low | 0x80 }
    })
}

/// The bytes of a field and those after it, or why there is no field.
#[inline]
fn split_field(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let mut len = 0_u64;
    let mut rest = bytes;
    // Nine bytes hold 63 bits, which no length in memory exceeds.
    for shift in (0..63).step_by(7) {
        let Some((&byte, after)) = rest.split_first() else {
            return Err("the length of a field is cut short");
        };
        rest = after;
        len |= u64::from(byte & 0x7f) << shift;
        if byte >= 0x80 {
            continue;
        }
        if byte == 0 && shift > 0 {
            return Err("the length of a field is not in its shortest form");
        }
        return usize::try_from(len)
            .ok()
            .and_then(|len| rest.split_at_checked(len))
            .ok_or("the length of a field exceeds the bytes that follow");
    }
    Err("the length of a field has more than nine bytes")
}

/// Decodes the next field of a `Tuple` of `tuple_bytes`; also returns the bytes after it.
#[inline]
fn decode_field<Tuple: Schema, T: Decode>(
    tuple_bytes: usize,
    bytes: &[u8],
) -> Result<(T, &[u8]), DecodeError> {
    let (field, rest) = split_field(bytes)
        .map_err(|reason| DecodeError::invalid(Tuple::schema(), tuple_bytes, reason))?;
    Ok((T::decode(field)?, rest))
}

macro_rules! tuple {
    ($names:literal: $($Field:ident $field:ident),*; $Last:ident $last:ident) => {
        impl<$($Field: Encode,)* $Last: Encode> Encode for ($($Field,)* $Last,) {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                let ($($field,)* $last,) = self;
                $(encode_field($field, out)?;)*
                $last.encode(out)
            }
        }

        impl<$($Field: Decode + Schema,)* $Last: Decode + Schema> Decode for ($($Field,)* $Last,) {
            #[inline]
            fn decode(tuple: &[u8]) -> Result<Self, DecodeError> {
                let bytes = tuple;
                $(let ($field, bytes) = decode_field::<Self, $Field>(tuple.len(), bytes)?;)*
                let $last = $Last::decode(bytes)?;
                Ok(($($field,)* $last,))
            }
        }

        impl<$($Field: Schema,)* $Last: Schema> Schema for ($($Field,)* $Last,) {
            fn schema() -> Cow<'static, str> {
                Cow::Owned(format!($names, $($Field::schema(),)* $Last::schema()))
            }
        }
    };
}

tuple! { "({},)": ; A a }
tuple! { "({},{})": A a; B b }
tuple! { "({},{},{})": A a, B b; C c }
tuple! { "({},{},{},{})": A a, B b, C c; D d }
tuple! { "({},{},{},{},{})": A a, B b, C c, D d; E e }
tuple! { "({},{},{},{},{},{})": A a, B b, C c, D d, E e; F f }
