//! Types that serde encodes.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Decode, DecodeError, Encode, EncodeError, Schema};

/// A type that implements serde's traits, as a key or value in the bytes of [postcard].
///
/// The type names itself by [`Schema`]; the name in the files is `postcard:` and that name. When the
/// fields change, raise the version in the name, keep the old struct beside the new one, and say by
/// [`Schema::upgrade`] how the one becomes the other: postcard's bytes tell nothing of fields, so that a
/// changed struct would be misread. Fields need no order of their own, and defaults and renames of serde
/// are not for this: `#[serde(default)]` and `skip_serializing_if` have no effect that postcard could keep.
///
/// The store compares bytes. So equal values must have equal bytes wherever that matters, for keys and for
/// comparisons: take `BTreeMap` for `HashMap`, whose order differs each time.
///
/// Cost: one pass over the value, either way; what is decoded is as large as the type makes it.
///
/// ```
/// use std::borrow::Cow;
/// use pkv_store::Store;
/// use pkv_store::codec::{Decode, DecodeError, Schema, Serde};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct UserV1 {
///     name: String,
/// }
///
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// struct User {
///     name: String,
///     tags: Vec<String>,
/// }
///
/// impl Schema for UserV1 {
///     fn schema() -> Cow<'static, str> {
///         "user.1".into()
///     }
/// }
///
/// impl Schema for User {
///     fn schema() -> Cow<'static, str> {
///         "user.2".into()
///     }
///     fn can_upgrade(version: u32) -> bool {
///         version == 1
///     }
///     fn upgrade(_version: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
///         let Serde(old) = Serde::<UserV1>::decode(bytes)?;
///         Ok(User { name: old.name, tags: Vec::new() })
///     }
/// }
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("users");
/// let old: Store<u64, Serde<UserV1>> = Store::open(&path)?;
/// old.insert(&1, &Serde(UserV1 { name: "alice".into() }))?;
/// old.close()?;
///
/// let users: Store<u64, Serde<User>> = Store::open(&path)?;
/// let Serde(alice) = users.get(&1)?.expect("just written");
/// assert_eq!(alice, User { name: "alice".into(), tags: vec![] });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [postcard]: https://docs.rs/postcard
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serde<T>(pub T);

impl<T: Schema> Schema for Serde<T> {
    fn schema() -> Cow<'static, str> {
        Cow::Owned(format!("postcard:{}", T::schema()))
    }

    fn can_upgrade(version: u32) -> bool {
        T::can_upgrade(version)
    }

    fn upgrade(version: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        T::upgrade(version, bytes).map(Self)
    }
}

impl<T: Serialize + Schema> Encode for Serde<T> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        postcard::serialize_with_flavor(&self.0, Appended(out))
            .map_err(|error| EncodeError::rejected(Self::schema(), error.to_string()))
    }
}

impl<T: DeserializeOwned + Schema> Decode for Serde<T> {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let invalid = |reason: String| DecodeError::invalid(Self::schema(), bytes.len(), reason);
        match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(Self(value)),
            Ok((_, rest)) => Err(invalid(format!("{} bytes follow the value", rest.len()))),
            Err(error) => Err(invalid(error.to_string())),
        }
    }
}

/// Appends to a buffer that has something in it.
struct Appended<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
