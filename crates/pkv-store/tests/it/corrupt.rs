//! Every bit of a small store flipped, every length it can be cut to, every sector zeroed: found, or
//! provably without effect. Nothing panics, and a folder that was refused is left as it was.
#![expect(clippy::unwrap_used, reason = "a failure in a helper fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pkv_fs::Fs;
use pkv_sim::{Choice, Crash, SimFs};
use pkv_store::{
    ByteStore, Durability, Error, Inspection, LogWay, ReadOnlyByteStore, RecoveryMode,
};

use crate::crash_rig::{
    Contents, contents, goes_on, in_parallel, open, options, scale, tell_states,
};

/// One bit in so many in the quick suite; none is left out by `cargo xtask crash`.
const QUICK_ONE_IN: usize = 23;

/// A change to one file.
#[derive(Clone, Debug)]
enum Damage {
    Flip { byte: usize, bit: u8 },
    Cut { bytes: usize },
    ZeroSector { sector: usize },
}

impl std::fmt::Display for Harm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.path.display(), self.damage)
    }
}

/// What is done to which file.
struct Harm {
    path: PathBuf,
    damage: Damage,
}

impl Harm {
    /// Looking starts threads, so it is not done each time.
    fn is_looked_at(&self) -> bool {
        match self.damage {
            Damage::Flip { byte, bit } => byte % 8 == usize::from(bit),
            Damage::Cut { bytes } => bytes % 8 == 0,
            Damage::ZeroSector { .. } => true,
        }
    }

    /// The lock file, whose record only guards against the loss of the first log, and the page of a log
    /// behind its header, which holds nothing but the same guard for the log that follows.
    fn is_where_nobody_looks(&self) -> bool {
        let name = self.path.to_string_lossy();
        let guard = match self.damage {
            Damage::Flip { byte, .. } => (512..4096).contains(&byte),
            Damage::ZeroSector { sector } => (1..8).contains(&sector),
            Damage::Cut { .. } => false,
        };
        name.ends_with(".lock") || (name.ends_with("_diff.bin") && guard)
    }
}

/// A store, what it held, and whether it was closed.
struct Subject {
    fs: Arc<SimFs>,
    full: Contents,
    /// What it held after each write, from the last snapshot on; the last is `full`.
    prefixes: Vec<Contents>,
    /// So many of them at least must be there, since they had been synced.
    synced: usize,
    closed: bool,
}

/// What became of a damaged folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Refused,
    ReportedTorn,
    /// The last sector of a log that nobody closed was zeroed from the border of a frame on, and took with
    /// it the mark that would tell: the very bytes that a power cut leaves.
    AsAfterPowerCut,
    NoEffect,
}

/// One snapshot and one log above it, of tiny entries.
fn subject(closed: bool) -> Subject {
    let fs = SimFs::new(9);
    let way = LogWay::Mapped;
    let store = open(&fs, way).unwrap();
    for key in 0..24_u8 {
        store.insert(&[key], &[key; 9], Durability::Process).unwrap();
    }
    store.compact().unwrap();
    let mut prefixes = vec![contents(&store)];
    for key in 16..36_u8 {
        match key % 5 {
            0 => store
                .batch()
                .insert(&[key], b"batch")
                .remove(&[key - 16])
                .commit(Durability::Process)
                .unwrap(),
            1 => store.remove(&[key - 16], Durability::Process).unwrap().seq,
            _ => store.insert(&[key], &[key; 50], Durability::Process).unwrap().seq,
        };
        prefixes.push(contents(&store));
        if key == 25 || key == 32 {
            store.sync().unwrap();
        }
    }
    let full = prefixes.last().cloned().unwrap();
    let fs = if closed {
        store.close().unwrap();
        fs
    } else {
        let killed = fs.survivors(Crash::Kill, Choice::Nothing);
        std::mem::forget(store);
        killed
    };
    // Synced up to the write of key 32, but a sector that goes takes the mark with it that says so: then
    // the mark for the write of key 25 still stands, in another sector.
    let synced = if closed { prefixes.len() } else { 10 };
    Subject { fs, full, prefixes, synced, closed }
}

