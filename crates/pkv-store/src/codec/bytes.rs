//! Text and bytes, which are their own encoding: the owned, boxed and borrowed forms share it.

use std::borrow::Cow;

use super::scalar::exactly;
use super::{Decode, DecodeError, Encode, EncodeError, Schema};

impl Encode for [u8] {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(self);
        Ok(())
    }

    #[inline]
    fn as_encoded(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<const N: usize> Encode for [u8; N] {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(self);
        Ok(())
    }

    #[inline]
    fn as_encoded(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<const N: usize> Decode for [u8; N] {
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        exactly::<Self, N>(bytes)
    }
}

impl<const N: usize> Schema for [u8; N] {
    fn schema() -> Cow<'static, str> {
        Cow::Owned(format!("bytes{N}"))
    }
}

impl Encode for str {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.as_bytes().encode(out)
    }

    #[inline]
    fn as_encoded(&self) -> Option<&[u8]> {
        Some(self.as_bytes())
    }
}

macro_rules! owned {
    ($($owned:ty),+ as $borrowed:ty, named $schema:literal, from $decode:expr) => {$(
        impl Encode for $owned {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                <$borrowed>::encode(self, out)
            }

            #[inline]
            fn as_encoded(&self) -> Option<&[u8]> {
                <$borrowed>::as_encoded(self)
            }
        }

        impl Decode for $owned {
            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                let borrowed: Result<&$borrowed, DecodeError> = $decode(bytes);
                borrowed.map(Self::from)
            }
        }

        impl Schema for $owned {
            fn schema() -> Cow<'static, str> {
                Cow::Borrowed($schema)
            }
        }
    )+};
}

owned! { Vec<u8>, Box<[u8]> as [u8], named "bytes", from Ok }
owned! { String, Box<str> as str, named "string", from utf8 }

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let reason = format!("not UTF-8 from byte {} on", error.valid_up_to());
        DecodeError::invalid(String::schema(), bytes.len(), reason)
    })
}
