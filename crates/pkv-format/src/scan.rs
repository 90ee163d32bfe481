//! A walk over the frames of a log, window by window. It reports what stands there; what a bad tail means is
//! decided by the caller, who alone knows the watermark and the end of the file.

use crate::bytes::{get_u32, is_zero, narrow, wide};
use crate::checksum::FileSeed;
use crate::error::BadFrame;
use crate::frame::{Frame, FrameHeader, frame_bytes};
use crate::layout::{
    FRAME_ALIGN_BYTES, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_KIND_DATA, FRAME_KIND_SEAL,
    Field, frame_header,
};

/// What stands at the scanner's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A frame; the scanner stands behind it now.
    Frame(Frame<'a>),
    /// No frame: 24 zero bytes, or nothing but zeros (or nothing at all) up to the end of the slice.
    ///
    /// With fewer than 24 bytes from `offset` to the end of the slice this says nothing about what is
    /// behind the slice: where the file goes on, read on from `offset`, as for `Partial`.
    End {
        /// Where the next frame would start.
        offset: u64,
    },
    /// The slice ends within a header, or within the body or padding of a frame with a valid header.
    ///
    /// Where the file goes on, come back with a slice that holds `bytes` from `offset` on; where it does
    /// not, the log was cut short here.
    Partial {
        /// Where the frame starts.
        offset: u64,
        /// How many bytes from `offset` on are needed to say more, at most
        /// [`frame_bytes`]`(`[`FRAME_BODY_BYTES_MAX`]`)`.
        bytes: usize,
    },
    /// Neither a frame nor its beginning nor zeros.
    Bad {
        /// Where the frame should start.
        offset: u64,
        /// What is wrong.
        why: BadFrame,
    },
}

/// Walks the frames of a slice of a log. Nothing is allocated; no step but `Frame` moves the scanner.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    seed: FileSeed,
    offset: u64,
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `bytes`, which stand at `base_offset` of the file with this seed.
    ///
    /// A frame is expected at `base_offset`: [`crate::FRAMES_OFFSET`], or where an earlier step said.
    #[must_use]
    pub fn new(seed: FileSeed, base_offset: u64, bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { seed, offset: base_offset, rest: bytes }
    }

    /// Where the next frame is expected.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next step, with header, body and padding checked.
    #[inline]
    #[must_use = "a step that is not a frame ends the walk"]
    pub fn next_frame(&mut self) -> Step<'a> {
        let before = self.clone();
        let step = self.next_unchecked_body();
        if let Step::Frame(frame) = &step
            && let Err(why) = frame.check_body()
        {
            *self = before;
            return Step::Bad { offset: frame.offset, why };
        }
        step
    }

    /// The next step, with header and padding checked and the body not: its bytes are not even read.
    ///
    /// With [`Frame::check_body`] the bodies can be checked by several threads. No byte of a body may be
    /// used before.
    #[inline]
    #[must_use = "a step that is not a frame ends the walk"]
    pub fn next_unchecked_body(&mut self) -> Step<'a> {
        let offset = self.offset;
        let Some(header) = self.rest.first_chunk::<FRAME_HEADER_BYTES>() else {
            return if is_zero(self.rest) {
                Step::End { offset }
            } else {
                Step::Partial { offset, bytes: FRAME_HEADER_BYTES }
            };
        };
        if *header == [0; FRAME_HEADER_BYTES] {
            return Step::End { offset };
        }
        let header = match FrameHeader::decode(self.seed, offset, header) {
            Ok(header) => header,
            Err(why) => return Step::Bad { offset, why },
        };
        match split_frame(offset, &header, self.rest) {
            Err(bytes) => Step::Partial { offset, bytes },
            Ok((_, padding, _)) if !is_zero(padding) => {
                Step::Bad { offset, why: BadFrame::Padding }
            }
            Ok((frame, _, rest)) => {
                self.offset = frame.end_offset();
                self.rest = rest;
                Step::Frame(frame)
            }
        }
    }
}

/// The frame at the front of `bytes`, its padding and what is behind, or how many bytes it needs.
#[inline]
fn split_frame<'a>(
    offset: u64,
    header: &FrameHeader,
    bytes: &'a [u8],
) -> Result<(Frame<'a>, &'a [u8], &'a [u8]), usize> {
    let body_bytes = narrow(header.body_bytes);
    let whole_bytes = frame_bytes(body_bytes);
    let (whole, rest) = bytes.split_at_checked(whole_bytes).ok_or(whole_bytes)?;
    let (body, padding) = whole
        .split_at_checked(FRAME_HEADER_BYTES)
        .and_then(|(_, behind)| behind.split_at_checked(body_bytes))
        .ok_or(whole_bytes)?;
    Ok((Frame::new(header, offset, body), padding, rest))
}

/// The first multiple of 8, from `base_offset` on, at which a whole valid frame stands within `bytes`.
///
/// `bytes` stand at `base_offset` of the file with this seed. Recovery looks with it for watermarks behind
/// a hole. A frame that runs past the slice is not found: overlap windows by the longest frame, or look at the
/// rest of the file at once.
///
/// Cost: some GB/s over zeros and garbage, since a checksum is computed only where six bytes of a header
/// agree. Bodies are checked only behind a valid header; a file made on purpose, with valid headers and
/// wrong bodies all over, can make this quadratic.
#[must_use]
pub fn find_frame(seed: FileSeed, base_offset: u64, bytes: &[u8]) -> Option<u64> {
    const ZEROS: [u8; 64] = [0; 64];
    let aligned_offset = base_offset.checked_next_multiple_of(wide(FRAME_ALIGN_BYTES))?;
    let skipped_bytes = usize::try_from(aligned_offset - base_offset).ok()?;
    let mut offset = aligned_offset;
    let mut rest = bytes.get(skipped_bytes..)?;
    while let Some(header) = rest.first_chunk::<FRAME_HEADER_BYTES>() {
        // Zero words hold no header: the second half of a header's first word is a length, and never zero.
        let step_bytes = if rest.first_chunk() == Some(&ZEROS) {
            ZEROS.len()
        } else {
            if may_be_header(header, rest.len()) && is_frame(seed, offset, rest) {
                return Some(offset);
            }
            FRAME_ALIGN_BYTES
        };
        rest = rest.get(step_bytes..)?;
        offset = offset.checked_add(wide(step_bytes))?;
    }
    None
}

/// Whether kind, flags, reserved bytes and length are those of a frame within `bytes_left`.
#[inline]
fn may_be_header(header: &[u8; FRAME_HEADER_BYTES], bytes_left: usize) -> bool {
    // Kind, flags and reserved bytes as one number: flags and reserved bytes are zero, so it is the kind.
    let kind_and_zeros = Field { bytes: size_of::<u32>(), ..frame_header::KIND };
    let kind = get_u32(header, kind_and_zeros);
    let body_bytes = narrow(get_u32(header, frame_header::BODY_BYTES));
    (u32::from(FRAME_KIND_DATA)..=u32::from(FRAME_KIND_SEAL)).contains(&kind)
        && body_bytes <= FRAME_BODY_BYTES_MAX
        && frame_bytes(body_bytes) <= bytes_left
}

fn is_frame(seed: FileSeed, offset: u64, bytes: &[u8]) -> bool {
    matches!(Scanner::new(seed, offset, bytes).next_frame(), Step::Frame(_))
}
