//! A walk over a log from its first frame to its end, over gaps too: what stands there, not what it means.

use std::path::Path;
use std::time::Duration;

use pkv_format::{
    FRAME_HEADER_BYTES, FRAMES_OFFSET, FileSeed, Frame, FrameKind, Scanner, Step, find_frame,
};
use pkv_fs::File;

use super::Result;
use super::window::{Buffer, Window, first_nonzero, wide};

/// What stands at one place of a log.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// A valid frame.
    Frame(Frame<'a>),
    /// Bytes that are no valid frame.
    Gap(Gap),
}

/// Bytes that are no valid frame, where one should start.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    /// Where the next valid frame starts or, if none does, the last byte that is not zero ends.
    pub(crate) end: u64,
    pub(crate) reason: String,
}

/// Where and how the frames of a log end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) offset: u64,
    pub(crate) how: How,
    /// The file's size when it was read.
    pub(crate) file_bytes: u64,
}

/// How the frames of a log end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// With a seal.
    Sealed,
    /// At zeros up to the file's end, or at the file's end.
    Open,
    /// With a gap behind which there is no frame.
    Gap,
}

/// A control frame and a little more. Windows of the search behind a gap overlap by this much, so that no
/// watermark is missed; of a data frame across a border only the place of the next frame is found.
const OVERLAP_BYTES: u64 = 64;

/// How often a bad place is read again before it is believed, and the pause before: beside a writer it may be
/// half copied.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(1);
/// How many bad places of a file are looked at again. Beside a writer there is one or two.
const PLACES_LOOKED_AT_AGAIN: u32 = 16;

/// Walks over the frames of a log with this seed and calls `visit` for each place, in order.
///
/// `visit` says whether to go on. Memory: one window, or the longest frame.
pub(crate) fn walk(
    file: &dyn File,
    path: &Path,
    seed: FileSeed,
    buffer: &mut Buffer<'_>,
    visit: &mut dyn FnMut(Place<'_>) -> bool,
) -> Result<End> {
    let mut window = Window::new(file, path, file.len()?, buffer);
    let mut offset = FRAMES_OFFSET;
    let mut bytes_min = 0;
    let mut looks_left = PLACES_LOOKED_AT_AGAIN * LOOKS;
    let end =
        |window: &Window<'_>, offset, how| End { offset, how, file_bytes: window.file_bytes() };
    while offset < window.file_bytes() {
        window.load(offset, bytes_min)?;
        bytes_min = 0;
        let (at, reason) = match frames(&window, seed, offset, visit) {
            Stop::Stopped(at) => return Ok(end(&window, at, How::Open)),
            Stop::Sealed(at) => return Ok(end(&window, at, How::Sealed)),
            Stop::More(at, bytes) => {
                (offset, bytes_min) = (at, bytes);
                continue;
            }
            Stop::Zeros(at) => {
                if is_zero(&mut window, at)? {
                    return Ok(end(&window, at, How::Open));
                }
                (at, "zeros, and more bytes behind them".to_owned())
            }
            Stop::Bad(at, reason) => (at, reason),
        };
        offset = at;
        if is_frame_now(&mut window, seed, at, &mut looks_left)? {
            continue;
        }
        let (found, gap_end) = find(&mut window, seed, at)?;
        if !visit(Place::Gap(Gap { offset: at, end: gap_end, reason })) || !found {
            return Ok(end(&window, at, How::Gap));
        }
        offset = gap_end;
    }
    Ok(end(&window, offset.min(window.file_bytes()).max(FRAMES_OFFSET), How::Open))
}

/// Why the frames of a window end.
enum Stop {
    /// The visitor has seen enough.
    Stopped(u64),
    Sealed(u64),
    /// The file goes on: so many bytes from this offset are needed.
    More(u64, u64),
    Zeros(u64),
    Bad(u64, String),
}

fn frames(
    window: &Window<'_>,
    seed: FileSeed,
    offset: u64,
    visit: &mut dyn FnMut(Place<'_>) -> bool,
) -> Stop {
    let mut scanner = Scanner::new(seed, offset, window.bytes());
    loop {
        match scanner.next_frame() {
            Step::Frame(frame) => {
                if !visit(Place::Frame(frame)) {
                    return Stop::Stopped(scanner.offset());
                }
                if frame.kind == FrameKind::Seal {
                    return Stop::Sealed(scanner.offset());
                }
            }
            Step::End { offset: at } => {
                let left = window.end().saturating_sub(at);
                return if left < wide(FRAME_HEADER_BYTES) && !window.at_end() {
                    Stop::More(at, 0)
                } else {
                    Stop::Zeros(at)
                };
            }
            Step::Partial { offset: at, bytes } => {
                return if at.saturating_add(wide(bytes)) <= window.file_bytes() && !window.at_end()
                {
                    Stop::More(at, wide(bytes))
                } else {
                    Stop::Bad(at, "a frame that runs past the end of the file".to_owned())
                };
            }
            Step::Bad { offset: at, why } => return Stop::Bad(at, why.to_string()),
        }
    }
}

/// Whether a place that was bad a moment ago holds a frame after all.
fn is_frame_now(
    window: &mut Window<'_>,
    seed: FileSeed,
    at: u64,
    looks_left: &mut u32,
) -> Result<bool> {
    for _ in 0..LOOKS {
        let Some(left) = looks_left.checked_sub(1) else { break };
        *looks_left = left;
        std::thread::sleep(PAUSE);
        window.load(at, 0)?;
        let mut step = Scanner::new(seed, at, window.bytes()).next_frame();
        if let Step::Partial { bytes, .. } = step
            && at.saturating_add(wide(bytes)) <= window.file_bytes()
        {
            window.load(at, wide(bytes))?;
            step = Scanner::new(seed, at, window.bytes()).next_frame();
        }
        if matches!(step, Step::Frame(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the file holds zeros alone from `offset` on.
pub(crate) fn is_zero(window: &mut Window<'_>, offset: u64) -> Result<bool> {
    let mut offset = offset;
    while offset < window.file_bytes() {
        window.load(offset, 0)?;
        if first_nonzero(window.bytes()).is_some() {
            return Ok(false);
        }
        offset = window.end().max(offset.saturating_add(1));
    }
    Ok(true)
}

/// The next valid frame behind `from`, and where it starts; if there is none, where the last byte ends that is
/// not zero.
fn find(window: &mut Window<'_>, seed: FileSeed, from: u64) -> Result<(bool, u64)> {
    let mut offset = from;
    let mut last = from;
    while offset < window.file_bytes() {
        window.load(offset, 0)?;
        if let Some(found) = find_frame(seed, offset, window.bytes()) {
            return Ok((true, found));
        }
        if let Some(index) = window.bytes().iter().rposition(|byte| *byte != 0) {
            last = offset.saturating_add(wide(index)).saturating_add(1);
        }
        if window.at_end() {
            break;
        }
        offset = window.end().saturating_sub(OVERLAP_BYTES).max(offset.saturating_add(1));
    }
    Ok((false, last))
}
