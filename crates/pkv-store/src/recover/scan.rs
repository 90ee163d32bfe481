//! The frames of a log, found window by window. A window keeps where they stand and no references, so that one
//! is scanned while the one before is applied.

use std::ops::Range;

use pkv_format::{FRAME_HEADER_BYTES, FileSeed, Frame, FrameHeader, FrameKind, Scanner, Step};

use super::window::Window;
use crate::error::Result;
use crate::frame::bytes_u64;

/// How much of a log is read at a time; a larger frame gets as much as it needs.
pub(super) const WINDOW_BYTES: u64 = 1024 * 1024;

/// Why reading a log's frames came to an end.
pub(super) enum End {
    /// At zeros, or exactly at the file's end.
    Clean,
    /// At a seal.
    Sealed,
    /// At the place to which a writer has come just now.
    Moving,
    /// At something that is no frame, or not the one that belongs there.
    Bad(Flaw),
}

/// What is wrong with a frame.
pub(super) struct Flaw {
    pub(super) reason: String,
    /// No crash explains it.
    pub(super) damage: bool,
}

impl From<String> for Flaw {
    fn from(reason: String) -> Self {
        Self { reason, damage: false }
    }
}

/// What comes behind the frames of a window.
pub(super) enum Then {
    /// Nothing: the place and why.
    Ended((u64, End)),
    /// More of the file.
    From(ScanFrom),
}

/// What to scan next.
#[derive(Clone, Copy)]
pub(super) struct ScanFrom {
    /// Where a frame is expected.
    pub(super) offset: u64,
    /// How much to read.
    pub(super) bytes: u64,
}

/// A frame whose header was checked, and the body not.
pub(super) struct Found {
    offset: u64,
    header: FrameHeader,
    /// Where the body stands in the window.
    body: Range<usize>,
}

/// A window of a log and the frames in it.
pub(super) struct Scan<'a> {
    window: Window<'a>,
    frames: Vec<Found>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(window: Window<'a>) -> Self {
        Self { window, frames: Vec::new() }
    }

    /// The frames found by the last [`Scan::read`].
    pub(super) fn frames(&self) -> &[Found] {
        &self.frames
    }

    /// The bytes of all their bodies.
    pub(super) fn body_bytes(&self) -> usize {
        self.frames.iter().map(|found| found.body.len()).sum()
    }

    /// One of them, with its body.
    #[inline]
    pub(super) fn frame(&self, found: &Found) -> Frame<'_> {
        let body = self.window.bytes().get(found.body.clone()).unwrap_or_default();
        Frame::new(&found.header, found.offset, body)
    }

    /// How much the last [`Scan::read`] has read.
    pub(super) fn bytes_read(&self) -> usize {
        self.window.bytes().len()
    }

    /// The file's size, as far as it is known.
    pub(super) fn file_bytes(&self) -> u64 {
        self.window.file_bytes()
    }

    /// Reads a window and finds its frames; those of the window before are forgotten.
    pub(super) fn read(&mut self, seed: FileSeed, from: ScanFrom) -> Result<Then> {
        self.frames.clear();
        self.window.read(from.offset, from.bytes)?;
        let window = &self.window;
        let mut scanner = Scanner::new(seed, from.offset, window.bytes());
        let more = |offset, bytes| Then::From(ScanFrom { offset, bytes });
        Ok(loop {
            match scanner.next_unchecked_body() {
                Step::Frame(frame) => {
                    let in_window =
                        usize::try_from(frame.offset - from.offset).unwrap_or(usize::MAX);
                    let start = in_window.saturating_add(FRAME_HEADER_BYTES);
                    self.frames.push(Found {
                        offset: frame.offset,
                        header: frame.header(),
                        body: start..start.saturating_add(frame.body.len()),
                    });
                    if frame.kind == FrameKind::Seal {
                        break Then::Ended((scanner.offset(), End::Sealed));
                    }
                }
                // The end of the window, or too near to it for a header.
                Step::End { offset: at }
                    if !window.at_end() && at + bytes_u64(FRAME_HEADER_BYTES) > window.end() =>
                {
                    break more(at, WINDOW_BYTES);
                }
                Step::End { offset: at } => break Then::Ended((at, End::Clean)),
                Step::Partial { offset: at, bytes }
                    if at.saturating_add(bytes_u64(bytes)) <= window.file_bytes() =>
                {
                    break more(at, WINDOW_BYTES.max(bytes_u64(bytes)));
                }
                Step::Partial { offset: at, .. } => {
                    let reason = "a frame that runs past the end of the file".to_owned();
                    break Then::Ended((at, End::Bad(reason.into())));
                }
                Step::Bad { offset: at, why } => {
                    break Then::Ended((at, End::Bad(format!("no valid frame: {why}").into())));
                }
            }
        })
    }
}
