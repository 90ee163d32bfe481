//! The names and bytes here are in users' folders: a change to a pinned one breaks opening them.

use std::borrow::{Borrow, Cow};
use std::fmt::Debug;
use std::num::NonZero;

use proptest::prelude::*;

use super::{Decode, DecodeError, Encode, EncodeError, Key, Schema, Value, split_version};

type Six = (u8, Option<String>, [u8; 3], (char, Vec<u8>), bool, String);

fn encoded<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out).expect("built-in types encode");
    out
}

/// Pins the name and the bytes of one value, and that no other length decodes to it.
#[track_caller]
fn golden<T: Key + Value + PartialEq + Debug>(schema: &str, value: T, bytes: &[u8]) {
    assert_eq!(T::schema(), schema);
    assert_eq!(encoded(&value), bytes, "encoding of {value:?} as {schema}");
    assert_eq!(T::decode(bytes), Ok(value), "decoding as {schema}");
}

/// Every length but that of `bytes` is an error that says so.
#[track_caller]
fn fixed_width<T: Value + Debug>(bytes: &[u8]) {
    assert!(T::decode(bytes).is_ok());
    let mut longer = bytes.to_vec();
    longer.push(0);
    let others = (0..bytes.len()).map(|len| &bytes[..len]).chain([&longer[..]]);
    for other in others {
        let error = T::decode(other).expect_err("another length");
        assert_eq!(error, DecodeError::wrong_length(T::schema(), bytes.len(), other.len()));
        assert_eq!((error.schema(), error.found_bytes()), (&*T::schema(), other.len()));
    }
}

/// `bytes` are refused as a `T` for this reason.
#[track_caller]
fn refused<T: Value + Debug>(bytes: &[u8], reason: &'static str) {
    let error = T::decode(bytes).expect_err("not an encoding");
    assert_eq!(error, DecodeError::invalid(T::schema(), bytes.len(), reason));
}

