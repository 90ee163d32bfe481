//! Two small stores, right by default, and the mistakes that can be planted in each.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_fs::{Access, File, Fs, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    NoSync,
    NoFolderSync,
    NoParentSync,
    NoChecksum,
    NoSyncInRecovery,
    RetriesFailedSync,
    PublishesUnsynced,
    PublishesWithoutFolderSync,
    RemovesBeforeFolderSync,
}

pub(crate) fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

pub(crate) fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let fold = |hash: u64, piece: &[u8]| {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    };
    bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325 ^ seed, fold)
}

/// Records of all sizes up to several pages, told apart by their content.
pub(crate) fn record(number: usize) -> Vec<u8> {
    vec![u8::try_from(number).unwrap() + 1; [3, 500, 40, 9000, 511, 100][number % 6]]
}

/// A log of records: length, checksum over offset and bytes, bytes.
pub(crate) struct Log {
    file: Arc<dyn File>,
    end: u64,
    mistake: Mistake,
    pub(crate) records: Vec<Vec<u8>>,
}

const DIR: &str = "/store";
const LOG: &str = "/store/log";

impl Log {
    pub(crate) fn open(fs: &dyn Fs, mistake: Mistake) -> Result<Self> {
        fs.create_dir(Path::new(DIR))?;
        let file = match fs.open(Path::new(LOG), Access::Write) {
            Err(e) if e.kind() == ErrorKind::NotFound => fs.create_new(Path::new(LOG))?,
            opened => opened?,
        };
        if mistake != Mistake::NoFolderSync {
            fs.sync_dir(Path::new(DIR))?;
        }
        if mistake != Mistake::NoParentSync {
            fs.sync_dir(Path::new("/"))?;
        }
        let mut log = Self { file, end: 0, mistake, records: Vec::new() };
        while let Some(record) = log.read_next()? {
            log.end += 16 + as_u64(record.len());
            log.records.push(record);
        }
        log.file.set_len(log.end)?;
        if mistake != Mistake::NoSyncInRecovery {
            log.file.sync_data()?;
        }
        Ok(log)
    }

    fn read_next(&self) -> Result<Option<Vec<u8>>> {
        let mut header = [0; 16];
        if self.file.read_at(self.end, &mut header)? < 16 {
            return Ok(None);
        }
        let length = u64::from_le_bytes(header[..8].try_into().unwrap());
        let check = u64::from_le_bytes(header[8..].try_into().unwrap());
        if length == 0 || length > self.file.len()? - self.end - 16 {
            return Ok(None);
        }
        let mut bytes = vec![0; as_usize(length)];
        self.file.read_at(self.end + 16, &mut bytes)?;
        let valid = self.mistake == Mistake::NoChecksum || check == checksum(self.end, &bytes);
        Ok(valid.then_some(bytes))
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut record = as_u64(bytes.len()).to_le_bytes().to_vec();
        record.extend(checksum(self.end, bytes).to_le_bytes());
        record.extend(bytes);
        self.file.write_at(self.end, &record)?;
        if self.mistake != Mistake::NoSync {
            let mut synced = self.file.sync_data();
            if self.mistake == Mistake::RetriesFailedSync && synced.is_err() {
                synced = self.file.sync_data();
            }
            synced?;
        }
        self.end += as_u64(record.len());
        self.records.push(bytes.to_vec());
        Ok(())
    }
}

/// Keeps one value in a file of its own per version, and publishes each by a rename.
pub(crate) struct Versions<'a> {
    fs: &'a dyn Fs,
    mistake: Mistake,
    pub(crate) newest: u64,
}

fn version_path(version: u64, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{DIR}/version-{version}{suffix}"))
}

fn version_bytes(version: u64) -> Vec<u8> {
    vec![u8::try_from(version).unwrap(); 700 * as_usize(version)]
}

impl<'a> Versions<'a> {
    pub(crate) fn open(fs: &'a dyn Fs, mistake: Mistake) -> Result<Self> {
        fs.create_dir(Path::new(DIR))?;
        fs.sync_dir(Path::new("/"))?;
        let mut newest = 0;
        for entry in fs.list(Path::new(DIR))? {
            let name = entry.name.into_string().unwrap();
            let number = name.strip_prefix("version-").unwrap();
            if let Ok(version) = number.parse::<u64>() {
                newest = newest.max(version);
            } else {
                fs.remove(&Path::new(DIR).join(name))?;
            }
        }
        fs.sync_dir(Path::new(DIR))?;
        Ok(Self { fs, mistake, newest })
    }

    /// Whether the newest version is whole.
    pub(crate) fn is_whole(&self) -> Result<bool> {
        if self.newest == 0 {
            return Ok(true);
        }
        let file = self.fs.open(&version_path(self.newest, ""), Access::Read)?;
        let mut bytes = vec![0; as_usize(file.len()?)];
        file.read_at(0, &mut bytes)?;
        Ok(bytes == version_bytes(self.newest))
    }

    pub(crate) fn publish_next(&mut self) -> Result<u64> {
        let version = self.newest + 1;
        let (pending, published) = (version_path(version, ".new"), version_path(version, ""));
        let file = self.fs.create_new(&pending)?;
        file.write_at(0, &version_bytes(version))?;
        if self.mistake != Mistake::PublishesUnsynced {
            file.sync_data()?;
        }
        self.fs.rename(&pending, &published)?;
        let sync_late = self.mistake == Mistake::RemovesBeforeFolderSync;
        if self.mistake != Mistake::PublishesWithoutFolderSync && !sync_late {
            self.fs.sync_dir(Path::new(DIR))?;
        }
        if self.newest > 0 {
            self.fs.remove(&version_path(self.newest, ""))?;
        }
        if sync_late {
            self.fs.sync_dir(Path::new(DIR))?;
        }
        self.newest = version;
        Ok(version)
    }
}
