//! Values that other crates encode: serde's and prost's.

#[cfg(feature = "prost")]
mod proto {
    use pkv_store::codec::{Decode, Encode, Proto, Schema};
    use pkv_store::{Error, Store};

    use crate::support::{Place, small};

    #[derive(Clone, PartialEq, prost::Message)]
    struct User {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(uint32, repeated, tag = "2")]
        numbers: Vec<u32>,
    }

    impl prost::Name for User {
        const NAME: &'static str = "User";
        const PACKAGE: &'static str = "shop.v1";
    }

    /// The same message with a field more, as the next version of the program has it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct NewerUser {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bool, tag = "3")]
        active: bool,
    }

    impl prost::Name for NewerUser {
        const NAME: &'static str = "User";
        const PACKAGE: &'static str = "shop.v1";
    }

    fn user() -> User {
        User { name: "alice".into(), numbers: vec![1, 300] }
    }

    #[test]
    fn name_and_bytes_of_a_message_are_those_of_protobuf() {
        assert_eq!(Proto::<User>::schema(), "protobuf:shop.v1.User");
        let mut out = b"kept".to_vec();
        Proto(user()).encode(&mut out).unwrap();
        assert_eq!(out, b"kept\x0a\x05alice\x12\x03\x01\xac\x02");
        assert_eq!(Proto::decode(&out[4..]), Ok(Proto(user())));
        assert_eq!(Proto::decode(b""), Ok(Proto(User::default())));
        let error = Proto::<User>::decode(b"\x0a\x50a").unwrap_err();
        assert_eq!(error.schema(), "protobuf:shop.v1.User");
    }

    #[test]
    fn messages_come_back_and_may_grow() {
        let place = Place::new();
        let store: Store<String, Proto<User>> = small().open(place.store()).unwrap();
        store.insert("a", &Proto(user())).unwrap();
        store.close().unwrap();
        let store: Store<String, Proto<NewerUser>> = small().open(place.store()).unwrap();
        let Proto(newer) = store.get("a").unwrap().unwrap();
        assert_eq!(newer, NewerUser { name: "alice".into(), active: false });
        store.close().unwrap();
        let other = small().open::<String, Vec<u8>>(place.store()).unwrap_err();
        assert!(matches!(other, Error::WrongType { .. }), "{other}");
    }
}

#[cfg(feature = "serde")]
mod serde {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use pkv_store::codec::{Decode, DecodeError, Encode, EncodeError, Schema, Serde};
    use pkv_store::{Error, Store};
    use serde::{Deserialize, Serialize};

    use crate::support::{Place, small};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle { radius: u32 },
        Named(String, BTreeMap<u8, i64>),
    }

    impl Schema for Shape {
        fn schema() -> Cow<'static, str> {
            "shape.1".into()
        }
    }

    /// The next version: circles only.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Radius(u64);

    impl Schema for Radius {
        fn schema() -> Cow<'static, str> {
            "shape.2".into()
        }

        fn can_upgrade(version: u32) -> bool {
            version == 1
        }

        fn upgrade(_version: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
            match Serde::decode(bytes)? {
                Serde(Shape::Circle { radius }) => Ok(Self(radius.into())),
                Serde(_) => Ok(Self(0)),
            }
        }
    }

    fn shapes() -> [Shape; 3] {
        let map = BTreeMap::from([(1, -1), (2, i64::MAX)]);
        [Shape::Point, Shape::Circle { radius: 300 }, Shape::Named("x".repeat(2000), map)]
    }

    #[test]
    fn name_and_bytes_are_those_of_postcard() {
        assert_eq!(Serde::<Shape>::schema(), "postcard:shape.1");
        let mut out = b"kept".to_vec();
        Serde(Shape::Circle { radius: 300 }).encode(&mut out).unwrap();
        assert_eq!(out, b"kept\x01\xac\x02");
        for shape in shapes() {
            let mut out = Vec::new();
            Serde(shape.clone()).encode(&mut out).unwrap();
            assert_eq!(Serde::decode(&out), Ok(Serde(shape)));
            // Neither shorter nor longer.
            assert!(Serde::<Shape>::decode(&out[..out.len() - 1]).is_err());
            out.push(0);
            let error = Serde::<Shape>::decode(&out).unwrap_err();
            assert!(error.to_string().contains("1 bytes follow the value"), "{error}");
            assert_eq!(error.schema(), "postcard:shape.1");
        }
    }

    #[test]
    fn what_serde_refuses_is_an_error_and_not_written() {
        #[derive(Deserialize)]
        struct Refuses;

        impl Serialize for Refuses {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("never"))
            }
        }

        impl Schema for Refuses {
            fn schema() -> Cow<'static, str> {
                "refuses".into()
            }
        }

        let place = Place::new();
        let store: Store<u64, Serde<Refuses>> = small().open(place.store()).unwrap();
        let error = store.insert(&1, &Serde(Refuses)).unwrap_err();
        assert!(matches!(error, Error::Encode(EncodeError::Rejected { .. })), "{error}");
        assert!(store.is_empty());
    }

    #[test]
    fn a_struct_that_changed_is_upgraded() {
        let place = Place::new();
        let store: Store<u64, Serde<Shape>> = small().open(place.store()).unwrap();
        for (key, shape) in (0..).zip(shapes()) {
            store.insert(&key, &Serde(shape)).unwrap();
        }
        store.close().unwrap();
        let store: Store<u64, Serde<Radius>> = small().open(place.store()).unwrap();
        assert_eq!(store.bytes().schemas().1, "postcard:shape.2");
        let radii = [0, 300, 0].map(|radius| Some(Serde(Radius(radius))));
        assert_eq!(store.get_many(&[0, 1, 2]).unwrap(), radii);
    }
}
