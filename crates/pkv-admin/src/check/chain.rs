//! The logs as one chain, by the rules of opening: which follows which, and which write is missing first.

use std::path::{Path, PathBuf};

use pkv_format::{FRAMES_OFFSET, FileHeader, Footer, HeaderError, Link};

use super::log::LogFacts;
use super::{Checked, Content};

/// A fault of which the watermark decides whether it is torn or damaged.
#[derive(Clone, Debug)]
pub(crate) struct Suspect {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) reason: String,
    /// The write that is missing here; `None`: damage in any case.
    pub(crate) seq: Option<u64>,
}

/// Where a chain begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    /// With what replays on top of a full snapshot.
    Full(&'a Footer, &'a Path),
    /// With the store's first log; its ordinal and salt by the lock file's record, where it has one.
    First(Option<(u64, u64)>, &'a Path),
}

/// What the chain comes to.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) suspects: Vec<Suspect>,
    /// The last write that opening would keep.
    pub(crate) last_seq: u64,
    /// Whether something ended the chain before its last frame.
    pub(crate) is_stopped: bool,
    /// The last log that counts, and where its frames end.
    pub(crate) end: Option<(PathBuf, u64)>,
    /// Logs that opening would remove: never used, or behind a torn end.
    pub(crate) dropped: Vec<PathBuf>,
}

/// Who says that a certain log comes next.
struct Named<'a> {
    ordinal: u64,
    salt: u64,
    by: &'a Path,
}

/// Goes over the logs, ascending.
pub(crate) fn judge(start: Start<'_>, logs: &[&Checked]) -> Chain {
    let (named, last_seq, is_based) = match start {
        Start::Full(footer, by) => {
            let Footer { log_ordinal: ordinal, log_salt: salt, .. } = *footer;
            (Some(Named { ordinal, salt, by }), footer.start_seq, true)
        }
        Start::First(first, by) => {
            (first.map(|(ordinal, salt)| Named { ordinal, salt, by }), 0, false)
        }
    };
    let mut walk =
        Walk { chain: Chain { last_seq, ..Chain::default() }, named, previous: None, is_based };
    for log in logs {
        walk.log(log);
    }
    if let (Some(named), false) = (&walk.named, walk.chain.is_stopped) {
        let reason = format!("log {} follows here and is missing", named.ordinal);
        walk.chain.damage(named.by, 0, reason);
    }
    walk.chain
}

impl Chain {
    /// Notes what no crash explains, and ends the chain.
    fn damage(&mut self, path: &Path, offset: u64, reason: impl Into<String>) {
        self.stop(path, offset, reason.into(), None);
    }

    fn stop(&mut self, path: &Path, offset: u64, reason: String, seq: Option<u64>) {
        self.suspects.push(Suspect { path: path.to_path_buf(), offset, reason, seq });
        self.is_stopped = true;
    }
}

struct Walk<'a> {
    chain: Chain,
    named: Option<Named<'a>>,
    /// Ordinal and salt of the log before.
    previous: Option<(u64, u64)>,
    /// There is a full snapshot below: the logs before it need not be there.
    is_based: bool,
}

impl<'a> Walk<'a> {
    fn log(&mut self, log: &'a Checked) {
        let ordinal = log.name.ordinal().0;
        let path = log.path.as_path();
        let is_named = self.named.as_ref().is_some_and(|named| named.ordinal == ordinal);
        let (header, facts) = match (&log.header, &log.content) {
            (Some(header), Content::Log(facts)) => (header, facts),
            (_, Content::Unused) => {
                if is_named {
                    let reason = "the log is in use, but its header is gone";
                    self.chain.damage(path, 0, reason);
                } else {
                    self.chain.dropped.push(log.path.clone());
                }
                return;
            }
            // A log of which anything was synced is named by the one before it.
            (_, Content::NoHeader(error)) if !matches!(error, HeaderError::Newer { .. }) => {
                let reason = super::no_header(error);
                if is_named {
                    self.chain.damage(path, 0, reason);
                    return;
                }
                if self.named.is_none() {
                    let missing = self.chain.last_seq.saturating_add(1);
                    self.chain.stop(path, 0, reason, Some(missing));
                }
                self.chain.dropped.push(log.path.clone());
                return;
            }
            // Its own fault was noted already; nothing can be said of those behind it.
            _ => {
                self.chain.is_stopped = true;
                return;
            }
        };
        if let Some(named) =
            self.named.as_ref().filter(|named| is_named && named.salt != header.salt)
        {
            let by = crate::text::Shown(named.by).to_string();
            let reason = format!("another log than the one that {by} names (the salts differ)");
            self.chain.damage(path, 48, reason);
        }
        let is_kept = if self.chain.is_stopped || (self.named.is_some() && !is_named) {
            self.pass(log, facts);
            is_named
        } else {
            self.follow(log, facts) || is_named
        };
        if !is_kept {
            self.chain.dropped.push(log.path.clone());
            return;
        }
        self.previous = Some((ordinal, header.salt));
        if !self.chain.is_stopped {
            self.chain.end = Some((log.path.clone(), facts.end));
            self.named = names_next(path, facts);
        } else if is_named {
            self.named = None;
        }
    }

