//! A value whose readers meet at its shard's lock all the time, as a copy that is read without that lock.
//!
//! Who reads one key at the same time meets at its shard's lock: a reader, too, writes to the lock's cache line, which
//! moves from processor to processor, and a writer keeps all of them out while it logs. So a shard shows a copy of one
//! short value, and reading it writes nothing.
//!
//! - **Which value.** A read that finds the lock taken, as a rule by others, is a vote for its key: one more for the candidate, or
//!   one less where it is another (the majority vote of Boyer and Moore, 1981). Who is far enough ahead is shown from then
//!   on, in place of what was. Reads that meet nobody need no copy, and do not count; and where nobody writes, readers take no
//!   lock ([`crate::sync::BiasedRwLock`]).
//! - **Whole or not at all.** A version number is odd while the copy changes, and who reads looks at it before and after
//!   (a sequence lock; the orders of the words are those of Boehm, "Can seqlocks get along with programming language
//!   memory models?", 2012). Who comes in between takes the lock instead, and waits there for the writer.
//! - **Never behind the log.** A write closes the copy of its key before its frame is appended, and it is open again
//!   when the shard is unlocked. So what has a number is read here, too, and what one batch changed is seen at once.
//! - **In one order for all keys.** Opening is sequentially consistent, and so is a reader's first look: who has
//!   written one key and then reads another cannot miss a write whose writer has missed theirs.

use std::sync::OnceLock;

use super::record::{index, lossless};
use super::{LINE_BYTES, NewValue};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

const WORD_BYTES: usize = size_of::<u64>();
/// With the lengths four lines of a cache; shorter ones are what maps are full of.
const WORDS: usize = 4 * LINE_BYTES / WORD_BYTES - 1;
/// Bytes of a key with its value that is shown.
pub(super) const BYTES_MAX: usize = WORDS * WORD_BYTES;

/// So far ahead of all others together a candidate must be. Who is shown gets votes only while a write has it closed, so two keys
/// that are read at the same time take each other's place again and again; few would be enough to do so all the time.
/// In the runs of `cargo xtask stress`, where few reads must suffice, one is.
pub(super) const VOTES_AHEAD: u64 = if cfg!(any(pkv_shuttle, pkv_stress)) { 1 } else { 180 };
/// The bits of the votes that count; the others are the candidate's.
const VOTES_MASK: u64 = 0xff;
const _: () = assert!(VOTES_AHEAD <= VOTES_MASK);

/// Lengths of nothing.
const NOTHING: u64 = u64::MAX;

#[inline]
fn is_odd(version: u64) -> bool {
    version & 1 != 0
}

/// Votes for what a shard shows next: the candidate's hash without its last bits, and there how far it is ahead.
#[derive(Debug, Default)]
pub(super) struct Votes(AtomicU64);

impl Votes {
    /// Counts a vote; whether it decides.
    pub(super) fn count(&self, hash: u64) -> bool {
        // Two who vote at once may count as one, and who is late may undo what others counted: it is a guess.
        let votes = self.0.load(Ordering::Relaxed);
        let (candidate, ahead) = (votes & !VOTES_MASK, votes & VOTES_MASK);
        let votes = match ahead {
            0 => hash & !VOTES_MASK | 1,
            _ if candidate == hash & !VOTES_MASK => votes + 1,
            _ => votes - 1,
        };
        let decides = votes & VOTES_MASK >= VOTES_AHEAD;
        self.0.store(if decides { 0 } else { votes }, Ordering::Relaxed);
        decides
    }
}

/// What a shard shows. On two lines of its own, which processors fetch together and reading leaves alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Hot {
    /// Of the key that is shown, or 0: a hint, so that nobody looks further who looks for another.
    hash: AtomicU64,
    /// Odd while the copy changes.
    version: AtomicU64,
    /// One, made for the first who is elected: most shards of most stores show nothing.
    shown: OnceLock<Box<[Shown]>>,
}

