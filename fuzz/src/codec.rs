//! Any bytes as a key or a value of any type: refused, or the very bytes that the value encodes to.

use std::fmt::Debug;

use pkv_store::codec::{Decode, Encode};

/// What holds of any bytes.
pub fn run(data: &[u8]) {
    check::<u8>(data);
    check::<u64>(data);
    check::<i128>(data);
    check::<std::num::NonZero<u32>>(data);
    check::<bool>(data);
    check::<char>(data);
    check::<f32>(data);
    check::<f64>(data);
    check::<String>(data);
    check::<Box<str>>(data);
    check::<Vec<u8>>(data);
    check::<[u8; 16]>(data);
    check::<()>(data);
    check::<Option<Vec<u8>>>(data);
    check::<(u64, String)>(data);
    check::<(String, Vec<u8>, Option<u16>)>(data);
    check::<(Vec<u8>, (String, bool), Vec<u8>, i8, char, String)>(data);
}

fn check<T: Encode + Decode + Debug>(data: &[u8]) {
    let Ok(value) = T::decode(data) else { return };
    let mut encoded = Vec::new();
    value.encode(&mut encoded).expect("what was decoded can be encoded");
    assert_eq!(encoded, data, "{value:?}");
}
