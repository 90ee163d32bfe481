//! Memory mappings: all unsafe code of the workspace's libraries but some calls (`memory.rs`, `writeback.rs`) and a lock
//! (`biased/mod.rs`).
//!
//! A mapping is only ever seen as `&[AtomicU64]`. Rust's memory model allows any number of threads
//! to load and store atomics at once, so no caller can cause a data race, whatever it passes.
//! Nothing here hands out `&[u8]` or `&mut [u8]` of a mapping: those would promise that the bytes
//! stand still, which nobody can promise of a file.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};

use crate::written::{OUT_OF_RANGE, check_range};
use crate::{Error, Op, Result, Segment};

/// One word of a mapping. Offsets and lengths are multiples of it.
const WORD_BYTES: usize = size_of::<AtomicU64>();

/// Populated by one system call. It locks the address space against those who need memory from the system, a
/// writer among them.
const POPULATE_STEP_BYTES: usize = 32 * 1024;

/// See [`crate::SegmentWay::Mapped`]. The mapping keeps the file alive; no descriptor is held.
#[derive(Debug)]
pub(crate) struct MappedSegment {
    words: Words,
    path: Arc<Path>,
}

impl MappedSegment {
    /// Maps the first `segment_bytes` bytes of `file`, shared. The caller has checked that they
    /// exist, are a multiple of 8, and have disk space behind them.
    pub(crate) fn new(file: &fs::File, path: Arc<Path>, segment_bytes: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(segment_bytes).map_raw(file)?;
        Ok(Self { words: Words { map }, path })
    }

    fn error(&self, op: Op, offset: u64, source: io::Error) -> Error {
        Error::at(op, &self.path, offset, source)
    }

    /// The words that `bytes` bytes at `offset` fill, or why there are none.
    fn target(&self, offset: u64, bytes: usize) -> Result<&[AtomicU64]> {
        check_range(offset, bytes, self.words.bytes())
            .and_then(|()| usize::try_from(offset).map_err(|_| OUT_OF_RANGE))
            .and_then(|offset| {
                let first = offset / WORD_BYTES;
                let words = self.words.get();
                words.get(first..first + bytes / WORD_BYTES).ok_or(OUT_OF_RANGE)
            })
            .map_err(|reason| {
                let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
                self.error(Op::Write, offset, source)
            })
    }
}

impl MappedSegment {
    /// What of a range lies inside the mapping.
    fn range(&self, offset: u64, bytes: u64) -> Option<Range<usize>> {
        let end = offset.saturating_add(bytes).min(self.words.bytes());
        // `usize` holds both, since neither is above the length of a mapping.
        let range = usize::try_from(offset).ok()?..usize::try_from(end).ok()?;
        (!range.is_empty()).then_some(range)
    }
}

impl Segment for MappedSegment {
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        copy_to_words(bytes, self.target(offset, bytes.len())?);
        Ok(())
    }

    fn read_ahead(&self, offset: u64, bytes: u64) -> Result<()> {
        let Some(Range { start, end }) = self.range(offset, bytes) else { return Ok(()) };
        self.words
            .map
            .advise_range(Advice::WillNeed, start, end - start)
            .map_err(|source| self.error(Op::Map, offset, source))
    }

    /// Kernels before 5.14 cannot populate for writing: there the writer takes the page faults.
    fn populate(&self, offset: u64, bytes: u64) -> Result<()> {
        let Some(Range { start, end }) = self.range(offset, bytes) else { return Ok(()) };
        // `advise_range` rounds the start down to a page, the kernel rounds the end up.
        for step in (start..end).step_by(POPULATE_STEP_BYTES) {
            let bytes = POPULATE_STEP_BYTES.min(end - step);
            match self.words.map.advise_range(Advice::PopulateWrite, step, bytes) {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                    ) =>
                {
                    return Ok(());
                }
                Err(source) => return Err(self.error(Op::Map, offset, source)),
            }
        }
        Ok(())
    }

    fn release(&self, offset: u64, bytes: u64) -> Result<()> {
        let page_bytes = page_bytes();
        let end = offset.saturating_add(bytes).min(self.words.bytes()) / page_bytes * page_bytes;
        let start = offset.min(end).next_multiple_of(page_bytes);
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
            return Ok(());
        };
        if start >= end {
            return Ok(());
        }
        self.words.release(start, end - start).map_err(|source| self.error(Op::Map, offset, source))
    }

    fn is_mapped(&self) -> bool {
        true
    }
}

