//! Protocol buffers.

use std::borrow::Cow;

use prost::{Message, Name};

use super::{Decode, DecodeError, Encode, EncodeError, Schema};

/// A message of [prost], as a value.
///
/// The name in the files is `protobuf:` and the full name of the message, by [`prost::Name`]: prost-build
/// writes that with `Config::enable_type_names`, and for a message of your own it is an `impl` of two
/// constants. The rules of protocol buffers say what a message may become while old values can be read:
/// add fields, never reuse a number; there is nothing to upgrade.
///
/// As a key a message is seldom right: the store compares bytes, and equal messages need not have equal
/// bytes (maps have no order; take `btree_map`).
///
/// # Coming from `persistent-kv`
///
/// There the methods `set_proto` and `get_proto` took messages of any type for each key. Here the store has
/// the type:
///
/// | `persistent-kv` | here |
/// |---|---|
/// | `let store = PersistentKeyValueStore::<String, Vec<u8>>::new(path, config)?` | `let store: Store<String, Proto<User>> = Store::open(path)?` |
/// | `store.set_proto("alice", user)?` | `store.insert("alice", &Proto(user))?` |
/// | `store.get_proto::<_, User>("alice")?` | `store.get("alice")?.map(\|Proto(user)\| user)` |
///
/// A store that holds messages of several types takes one message with a `oneof` of them, or a
/// [`ByteStore`](crate::ByteStore) with `encode_to_vec` and `decode`. The files of `persistent-kv` cannot
/// be read; copy the entries with both crates in one program.
///
/// ```
/// use pkv_store::Store;
/// use pkv_store::codec::Proto;
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct User {
///     #[prost(string, tag = "1")]
///     name: String,
///     #[prost(uint32, tag = "2")]
///     logins: u32,
/// }
///
/// impl prost::Name for User {
///     const NAME: &'static str = "User";
///     const PACKAGE: &'static str = "shop.v1";
/// }
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("users");
/// let users: Store<String, Proto<User>> = Store::open(&path)?;
/// users.insert("alice", &Proto(User { name: "Alice".into(), logins: 1 }))?;
/// users.entry("alice").and_modify(|Proto(user)| user.logins += 1).or_default()?;
/// assert_eq!(users.get("alice")?.map(|Proto(user)| user.logins), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [prost]: https://docs.rs/prost
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proto<M>(pub M);

impl<M: Name> Schema for Proto<M> {
    fn schema() -> Cow<'static, str> {
        Cow::Owned(format!("protobuf:{}", M::full_name()))
    }
}

impl<M: Message> Encode for Proto<M> {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // Fails only where the buffer is full, and this one grows.
        self.0.encode(out).map_err(|error| EncodeError::rejected("protobuf", error.to_string()))
    }
}

impl<M: Message + Default + Name> Decode for Proto<M> {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        M::decode(bytes)
            .map(Self)
            .map_err(|error| DecodeError::invalid(Self::schema(), bytes.len(), error.to_string()))
    }
}