    /// A log that counts, as far as it is whole. Returns whether its link is good.
    fn follow(&mut self, log: &Checked, facts: &LogFacts) -> bool {
        let mut is_linked = false;
        if let Some((link, seq)) = &facts.link {
            if let Err(reason) = self.check_link(link) {
                self.chain.damage(&log.path, FRAMES_OFFSET, reason);
            } else if *seq != self.chain.last_seq {
                let reason = format!(
                    "it begins behind write {seq}, the log before it ends with write {}",
                    self.chain.last_seq
                );
                let missing = self.chain.last_seq.saturating_add(1);
                self.chain.stop(&log.path, FRAMES_OFFSET, reason, Some(missing));
            } else {
                is_linked = true;
                self.chain.last_seq = facts.last_seq;
            }
        }
        let missing = self.chain.last_seq.saturating_add(1);
        for flaw in &facts.flaws {
            let seq = flaw.seq.map(|seq| seq.max(missing));
            self.chain.stop(&log.path, flaw.offset, flaw.reason.clone(), seq);
        }
        is_linked
    }

    /// A log that does not count. Whatever is wrong in it is no worse than what came before.
    fn pass(&mut self, log: &Checked, facts: &LogFacts) {
        let missing = self.chain.last_seq.saturating_add(1);
        for flaw in &facts.flaws {
            self.chain.suspects.push(Suspect {
                path: log.path.clone(),
                offset: flaw.offset,
                reason: flaw.reason.clone(),
                seq: Some(flaw.seq.unwrap_or(0).max(missing)),
            });
        }
    }

    fn check_link(&self, link: &Link) -> Result<(), String> {
        let (ordinal, salt) = match self.previous {
            Some(previous) => previous,
            None if self.is_based => return Ok(()),
            None => (0, 0),
        };
        if (link.previous_ordinal, link.previous_salt) == (ordinal, salt) {
            return Ok(());
        }
        Err(if ordinal == 0 {
            format!("it follows log {}, which is missing", link.previous_ordinal)
        } else {
            format!("it follows log {}, not log {ordinal} before it", link.previous_ordinal)
        })
    }
}

/// The log that must come after this one, by its seal or its successor record.
fn names_next<'a>(by: &'a Path, facts: &LogFacts) -> Option<Named<'a>> {
    match (&facts.seal, &facts.successor) {
        (Some(seal), _) if seal.next_ordinal != 0 => {
            Some(Named { ordinal: seal.next_ordinal, salt: seal.next_salt, by })
        }
        (_, Some(next)) => Some(Named { ordinal: next.ordinal, salt: next.salt, by }),
        _ => None,
    }
}

/// Checks a full snapshot that is kept as a backup against the log that its footer names.
pub(crate) fn check_base(
    footer: &Footer,
    path: &Path,
    offset: u64,
    logs: &[&Checked],
) -> Option<Suspect> {
    let found = logs.iter().find(|log| log.name.ordinal().0 == footer.log_ordinal);
    let salt = |header: &Option<FileHeader>| header.as_ref().map(|header| header.salt);
    let reason = match found.map(|log| (salt(&log.header), &log.content)) {
        None => format!("the snapshot goes on with log {}, which is missing", footer.log_ordinal),
        Some((Some(salt), _)) if salt != footer.log_salt => {
            format!(
                "the snapshot goes on with another log {} (the salts differ)",
                footer.log_ordinal
            )
        }
        Some((_, Content::Log(LogFacts { link: Some((_, seq)), .. })))
            if *seq != footer.start_seq =>
        {
            format!(
                "the snapshot holds all up to write {}, log {} begins behind write {seq}",
                footer.start_seq, footer.log_ordinal
            )
        }
        Some(_) => return None,
    };
    Some(Suspect { path: path.to_path_buf(), offset, reason, seq: None })
}
