//! Offsets, sizes and codes of every field: the numbers of the tables in [`crate::spec`], which a test compares.

/// The format version of the snapshots that this crate writes, and the highest that it reads.
pub const FORMAT_VERSION: u32 = 2;
/// The format version of the logs that this crate writes: nothing of them has changed since.
pub const LOG_VERSION: u32 = 1;
/// The first eight bytes of every file.
pub const MAGIC: [u8; 8] = *b"pkvstore";
/// Size of the file header at offset 0 of every file, in bytes: one sector.
pub const HEADER_BYTES: usize = 512;
/// Most bytes that the names of the key and value schemas may take together.
pub const SCHEMAS_BYTES_MAX: usize = 420;
/// Offset of the successor record in a log, in a sector of its own.
pub const SUCCESSOR_OFFSET: u64 = 512;
/// Size of the successor record, in bytes.
pub const SUCCESSOR_BYTES: usize = 32;
/// Offset of the first frame of a log.
pub const FRAMES_OFFSET: u64 = 4096;
/// Every frame starts at a multiple of this many bytes.
pub const FRAME_ALIGN_BYTES: usize = 8;
/// Size of a frame's header, in bytes.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Longest body of a frame, without padding, in bytes: 64 MiB.
pub const FRAME_BODY_BYTES_MAX: usize = 64 << 20;
/// Longest key, in bytes: 64 KiB.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Offset of the first block of a snapshot.
pub const BLOCKS_OFFSET: u64 = 512;
/// Size of a block's header, in bytes.
pub const BLOCK_HEADER_BYTES: usize = 16;
/// Size at which a block (header and payload) is written out, in bytes: 64 KiB.
pub const BLOCK_BYTES_TARGET: usize = 64 << 10;
/// Longest payload of a block, in bytes: one record of the longest key and value behind a nearly full block.
pub const BLOCK_PAYLOAD_BYTES_MAX: usize = (64 << 20) + (128 << 10);
/// Size of a whole footer block, in bytes.
pub const FOOTER_BYTES: usize = BLOCK_HEADER_BYTES + footer::BYTES;
/// Size of the number of entries at the end of an index, in bytes.
pub const INDEX_COUNT_BYTES: usize = 8;
/// Records are padded with zeros to a multiple of this many bytes.
pub const RECORD_ALIGN_BYTES: usize = 4;
/// The bits of a record's first byte that hold its flags.
pub const RECORD_FLAGS_MASK: u8 = 3;

/// Version of the codec of blocks and bodies: plain bytes, the only one so far.
pub const CODEC_PLAIN: u8 = 0;
/// File kind: log.
pub const FILE_KIND_LOG: u8 = 1;
/// File kind: snapshot.
pub const FILE_KIND_SNAPSHOT: u8 = 2;
/// Frame kind: data.
pub const FRAME_KIND_DATA: u8 = 1;
/// Frame kind: link.
pub const FRAME_KIND_LINK: u8 = 2;
/// Frame kind: sync mark.
pub const FRAME_KIND_MARK: u8 = 3;
/// Frame kind: seal.
pub const FRAME_KIND_SEAL: u8 = 4;
/// Operation tag: set.
pub const TAG_SET: u8 = 1;
/// Operation tag: remove.
pub const TAG_REMOVE: u8 = 2;
/// Operation tag: clear.
pub const TAG_CLEAR: u8 = 3;
/// The only map of a store so far.
pub const MAP_ID: u8 = 0;
/// Block kind: records.
pub const BLOCK_KIND_RECORDS: u32 = 1;
/// Block kind: footer.
pub const BLOCK_KIND_FOOTER: u32 = 2;
/// Block kind: index.
pub const BLOCK_KIND_INDEX: u32 = 3;

/// One field of a fixed layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// The field's name in the tables of [`crate::spec`].
    pub name: &'static str,
    /// Offset from the start of the structure, in bytes.
    pub offset: usize,
    /// Size, in bytes.
    pub bytes: usize,
}