#[test]
fn names_and_bytes_of_integers_are_pinned() {
    golden("u8", 0x81_u8, &[0x81]);
    golden("u16", 0x8102_u16, &[0x02, 0x81]);
    golden("u32", 0x8102_0304_u32, &[4, 3, 2, 0x81]);
    golden("u64", 0x8102_0304_0506_0708_u64, &[8, 7, 6, 5, 4, 3, 2, 0x81]);
    golden("i8", -2_i8, &[0xfe]);
    golden("i16", -2_i16, &[0xfe, 0xff]);
    golden("i32", -2_i32, &[0xfe, 0xff, 0xff, 0xff]);
    golden("i64", -2_i64, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let mut wide = [0xff; 16];
    wide[0] = 0xfe;
    golden("i128", -2_i128, &wide);
    golden("u128", u128::MAX - 1, &wide);
}

#[test]
fn names_and_bytes_of_nonzero_integers_are_pinned() {
    fn pin<T: Key + PartialEq + Debug>(schema: &str, one: Option<T>, width_bytes: usize) {
        let mut bytes = vec![0; width_bytes];
        refused::<T>(&bytes, "the integer is zero");
        bytes[0] = 1;
        golden(schema, one.expect("not zero"), &bytes);
        fixed_width::<T>(&bytes);
    }
    pin("nonzero_u8", NonZero::new(1_u8), 1);
    pin("nonzero_u16", NonZero::new(1_u16), 2);
    pin("nonzero_u32", NonZero::new(1_u32), 4);
    pin("nonzero_u64", NonZero::new(1_u64), 8);
    pin("nonzero_u128", NonZero::new(1_u128), 16);
    pin("nonzero_i8", NonZero::new(1_i8), 1);
    pin("nonzero_i16", NonZero::new(1_i16), 2);
    pin("nonzero_i32", NonZero::new(1_i32), 4);
    pin("nonzero_i64", NonZero::new(1_i64), 8);
    pin("nonzero_i128", NonZero::new(1_i128), 16);
}

#[test]
fn names_and_bytes_of_the_other_types_are_pinned() {
    golden("bool", false, &[0]);
    golden("bool", true, &[1]);
    golden("char", '\u{20ac}', &[0xac, 0x20, 0, 0]);
    golden("f32", 1.0_f32, &[0, 0, 0x80, 0x3f]);
    golden("f64", -0.5_f64, &[0, 0, 0, 0, 0, 0, 0xe0, 0xbf]);
    golden("()", (), &[]);
    golden("string", String::from("a\u{e9}"), &[0x61, 0xc3, 0xa9]);
    golden("string", Box::<str>::from("ab"), b"ab");
    golden("bytes", vec![0_u8, 0xff], &[0, 0xff]);
    golden("bytes", Box::<[u8]>::from([0, 0xff]), &[0, 0xff]);
    golden("bytes0", [0_u8; 0], &[]);
    golden("bytes16", [7_u8; 16], &[7; 16]);
    golden("option<u16>", None::<u16>, &[0]);
    golden("option<u16>", Some(2_u16), &[1, 2, 0]);
    golden("option<option<()>>", Some(None::<()>), &[1, 0]);
}

#[test]
fn names_and_bytes_of_tuples_are_pinned() {
    golden("(u16,)", (1_u16,), &[1, 0]);
    golden("(string,u64)", (String::from("ab"), 1_u64), b"\x02ab\x01\0\0\0\0\0\0\0");
    golden("(u8,bool,string)", (9_u8, true, String::from("x")), b"\x01\x09\x01\x01x");
    golden("(u8,u8,u8,u8)", (1_u8, 2_u8, 3_u8, 4_u8), &[1, 1, 1, 2, 1, 3, 4]);
    golden("((),(),(),(),())", ((), (), (), (), ()), &[0, 0, 0, 0]);
    let six: Six = (1, Some("y".into()), [2; 3], ('A', vec![]), true, "z".into());
    golden(
        "(u8,option<string>,bytes3,(char,bytes),bool,string)",
        six,
        b"\x01\x01\x02\x01y\x03\x02\x02\x02\x05\x04A\0\0\0\x01\x01z",
    );
    // Where the border between two fields lies is part of the value.
    assert_ne!(encoded(&("ab", "c")), encoded(&("a", "bc")));
}

#[test]
fn types_of_fixed_width_take_no_other_length() {
    fixed_width::<u8>(&[1]);
    fixed_width::<u16>(&[1; 2]);
    fixed_width::<u32>(&[1; 4]);
    fixed_width::<u64>(&[1; 8]);
    fixed_width::<u128>(&[1; 16]);
    fixed_width::<i8>(&[1]);
    fixed_width::<i16>(&[1; 2]);
    fixed_width::<i32>(&[1; 4]);
    fixed_width::<i64>(&[1; 8]);
    fixed_width::<i128>(&[1; 16]);
    fixed_width::<f32>(&[1; 4]);
    fixed_width::<f64>(&[1; 8]);
    fixed_width::<bool>(&[1]);
    fixed_width::<char>(&[65, 0, 0, 0]);
    fixed_width::<()>(&[]);
    fixed_width::<[u8; 5]>(&[1; 5]);
}

#[test]
fn what_no_value_is_encoded_as_is_refused() {
    refused::<bool>(&[2], "the byte is neither 0 nor 1");
    let not_a_character = "the number is not a Unicode scalar value";
    refused::<char>(&[0, 0xd8, 0, 0], not_a_character);
    refused::<char>(&[0, 0, 0x11, 0], not_a_character);
    refused::<String>(b"ab\xff", "not UTF-8 from byte 2 on");
    let boxed = Box::<str>::decode(b"ab\xff");
    assert_eq!(boxed, Err(DecodeError::invalid("string", 3, "not UTF-8 from byte 2 on")));
    refused::<Option<u8>>(&[], "the tag is missing");
    refused::<Option<u8>>(&[0, 0], "bytes follow the tag 0");
    refused::<Option<u8>>(&[2, 0], "the tag is neither 0 nor 1");
    assert_eq!(Option::<u8>::decode(&[1]), Err(DecodeError::wrong_length("u8", 1, 0)));
    assert_eq!(Option::<u8>::decode(&[1, 2, 3]), Err(DecodeError::wrong_length("u8", 1, 2)));
}

#[test]
fn a_hostile_field_length_is_refused_before_anything_is_allocated() {
    type Pair = (Vec<u8>, u8);
    refused::<Pair>(&[], "the length of a field is cut short");
    refused::<Pair>(&[0x80], "the length of a field is cut short");
    refused::<Pair>(&[0x80, 0x00, 7], "the length of a field is not in its shortest form");
    refused::<Pair>(&[0x81, 0x80, 0x00, 9, 7], "the length of a field is not in its shortest form");
    refused::<Pair>(&[3, 1, 2], "the length of a field exceeds the bytes that follow");
    let mut longest = [0xff; 12];
    longest[8] = 0x7f;
    refused::<Pair>(&longest, "the length of a field exceeds the bytes that follow");
    refused::<Pair>(&[0xff; 12], "the length of a field has more than nine bytes");
    // The second field's length is judged against what the first one left; the error tells of the
    // whole tuple.
    refused::<(u8, Vec<u8>, u8)>(
        &[1, 7, 3, 0, 0],
        "the length of a field exceeds the bytes that follow",
    );
    // A field must use up its length, and the last one the rest.
    assert_eq!(<(u8, u8)>::decode(&[2, 1, 1, 1]), Err(DecodeError::wrong_length("u8", 1, 2)));
    assert_eq!(<(u8, u8)>::decode(&[1, 1]), Err(DecodeError::wrong_length("u8", 1, 0)));
    assert_eq!(<(u8, u8)>::decode(&[1, 1, 1, 1]), Err(DecodeError::wrong_length("u8", 1, 2)));
}

#[test]
fn the_length_of_a_field_grows_at_its_borders() {
    let cases: [(usize, &[u8]); 6] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xff, 0x7f]),
        (16_384, &[0x80, 0x80, 0x01]),
        (70_000, &[0xf0, 0xa2, 0x04]),
    ];
    for (field_bytes, prefix) in cases {
        let value = (vec![5_u8; field_bytes], 6_u8);
        let mut out = b"kept".to_vec();
        value.encode(&mut out).expect("built-in types encode");
        let expected = [b"kept", prefix, &value.0, &[6]].concat();
        assert!(out == expected, "a field of {field_bytes} bytes");
        assert!(Decode::decode(&out[4..]) == Ok(value), "a field of {field_bytes} bytes");
    }
}

