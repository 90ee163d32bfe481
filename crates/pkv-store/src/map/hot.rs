//! The value that is read most in a shard, as a copy that is read without the shard's lock.
//!
//! Who reads one key at the same time meets at its shard's lock: a reader, too, writes to the lock's cache line, which
//! moves from processor to processor, and a writer keeps all of them out while it logs. So a shard shows a copy of one
//! short value, and reading it writes nothing.
//!
//! - **Which value.** One read in 64 that took the lock is drawn, and its key gets a vote: one more for the candidate, or
//!   one less where it is another (the majority vote of Boyer and Moore, 1981). Who is three ahead is shown from then on.
//! - **Whole or not at all.** A version number is odd while the copy changes, and who reads looks at it before and after
//!   (a sequence lock; its orders are those of Boehm, "Can seqlocks get along with programming language memory
//!   models?", 2012). Who comes in between takes the lock instead, and waits there for the writer.
//! - **Never behind the map.** A change of the key closes the copy before the map changes, and it is open again when
//!   the shard is unlocked ([`super::WriteGuard`]). So all that one batch changed is seen at once here, too.

use std::cell::Cell;
use std::sync::OnceLock;

use super::record::{index, lossless};
use super::{LINE_BYTES, NewValue};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

const WORD_BYTES: usize = size_of::<u64>();
/// With the lengths four lines of a cache; shorter ones are what maps are full of.
const WORDS: usize = 4 * LINE_BYTES / WORD_BYTES - 1;
/// Bytes of a key with its value that is shown.
pub(super) const BYTES_MAX: usize = WORDS * WORD_BYTES;

/// One read in so many is drawn, and so far ahead of all others together a candidate must be. In the runs of
/// `cargo xtask stress` it is all and one: what a run does must follow from its schedule alone, and few reads must suffice.
const READS_A_VOTE: u32 = if cfg!(any(pkv_shuttle, pkv_stress)) { 1 } else { 64 };
const VOTES_AHEAD: u64 = if cfg!(any(pkv_shuttle, pkv_stress)) { 1 } else { 3 };
/// The bits of the votes that count; the others are the candidate's.
const VOTES_MASK: u64 = 0xff;

/// Lengths of nothing.
const NOTHING: u64 = u64::MAX;

thread_local! {
    static READS: Cell<u32> = const { Cell::new(0) };
}

/// Whether this read is drawn.
#[inline]
pub(super) fn is_drawn() -> bool {
    let reads = READS.get().wrapping_add(1);
    READS.set(reads);
    reads % READS_A_VOTE == 0
}

/// What a shard shows.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Hot {
    /// Of the key that is shown, or 0: a hint, so that nobody looks further who looks for another.
    hash: AtomicU64,
    /// Odd while the copy changes.
    version: AtomicU64,
    /// The candidate's hash without its last bits, and there how far it is ahead.
    votes: AtomicU64,
    /// Made for the first who is elected: most shards of most stores show nothing.
    shown: OnceLock<Box<Shown>>,
}

/// The key, and the value right behind it.
#[derive(Debug)]
struct Shown {
    /// The key's length in the upper half, the value's in the lower one.
    lens: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// A copy of a copy, which is the reader's own.
#[derive(Debug)]
pub(super) struct Copied {
    bytes: [u8; BYTES_MAX],
    key_len: usize,
    len: usize,
}

impl Copied {
    fn key(&self) -> &[u8] {
        self.bytes.get(..self.key_len).unwrap_or_default()
    }

    pub(super) fn value(&self) -> &[u8] {
        self.bytes.get(self.key_len..self.len).unwrap_or_default()
    }
}

impl Hot {
    /// Whether the key that is shown has this hash. It may be another's.
    #[inline]
    pub(super) fn is_of(&self, hash: u64) -> bool {
        self.hash.load(Ordering::Relaxed) == hash
    }

    /// The value of `key`, if it is shown. Needs no lock. `None` says nothing of the key.
    #[inline]
    pub(super) fn read(&self, hash: u64, key: &[u8]) -> Option<Copied> {
        if self.is_of(hash) { self.read_shown(key) } else { None }
    }

