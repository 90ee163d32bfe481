//! Types of fixed width: integers, floats, `bool`, `char` and `()`.

use std::borrow::Cow;
use std::num::NonZero;

use super::{Decode, DecodeError, Encode, EncodeError, Schema};

/// The bytes as an array, or the error that names `T`.
#[inline]
pub(super) fn exactly<T: Schema, const N: usize>(bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    <[u8; N]>::try_from(bytes).map_err(|_| DecodeError::wrong_length(T::schema(), N, bytes.len()))
}

macro_rules! little_endian {
    ($($number:ident)+) => {$(
        impl Encode for $number {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                out.extend_from_slice(&self.to_le_bytes());
                Ok(())
            }
        }

        impl Decode for $number {
            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                exactly::<Self, _>(bytes).map(Self::from_le_bytes)
            }
        }

        impl Schema for $number {
            fn schema() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($number))
            }
        }
    )+};
}

little_endian! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 }

macro_rules! nonzero {
    ($($integer:ident)+) => {$(
        impl Encode for NonZero<$integer> {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                self.get().encode(out)
            }
        }

        impl Decode for NonZero<$integer> {
            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                Self::new($integer::from_le_bytes(exactly::<Self, _>(bytes)?)).ok_or_else(|| {
                    DecodeError::invalid(Self::schema(), bytes.len(), "the integer is zero")
                })
            }
        }

        impl Schema for NonZero<$integer> {
            fn schema() -> Cow<'static, str> {
                Cow::Borrowed(concat!("nonzero_", stringify!($integer)))
            }
        }
    )+};
}

nonzero! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

impl Encode for bool {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(u8::from(*self));
        Ok(())
    }
}

impl Decode for bool {
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match exactly::<Self, 1>(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(DecodeError::invalid(
                Self::schema(),
                bytes.len(),
                "the byte is neither 0 nor 1",
            )),
        }
    }
}

impl Schema for bool {
    fn schema() -> Cow<'static, str> {
        Cow::Borrowed("bool")
    }
}

impl Encode for char {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        u32::from(*self).encode(out)
    }
}

impl Decode for char {
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_u32(u32::from_le_bytes(exactly::<Self, _>(bytes)?)).ok_or_else(|| {
            DecodeError::invalid(
                Self::schema(),
                bytes.len(),
                "the number is not a Unicode scalar value",
            )
        })
    }
}

impl Schema for char {
    fn schema() -> Cow<'static, str> {
        Cow::Borrowed("char")
    }
}

impl Encode for () {
    #[inline]
    fn encode(&self, _out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl Decode for () {
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        exactly::<Self, 0>(bytes).map(|[]| ())
    }
}

impl Schema for () {
    fn schema() -> Cow<'static, str> {
        Cow::Borrowed("()")
    }
}
