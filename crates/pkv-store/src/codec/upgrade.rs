//! Values that an older version of their type has written, made into those of today.

use super::{DecodeError, EncodeError, Value};
use crate::expiry;

/// A schema name without its version, and the version: 0 where it has none.
///
/// The version is the decimal number behind the last dot, in its shortest form.
///
/// ```
/// use pkv_store::codec::split_version;
/// assert_eq!(split_version("account.2"), ("account", 2));
/// assert_eq!(split_version("postcard:bank.account.13"), ("postcard:bank.account", 13));
/// assert_eq!(split_version("u64"), ("u64", 0));
/// assert_eq!(split_version("account.v2"), ("account.v2", 0));
/// ```
#[must_use]
pub fn split_version(schema: &str) -> (&str, u32) {
    let version = schema.rsplit_once('.').and_then(|(name, digits)| {
        let is_shortest = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        Some((name, digits.parse().ok().filter(|_| is_shortest)?))
    });
    version.unwrap_or((schema, 0))
}

/// The schema name of the values that a store with [`crate::Options::expiry`] keeps behind their deadlines, out of the
/// name that its files bear; `None` for a store without. For tools that look at files.
///
/// ```
/// use pkv_store::codec::without_deadlines;
/// assert_eq!(without_deadlines("expiring<u64>"), Some("u64"));
/// assert_eq!(without_deadlines("u64"), None);
/// ```
#[must_use]
pub fn without_deadlines(value_schema: &str) -> Option<&str> {
    expiry::inner_schema(value_schema)
}

/// Whether two schema names of values in files are those of one type, in whatever versions, and both or
/// neither of values with deadlines: then opening may upgrade the one to the other.
///
/// ```
/// use pkv_store::codec::is_same_type;
/// assert!(is_same_type("account", "account.2"));
/// assert!(is_same_type("expiring<account.1>", "expiring<account.2>"));
/// assert!(!is_same_type("account.1", "expiring<account.1>"));
/// ```
#[must_use]
pub fn is_same_type(value_schema: &str, other: &str) -> bool {
    family(value_schema) == family(other)
}

/// The name of a schema without its version, and whether it is one of values with deadlines.
pub(crate) fn family(value_schema: &str) -> (&str, bool) {
    match expiry::inner_schema(value_schema) {
        Some(inner) => (split_version(inner).0, true),
        None => (split_version(value_schema).0, false),
    }
}

/// Encodes as of today what a version has written.
type Convert = fn(u32, &[u8], &mut Vec<u8>) -> Result<(), UpgradeError>;

/// How the values of a store are upgraded: what its value type says, without the type.
#[derive(Clone, Debug)]
pub(crate) struct Upgrade {
    schema: String,
    can_upgrade: fn(u32) -> bool,
    convert: Convert,
    /// Values have deadlines before them.
    timed: bool,
}

/// Why a value could not be upgraded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl Upgrade {
    pub(crate) fn of<V: Value>() -> Self {
        Self {
            schema: V::schema().into_owned(),
            can_upgrade: V::can_upgrade,
            convert: |version, bytes, out| Ok(V::upgrade(version, bytes)?.encode(out)?),
            timed: false,
        }
    }

    /// Of values whose type is known by its name alone: there is nothing to upgrade them with.
    pub(crate) fn none(schema: String) -> Self {
        let convert: Convert = |_, bytes, _| {
            let reason = "of a version for which there is no upgrade";
            Err(DecodeError::invalid("a value", bytes.len(), reason).into())
        };
        Self { schema, can_upgrade: |_| false, convert, timed: false }
    }

    /// The same for values that have deadlines before them.
    pub(crate) fn with_deadlines(self) -> Self {
        Self { schema: expiry::schema_of(&self.schema), timed: true, ..self }
    }

    /// Today's schema.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// The version of a stored schema that is an older one of today's and can be upgraded.
    pub(crate) fn older_version(&self, stored: &str) -> Option<u32> {
        let (today, stored) = if self.timed {
            (expiry::inner_schema(&self.schema)?, expiry::inner_schema(stored)?)
        } else {
            (self.schema.as_str(), stored)
        };
        let (name, today) = split_version(today);
        let (stored_name, version) = split_version(stored);
        (stored_name == name && version < today && (self.can_upgrade)(version)).then_some(version)
    }

    /// Encodes in `out`, in place of what it held, as of today what this version has written.
    pub(crate) fn convert(
        &self,
        version: u32,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), UpgradeError> {
        out.clear();
        let value = if self.timed { expiry::copy_deadline(bytes, out) } else { Some(bytes) };
        value.map_or(Ok(()), |value| (self.convert)(version, value, out))
    }
}