    #[inline(never)]
    fn read_shown(&self, key: &[u8]) -> Option<Copied> {
        let shown = self.shown.get()?;
        let version = self.version.load(Ordering::Acquire);
        if version % 2 != 0 {
            return None;
        }
        let lens = shown.lens.load(Ordering::Relaxed);
        if lens == NOTHING {
            return None;
        }
        let key_len = index(u32::try_from(lens >> 32).unwrap_or(u32::MAX));
        let value_len = index(u32::try_from(lens & u64::from(u32::MAX)).unwrap_or(u32::MAX));
        let len = key_len + value_len;
        let mut copied = Copied { bytes: [0; BYTES_MAX], key_len, len };
        let (chunks, _) = copied.bytes.as_chunks_mut();
        for (bytes, word) in chunks.iter_mut().zip(&shown.words).take(len.div_ceil(WORD_BYTES)) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        // Who read a word of a later version sees its number, too.
        fence(Ordering::Acquire);
        let is_whole = self.version.load(Ordering::Relaxed) == version;
        (is_whole && copied.key() == key).then_some(copied)
    }

    /// Counts a vote for a key that was read under the shard's lock, which is still held.
    #[cold]
    pub(super) fn vote(&self, hash: u64, key: &[u8], value: &[u8]) {
        if self.is_of(hash) || key.len() + value.len() > BYTES_MAX {
            return;
        }
        // Two who vote at once may count as one.
        let votes = self.votes.load(Ordering::Relaxed);
        let (candidate, ahead) = (votes & !VOTES_MASK, votes & VOTES_MASK);
        let is_candidate = candidate == hash & !VOTES_MASK;
        let votes = match ahead {
            0 => hash & !VOTES_MASK | 1,
            _ if is_candidate => votes + 1,
            _ => votes - 1,
        };
        if votes & VOTES_MASK < VOTES_AHEAD {
            self.votes.store(votes, Ordering::Relaxed);
            return;
        }
        self.votes.store(0, Ordering::Relaxed);
        // Readers only are here, one of whom has the version made odd.
        let version = self.version.load(Ordering::Relaxed);
        let odd = version | 1;
        if version != odd
            && self
                .version
                .compare_exchange(version, odd, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            fence(Ordering::Release);
            self.show(hash, key, value);
            self.open();
        }
    }

    /// Shows nothing, and nothing new until [`Hot::open`]. With the shard locked for writing.
    #[cold]
    pub(super) fn close(&self) {
        self.version.store(self.version.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
        // No word changes before the number is odd for all.
        fence(Ordering::Release);
        self.hash.store(0, Ordering::Relaxed);
        if let Some(shown) = self.shown.get() {
            shown.lens.store(NOTHING, Ordering::Relaxed);
        }
    }

    /// [`Hot::close`], and what is shown behind [`Hot::open`]: this value, if it is not too long.
    #[cold]
    pub(super) fn close_for(&self, hash: u64, key: &[u8], value: &NewValue<'_>) {
        self.close();
        if let NewValue::Inline(bytes) = value {
            self.show(hash, key, bytes);
        }
    }

    /// Whether it is closed. With the shard locked for writing.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.version.load(Ordering::Relaxed) % 2 != 0
    }

    /// Makes this what is shown, while it is closed.
    fn show(&self, hash: u64, key: &[u8], value: &[u8]) {
        if key.len() + value.len() > BYTES_MAX {
            return;
        }
        let shown = self.shown.get_or_init(|| {
            let words = std::array::from_fn(|_| AtomicU64::new(0));
            Box::new(Shown { lens: AtomicU64::new(NOTHING), words })
        });
        let mut bytes = [0; BYTES_MAX];
        if let Some((of_key, rest)) = bytes.split_at_mut_checked(key.len())
            && let Some(of_value) = rest.get_mut(..value.len())
        {
            of_key.copy_from_slice(key);
            of_value.copy_from_slice(value);
        }
        let (chunks, _) = bytes.as_chunks();
        let used = (key.len() + value.len()).div_ceil(WORD_BYTES);
        for (word, bytes) in shown.words.iter().zip(chunks).take(used) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        let lens = lossless(key.len()) << 32 | lossless(value.len());
        shown.lens.store(lens, Ordering::Relaxed);
        self.hash.store(hash, Ordering::Relaxed);
    }

