//! The calls of [`Fs`] on the simulated disk.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pkv_fs::{Access, Entry, EntryKind, Error, File, Fs, Lock, Op, Result};

use crate::call::Disk;
use crate::disk::SimFs;
use crate::file::{SimFile, SimLock};
use crate::names::{Node, absolute};
use crate::state::Event;

impl Fs for SimFs {
    fn create_dir(&self, dir: &Path) -> Result<bool> {
        let path = absolute(dir);
        let mut inner = self.disk.shaken();
        if inner.state.names().get(&path) == Some(Node::Dir) {
            Disk::look_locked(&mut inner, Op::CreateDir, |_| Ok(false))
        } else {
            Disk::change_locked(&mut inner, Op::CreateDir, |inner| {
                inner.free_name(&path)?;
                Ok((Event::CreateDir { path: path.clone() }, true))
            })
        }
        .map_err(|e| Error::new(Op::CreateDir, dir, e))
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        let path = absolute(dir);
        self.disk
            .look(Op::List, |inner| {
                inner.dir_at(&path)?;
                let mut entries: Vec<Entry> =
                    inner.state.names().children(&path).filter_map(entry).collect();
                // In no order is the promise, so nobody may rely on one.
                let mut order: BTreeMap<u64, Entry> = BTreeMap::new();
                for entry in entries.drain(..) {
                    order.insert(inner.shake.next_u64(), entry);
                }
                Ok(order.into_values().collect())
            })
            .map_err(|e| Error::new(Op::List, dir, e))
    }

    fn create_new(&self, path: &Path) -> Result<Arc<dyn File>> {
        let whole = absolute(path);
        let id = self
            .disk
            .change(Op::Create, |inner| inner.create_event(&whole))
            .map_err(|e| Error::new(Op::Create, path, e))?;
        Ok(Arc::new(SimFile::new(&self.disk, id, path, Access::Write)))
    }

    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn File>> {
        let whole = absolute(path);
        let id = self
            .disk
            .look(Op::Open, |inner| inner.file_at(&whole))
            .map_err(|e| Error::new(Op::Open, path, e))?;
        Ok(Arc::new(SimFile::new(&self.disk, id, path, access)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (whole_from, whole_to) = (absolute(from), absolute(to));
        self.disk
            .change(Op::Rename, |inner| {
                let id = inner.file_at(&whole_from)?;
                inner.free_name(&whole_to)?;
                Ok((Event::Rename { from: whole_from.clone(), to: whole_to.clone(), id }, ()))
            })
            .map_err(|e| Error::new(Op::Rename, from, e))
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        let (whole_from, whole_to) = (absolute(from), absolute(to));
        self.disk
            .change(Op::Link, |inner| {
                let of = inner.file_at(&whole_from)?;
                inner.free_name(&whole_to)?;
                let id = inner.take_file_id();
                Ok((Event::Link { of, path: whole_to.clone(), id }, ()))
            })
            .map_err(|e| Error::new(Op::Link, from, e))
    }

    fn clone_file(&self, from: &Path, to: &Path) -> Result<()> {
        let (whole_from, whole_to) = (absolute(from), absolute(to));
        self.disk
            .change(Op::Clone, |inner| {
                if !inner.settings.can_clone {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                let of = inner.file_at(&whole_from)?;
                inner.free_name(&whole_to)?;
                let id = inner.take_file_id();
                Ok((Event::Clone { of, path: whole_to.clone(), id }, ()))
            })
            .map_err(|e| Error::new(Op::Clone, from, e))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let whole = absolute(path);
        self.disk
            .change(Op::Remove, |inner| match inner.state.names().get(&whole) {
                Some(node @ (Node::File(_) | Node::Other)) => {
                    Ok((Event::Remove { path: whole.clone(), node }, ()))
                }
                Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
                None => Err(io::ErrorKind::NotFound.into()),
            })
            .map_err(|e| Error::new(Op::Remove, path, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let whole = absolute(dir);
        let through = self.disk.sync_begin();
        self.disk
            .change(Op::SyncDir, |inner| {
                inner.dir_at(&whole)?;
                Ok((Event::SyncDir { dir: whole.clone(), through, ok: true }, ()))
            })
            .map_err(|e| Error::new(Op::SyncDir, dir, e))
    }

    fn lock(&self, path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
        let whole = absolute(path);
        let id = self
            .disk
            .acquire(wait, |inner| match inner.file_at(&whole) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    Disk::change_locked(inner, Op::Lock, |inner| inner.create_event(&whole))
                }
                known => Disk::look_locked(inner, Op::Lock, |_| known),
            })
            .map_err(|e| Error::new(Op::Lock, path, e))?;
        Ok(Box::new(SimLock::new(SimFile::new(&self.disk, id, path, Access::Write))))
    }

    fn can_map(&self, dir: &Path) -> Result<bool> {
        self.disk
            .look(Op::Stat, |inner| Ok(inner.settings.can_map))
            .map_err(|e| Error::new(Op::Stat, dir, e))
    }

    fn free_bytes(&self, dir: &Path) -> Result<Option<u64>> {
        self.disk
            .look(Op::Stat, |inner| Ok(inner.free_capacity()))
            .map_err(|e| Error::new(Op::Stat, dir, e))
    }

    fn random_u64(&self) -> u64 {
        self.disk.lock_inner().rng.next_u64()
    }

    fn unix_time_ms(&self) -> u64 {
        self.disk.lock_inner().settings.unix_time_ms
    }
}

fn entry((path, node): (&Path, Node)) -> Option<Entry> {
    let kind = match node {
        Node::File(_) => EntryKind::File,
        Node::Dir => EntryKind::Directory,
        Node::Other => EntryKind::Other,
    };
    Some(Entry { name: path.file_name()?.to_os_string(), kind })
}