#[test]
fn floats_keep_their_bits() {
    for bits in [0x7fc0_0001_u32, 0xffc0_0000, 0x8000_0000] {
        let value = f32::from_bits(bits);
        assert_eq!(encoded(&value), bits.to_le_bytes());
        assert_eq!(f32::decode(&encoded(&value)).expect("any bits").to_bits(), bits);
    }
    assert_ne!(encoded(&0.0_f64), encoded(&-0.0_f64));
}

#[test]
fn types_that_borrow_from_each_other_encode_alike() {
    fn alike<T: Encode + Borrow<B>, B: Encode + ?Sized>(owned: &T) {
        let expected = encoded(owned);
        assert!(!expected.is_empty());
        assert_eq!(encoded::<B>(owned.borrow()), expected);
        assert_eq!(encoded(&owned), expected, "through a reference");
    }
    alike::<String, str>(&"text".into());
    alike::<Box<str>, str>(&"text".into());
    alike::<Vec<u8>, [u8]>(&vec![1, 2]);
    alike::<Box<[u8]>, [u8]>(&Box::from([1, 2]));
    alike::<[u8; 2], [u8]>(&[1, 2]);
    alike::<&str, str>(&"text");
    alike::<u64, u64>(&1);
}

/// A broken type: it takes away what was in the buffer.
struct Shrinks;

