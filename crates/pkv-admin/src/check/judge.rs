//! What the files of a folder come to together: names, headers, chains and footers against each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pkv_format::{FOOTER_BYTES, FRAMES_OFFSET, FileHeader, Footer, HeaderError};
use pkv_snapshot_set::{Inconsistency, LOCK_FILE_NAME, Scan, SnapshotType};
use pkv_store::codec::is_same_type;

use super::chain::{Chain, Start, Suspect, check_base, judge};
use super::log::Flaw;
use super::window::wide;
use super::{Checked, Content, no_header};
use crate::commands::verify::{Fault, Verdict, Verification};
use crate::folder::{Folder, Listing};
use crate::text::{Count, Shown};

/// All files together.
pub(crate) struct Judge<'a> {
    folder: &'a Folder,
    files: &'a [Checked],
    found: Verification,
    suspects: Vec<Suspect>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(folder: &'a Folder, files: &'a [Checked]) -> Self {
        let dir = folder.dir().to_path_buf();
        let found = Verification { dir, opener: folder.opener(), ..Verification::default() };
        Self { folder, files, found, suspects: Vec::new() }
    }

    pub(crate) fn judge(mut self, scan: &Scan, listing: &Listing) -> Verification {
        self.names(scan);
        self.notes(scan, listing);
        self.contents();
        self.identities(scan);
        self.chains(scan);
        self.verdicts();
        self.found
    }

    /// What the names alone show.
    fn names(&mut self, scan: &Scan) {
        for problem in &scan.problems {
            let path = match problem {
                Inconsistency::Contradiction { first: path, .. }
                | Inconsistency::NotAFile { path, .. } => path,
                _ => self.folder.dir(),
            };
            let (path, reason) = (path.to_path_buf(), problem.to_string());
            self.suspects.push(Suspect { path, offset: 0, reason, seq: None });
        }
    }

    fn notes(&mut self, scan: &Scan, listing: &Listing) {
        let report = &scan.report;
        let notes = &mut self.found.notes;
        for ordinal in &report.rolled_forward {
            notes.push(format!(
                "the publish of snapshot {ordinal} was interrupted; opening finishes it"
            ));
        }
        for ordinal in &report.dropped_pendings {
            notes.push(format!("snapshot {ordinal} is pending and was not read; opening drops it"));
        }
        if let Some(ordinal) = report.dropped_creation {
            notes.push(format!("the creation of log {ordinal} was interrupted; opening drops it"));
        }
        for why in report.incomplete_fulls.iter().chain(&report.incomplete_diffs) {
            notes.push(format!("below the latest full snapshot, and not needed to open: {why}"));
        }
        if !listing.foreign.is_empty() {
            let count = Count(wide(listing.foreign.len()), "foreign name");
            notes.push(format!("{count} in the folder, left alone"));
        }
    }

    /// What each file shows by itself. The flaws of logs that open are the chain's.
    fn contents(&mut self) {
        for file in self.files {
            let found = &mut self.found;
            if !matches!(file.content, Content::Pending) {
                found.files += 1;
                found.bytes = found.bytes.saturating_add(file.file_bytes);
            }
            match &file.content {
                Content::Log(facts) => {
                    found.frames = found.frames.saturating_add(facts.frames);
                    found.writes = found.writes.saturating_add(facts.writes);
                    found.operations = found.operations.saturating_add(facts.operations);
                    found.watermark = found.watermark.max(facts.watermark);
                    found.faults_unlisted =
                        found.faults_unlisted.saturating_add(facts.flaws_unlisted);
                }
                Content::Shard(facts) => {
                    found.blocks = found.blocks.saturating_add(facts.blocks);
                    found.records = found.records.saturating_add(facts.records);
                    found.watermark =
                        found.watermark.max(facts.footer.map_or(0, |footer| footer.end_seq));
                    found.faults_unlisted =
                        found.faults_unlisted.saturating_add(facts.flaws_unlisted);
                    self.flaws(file, &facts.flaws);
                }
                Content::NoHeader(error @ HeaderError::Newer { .. }) => found.faults.push(Fault {
                    path: file.path.clone(),
                    offset: 0,
                    reason: error.to_string(),
                    verdict: Verdict::NewerFormat,
                }),
                // Of a log that is needed, the chain decides what it means.
                Content::NoHeader(_) if file.name.snapshot_type() == SnapshotType::Diff => {}
                Content::NoHeader(error) => self.damage(&file.path, 0, no_header(error)),
                Content::Misplaced(reason) => self.damage(&file.path, 0, reason.clone()),
                Content::Pending | Content::Unused => {}
            }
        }
    }

    fn damage(&mut self, path: &Path, offset: u64, reason: String) {
        self.suspects.push(Suspect { path: path.to_path_buf(), offset, reason, seq: None });
    }

    fn flaws(&mut self, file: &Checked, flaws: &[Flaw]) {
        for Flaw { offset, reason, seq } in flaws {
            let (path, offset, reason, seq) = (file.path.clone(), *offset, reason.clone(), *seq);
            self.suspects.push(Suspect { path, offset, reason, seq });
        }
    }

    /// All files must be of one store, and hold the same types.
    fn identities(&mut self, scan: &Scan) {
        let counts: Vec<&Path> = scan
            .get_snapshots_to_restore()
            .iter()
            .flat_map(|info| info.shard_paths.iter().map(PathBuf::as_path))
            .collect();
        let is_header = |file: &&Checked| file.header.is_some();
        let first = self
            .files
            .iter()
            .filter(is_header)
            .find(|file| counts.contains(&file.path.as_path()))
            .or_else(|| self.files.iter().find(is_header));
        let Some((first, header)) = first.and_then(|file| Some((file, file.header.as_ref()?)))
        else {
            return;
        };
        for file in self.files {
            if let Some(other) = &file.header
                && !matches!(file.content, Content::Pending)
                && let Some((offset, reason)) = differs(other, header, &first.path)
            {
                self.damage(&file.path, offset, reason);
            }
        }
    }

    /// The logs as chains: from the latest full snapshot, as opening reads them, and from the oldest.
    fn chains(&mut self, scan: &Scan) {
        let is_whole = |path: &Path| {
            scan.snapshots.iter().any(|info| info.shard_paths.iter().any(|shard| shard == path))
        };
        let logs: Vec<&Checked> = self
            .files
            .iter()
            .filter(|file| file.name.snapshot_type() == SnapshotType::Diff && is_whole(&file.path))
            .collect();
        for log in logs.iter().filter(|log| log.name.shard_count() > 1) {
            let reason = "a log in several shards, which this version does not read";
            self.damage(&log.path, 0, reason.to_owned());
        }
        let fulls: Vec<_> = scan
            .snapshots
            .iter()
            .filter(|info| info.snapshot_type == SnapshotType::FullCompleted)
            .map(|info| (info.ordinal.0, self.footer(&info.shard_paths)))
            .collect();
        let above = |ordinal: u64| -> Vec<&Checked> {
            logs.iter().copied().filter(|log| log.name.ordinal().0 > ordinal).collect()
        };

        if let Some((ordinal, base)) = fulls.last() {
            // Without a footer nothing is known of what must follow; the missing footer is a fault already.
            if let Some((footer, path, _)) = base {
                let chain = judge(Start::Full(footer, path), &above(*ordinal));
                self.main_chain(chain);
            }
        } else {
            let first = self.folder.first_log().map(|first| (first.ordinal, first.salt));
            let lock = self.folder.dir().join(LOCK_FILE_NAME);
            let chain = judge(Start::First(first, &lock), &logs);
            self.main_chain(chain);
        }
        // The chain from the oldest checks that one's base, the main chain the latest one's.
        let between = fulls.get(1..fulls.len().saturating_sub(1)).unwrap_or_default();
        for (_, base) in between {
            if let Some((footer, path, at)) = base {
                self.suspects.extend(check_base(footer, path, *at, &logs));
            }
        }
        if let [(ordinal, Some((footer, path, _))), _, ..] = fulls.as_slice() {
            let chain = judge(Start::Full(footer, path), &above(*ordinal));
            self.suspects.extend(chain.suspects);
        }
        let is_below = |log: &Checked| {
            fulls.last().is_some_and(|(ordinal, _)| log.name.ordinal().0 < *ordinal)
        };
        // Those below all full snapshots, and those that no chain came to.
        for log in &logs {
            match &log.content {
                Content::Log(facts) => self.flaws(log, &facts.flaws),
                Content::NoHeader(HeaderError::Newer { .. }) => {}
                Content::NoHeader(error) if is_below(log) => {
                    self.damage(&log.path, 0, no_header(error));
                }
                _ => {}
            }
        }
    }

    fn main_chain(&mut self, chain: Chain) {
        let found = &mut self.found;
        found.last_seq = chain.last_seq;
        for path in &chain.dropped {
            let name = path.file_name().unwrap_or_default();
            found.notes.push(format!(
                "{}: never used, or behind a torn end; opening drops it",
                Shown(Path::new(name))
            ));
        }
        if !chain.is_stopped && chain.last_seq < found.watermark {
            let (path, offset) =
                chain.end.unwrap_or_else(|| (self.folder.dir().to_path_buf(), FRAMES_OFFSET));
            let reason = format!(
                "the log ends with write {}, but everything up to {} had been synced",
                chain.last_seq, found.watermark
            );
            self.suspects.push(Suspect { path, offset, reason, seq: None });
        }
        self.suspects.extend(chain.suspects);
    }

    /// The footer of a full snapshot, once its shards agree; with the first shard's path and the footer's offset.
    fn footer(&mut self, paths: &[PathBuf]) -> Option<(Footer, PathBuf, u64)> {
        let mut first: Option<(Footer, PathBuf, u64)> = None;
        let mut hash_before = None;
        for file in self.files.iter().filter(|file| paths.contains(&file.path)) {
            let Content::Shard(facts) = &file.content else { continue };
            let Some(footer) = facts.footer else { continue };
            let at = facts.file_bytes.saturating_sub(wide(FOOTER_BYTES));
            if let Some((first_hash, last_hash)) = facts.hashes {
                let is_in_order = (file.name.shard() > 0 || first_hash == 0)
                    && hash_before.is_none_or(|before| before < first_hash);
                if !is_in_order {
                    let reason = "the index does not fit those of the other shards".to_owned();
                    let path = file.path.clone();
                    self.suspects.push(Suspect { path, offset: at, reason, seq: None });
                }
                hash_before = Some(last_hash);
            }
            let says = |footer: &Footer| (footer.start_seq, footer.log_ordinal, footer.log_salt);
            match &first {
                None => first = Some((footer, file.path.clone(), at)),
                Some((other, ..)) if says(other) == says(&footer) => {}
                Some(_) => {
                    let reason = "the footer speaks of another snapshot than the first shard's";
                    let (path, reason) = (file.path.clone(), reason.to_owned());
                    self.suspects.push(Suspect { path, offset: at, reason, seq: None });
                }
            }
        }
        first
    }

    /// Torn or damaged: the rule of the format. The same place is one fault, whoever found it.
    fn verdicts(&mut self) {
        let watermark = self.found.watermark;
        let mut places = BTreeSet::new();
        for Suspect { path, offset, reason, seq } in std::mem::take(&mut self.suspects) {
            if !places.insert((path.clone(), offset)) {
                continue;
            }
            let (verdict, reason) = match seq {
                Some(seq) if seq > watermark => (Verdict::Torn, reason),
                Some(seq) if seq > 0 => (
                    Verdict::Damaged,
                    format!("{reason}; write {seq} is missing here and had been synced"),
                ),
                _ => (Verdict::Damaged, reason),
            };
            self.found.faults.push(Fault { path, offset, reason, verdict });
        }
        self.found.faults.sort_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
    }
}

/// Where and how a header differs from that of another file of the store.
fn differs(header: &FileHeader, first: &FileHeader, path: &Path) -> Option<(u64, String)> {
    let path = Shown(path);
    if header.store_id != first.store_id || header.hash_seed != first.hash_seed {
        return Some((32, format!("the file belongs to another store than {path}")));
    }
    // Values may be of several versions of one type: opening upgrades them.
    if header.key_schema != first.key_schema
        || !is_same_type(&header.value_schema, &first.value_schema)
    {
        return Some((80, format!("the file holds keys or values of other types than {path}")));
    }
    None
}
