#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod block;
mod bytes;
mod checksum;
mod error;
mod frame;
mod header;
mod index;
pub mod layout;
mod operation;
mod record;
mod scan;
mod varint;

pub use block::{BlockBuilder, BlockScanner, BlockStep, Footer, finish_block};
pub use checksum::{FileSeed, body_checksum};
pub use error::{BadBlock, BadBody, BadFrame, BadRecord, EncodeError, HeaderError};
pub use frame::{Frame, FrameHeader, FrameKind, Link, Mark, Seal, frame_bytes, push_frame};
pub use header::{FileHeader, FileKind, Successor};
pub use index::{IndexEntries, IndexEntry, index_bytes, push_index};
pub use layout::{
    BLOCK_BYTES_TARGET, BLOCK_HEADER_BYTES, BLOCK_PAYLOAD_BYTES_MAX, BLOCKS_OFFSET, FOOTER_BYTES,
    FORMAT_VERSION, FRAME_ALIGN_BYTES, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES, FRAMES_OFFSET,
    HEADER_BYTES, INDEX_COUNT_BYTES, KEY_BYTES_MAX, LOG_VERSION, MAGIC, RECORD_ALIGN_BYTES,
    RECORD_FLAGS_MASK, SCHEMAS_BYTES_MAX, SUCCESSOR_BYTES, SUCCESSOR_OFFSET,
};
pub use operation::{Operation, Operations, push_clear, push_remove, push_set};
pub use record::{
    Record, Records, decode_record, push_record, push_record_with_flags, record_bytes,
};
pub use scan::{Scanner, Step, find_frame};

#[doc = include_str!("../FORMAT.md")]
pub mod spec {}
