//! Folders with values of two versions of their type: tools look, copy and check; only the program that has the type
//! changes.

use std::borrow::Cow;
use std::path::Path;

use pkv_store::Store;
use pkv_store::codec::{Decode, DecodeError, Encode, EncodeError, Schema};

use crate::folders::{Folder, nowhere, options};
use crate::run::{fields, pkv};

/// A value with a version: the same bytes in each.
macro_rules! version {
    ($name:ident, $schema:literal, $old:literal) => {
        #[derive(Debug)]
        struct $name(u64);

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                self.0.encode(out)
            }
        }

        impl Decode for $name {
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                u64::decode(bytes).map(Self)
            }
        }

        impl Schema for $name {
            fn schema() -> Cow<'static, str> {
                $schema.into()
            }

            fn can_upgrade(version: u32) -> bool {
                version == $old
            }

            fn upgrade(_: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
                Self::decode(bytes)
            }
        }
    };
}

version!(First, "account.1", 99);
version!(Second, "account.2", 1);

/// A snapshot of the first version, a log of the second.
fn mixed() -> Folder {
    let folder = nowhere();
    let store: Store<String, First> = options().open(&folder.path).unwrap();
    store.insert("old", &First(1)).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let store: Store<String, Second> = options().open(&folder.path).unwrap();
    store.insert("new", &Second(2)).unwrap();
    store.close().unwrap();
    folder
}

#[test]
fn what_changes_says_what_to_do_and_changes_nothing() {
    let folder = mixed();
    let before = folder.bytes();
    let to = folder.path.parent().unwrap().join("to");
    let to = to.to_str().unwrap();
    let one = "0100000000000000";
    for (words, rest) in [
        (&["put"][..], &["new", one][..]),
        (&["del"], &["new"]),
        (&["compact"], &[]),
        (&["export"], &[to]),
        (&["salvage"], &[to]),
        (&["salvage", "--dry-run"], &[]),
    ] {
        let error = pkv(words, &folder.path, rest).fails(3);
        assert!(error.contains("account.1") && error.contains("account.2"), "{words:?}: {error}");
        assert!(error.contains("compact it there"), "{words:?}: {error}");
        let files = |bytes: Vec<(String, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
            bytes.into_iter().filter(|(name, _)| name != "snapshots.lock").collect()
        };
        assert!(files(folder.bytes()) == files(before.clone()), "{words:?} changed something");
        assert!(!Path::new(to).exists(), "{words:?} made something");
    }
}

#[test]
fn what_looks_says_so_and_copies_are_good() {
    let folder = mixed();
    let stat = pkv(&["stat", "--json"], &folder.path, &[]).exits(0).json();
    assert_eq!(stat["value_schema"], "account.2");
    assert_eq!(stat["older_value_schemas"], serde_json::json!(["account.1"]));
    let text = pkv(&["stat"], &folder.path, &[]).exits(0).out;
    assert!(text.contains("also of         account.1"), "{text}");
    assert_eq!(pkv(&["dump"], &folder.path, &[]).exits(0).json_lines().len(), 2);
    let line = pkv(&["get", "--json"], &folder.path, &["old"]).exits(0).json();
    assert_eq!(fields(&line), ["key", "value"]);
    pkv(&["verify", "--strict", "--deep"], &folder.path, &[]).exits(0);
    let to = folder.path.parent().unwrap().join("to");
    pkv(&["backup"], &folder.path, &[to.to_str().unwrap()]).exits(0);
    let store: Store<String, Second> = options().open(&to).unwrap();
    assert_eq!(store.get("old").unwrap().unwrap().0, 1);
    store.compact().unwrap();
    store.close().unwrap();
    // Then tools can change it.
    pkv(&["put"], &to, &["new", "0300000000000000"]).exits(0);
}