impl Subject {
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let file = |path: PathBuf| {
            let bytes = self.fs.contents(&path).unwrap();
            (path, bytes)
        };
        self.fs.paths().into_iter().map(file).collect()
    }

    /// Every harm of a kind. The zeros behind the end of a log that was not closed count once a sector.
    fn harms(&self) -> (Vec<Harm>, Vec<Harm>) {
        let (mut flips, mut others) = (Vec::new(), Vec::new());
        for (path, bytes) in self.files() {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 64);
            let each = |damage| Harm { path: path.clone(), damage };
            for byte in (0..bytes.len()).filter(|byte| *byte < used || byte % 512 == 7) {
                flips.extend((0..8).map(|bit| each(Damage::Flip { byte, bit })));
            }
            others.extend((0..bytes.len()).map(|bytes| each(Damage::Cut { bytes })));
            let sectors = 0..bytes.len().div_ceil(512);
            others.extend(sectors.map(|sector| each(Damage::ZeroSector { sector })));
        }
        (flips, others)
    }

    /// Does the harm to a copy and opens it.
    fn check(&self, harm: &Harm) -> Result<Fate, String> {
        let fs = self.fs.survivors(Crash::Kill, Choice::Nothing);
        let whole = fs.contents(&harm.path).unwrap();
        let mut bytes = whole.clone();
        match harm.damage {
            Damage::Flip { byte, bit } => {
                bytes.get_mut(byte).into_iter().for_each(|b| *b ^= 1 << bit);
            }
            Damage::Cut { bytes: len } => bytes.truncate(len),
            Damage::ZeroSector { sector } => {
                bytes.iter_mut().skip(sector * 512).take(512).for_each(|byte| *byte = 0);
            }
        }
        let unharmed = bytes == whole;
        fs.plant(&harm.path, &bytes);
        let before = without_lock(&fs);
        let seen: Arc<dyn Fs> = fs.clone();
        let looked = harm.is_looked_at().then(|| Inspection::on(&seen, "/db"));
        if harm.is_looked_at() {
            self.check_salvage(&fs, unharmed)?;
        }
        if before != without_lock(&fs) {
            return Err("looking changed the folder".into());
        }
        self.check_instant(harm, &bytes)?;
        let store = match open(&fs, LogWay::Mapped) {
            Ok(store) => store,
            Err(error) if unharmed => return Err(format!("unharmed, but {error}")),
            Err(error) => {
                if looked.is_some_and(|looked| looked.is_ok()) {
                    return Err(format!("looking saw nothing, opening says: {error}"));
                }
                if before != without_lock(&fs) {
                    return Err(format!("refused ({error}), and the folder was changed"));
                }
                return Ok(Fate::Refused);
            }
        };
        if let Some(Err(error)) = looked {
            return Err(format!("opens, but looking says: {error}"));
        }
        let found = contents(&store);
        let torn = store.recovery_report().torn.clone();
        let fate = match &torn {
            None if found == self.full && (unharmed || harm.is_where_nobody_looks()) => {
                Fate::NoEffect
            }
            None if found == self.full => {
                return Err("without effect, and nobody can say why".into());
            }
            None if self.is_zeroed_end(harm, &bytes) && self.is_prefix(&found) => {
                Fate::AsAfterPowerCut
            }
            None => return Err(format!("SILENT: {found:?} instead of {:?}", self.full)),
            Some(_) if self.closed => return Err("torn, although it was closed".into()),
            Some(_) if self.is_prefix(&found) => Fate::ReportedTorn,
            Some(torn) => return Err(format!("SILENT: torn below what was synced: {torn:?}")),
        };
        goes_on(&fs, store, &found, LogWay::Mapped)?;
        Ok(fate)
    }

    /// An instant opening, and what is loaded behind it, say together what opening says; no key shows something else before,
    /// and nothing is written once the damage was met.
    fn check_instant(&self, harm: &Harm, bytes: &[u8]) -> Result<(), String> {
        if !harm.path.to_string_lossy().contains("_full") {
            return Ok(());
        }
        let copy = || {
            let fs = self.fs.survivors(Crash::Kill, Choice::Nothing);
            fs.plant(&harm.path, bytes);
            fs
        };
        let full = open(&copy(), LogWay::Mapped).map(|store| contents(&store));
        let fs = copy();
        let store = match ByteStore::open("/db", &options(&fs, LogWay::Mapped).instant_open(true)) {
            Ok(store) => store,
            Err(_) if full.is_err() => return Ok(()),
            Err(error) => return Err(format!("opens, but not at once: {error}")),
        };
        for key in (0..36_u8).rev() {
            match (store.get(&[key]), &full) {
                (Ok(value), _) if value.as_ref() == self.full.get([key].as_slice()) => {}
                (Err(Error::Damaged { .. }), Err(_)) => {}
                (other, _) => return Err(format!("SILENT: {key} is {other:?}")),
            }
        }
        match (store.wait_loaded(), full) {
            (Ok(()), Ok(found)) if found == contents(&store) => Ok(()),
            (Err(Error::Damaged { .. }), Err(_)) => {
                let before = without_lock(&fs);
                for key in 0..36_u8 {
                    if store.insert(&[key], b"", Durability::Power).is_ok() {
                        return Err("a write was taken beside damage".into());
                    }
                }
                if store.health().takes_writes() || store.compact().is_ok() {
                    return Err("goes on beside damage".into());
                }
                drop(store);
                if before != without_lock(&fs) {
                    return Err("something was written beside damage".into());
                }
                Ok(())
            }
            (loaded, full) => Err(format!("loading says {loaded:?}, opening {full:?}")),
        }
    }

    /// Salvage reads what opening refuses: at most what the harm hit is lost, no value is one that was never
    /// written, and whatever is not there is told.
    fn check_salvage(&self, fs: &Arc<SimFs>, unharmed: bool) -> Result<(), String> {
        let mode = options(fs, LogWay::Mapped).recovery(RecoveryMode::Salvage);
        let view = match ReadOnlyByteStore::open("/db", &mode) {
            Ok(view) => view,
            Err(error) => return Err(format!("salvage says: {error}")),
        };
        let report = view.recovery_report().salvage.clone().unwrap_or_default();
        let found: Contents = view.iter().map(Result::unwrap).collect();
        for (key, value) in &found {
            if !self.prefixes.iter().any(|prefix| prefix.get(key) == Some(value)) {
                return Err(format!("salvage made up {key:?}: {value:?}"));
            }
        }
        if found != self.full && report.is_complete() && self.closed {
            return Err(format!("salvage lost silently: {report:?}"));
        }
        if unharmed && found != self.full {
            return Err(format!("salvage lost of a whole folder: {report:?}"));
        }
        Ok(())
    }

    /// A state from the last sync whose mark must still be there.
    fn is_prefix(&self, found: &Contents) -> bool {
        self.prefixes.iter().skip(self.synced).any(|prefix| prefix == found)
    }

    fn is_zeroed_end(&self, harm: &Harm, bytes: &[u8]) -> bool {
        let Damage::ZeroSector { sector } = harm.damage else { return false };
        let log = harm.path.to_string_lossy().ends_with("_diff.bin");
        log && !self.closed && bytes.iter().skip(sector * 512).all(|byte| *byte == 0)
    }

    fn check_all(&self, what: &str, harms: &[Harm]) -> BTreeMap<(String, Fate), u64> {
        let fates = std::sync::Mutex::new(BTreeMap::<(String, Fate), u64>::new());
        let tried = in_parallel(harms, |harm| {
            let fate = self.check(harm)?;
            let kind =
                harm.path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
            *fates.lock().unwrap().entry((kind, fate)).or_default() += 1;
            Ok(1)
        });
        let fates = fates.into_inner().unwrap();
        let count =
            |wanted| fates.iter().filter(|((_, f), _)| *f == wanted).map(|(_, n)| n).sum::<u64>();
        tell_states(
            &format!(
                "{what}: {} refused, {} reported as torn, {} as a power cut leaves it, \
                 {} without effect, 0 silent",
                count(Fate::Refused),
                count(Fate::ReportedTorn),
                count(Fate::AsAfterPowerCut),
                count(Fate::NoEffect)
            ),
            tried,
        );
        assert!(count(Fate::Refused) > tried / 4, "{fates:?}");
        fates
    }
}

fn without_lock(fs: &SimFs) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let lock = Path::new("/db/snapshots.lock");
    let files = fs.paths().into_iter().filter(|path| path != lock);
    files.map(|path| (path.clone(), fs.contents(&path))).collect()
}

fn sampled(harms: Vec<Harm>) -> Vec<Harm> {
    if scale() > 1 { harms } else { harms.into_iter().step_by(QUICK_ONE_IN).collect() }
}

#[test]
fn every_harm_to_a_closed_store_is_found() {
    let subject = subject(true);
    let (flips, others) = subject.harms();
    subject.check_all("bits of a closed store", &sampled(flips));
    subject.check_all("lengths and sectors of a closed store", &sampled(others));
}

#[test]
fn every_harm_to_a_killed_store_is_found_or_reported_as_torn() {
    let subject = subject(false);
    let (flips, others) = subject.harms();
    let fates = subject.check_all("bits of a killed store", &sampled(flips));
    assert!(fates.keys().any(|(_, fate)| *fate == Fate::ReportedTorn), "{fates:?}");
    subject.check_all("lengths and sectors of a killed store", &sampled(others));
}
