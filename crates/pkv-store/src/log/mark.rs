//! Sync marks: how far everything was synced, in the log with the next frame.

use pkv_format::Mark;

use super::pages::Making;
use super::{Log, ROOM_KEPT_BYTES, Refused, Tail, Wait};
use crate::frame::{Frame, MARK_FRAME_BYTES, bytes_u64, mark_frame};

const PAGE_BYTES: usize = 4096;

impl Log {
    /// Writes the mark for the last sync, if there is none in the log yet.
    pub(super) fn write_due_mark(&self, tail: &mut Tail) -> Result<(), Refused> {
        let Some(watermark) = tail.mark_due else { return Ok(()) };
        let last_seq = tail.last_seq;
        let is_zeroing = tail.making == Making::Zeros;
        let Some(active) = &mut tail.current else { return Ok(()) };
        if active.end + ROOM_KEPT_BYTES > active.log.segment_bytes {
            // One mark of several at a segment's end: the room that is left belongs to the seal, which
            // carries a watermark, too.
            tail.mark_due = None;
            return Ok(());
        }
        debug_assert!(
            !is_zeroing || active.end + MARK_FRAME_BYTES <= active.populated,
            "amid zeros"
        );
        let mark = Mark { watermark, unix_ms: self.folder.fs.unix_time_ms() };
        let frame = mark_frame(&mark, active.log.seed, active.end, last_seq);
        if let Err(error) = active.segment.write(active.end, &frame) {
            return Err(self.write_failed(tail, error).into());
        }
        active.end += MARK_FRAME_BYTES;
        tail.mark_written();
        Ok(())
    }

    /// Writes the mark that is due and a frame behind it by one call, into a log that is mapped. Returns whether more
    /// pages are due.
    ///
    /// A sync write-protects the page that it writes. The first copy into it behind that is a page fault of some
    /// microseconds, and a call takes one: it is for who waits for a sync after each write, alone.
    #[cold]
    pub(super) fn write_with_mark(
        &self,
        tail: &mut Tail,
        frame: &mut Frame,
        seq: u64,
    ) -> Result<bool, Refused> {
        let last_seq = tail.last_seq;
        let (Some(active), Some(watermark)) = (&mut tail.current, tail.mark_due) else {
            return Err(Refused::Wait(Wait::Room(frame.len())));
        };
        let seed = active.log.seed;
        let mark = Mark { watermark, unix_ms: self.folder.fs.unix_time_ms() };
        let mark = mark_frame(&mark, seed, active.end, last_seq);
        let frame = frame.seal_header(seed, active.end + MARK_FRAME_BYTES, seq);
        let mut page = [0; PAGE_BYTES];
        let mut bytes = 0;
        for (place, byte) in page.iter_mut().zip(mark.iter().chain(frame)) {
            *place = *byte;
            bytes += 1;
        }
        let written = page.get(..bytes).unwrap_or_default();
        if let Err(error) = active.log.file.write_at(active.end, written) {
            return Err(self.write_failed(tail, error).into());
        }
        active.end += bytes_u64(bytes);
        let populate = active.end > active.populate_at;
        tail.mark_written();
        Ok(populate)
    }
}

impl Tail {
    /// Whether a frame is the first behind a sync that was for one write, and may be written by a call: see
    /// [`Log::write_with_mark`].
    ///
    /// All of it lies in one page, so that it is written whole or not at all: of two pages the first, with the headers, might be
    /// written and the call fail, and a frame that ends in zeros would count. And nobody writes zeros, which a call might
    /// wait for: the system locks a file for each. (On xfs it also does so, for some dozens of microseconds, where the keeper reads ahead.)
    #[inline]
    pub(super) fn is_mark_written_with(&self, frame: &Frame) -> bool {
        self.is_alone
            && self.mark_due == Some(self.last_seq)
            && self.making != Making::Zeros
            && self.current.as_ref().is_some_and(|active| {
                let page_bytes = bytes_u64(PAGE_BYTES);
                active.end % page_bytes + MARK_FRAME_BYTES + frame.len() <= page_bytes
            })
    }

    fn mark_written(&mut self) {
        self.mark_due = None;
        self.mark_unsynced = true;
        self.log_bytes += MARK_FRAME_BYTES;
    }
}
