//! A segment that reaches its file by positioned writes: the way that works on every file system.

use std::io;

use crate::std_fs::StdFile;
use crate::{Error, File as _, Op, Result, Segment};

/// The smallest page of any system we run on. Where pages are larger, a piece that stays inside
/// one of these stays inside the larger one, too.
const PAGE_BYTES: u64 = 4096;

/// See [`crate::SegmentWay::Written`].
#[derive(Debug)]
pub(crate) struct WrittenSegment {
    file: StdFile,
    segment_bytes: u64,
}

impl WrittenSegment {
    /// The first `segment_bytes` bytes of `file`, whose length the caller has checked.
    pub(crate) fn new(file: StdFile, segment_bytes: u64) -> Self {
        Self { file, segment_bytes }
    }
}

impl Segment for WrittenSegment {
    /// The kernel copies page by page and may stop between two of them: the disk is full, or the
    /// process was killed. So the first page, which holds the header, is written last, by a call
    /// of its own.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        check_range(offset, bytes.len(), self.segment_bytes)
            .map_err(|reason| invalid(&self.file, offset, reason))?;
        let (first_page, rest) = split_at_page(offset, bytes);
        if let Some((rest_offset, rest)) = rest {
            self.file.write_at(rest_offset, rest)?;
        }
        self.file.write_at(offset, first_page)
    }

    fn read_ahead(&self, _offset: u64, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn populate(&self, _offset: u64, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn release(&self, _offset: u64, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn is_mapped(&self) -> bool {
        false
    }
}

/// The answer to a range that does not lie in its segment.
pub(crate) const OUT_OF_RANGE: &str = "the range does not lie inside the segment";

/// What every segment asks of a write: whole words, all inside.
#[inline]
pub(crate) fn check_range(
    offset: u64,
    bytes: usize,
    segment_bytes: u64,
) -> std::result::Result<(), &'static str> {
    let bytes = u64::try_from(bytes).map_err(|_| OUT_OF_RANGE)?;
    if !(offset | bytes).is_multiple_of(8) {
        return Err("offset and length must be multiples of 8");
    }
    match offset.checked_add(bytes) {
        Some(end) if end <= segment_bytes => Ok(()),
        _ => Err(OUT_OF_RANGE),
    }
}

fn invalid(file: &StdFile, offset: u64, reason: &'static str) -> Error {
    Error::at(Op::Write, file.path(), offset, io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// What of `bytes` at `offset` lies in the first page, and the rest, if any, with its offset.
fn split_at_page(offset: u64, bytes: &[u8]) -> (&[u8], Option<(u64, &[u8])>) {
    let first_page_bytes = PAGE_BYTES - offset % PAGE_BYTES;
    let split = usize::try_from(first_page_bytes).unwrap_or(usize::MAX);
    match bytes.split_at_checked(split) {
        Some((first_page, rest)) if !rest.is_empty() => {
            (first_page, Some((offset.saturating_add(first_page_bytes), rest)))
        }
        _ => (bytes, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plan as (offset, bytes) in the order in which they are written.
    fn plan(offset: u64, bytes: usize) -> Vec<(u64, usize)> {
        let bytes = vec![0; bytes];
        let (first_page, rest) = split_at_page(offset, &bytes);
        let mut plan: Vec<_> = rest.iter().map(|(offset, rest)| (*offset, rest.len())).collect();
        plan.push((offset, first_page.len()));
        plan
    }

    #[test]
    fn what_stays_in_a_page_is_one_write() {
        assert_eq!(plan(0, 0), [(0, 0)]);
        assert_eq!(plan(0, 8), [(0, 8)]);
        assert_eq!(plan(0, 4096), [(0, 4096)]);
        assert_eq!(plan(4088, 8), [(4088, 8)]);
        assert_eq!(plan(4096, 4096), [(4096, 4096)]);
        assert_eq!(plan(8200, 4088), [(8200, 4088)]);
    }

    #[test]
    fn what_crosses_a_page_writes_the_page_of_the_header_last() {
        assert_eq!(plan(4088, 16), [(4096, 8), (4088, 8)]);
        assert_eq!(plan(0, 4104), [(4096, 8), (0, 4096)]);
        assert_eq!(plan(4096, 20_000), [(8192, 15_904), (4096, 4096)]);
        assert_eq!(plan(8200, 4096), [(12_288, 8), (8200, 4088)]);
    }

    #[test]
    fn every_plan_covers_its_range_once_and_ends_with_a_single_page() {
        for offset in (0..9000).step_by(8) {
            for bytes in (8..9000).step_by(488) {
                let plan = plan(offset, bytes);
                let last = *plan.last().unwrap();
                let end = last.0 + u64::try_from(last.1).unwrap();
                assert_eq!(last.0, offset);
                assert_eq!(offset / PAGE_BYTES, (end - 1) / PAGE_BYTES, "{offset} {bytes}");
                assert_eq!(plan.iter().map(|piece| piece.1).sum::<usize>(), bytes);
                if let [rest, _] = *plan.as_slice() {
                    assert_eq!(rest.0, end);
                }
            }
        }
    }
}
