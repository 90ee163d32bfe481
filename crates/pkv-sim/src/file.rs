//! Open files, segments and locks of the simulated disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_fs::{Access, Error, File, Lock, Op, Result, Segment, SegmentWay};

use crate::call::{Disk, Inner, Prepared};
use crate::content::Content;
use crate::state::{Event, Way, len_u64};

/// A handle. It keeps its file through renames and removal, as a descriptor does.
#[derive(Clone)]
pub(crate) struct SimFile {
    disk: Arc<Disk>,
    id: u64,
    path: PathBuf,
    access: Access,
}

impl SimFile {
    pub(crate) fn new(disk: &Arc<Disk>, id: u64, path: &Path, access: Access) -> Self {
        Self { disk: Arc::clone(disk), id, path: path.to_path_buf(), access }
    }

    fn content<'a>(&self, inner: &'a Inner) -> io::Result<&'a Content> {
        inner.state.file(self.id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(
        &self,
        op: Op,
        prepare: impl FnOnce(&Content) -> io::Result<Event>,
    ) -> io::Result<()> {
        self.disk.change(op, |inner| -> Prepared<()> {
            if self.access == Access::Read && op != Op::Sync {
                let why = "the file was opened for reading; open it with Access::Write";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
            }
            Ok((prepare(self.content(inner)?)?, ()))
        })
    }

    fn write(&self, offset: u64, bytes: &[u8], way: Way) -> Result<()> {
        let write = |content: &Content| {
            let end = offset.checked_add(len_u64(bytes.len()));
            match (way, end) {
                (_, None) => Err(io::ErrorKind::FileTooLarge.into()),
                (Way::Mapped, Some(end)) if end > content.bytes() => Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the mapped part was cut off: on a real system this is a SIGBUS",
                )),
                _ => Ok(Event::Write { id: self.id, offset, bytes: bytes.into(), way }),
            }
        };
        self.change(Op::Write, write).map_err(|e| Error::at(Op::Write, &self.path, offset, e))
    }
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl File for SimFile {
    fn len(&self) -> Result<u64> {
        self.disk
            .look(Op::Read, |inner| Ok(self.content(inner)?.bytes()))
            .map_err(|e| Error::new(Op::Read, &self.path, e))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.disk
            .look(Op::Read, |inner| Ok(self.content(inner)?.read(offset, buf)))
            .map_err(|e| Error::at(Op::Read, &self.path, offset, e))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write(offset, bytes, Way::Plain)
    }

    fn preallocate(&self, bytes: u64) -> Result<()> {
        self.change(Op::Preallocate, |_| Ok(Event::Preallocate { id: self.id, bytes }))
            .map_err(|e| Error::new(Op::Preallocate, &self.path, e))
    }

    fn set_len(&self, bytes: u64) -> Result<()> {
        self.change(Op::SetLen, |_| Ok(Event::SetLen { id: self.id, bytes }))
            .map_err(|e| Error::new(Op::SetLen, &self.path, e))
    }

    fn sync_data(&self) -> Result<()> {
        self.disk.file_sync_begin(self.id);
        let through = self.disk.sync_begin();
        let synced = self.change(Op::Sync, |_| Ok(Event::Sync { id: self.id, through, ok: true }));
        self.disk.file_sync_end(self.id);
        synced.map_err(|e| Error::new(Op::Sync, &self.path, e))
    }

    fn segment(&self, bytes: u64, way: SegmentWay) -> Result<Arc<dyn Segment>> {
        self.disk
            .look(Op::Map, |inner| {
                if self.access == Access::Read {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                if self.content(inner)?.bytes() < bytes {
                    let why = "the file is shorter than the segment; preallocate it first";
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
                }
                Ok(())
            })
            .map_err(|e| Error::new(Op::Map, &self.path, e))?;
        let way = match way {
            SegmentWay::Mapped => Way::Mapped,
            SegmentWay::Written => Way::Written,
        };
        Ok(Arc::new(SimSegment { file: self.clone(), segment_bytes: bytes, way }))
    }
}

#[derive(Debug)]
struct SimSegment {
    file: SimFile,
    segment_bytes: u64,
    way: Way,
}

impl Segment for SimSegment {
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let len = len_u64(bytes.len());
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.segment_bytes);
        if !inside || !(offset | len).is_multiple_of(8) {
            let why = "offset and length must be multiples of 8 and lie inside the segment";
            let source = io::Error::new(io::ErrorKind::InvalidInput, why);
            return Err(Error::at(Op::Write, &self.file.path, offset, source));
        }
        self.file.write(offset, bytes, self.way)
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
        self.way == Way::Mapped
    }
}

/// A held lock.
#[derive(Debug)]
pub(crate) struct SimLock(SimFile);

impl SimLock {
    pub(crate) fn new(file: SimFile) -> Self {
        Self(file)
    }
}

impl Lock for SimLock {
    fn file(&self) -> &dyn File {
        &self.0
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.disk.release(self.0.id);
    }
}
