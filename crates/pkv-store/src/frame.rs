//! The buffer in which a write is encoded before any lock is taken, reused by its thread.

use std::cell::Cell;

use pkv_format::{
    FRAME_HEADER_BYTES, FileSeed, FrameHeader, FrameKind, Link, Mark, Seal, body_checksum,
    frame_bytes,
};

/// A log frame in the making: room for the header, then the body, padded.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    body_bytes: u32,
    body_crc: u32,
}

/// A buffer that grew over this is not kept for the thread's next write: one large value must not
/// hold memory in every thread for ever.
const KEPT_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Frame {
    /// An empty frame in this thread's spare buffer.
    pub(crate) fn new() -> Self {
        let mut bytes = SPARE.take();
        bytes.clear();
        bytes.resize(FRAME_HEADER_BYTES, 0);
        Self { bytes, body_bytes: 0, body_crc: 0 }
    }

    /// Forgets the body, for a write that has to be encoded again.
    pub(crate) fn reset(&mut self) {
        self.bytes.truncate(FRAME_HEADER_BYTES);
    }

    /// Where operations are pushed to.
    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The frame so far, with room for its header.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body so far, in bytes.
    pub(crate) fn body_len(&self) -> usize {
        self.bytes.len().saturating_sub(FRAME_HEADER_BYTES)
    }

    /// Pads and checksums the body: the costly part of a frame, done with no lock held where possible.
    /// The caller has checked the size against the limit.
    pub(crate) fn finish(&mut self) {
        let body = self.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        self.body_bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.body_crc = body_checksum(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }

    /// The whole frame, in bytes, once finished.
    pub(crate) fn len(&self) -> u64 {
        bytes_u64(self.bytes.len())
    }

    /// Fills in the header, which depends on the place in the log.
    pub(crate) fn seal_header(&mut self, seed: FileSeed, offset: u64, seq: u64) -> &[u8] {
        let header = FrameHeader {
            kind: FrameKind::Data,
            seq,
            body_crc: self.body_crc,
            body_bytes: self.body_bytes,
        }
        .encode(seed, offset);
        if let Some(place) = self.bytes.first_chunk_mut::<FRAME_HEADER_BYTES>() {
            *place = header;
        }
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if self.bytes.capacity() <= KEPT_BYTES_MAX {
            SPARE.set(std::mem::take(&mut self.bytes));
        }
    }
}

/// The frames that are not data, whole, in bytes.
pub(crate) const LINK_FRAME_BYTES: u64 = 48;
pub(crate) const MARK_FRAME_BYTES: u64 = 40;
pub(crate) const SEAL_FRAME_BYTES: u64 = 48;

const _: () =
    assert!(frame_bytes(size_of::<[u64; 3]>()) == 48 && frame_bytes(size_of::<[u64; 2]>()) == 40);

/// A link as a whole frame for this place in the log; `seq` is that of the last write before it.
pub(crate) fn link_frame(link: &Link, seed: FileSeed, offset: u64, seq: u64) -> [u8; 48] {
    control_frame(FrameKind::Link, &link.encode(), seed, offset, seq)
}

/// A sync mark as a whole frame.
pub(crate) fn mark_frame(mark: &Mark, seed: FileSeed, offset: u64, seq: u64) -> [u8; 40] {
    control_frame(FrameKind::Mark, &mark.encode(), seed, offset, seq)
}

/// A seal as a whole frame.
pub(crate) fn seal_frame(seal: &Seal, seed: FileSeed, offset: u64, seq: u64) -> [u8; 48] {
    control_frame(FrameKind::Seal, &seal.encode(), seed, offset, seq)
}

fn control_frame<const FRAME: usize, const BODY: usize>(
    kind: FrameKind,
    body: &[u8; BODY],
    seed: FileSeed,
    offset: u64,
    seq: u64,
) -> [u8; FRAME] {
    const { assert!(FRAME == FRAME_HEADER_BYTES + BODY && FRAME.is_multiple_of(8)) };
    let body_bytes = u32::try_from(BODY).unwrap_or(u32::MAX);
    let header =
        FrameHeader { kind, seq, body_crc: body_checksum(body), body_bytes }.encode(seed, offset);
    let mut frame = [0; FRAME];
    for (place, byte) in frame.iter_mut().zip(header.iter().chain(body)) {
        *place = *byte;
    }
    frame
}

/// A length in memory as a length on disk. Lossless: no supported machine has wider addresses.
pub(crate) fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