/// The size of a page of memory.
fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Stores `bytes` in as many words. Plain 8-byte moves: on x86-64 and aarch64 a relaxed store
/// costs what a normal one does.
fn copy_to_words(bytes: &[u8], words: &[AtomicU64]) {
    let (chunks, _) = bytes.as_chunks::<WORD_BYTES>();
    for (word, chunk) in words.iter().zip(chunks) {
        #[expect(clippy::host_endian_bytes, reason = "bytes are copied, not interpreted")]
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
}

/// A readable and writable mapping, as words.
#[derive(Debug)]
struct Words {
    map: MmapRaw,
}

impl Words {
    fn get(&self) -> &[AtomicU64] {
        #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins at a page")]
        let first = self.map.as_ptr().cast::<AtomicU64>();
        // SAFETY: the mapping is readable, writable and stays where it is until `self.map`, which
        // the result borrows, is dropped: memmap2 promises both for `MmapRaw`, and this module
        // neither remaps nor protects it. It is page-aligned and `len() / 8` words lie inside it.
        // Any bit pattern is an `AtomicU64`, and this function is the only way to the memory, so
        // all accesses of this process are atomic. Changes by other processes and by system calls
        // are seen as stores to the atomics; if the file is cut, an access raises SIGBUS, which
        // ends the process but is no undefined behaviour.
        unsafe { std::slice::from_raw_parts(first, self.map.len() / WORD_BYTES) }
    }

    /// Takes whole pages of a shared mapping of a file out of this process's page tables; the next access
    /// brings them back from the page cache.
    fn release(&self, start: usize, bytes: usize) -> io::Result<()> {
        // SAFETY: only segments call this, whose mappings are shared and of a file. There the advice discards
        // nothing: the pages stay in the page cache, dirty ones as dirty, and the words keep their values
        // (madvise(2), MADV_DONTNEED). The range lies inside the mapping; memmap2 checks it.
        unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes) }
    }

    /// The length in bytes; a length never exceeds `u64`.
    fn bytes(&self) -> u64 {
        u64::try_from(self.map.len()).unwrap_or(u64::MAX)
    }
}

/// See [`crate::populate_memory`].
pub(crate) fn populate_memory(bytes: &mut [MaybeUninit<u8>]) {
    let page_bytes = rustix::param::page_size();
    let before = bytes.as_ptr().align_offset(page_bytes);
    let Some(inner) = bytes.get_mut(before..) else { return };
    for step in inner.chunks_mut(POPULATE_STEP_BYTES.next_multiple_of(page_bytes)) {
        let step_bytes = step.len() / page_bytes * page_bytes;
        // SAFETY: the range lies in memory that is borrowed for writing. The advice changes no contents: it
        // takes the page faults that writing would take. Where it fails, writing still takes them.
        let _ = unsafe {
            rustix::mm::madvise(
                step.as_mut_ptr().cast(),
                step_bytes,
                rustix::mm::Advice::LinuxPopulateWrite,
            )
        };
    }
}

/// One page of memory that a forked child finds wiped to zero.
#[derive(Debug)]
pub(crate) struct WipedOnFork {
    words: Words,
}

impl WipedOnFork {
    /// Fails on kernels before 4.14, and where no mapping is left.
    pub(crate) fn new() -> io::Result<Self> {
        // The kernel rounds up to a page, here and below.
        let words = Words { map: MmapRaw::from(MmapMut::map_anon(WORD_BYTES)?) };
        let page = words.map.as_mut_ptr().cast();
        // SAFETY: the range is exactly the private anonymous mapping that `words` owns. The advice
        // changes nothing in this process; a child finds zeros, which are `AtomicU64`s, too.
        unsafe {
            rustix::mm::madvise(page, words.map.len(), rustix::mm::Advice::LinuxWipeOnFork)?;
        }
        for word in words.get() {
            word.store(1, Ordering::Relaxed);
        }
        Ok(Self { words })
    }

    /// Whether this process is a fork of the one that made the page.
    #[inline]
    pub(crate) fn is_wiped(&self) -> bool {
        self.words.get().first().is_none_or(|word| word.load(Ordering::Relaxed) == 0)
    }
}
