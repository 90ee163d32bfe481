//! One frame of a log: header, body, padding; and the bodies of the frames that are not data.

use alloc::vec::Vec;

use crate::bytes::{get_u8, get_u16, get_u32, get_u64, narrow, padded, put, wide};
use crate::checksum::{FileSeed, body_checksum};
use crate::error::{BadBody, BadFrame, EncodeError};
use crate::layout::{
    FRAME_ALIGN_BYTES, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_KIND_DATA, FRAME_KIND_LINK,
    FRAME_KIND_MARK, FRAME_KIND_SEAL, frame_header as at, link, mark, seal,
};
use crate::operation::Operations;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// One or more operations that happen together.
    Data,
    /// The first frame of a log: the log before it.
    Link,
    /// How far everything was synced, and when.
    Mark,
    /// The last frame of a closed or rotated log.
    Seal,
}

impl FrameKind {
    #[inline]
    pub(crate) fn code(self) -> u8 {
        match self {
            FrameKind::Data => FRAME_KIND_DATA,
            FrameKind::Link => FRAME_KIND_LINK,
            FrameKind::Mark => FRAME_KIND_MARK,
            FrameKind::Seal => FRAME_KIND_SEAL,
        }
    }

    #[inline]
    fn from_code(code: u8) -> Option<FrameKind> {
        match code {
            FRAME_KIND_DATA => Some(FrameKind::Data),
            FRAME_KIND_LINK => Some(FrameKind::Link),
            FRAME_KIND_MARK => Some(FrameKind::Mark),
            FRAME_KIND_SEAL => Some(FrameKind::Seal),
            _ => None,
        }
    }

    /// Whether a body of this kind may be so long.
    #[inline]
    fn allows(self, body_bytes: usize) -> bool {
        match self {
            FrameKind::Data => (1..=FRAME_BODY_BYTES_MAX).contains(&body_bytes),
            FrameKind::Link => body_bytes == link::BYTES,
            FrameKind::Mark => body_bytes == mark::BYTES,
            FrameKind::Seal => body_bytes == seal::BYTES,
        }
    }
}

/// How many bytes a frame with a body of `body_bytes` takes in the log: header, body, padding.
#[inline]
#[must_use]
pub const fn frame_bytes(body_bytes: usize) -> usize {
    padded(body_bytes.saturating_add(FRAME_HEADER_BYTES), FRAME_ALIGN_BYTES)
}

/// The header of a frame, 24 bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameHeader {
    /// What the frame says.
    pub kind: FrameKind,
    /// Data: the frame's own number, from 1. Others: the number of the last data frame before, or 0.
    pub seq: u64,
    /// The body's [`body_checksum`].
    pub body_crc: u32,
    /// The body's length without padding, 1 to [`FRAME_BODY_BYTES_MAX`].
    pub body_bytes: u32,
}

impl FrameHeader {
    /// The header for a body, with its checksum.
    ///
    /// # Errors
    /// When the body's length or the sequence number is not one that `kind` allows.
    pub fn for_body(kind: FrameKind, seq: u64, body: &[u8]) -> Result<FrameHeader, EncodeError> {
        let body_bytes = match u32::try_from(body.len()) {
            Ok(bytes) if body.len() <= FRAME_BODY_BYTES_MAX => bytes,
            _ => {
                return Err(EncodeError::TooLong {
                    what: "the frame's body",
                    bytes: wide(body.len()),
                    bytes_max: wide(FRAME_BODY_BYTES_MAX),
                });
            }
        };
        if !kind.allows(body.len()) {
            return Err(EncodeError::Invalid("the body's length is not that of its frame kind"));
        }
        if kind == FrameKind::Data && seq == 0 {
            return Err(EncodeError::Invalid("data frames are numbered from 1"));
        }
        Ok(FrameHeader { kind, seq, body_crc: body_checksum(body), body_bytes })
    }

    /// The bytes of the header of a frame that stands at `offset` of the file with this seed.
    ///
    /// Cost: one checksum over 28 bytes, nothing allocated: cheap enough to be done under the log's lock.
    /// Nothing is checked here; a header that breaks the limits of its fields is refused when read.
    #[inline]
    #[must_use]
    pub fn encode(&self, seed: FileSeed, offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        put(&mut out, at::BODY_CHECKSUM, self.body_crc.to_le_bytes());
        put(&mut out, at::BODY_BYTES, self.body_bytes.to_le_bytes());
        put(&mut out, at::KIND, [self.kind.code()]);
        put(&mut out, at::SEQ, self.seq.to_le_bytes());
        let checksum = header_checksum(seed, offset, &out);
        put(&mut out, at::HEADER_CHECKSUM, checksum.to_le_bytes());
        out
    }