impl Encode for Shrinks {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.clear();
        Ok(())
    }
}

/// A type that refuses to be stored.
struct Refuses;

impl Encode for Refuses {
    fn encode(&self, _out: &mut Vec<u8>) -> Result<(), EncodeError> {
        Err(EncodeError::rejected("refuses.1", "never"))
    }
}

#[test]
fn errors_of_own_types_come_through_compound_ones() {
    let rejected = EncodeError::rejected("refuses.1", "never");
    let mut out = Vec::new();
    assert_eq!(Some(Refuses).encode(&mut out), Err(rejected.clone()));
    assert_eq!((Refuses, 1_u8).encode(&mut out), Err(rejected.clone()));
    assert_eq!((1_u8, Refuses).encode(&mut out), Err(rejected));
    let shrunk = (1_u8, Shrinks, 1_u8).encode(&mut out).expect_err("the buffer shrank");
    assert!(matches!(shrunk, EncodeError::BufferShrunk { .. }), "{shrunk}");
}

#[test]
fn types_that_say_nothing_of_versions_are_not_upgraded() {
    assert!(!u64::can_upgrade(0) && !<(u8, String)>::can_upgrade(1));
    let refused = u64::upgrade(3, &[0; 8]).expect_err("no upgrade");
    assert_eq!(refused, DecodeError::invalid("u64", 8, "there is no upgrade from version 3"));
}

#[test]
fn versions_are_in_their_shortest_form() {
    for name in ["a", "a.", "a.01", "a.-1", "a.+1", "a.1x", "a.4294967296", "a 1", ".x", ""] {
        assert_eq!(split_version(name), (name, 0));
    }
    assert_eq!(split_version("a.0"), ("a.0", 0));
    assert_eq!(split_version("a.4294967295"), ("a", u32::MAX));
    assert_eq!(split_version("a.b.7"), ("a.b", 7));
}

#[test]
fn messages_name_the_type_the_cause_and_the_way_on() {
    let messages = [
        EncodeError::rejected("age.1", "older than 200 years").to_string(),
        EncodeError::BufferShrunk { type_name: "app::Age" }.to_string(),
        DecodeError::wrong_length("u64", 8, 3).to_string(),
        DecodeError::invalid("bool", 1, Cow::Borrowed("neither 0 nor 1")).to_string(),
    ];
    assert_eq!(
        messages,
        [
            "cannot encode age.1: older than 200 years",
            "cannot encode app::Age: its `Encode` removed bytes from the buffer that it was given; \
             make it append only",
            "cannot decode u64 from 3 bytes: it has 8; \
             open the store with the types it was written with",
            "cannot decode bool from 1 bytes: neither 0 nor 1; \
             open the store with the types it was written with",
        ]
    );
}

/// A value comes back, behind whatever was in the buffer.
fn comes_back<T: Value + Debug + PartialEq>(value: &T) -> Result<(), TestCaseError> {
    let mut out = b"before".to_vec();
    value.encode(&mut out).expect("built-in types encode");
    let bytes = out.strip_prefix(b"before").expect("encoding appends");
    let decoded = T::decode(bytes);
    prop_assert_eq!(decoded.as_ref(), Ok(value));
    // Cut short or made longer, the bytes are refused or are exactly another value's: never this
    // one's.
    let longer = [bytes, &[0]].concat();
    for other in (0..bytes.len()).map(|len| &bytes[..len]).chain([&longer[..]]) {
        if let Some(decoded) = canonical::<T>(other)? {
            prop_assert_ne!(&decoded, value);
        }
    }
    Ok(())
}

/// Bytes that decode are those that the decoded value encodes to.
fn canonical<T: Value>(bytes: &[u8]) -> Result<Option<T>, TestCaseError> {
    let decoded = T::decode(bytes).ok();
    if let Some(value) = &decoded {
        let again = encoded(value);
        prop_assert_eq!(again.as_slice(), bytes, "as {}", T::schema());
    }
    Ok(decoded)
}