/// Declares the fields of one structure, back to back, and its size.
macro_rules! structure {
    ($(#[$doc:meta])* $module:ident { $($name:ident: $offset:literal, $bytes:literal;)* }) => {
        $(#[$doc])*
        pub mod $module {
            use super::Field;
            $(
                #[doc = concat!("Offset ", $offset, ", ", $bytes, " bytes.")]
                pub const $name: Field =
                    Field { name: stringify!($name), offset: $offset, bytes: $bytes };
            )*
            /// All fields, in order.
            pub const FIELDS: &[Field] = &[$($name),*];
            /// Size of the structure, in bytes.
            pub const BYTES: usize = 0 $(+ $bytes)*;
        }
    };
}

structure! {
    /// The file header.
    file_header {
        MAGIC: 0, 8;
        VERSION: 8, 4;
        KIND: 12, 1;
        CODEC: 13, 1;
        ZERO_1: 14, 2;
        ORDINAL: 16, 8;
        SHARD: 24, 4;
        SHARD_COUNT: 28, 4;
        STORE_ID: 32, 16;
        SALT: 48, 8;
        HASH_SEED: 56, 8;
        SEGMENT_BYTES: 64, 8;
        ZERO_2: 72, 8;
        KEY_SCHEMA_BYTES: 80, 2;
        VALUE_SCHEMA_BYTES: 82, 2;
        SCHEMAS: 84, 420;
        ZERO_3: 504, 4;
        CHECKSUM: 508, 4;
    }
}
structure! {
    /// The successor record of a log.
    successor {
        ORDINAL: 0, 8;
        SALT: 8, 8;
        ZERO_1: 16, 8;
        ZERO_2: 24, 4;
        CHECKSUM: 28, 4;
    }
}
structure! {
    /// The header of a frame.
    frame_header {
        BODY_CHECKSUM: 0, 4;
        BODY_BYTES: 4, 4;
        KIND: 8, 1;
        FLAGS: 9, 1;
        ZERO: 10, 2;
        HEADER_CHECKSUM: 12, 4;
        SEQ: 16, 8;
    }
}
structure! {
    /// The body of a link.
    link {
        PREVIOUS_ORDINAL: 0, 8;
        PREVIOUS_SALT: 8, 8;
        WATERMARK: 16, 8;
    }
}
structure! {
    /// The body of a sync mark.
    mark {
        WATERMARK: 0, 8;
        UNIX_MS: 8, 8;
    }
}
structure! {
    /// The body of a seal.
    seal {
        WATERMARK: 0, 8;
        NEXT_ORDINAL: 8, 8;
        NEXT_SALT: 16, 8;
    }
}
structure! {
    /// The header of a block.
    block_header {
        CHECKSUM: 0, 4;
        PAYLOAD_BYTES: 4, 4;
        RECORDS: 8, 4;
        KIND: 12, 4;
    }
}
structure! {
    /// An entry of an index block.
    index_entry {
        FIRST_HASH: 0, 8;
        OFFSET: 8, 8;
    }
}
structure! {
    /// The payload of a footer block.
    footer {
        RECORDS: 0, 8;
        PAYLOAD_BYTES: 8, 8;
        START_SEQ: 16, 8;
        END_SEQ: 24, 8;
        LOG_ORDINAL: 32, 8;
        LOG_SALT: 40, 8;
    }
}

/// All structures of the format, by the names of their tables in [`crate::spec`].
pub const STRUCTURES: &[(&str, &[Field])] = &[
    ("file_header", file_header::FIELDS),
    ("successor", successor::FIELDS),
    ("frame_header", frame_header::FIELDS),
    ("link", link::FIELDS),
    ("mark", mark::FIELDS),
    ("seal", seal::FIELDS),
    ("block_header", block_header::FIELDS),
    ("index_entry", index_entry::FIELDS),
    ("footer", footer::FIELDS),
];