    /// Reads the header of a frame at `offset`: rules (1) to (7) of the validity rule in [`crate::spec`].
    #[inline]
    pub fn decode(
        seed: FileSeed,
        offset: u64,
        bytes: &[u8; FRAME_HEADER_BYTES],
    ) -> Result<FrameHeader, BadFrame> {
        if !offset.is_multiple_of(wide(FRAME_ALIGN_BYTES)) {
            return Err(BadFrame::Alignment);
        }
        // Before anything else: no field means anything until the checksum has matched.
        if get_u32(bytes, at::HEADER_CHECKSUM) != header_checksum(seed, offset, bytes) {
            return Err(BadFrame::HeaderChecksum);
        }
        let kind = FrameKind::from_code(get_u8(bytes, at::KIND)).ok_or(BadFrame::Kind)?;
        if get_u8(bytes, at::FLAGS) != 0 {
            return Err(BadFrame::Flags);
        }
        if get_u16(bytes, at::ZERO) != 0 {
            return Err(BadFrame::Reserved);
        }
        let body_bytes = get_u32(bytes, at::BODY_BYTES);
        if !kind.allows(narrow(body_bytes)) {
            return Err(BadFrame::Length);
        }
        let seq = get_u64(bytes, at::SEQ);
        if kind == FrameKind::Data && seq == 0 {
            return Err(BadFrame::Sequence);
        }
        Ok(FrameHeader { kind, seq, body_crc: get_u32(bytes, at::BODY_CHECKSUM), body_bytes })
    }
}

/// The checksum over the frame's offset and every byte of its header but those of the checksum.
#[inline]
fn header_checksum(seed: FileSeed, offset: u64, header: &[u8; FRAME_HEADER_BYTES]) -> u32 {
    let [before @ .., _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = header;
    let [o0, o1, o2, o3, o4, o5, o6, o7] = offset.to_le_bytes();
    let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11] = before;
    seed.checksum(&[
        o0, o1, o2, o3, o4, o5, o6, o7, *b0, *b1, *b2, *b3, *b4, *b5, *b6, *b7, *b8, *b9, *b10,
        *b11, *s0, *s1, *s2, *s3, *s4, *s5, *s6, *s7,
    ])
}

/// Appends a whole frame to `log`: header, body, padding. `offset` is where the frame will stand in its file.
///
/// For logs that are built in memory; a writer on a hot path keeps body and header apart and copies both
/// to their place itself.
///
/// # Errors
/// As [`FrameHeader::for_body`]; nothing was appended then.
pub fn push_frame(
    log: &mut Vec<u8>,
    seed: FileSeed,
    offset: u64,
    kind: FrameKind,
    seq: u64,
    body: &[u8],
) -> Result<(), EncodeError> {
    let header = FrameHeader::for_body(kind, seq, body)?;
    let end = log.len().saturating_add(frame_bytes(body.len()));
    log.extend_from_slice(&header.encode(seed, offset));
    log.extend_from_slice(body);
    log.resize(end, 0);
    Ok(())
}

/// A frame in a log, its header checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// Where the frame starts in its file.
    pub offset: u64,
    /// What the frame says.
    pub kind: FrameKind,
    /// Data: the frame's own number. Others: the number of the last data frame before, or 0.
    pub seq: u64,
    /// The body's checksum according to the header.
    pub body_crc: u32,
    /// The body, without padding.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at `offset` whose header was checked before, with its body, which was not: for a reader that keeps
    /// headers and offsets while the bytes stay where they are.
    ///
    /// ```
    /// use pkv_format::{Frame, FrameHeader, FrameKind};
    ///
    /// let header = FrameHeader::for_body(FrameKind::Data, 1, b"body")?;
    /// assert!(Frame::new(&header, 4096, b"body").check_body().is_ok());
    /// assert!(Frame::new(&header, 4096, b"busy").check_body().is_err());
    /// # Ok::<(), pkv_format::EncodeError>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn new(header: &FrameHeader, offset: u64, body: &'a [u8]) -> Frame<'a> {
        let FrameHeader { kind, seq, body_crc, .. } = *header;
        Frame { offset, kind, seq, body_crc, body }
    }

    /// The frame's header.
    #[inline]
    #[must_use]
    pub fn header(&self) -> FrameHeader {
        let Frame { kind, seq, body_crc, body, .. } = *self;
        // No body is longer: that was checked with the header.
        FrameHeader {
            kind,
            seq,
            body_crc,
            body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
        }
    }

    /// Checks the body against its checksum; needed after [`crate::Scanner::next_unchecked_body`] alone.
    #[inline]
    pub fn check_body(&self) -> Result<(), BadFrame> {
        if body_checksum(self.body) == self.body_crc { Ok(()) } else { Err(BadFrame::BodyChecksum) }
    }

    /// The operations of a data frame.
    #[must_use]
    pub fn operations(&self) -> Operations<'a> {
        Operations::new(self.body)
    }

    /// Where the next frame starts.
    #[inline]
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.offset.saturating_add(wide(frame_bytes(self.body.len())))
    }

    /// The watermark that the frame carries, `None` for data.
    pub fn watermark(&self) -> Result<Option<u64>, BadBody> {
        Ok(match self.kind {
            FrameKind::Data => None,
            FrameKind::Link => Some(Link::decode(self.body)?.watermark),
            FrameKind::Mark => Some(Mark::decode(self.body)?.watermark),
            FrameKind::Seal => Some(Seal::decode(self.body)?.watermark),
        })
    }
}