/// The key, and the value right behind it.
#[derive(Debug)]
#[repr(align(64))]
struct Shown {
    /// The key's length in the upper half, the value's in the lower one.
    lens: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Shown {
    /// `None`: there is no memory for it.
    fn new() -> Option<Box<[Shown]>> {
        let mut one = Vec::new();
        one.try_reserve_exact(1).ok()?;
        let words = std::array::from_fn(|_| AtomicU64::new(0));
        one.push(Shown { lens: AtomicU64::new(NOTHING), words });
        Some(one.into_boxed_slice())
    }
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
        let [shown] = &**self.shown.get()? else { return None };
        let version = self.version.load(Ordering::SeqCst);
        if is_odd(version) {
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

    /// Shows this from now on, unless it is too long, is shown already or there is no memory for it. With the shard
    /// locked for reading, so that the value is what is there.
    pub(super) fn elect(&self, hash: u64, key: &[u8], value: &[u8]) {
        if self.is_of(hash) || key.len() + value.len() > BYTES_MAX {
            return;
        }
        // Only readers are here, one of whom makes the version odd.
        let version = self.version.load(Ordering::Relaxed);
        let exchanged = self.version.compare_exchange(
            version & !1,
            version | 1,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if exchanged.is_err() {
            return;
        }
        fence(Ordering::Release);
        // By the one alone who has the version: in a forked child, another who was at it would be waited for for ever.
        if self.shown.get().is_none()
            && let Some(shown) = Shown::new()
        {
            let _ = self.shown.set(shown);
        }
        self.show(hash, key, value);
        self.open();
    }

    /// Shows nothing from now on, until [`Hot::open`]. With the shard locked for writing.
    #[inline(never)]
    pub(super) fn close(&self) {
        self.version.store(self.version.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
        // No word changes before the number is odd for all.
        fence(Ordering::Release);
    }

    /// [`Hot::close`], and what is shown behind [`Hot::open`]: this value, or nothing where it is too long.
    #[inline(never)]
    pub(super) fn change(&self, hash: u64, key: &[u8], value: &NewValue<'_>) {
        self.close();
        match value {
            NewValue::Inline(bytes) if key.len() + bytes.len() <= BYTES_MAX => {
                self.show(hash, key, bytes);
            }
            _ => self.forget(),
        }
    }

    /// [`Hot::close`], and nothing is shown behind [`Hot::open`].
    pub(super) fn remove(&self) {
        self.close();
        self.forget();
    }

    /// Whether it is closed. With the shard locked for writing.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        is_odd(self.version.load(Ordering::Relaxed))
    }

    /// Makes this, which is not too long, what is shown, while it is closed.
    fn show(&self, hash: u64, key: &[u8], value: &[u8]) {
        let Some([shown]) = self.shown.get().map(|shown| &**shown) else { return };
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

    /// Makes nothing what is shown, while it is closed.
    fn forget(&self) {
        self.hash.store(0, Ordering::Relaxed);
        if let Some([shown]) = self.shown.get().map(|shown| &**shown) {
            shown.lens.store(NOTHING, Ordering::Relaxed);
        }
    }

    /// The end of [`Hot::close`].
    pub(super) fn open(&self) {
        self.version.store(self.version.load(Ordering::Relaxed) + 1, Ordering::SeqCst);
    }

    /// Bytes of memory beside the shard.
    pub(super) fn bytes(&self) -> u64 {
        self.shown.get().map_or(0, |shown| lossless(size_of_val(&**shown)))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ScopedJoinHandle;

    use super::*;

    fn shown(hot: &Hot, hash: u64, key: &[u8]) -> Option<Vec<u8>> {
        hot.read(hash, key).map(|copied| copied.value().to_vec())
    }

    #[test]
    #[cfg_attr(any(pkv_shuttle, pkv_stress), ignore = "one vote decides there")]
    fn who_is_far_ahead_of_all_others_is_elected() {
        let votes = Votes::default();
        let (a, b) = (0x0100, 0x0200);
        for _ in 0..100 * VOTES_AHEAD {
            assert!(!votes.count(a) && !votes.count(b));
        }
        let decides = |hash, times| (0..times).map(|_| votes.count(hash)).collect::<Vec<_>>();
        for hash in [a, b] {
            let all = decides(hash, VOTES_AHEAD);
            assert_eq!(all.iter().position(|decides| *decides), Some(all.len() - 1));
        }
        // Each vote for another is one less.
        assert!(!decides(b, VOTES_AHEAD - 1).contains(&true) && !decides(a, 2).contains(&true));
        assert_eq!(decides(b, 3), [false, false, true]);
    }

    #[test]
    fn one_value_is_shown_at_a_time() {
        let hot = Hot::default();
        let (a, b) = (0x0100, 0x0200);
        assert_eq!((shown(&hot, a, b"a"), hot.bytes()), (None, 0));
        hot.elect(a, b"a", b"1");
        assert_eq!(shown(&hot, a, b"a").as_deref(), Some(b"1".as_slice()));
        hot.elect(b, b"b", b"2");
        assert_eq!((shown(&hot, a, b"a"), shown(&hot, b, b"b")), (None, Some(b"2".to_vec())));
        assert_eq!(hot.bytes(), 256);
    }

    #[test]
    fn nobody_touches_the_copy_that_another_is_at() {
        // As after a fork, where whoever made the version odd is in the other process.
        let hot = Hot::default();
        hot.close();
        hot.elect(0x0100, b"a", b"1");
        assert_eq!((shown(&hot, 0x0100, b"a"), hot.bytes()), (None, 0));
    }

    #[test]
    fn a_key_with_the_same_hash_is_another_key() {
        let hot = Hot::default();
        hot.elect(0x0100, b"key", b"value");
        assert_eq!(shown(&hot, 0x0100, b"key").as_deref(), Some(b"value".as_slice()));
        for other in [b"kez".as_slice(), b"", b"ke", b"keyv", b"keyvalue", &[0; 300]] {
            assert_eq!(shown(&hot, 0x0100, other), None);
        }
        assert_eq!(shown(&Hot::default(), 0, b""), None, "nothing has the hash 0, and is no key");
    }

    #[test]
    fn all_lengths_up_to_the_limit_are_shown_as_they_are() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in (0..=BYTES_MAX).step_by(if cfg!(miri) { 62 } else { 1 }) {
            let hot = Hot::default();
            let (key, value) = bytes[..len].split_at(len / 3);
            hot.elect(0x0100, key, value);
            assert_eq!(shown(&hot, 0x0100, key).as_deref(), Some(value));
        }
        let hot = Hot::default();
        let (key, value) = bytes[..=BYTES_MAX].split_at(7);
        hot.elect(0x0100, key, value);
        assert_eq!(shown(&hot, 0x0100, key), None);
    }

    #[test]
    fn while_it_is_closed_nothing_is_shown() {
        let hot = Hot::default();
        hot.elect(0x0100, b"key", b"old");
        hot.change(0x0100, b"key", &NewValue::Inline(b"new"));
        assert!(hot.is_closed());
        assert_eq!(shown(&hot, 0x0100, b"key"), None);
        // As the second change of a batch does.
        hot.change(0x0100, b"key", &NewValue::Inline(b"newer"));
        assert_eq!(shown(&hot, 0x0100, b"key"), None);
        hot.open();
        assert_eq!(shown(&hot, 0x0100, b"key").as_deref(), Some(b"newer".as_slice()));
        // A write that the log did not take.
        hot.close();
        assert_eq!(shown(&hot, 0x0100, b"key"), None);
        hot.open();
        assert_eq!(shown(&hot, 0x0100, b"key").as_deref(), Some(b"newer".as_slice()));
        hot.remove();
        hot.open();
        assert_eq!(shown(&hot, 0x0100, b"key"), None);
        hot.elect(0x0100, b"key", b"short");
        hot.change(0x0100, b"key", &NewValue::Inline(&[7; BYTES_MAX]));
        hot.open();
        assert_eq!(shown(&hot, 0x0100, b"key"), None, "too long");
    }

    #[test]
    fn a_reader_never_sees_pieces_of_two_values() {
        const HASH: u64 = 0x0100;
        const READS: u32 = if cfg!(miri) { 10 } else { 50_000 };
        let hot = Hot::default();
        hot.elect(HASH, b"key", &[0; 200]);
        std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut read = 0;
                    while read < READS {
                        let Some(copied) = hot.read(HASH, b"key") else { continue };
                        let value = copied.value();
                        assert!(value.iter().all(|byte| *byte == value[0]), "{value:?}");
                        assert_eq!(value.len(), 200 - usize::from(value[0]) % 50);
                        read += 1;
                    }
                })
            });
            for byte in (0..=255).cycle() {
                if readers.iter().all(ScopedJoinHandle::is_finished) {
                    break;
                }
                let value = vec![byte; 200 - usize::from(byte) % 50];
                hot.change(HASH, b"key", &NewValue::Inline(&value));
                hot.open();
            }
        });
    }

    /// Readers elect, and others read meanwhile: the value of one key is never made of that of another.
    #[test]
    fn an_election_is_seen_whole_or_not_at_all() {
        const READS: u32 = if cfg!(miri) { 10 } else { 50_000 };
        let hot = Hot::default();
        let of = |byte: u8| (u64::from(byte) << 8, [byte; 3], [byte; 200]);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut read = 0;
                while read < READS {
                    for (hash, key, value) in [of(1), of(2)] {
                        if let Some(copied) = hot.read(hash, &key) {
                            assert_eq!(copied.value(), value);
                            read += 1;
                        }
                    }
                }
            });
            for byte in [1, 2].into_iter().cycle() {
                if reader.is_finished() {
                    break;
                }
                let (hash, key, value) = of(byte);
                hot.elect(hash, &key, &value);
                std::thread::yield_now();
            }
        });
    }

    /// What each of two has written one of them reads, whichever was first: their own write, and then the other's key.
    #[test]
    fn who_writes_one_key_and_reads_another_is_seen_or_sees() {
        const HASH: u64 = 0x0100;
        for _ in 0..if cfg!(miri) { 20 } else { 2_000 } {
            let keys = [(); 2].map(|()| {
                let hot = Hot::default();
                hot.elect(HASH, b"key", b"old");
                hot
            });
            let [one, other] = &keys;
            let write_and_read = |written: &Hot, read: &Hot| {
                written.change(HASH, b"key", &NewValue::Inline(b"new"));
                written.open();
                shown(read, HASH, b"key")
            };
            let seen = std::thread::scope(|scope| {
                let threads = [(one, other), (other, one)]
                    .map(|(written, read)| scope.spawn(move || write_and_read(written, read)));
                threads.map(|thread| thread.join().unwrap())
            });
            let old = Some(b"old".to_vec());
            assert!(seen.iter().any(|value| *value != old), "neither saw the other's write");
        }
    }
}
