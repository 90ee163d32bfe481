//! Memory of this process: had before it is used, asked for before it is read, compared at once.

use std::mem::MaybeUninit;

/// Has the system give the memory of the whole pages in this range now and all at once, not page by page as each
/// is first written. Measured on Linux: 256 KiB that are filled from end to end take a third less time.
///
/// Changes nothing in the memory, and does nothing where the system cannot (it needs Linux from 5.14 on and the
/// feature `mmap`). Takes about 0.3 us a page, so it is for memory that will be filled at once.
///
/// ```
/// let mut buffer: Vec<u8> = Vec::with_capacity(256 * 1024);
/// pkv_fs::populate_memory(buffer.spare_capacity_mut());
/// ```
pub fn populate_memory(bytes: &mut [MaybeUninit<u8>]) {
    #[cfg(all(feature = "mmap", target_os = "linux"))]
    crate::mapped::populate_memory(bytes);
    #[cfg(not(all(feature = "mmap", target_os = "linux")))]
    let _ = bytes;
}

/// Asks the processor for the cache line on which this value begins, and goes on meanwhile: for memory that is
/// needed in about 100 ns, which is how long it takes.
///
/// Changes nothing and waits for nothing. Does nothing on processors other than x86-64 or without the feature `mmap`.
///
/// ```
/// let table = vec![7_u64; 1 << 20];
/// pkv_fs::prefetch(&table[1 << 19]);
/// // Something else that takes about as long.
/// assert_eq!(table[1 << 19], 7);
/// ```
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(all(feature = "mmap", target_arch = "x86_64"))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it may be given any address, and this one is a reference's.
        #[expect(unsafe_code, reason = "a hint that the standard library has as an intrinsic only")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
        }
    }
    #[cfg(not(all(feature = "mmap", target_arch = "x86_64")))]
    let _ = value;
}

/// A bit for each of the eight numbers that is `number`, the first one's lowest.
///
/// Takes seven instructions on x86-64 with the feature `mmap`, where compilers make twenty of the loop that stands for it elsewhere.
///
/// ```
/// assert_eq!(pkv_fs::equal_lanes(&[5, 6, 5, 0, 0, 0, 0, 5], 5), 0b1000_0101);
/// ```
#[inline]
#[must_use]
pub fn equal_lanes(numbers: &[u16; 8], number: u16) -> u8 {
    #[cfg(all(feature = "mmap", target_arch = "x86_64"))]
    {
        // SAFETY: every processor of this kind has SSE2.
        #[expect(unsafe_code, reason = "vector instructions")]
        unsafe {
            equal_lanes_sse2(numbers, number)
        }
    }
    #[cfg(not(all(feature = "mmap", target_arch = "x86_64")))]
    equal_lanes_one_by_one(numbers, number)
}

#[cfg(all(feature = "mmap", target_arch = "x86_64"))]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_lanes_sse2(numbers: &[u16; 8], number: u16) -> u8 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        _mm_setzero_si128,
    };
    // SAFETY: sixteen bytes are read, at any address, which are the array's.
    #[expect(unsafe_code, reason = "the one way to load a vector is by address")]
    let numbers = unsafe { _mm_loadu_si128(std::ptr::from_ref(numbers).cast()) };
    let equal = _mm_cmpeq_epi16(numbers, _mm_set1_epi16(number.cast_signed()));
    let [mask, ..] = _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())).to_le_bytes();
    mask
}

/// What [`equal_lanes`] is.
#[cfg(any(test, not(all(feature = "mmap", target_arch = "x86_64"))))]
#[inline]
fn equal_lanes_one_by_one(numbers: &[u16; 8], number: u16) -> u8 {
    let equal = |lane: &u16| u8::from(*lane == number);
    numbers.iter().enumerate().fold(0, |mask, (n, lane)| mask | equal(lane) << n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_compared_as_one_by_one() {
        let numbers = [0, 1, 0x7fff, 0x8000, 0xffff, 0x00ff, 0xff00];
        for mask in 0..=u8::MAX {
            for number in numbers {
                for other in numbers {
                    let lanes =
                        std::array::from_fn(|n| if mask >> n & 1 == 1 { number } else { other });
                    assert_eq!(equal_lanes(&lanes, number), equal_lanes_one_by_one(&lanes, number));
                    assert!(other == number || equal_lanes(&lanes, number) == mask);
                }
            }
        }
    }
}