/// The body of the first frame of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The ordinal of the log before, 0 in the first log of a store.
    pub previous_ordinal: u64,
    /// The salt of the log before, 0 in the first log of a store.
    pub previous_salt: u64,
    /// Everything up to this sequence number was synced when the link was written.
    pub watermark: u64,
}

impl Link {
    /// The body's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; link::BYTES] {
        let mut out = [0; link::BYTES];
        put(&mut out, link::PREVIOUS_ORDINAL, self.previous_ordinal.to_le_bytes());
        put(&mut out, link::PREVIOUS_SALT, self.previous_salt.to_le_bytes());
        put(&mut out, link::WATERMARK, self.watermark.to_le_bytes());
        out
    }

    /// Reads the body of a link.
    pub fn decode(body: &[u8]) -> Result<Link, BadBody> {
        let body = <&[u8; link::BYTES]>::try_from(body).map_err(|_| BadBody::Length)?;
        let found = Link {
            previous_ordinal: get_u64(body, link::PREVIOUS_ORDINAL),
            previous_salt: get_u64(body, link::PREVIOUS_SALT),
            watermark: get_u64(body, link::WATERMARK),
        };
        if found.previous_ordinal == 0 && found.previous_salt != 0 {
            return Err(BadBody::Salt);
        }
        Ok(found)
    }
}

/// The body of a sync mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Everything up to this sequence number was synced when the mark was written.
    pub watermark: u64,
    /// The wall clock, in milliseconds since 1970; information only, nothing depends on it.
    pub unix_ms: u64,
}

impl Mark {
    /// The body's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; mark::BYTES] {
        let mut out = [0; mark::BYTES];
        put(&mut out, mark::WATERMARK, self.watermark.to_le_bytes());
        put(&mut out, mark::UNIX_MS, self.unix_ms.to_le_bytes());
        out
    }

    /// Reads the body of a sync mark.
    pub fn decode(body: &[u8]) -> Result<Mark, BadBody> {
        let body = <&[u8; mark::BYTES]>::try_from(body).map_err(|_| BadBody::Length)?;
        Ok(Mark {
            watermark: get_u64(body, mark::WATERMARK),
            unix_ms: get_u64(body, mark::UNIX_MS),
        })
    }
}

/// The body of a seal, the last frame of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seal {
    /// Everything up to this sequence number was synced when the seal was written.
    pub watermark: u64,
    /// The ordinal of the log that follows, 0 if the log was closed and not rotated.
    pub next_ordinal: u64,
    /// The salt of the log that follows, 0 if none does.
    pub next_salt: u64,
}

impl Seal {
    /// The body's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; seal::BYTES] {
        let mut out = [0; seal::BYTES];
        put(&mut out, seal::WATERMARK, self.watermark.to_le_bytes());
        put(&mut out, seal::NEXT_ORDINAL, self.next_ordinal.to_le_bytes());
        put(&mut out, seal::NEXT_SALT, self.next_salt.to_le_bytes());
        out
    }

    /// Reads the body of a seal.
    pub fn decode(body: &[u8]) -> Result<Seal, BadBody> {
        let body = <&[u8; seal::BYTES]>::try_from(body).map_err(|_| BadBody::Length)?;
        let found = Seal {
            watermark: get_u64(body, seal::WATERMARK),
            next_ordinal: get_u64(body, seal::NEXT_ORDINAL),
            next_salt: get_u64(body, seal::NEXT_SALT),
        };
        if found.next_ordinal == 0 && found.next_salt != 0 {
            return Err(BadBody::Salt);
        }
        Ok(found)
    }
}