macro_rules! round_trips {
    ($($test:ident: $type:ty = $strategy:expr;)+) => {
        proptest! {
            $(
                #[test]
                fn $test(value in $strategy) {
                    comes_back::<$type>(&value)?;
                }
            )+

            #[test]
            fn bytes_that_decode_are_canonical(bytes in hostile_bytes()) {
                $(canonical::<$type>(&bytes)?;)+
            }
        }
    };
}

/// Short, and rich in the small numbers that tags, lengths and characters are made of.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0_u8..4, 1 => Just(0x80), 1 => any::<u8>()];
    prop::collection::vec(byte, 0..20)
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..60).prop_map(String::from_iter)
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

round_trips! {
    u8_comes_back: u8 = any::<u8>();
    u16_comes_back: u16 = any::<u16>();
    u32_comes_back: u32 = any::<u32>();
    u64_comes_back: u64 = any::<u64>();
    u128_comes_back: u128 = any::<u128>();
    i8_comes_back: i8 = any::<i8>();
    i16_comes_back: i16 = any::<i16>();
    i32_comes_back: i32 = any::<i32>();
    i64_comes_back: i64 = any::<i64>();
    i128_comes_back: i128 = any::<i128>();
    nonzero_u8_comes_back: NonZero<u8> = any::<NonZero<u8>>();
    nonzero_u16_comes_back: NonZero<u16> = any::<NonZero<u16>>();
    nonzero_u32_comes_back: NonZero<u32> = any::<NonZero<u32>>();
    nonzero_u64_comes_back: NonZero<u64> = any::<NonZero<u64>>();
    nonzero_u128_comes_back: NonZero<u128> = any::<NonZero<u128>>();
    nonzero_i8_comes_back: NonZero<i8> = any::<NonZero<i8>>();
    nonzero_i16_comes_back: NonZero<i16> = any::<NonZero<i16>>();
    nonzero_i32_comes_back: NonZero<i32> = any::<NonZero<i32>>();
    nonzero_i64_comes_back: NonZero<i64> = any::<NonZero<i64>>();
    nonzero_i128_comes_back: NonZero<i128> = any::<NonZero<i128>>();
    f32_comes_back: f32 = any::<f32>();
    f64_comes_back: f64 = any::<f64>();
    bool_comes_back: bool = any::<bool>();
    char_comes_back: char = any::<char>();
    unit_comes_back: () = any::<()>();
    string_comes_back: String = text();
    boxed_text_comes_back: Box<str> = text().prop_map(String::into_boxed_str);
    bytes_come_back: Vec<u8> = blob();
    boxed_bytes_come_back: Box<[u8]> = blob().prop_map(Vec::into_boxed_slice);
    array_comes_back: [u8; 16] = any::<[u8; 16]>();
    option_comes_back: Option<u32> = any::<Option<u32>>();
    nested_option_comes_back: Option<Option<String>> =
        prop::option::of(prop::option::of(text()));
    tuple_of_1_comes_back: (String,) = text().prop_map(|text| (text,));
    tuple_of_2_comes_back: (Vec<u8>, u64) = (blob(), any::<u64>());
    tuple_of_3_comes_back: (Option<u8>, String, String) = (any::<Option<u8>>(), text(), text());
    tuple_of_4_comes_back: (u8, u16, (Vec<u8>, String), i64) =
        (any::<u8>(), any::<u16>(), (blob(), text()), any::<i64>());
    tuple_of_5_comes_back: (u8, (), String, bool, Vec<u8>) =
        (any::<u8>(), any::<()>(), text(), any::<bool>(), blob());
    tuple_of_6_comes_back: Six = (
        any::<u8>(),
        prop::option::of(text()),
        any::<[u8; 3]>(),
        (any::<char>(), blob()),
        any::<bool>(),
        text(),
    );
}
