//! Why a key or value could not be encoded or decoded.
//!
//! These errors know the type and the bytes, not the key, file or offset; the store adds those.

use std::borrow::Cow;

/// A key or value that could not be turned into bytes. Nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type holds a value that must not be stored.
    #[error("cannot encode {schema}: {reason}")]
    #[non_exhaustive]
    Rejected {
        /// The schema name of the type.
        schema: Cow<'static, str>,
        /// What is wrong with the value.
        reason: Cow<'static, str>,
    },
    /// The implementation of [`Encode`](super::Encode) of a tuple's field took bytes away from the
    /// buffer.
    #[error(
        "cannot encode {type_name}: its `Encode` removed bytes from the buffer that it was given; \
         make it append only"
    )]
    #[non_exhaustive]
    BufferShrunk {
        /// The Rust name of the field's type.
        type_name: &'static str,
    },
}

impl EncodeError {
    /// An [`EncodeError::Rejected`], for implementations of [`Encode`](super::Encode).
    #[must_use]
    pub fn rejected(
        schema: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Rejected { schema: schema.into(), reason: reason.into() }
    }
}

/// Bytes that are not the encoding of a value of the type asked for.
///
/// The store's bytes are checksummed, so the cause is seldom damage: mostly they were written by
/// another type of the same schema name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A type of fixed width, and another number of bytes.
    #[error(
        "cannot decode {schema} from {found_bytes} bytes: it has {expected_bytes}; \
         open the store with the types it was written with"
    )]
    #[non_exhaustive]
    WrongLength {
        /// The schema name of the type.
        schema: Cow<'static, str>,
        /// How many bytes a value of the type has.
        expected_bytes: usize,
        /// How many bytes there were.
        found_bytes: usize,
    },
    /// Bytes that no value of the type is encoded as.
    #[error(
        "cannot decode {schema} from {found_bytes} bytes: {reason}; \
         open the store with the types it was written with"
    )]
    #[non_exhaustive]
    Invalid {
        /// The schema name of the type.
        schema: Cow<'static, str>,
        /// How many bytes there were.
        found_bytes: usize,
        /// What is wrong with them.
        reason: Cow<'static, str>,
    },
}

impl DecodeError {
    /// A [`DecodeError::WrongLength`], for implementations of [`Decode`](super::Decode).
    #[must_use]
    pub fn wrong_length(
        schema: impl Into<Cow<'static, str>>,
        expected_bytes: usize,
        found_bytes: usize,
    ) -> Self {
        Self::WrongLength { schema: schema.into(), expected_bytes, found_bytes }
    }

    /// A [`DecodeError::Invalid`], for implementations of [`Decode`](super::Decode).
    #[must_use]
    pub fn invalid(
        schema: impl Into<Cow<'static, str>>,
        found_bytes: usize,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Invalid { schema: schema.into(), found_bytes, reason: reason.into() }
    }

    /// The schema name of the type that was asked for; within a tuple or option, of the part that
    /// failed.
    #[must_use]
    pub fn schema(&self) -> &str {
        match self {
            Self::WrongLength { schema, .. } | Self::Invalid { schema, .. } => schema,
        }
    }

    /// How many bytes there were to decode it from.
    #[must_use]
    pub fn found_bytes(&self) -> usize {
        match self {
            Self::WrongLength { found_bytes, .. } | Self::Invalid { found_bytes, .. } => {
                *found_bytes
            }
        }
    }
}