    /// The end of [`Hot::close`].
    pub(super) fn open(&self) {
        self.version.store(self.version.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hot: &Hot, hash: u64, key: &[u8]) -> Option<Vec<u8>> {
        hot.read(hash, key).map(|copied| copied.value().to_vec())
    }

    /// Votes until it is elected.
    fn elect(hot: &Hot, hash: u64, key: &[u8], value: &[u8]) {
        (0..VOTES_AHEAD).for_each(|_| hot.vote(hash, key, value));
    }

    #[test]
    fn who_is_ahead_of_all_others_is_shown() {
        let hot = Hot::default();
        let (a, b) = (0x0100, 0x0200);
        for _ in 0..100 {
            hot.vote(a, b"a", b"1");
            hot.vote(b, b"b", b"2");
        }
        assert_eq!((shown(&hot, a, b"a"), shown(&hot, b, b"b")), (None, None));
        hot.vote(a, b"a", b"1");
        hot.vote(a, b"a", b"1");
        assert_eq!(shown(&hot, a, b"a"), None);
        hot.vote(a, b"a", b"1");
        assert_eq!(shown(&hot, a, b"a").as_deref(), Some(b"1".as_slice()));
        assert_eq!(shown(&hot, b, b"b"), None);
        elect(&hot, b, b"b", b"2");
        assert_eq!((shown(&hot, a, b"a"), shown(&hot, b, b"b")), (None, Some(b"2".to_vec())));
    }

    #[test]
    fn a_key_with_the_same_hash_is_another_key() {
        let hot = Hot::default();
        elect(&hot, 0x0100, b"key", b"value");
        assert_eq!(shown(&hot, 0x0100, b"key").as_deref(), Some(b"value".as_slice()));
        for other in [b"kez".as_slice(), b"", b"ke", b"keyv", b"keyvalue", &[0; 300]] {
            assert_eq!(shown(&hot, 0x0100, other), None);
        }
        assert_eq!(shown(&Hot::default(), 0, b""), None, "nothing has the hash 0, and is no key");
    }

    #[test]
    fn all_lengths_up_to_the_limit_are_shown_as_they_are() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=BYTES_MAX {
            let hot = Hot::default();
            let (key, value) = bytes[..len].split_at(len / 3);
            elect(&hot, 0x0100, key, value);
            assert_eq!(shown(&hot, 0x0100, key).as_deref(), Some(value));
        }
        let hot = Hot::default();
        let (key, value) = bytes[..=BYTES_MAX].split_at(7);
        elect(&hot, 0x0100, key, value);
        assert_eq!(shown(&hot, 0x0100, key), None);
    }

    #[test]
    fn while_it_is_closed_nothing_is_shown() {
        let hot = Hot::default();
        elect(&hot, 0x0100, b"key", b"old");
        hot.close_for(0x0100, b"key", &NewValue::Inline(b"new"));
        assert!(hot.is_closed());
        assert_eq!(shown(&hot, 0x0100, b"key"), None);
        // As the second change of a batch does.
        hot.close_for(0x0100, b"key", &NewValue::Inline(b"newer"));
        assert_eq!(shown(&hot, 0x0100, b"key"), None);
        hot.open();
        assert_eq!(shown(&hot, 0x0100, b"key").as_deref(), Some(b"newer".as_slice()));
        hot.close();
        hot.open();
        assert_eq!(shown(&hot, 0x0100, b"key"), None);
        elect(&hot, 0x0100, b"key", b"short");
        hot.close_for(0x0100, b"key", &NewValue::Inline(&[7; BYTES_MAX]));
        hot.open();
        assert_eq!(shown(&hot, 0x0100, b"key"), None, "too long");
    }

    #[test]
    fn a_reader_never_sees_pieces_of_two_values() {
        const HASH: u64 = 0x0100;
        let hot = Hot::default();
        elect(&hot, HASH, b"key", &[0; 200]);
        std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut read = 0;
                    while read < 50_000 {
                        let Some(copied) = hot.read(HASH, b"key") else { continue };
                        let value = copied.value();
                        assert!(value.iter().all(|byte| *byte == value[0]), "{value:?}");
                        assert_eq!(value.len(), 200 - usize::from(value[0]) % 50);
                        read += 1;
                    }
                })
            });
            for byte in (0..=255).cycle() {
                if readers.iter().all(|reader| reader.is_finished()) {
                    break;
                }
                let value = vec![byte; 200 - usize::from(byte) % 50];
                hot.close_for(HASH, b"key", &NewValue::Inline(&value));
                hot.open();
            }
        });
    }
}
