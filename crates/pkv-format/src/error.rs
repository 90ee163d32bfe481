//! What can be wrong with bytes.
//!
//! This crate knows neither paths nor files: the caller adds the path, and the offset comes with the step.
//! Whether bad bytes are a torn end or damage is not decided here either (see the rule in [`crate::spec`]).

/// Why 512 bytes are not a file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Nothing or only zeros: the file was created, and its header was never written.
    #[error("the file is empty or zero: its creation was interrupted")]
    Empty,
    /// Shorter than a header, but not empty.
    #[error("the file is shorter than its header: restore it from a backup")]
    Truncated,
    /// Not a file of this format.
    #[error("not a pkv file (the magic bytes differ): move it out of the folder")]
    Magic,
    /// A whole header of a newer format.
    #[error("format version {found} is newer than {known}: open it with a newer release")]
    Newer {
        /// The version in the header.
        found: u32,
        /// The newest version that this crate reads.
        known: u32,
    },
    /// The header's checksum does not match.
    #[error("the header's checksum does not match: the file is damaged, restore it from a backup")]
    Checksum,
    /// The checksum matches and a field holds what no version writes.
    #[error("the header is invalid ({0}): the file was not written by this software")]
    Invalid(&'static str),
}

/// Why a value cannot be encoded: it would break a limit that a reader checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A length is over its limit.
    #[error("{what} is {bytes} bytes long, the limit is {bytes_max}: store less at once")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A field holds what a reader would refuse.
    #[error("cannot be encoded: {0}")]
    Invalid(&'static str),
}

/// Why bytes are not a valid frame; the numbers are those of the validity rule in [`crate::spec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BadFrame {
    /// (1) The offset is not a multiple of 8.
    #[error("the offset is not a multiple of 8")]
    Alignment,
    /// (2) The header's checksum does not match.
    #[error("the frame header's checksum does not match")]
    HeaderChecksum,
    /// (3) The kind is unknown.
    #[error("the frame's kind is unknown")]
    Kind,
    /// (4) The flags are not zero.
    #[error("the frame's flags are not zero")]
    Flags,
    /// (5) The reserved bytes are not zero.
    #[error("the frame's reserved bytes are not zero")]
    Reserved,
    /// (6) The body's length is zero, over the limit, or not that of its kind.
    #[error("the frame's body length is out of range for its kind")]
    Length,
    /// (7) A data frame numbered 0.
    #[error("the data frame has sequence number 0")]
    Sequence,
    /// (8) The padding is not zero.
    #[error("the padding behind the frame's body is not zero")]
    Padding,
    /// (9) The body's checksum does not match.
    #[error("the frame body's checksum does not match")]
    BodyChecksum,
}

/// Why the body of a valid frame cannot be read; `at` is an offset in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BadBody {
    /// A data body without an operation.
    #[error("the data body holds no operation")]
    Empty,
    /// The body of a link, mark or seal has the wrong length.
    #[error("the body's length is not that of its kind")]
    Length,
    /// A link to no log, or a seal without a next log, that carries a salt.
    #[error("the body names a salt without a log")]
    Salt,
    /// The operation runs past the end of the body.
    #[error("the operation at body offset {at} runs past the end of the body")]
    Truncated {
        /// Where the operation starts.
        at: usize,
    },
    /// A number is not in its shortest form, or over 32 bits.
    #[error("the operation at body offset {at} holds a malformed number")]
    Varint {
        /// Where the operation starts.
        at: usize,
    },
    /// The operation's tag is unknown.
    #[error("the operation at body offset {at} has the unknown tag {tag}")]
    Tag {
        /// Where the operation starts.
        at: usize,
        /// The tag.
        tag: u8,
    },
    /// The operation is for a map other than 0.
    #[error("the operation at body offset {at} is for map {map_id}, and there is only map 0")]
    MapId {
        /// Where the operation starts.
        at: usize,
        /// The map's number.
        map_id: u32,
    },
    /// The key is over the limit.
    #[error("the operation at body offset {at} has a key of {key_bytes} bytes, over the limit")]
    KeyLength {
        /// Where the operation starts.
        at: usize,
        /// The key's length.
        key_bytes: u32,
    },
}

/// Why bytes are not a valid record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BadRecord {
    /// The record runs past the end of the bytes.
    #[error("the record runs past the end of its bytes")]
    Truncated,
    /// A number is not in its shortest form, or over 32 bits.
    #[error("the record holds a malformed number")]
    Varint,
    /// The key is over the limit.
    #[error("the record's key is over the limit")]
    KeyLength,
    /// The flags are not zero, as they must be on disk.
    #[error("the record's flags are not zero")]
    Flags,
    /// The padding is not zero.
    #[error("the padding behind the record is not zero")]
    Padding,
    /// The block holds more or fewer records than its header says.
    #[error("the block's count of records does not match its records")]
    Count,
}

/// Why bytes are not a valid block; the numbers are those of the validity rule in [`crate::spec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BadBlock {
    /// (1) The kind is unknown.
    #[error("the block's kind is unknown")]
    Kind,
    /// (2) The payload's length is out of range for the kind, or not a multiple of 4.
    #[error("the block's payload length is out of range for its kind")]
    Length,
    /// (3) The count of records, or of an index's entries, cannot be that of such a payload.
    #[error("the block's count does not fit its payload")]
    Count,
    /// (4) The checksum does not match.
    #[error("the block's checksum does not match")]
    Checksum,
    /// Another block than the footer follows the index.
    #[error("the index is not followed by the footer")]
    BehindIndex,
    /// Bytes follow the footer.
    #[error("bytes follow the snapshot's footer")]
    Trailing,
}
