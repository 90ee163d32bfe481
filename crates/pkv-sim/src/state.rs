//! The whole disk at one moment, the operations that change it, and what a crash makes of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::choice::{Choice, Chooser, Crash, Survey};
use crate::content::{Content, PAGE_BYTES};
use crate::names::{Names, Node};
use crate::rng::Rng;

/// The smallest piece in which a copy into a mapping may be torn.
const WORD_BYTES: usize = 8;
/// The piece in which a copy may be done out of order.
const LINE_BYTES: u64 = 64;

/// How bytes reach a file, which decides how a kill tears them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A write call: page by page, in order.
    Plain,
    /// A written segment: the pages after the first, then the first one whole.
    Written,
    /// A copy into a mapping: in any order.
    Mapped,
}

/// One operation that changed the disk. `through` is the last operation begun before a sync.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    CreateDir {
        path: PathBuf,
    },
    Create {
        path: PathBuf,
        id: u64,
    },
    /// A second name for file `of`, modelled as file `id` with the same bytes, durable or not.
    Link {
        of: u64,
        path: PathBuf,
        id: u64,
    },
    /// A file `id` with the bytes that file `of` shows, none of them durable.
    Clone {
        of: u64,
        path: PathBuf,
        id: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        id: u64,
    },
    Remove {
        path: PathBuf,
        node: Node,
    },
    SyncDir {
        dir: PathBuf,
        through: u64,
        ok: bool,
    },
    Write {
        id: u64,
        offset: u64,
        bytes: Arc<[u8]>,
        way: Way,
    },
    Preallocate {
        id: u64,
        bytes: u64,
    },
    SetLen {
        id: u64,
        bytes: u64,
    },
    Sync {
        id: u64,
        through: u64,
        ok: bool,
    },
}

impl Event {
    fn is_sync(&self) -> bool {
        matches!(self, Event::Sync { .. } | Event::SyncDir { .. })
    }

    /// Whether a kill inside this operation can leave a part of it.
    pub(crate) fn can_tear(&self) -> bool {
        match self {
            Event::Write { offset, bytes, way, .. } => match way {
                Way::Mapped => bytes.len() > WORD_BYTES,
                Way::Plain | Way::Written => pages_of(*offset, bytes) > 1,
            },
            _ => false,
        }
    }
}

/// A disk. Copies share every file that neither changes.
#[derive(Clone, Debug)]
pub(crate) struct State {
    names: Arc<Names>,
    files: BTreeMap<u64, Arc<Content>>,
}

impl State {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        Self { names: Arc::new(Names::new()), files: BTreeMap::new() }
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// A number that no file of this disk has.
    pub(crate) fn next_file(&self) -> u64 {
        self.files.last_key_value().map_or(1, |(id, _)| id.saturating_add(1))
    }

    pub(crate) fn file(&self, id: u64) -> Option<&Content> {
        self.files.get(&id).map(Arc::as_ref)
    }

    fn edit(&mut self, id: u64, edit: impl FnOnce(&mut Content)) {
        if let Some(content) = self.files.get_mut(&id) {
            edit(Arc::make_mut(content));
        }
    }

    /// Does what operation number `op` did.
    pub(crate) fn apply(&mut self, op: u64, event: &Event) {
        match event {
            Event::CreateDir { path } => {
                Arc::make_mut(&mut self.names).change(op, Node::Dir, None, Some(path));
            }
            Event::Create { path, id } => {
                self.files.insert(*id, Arc::new(Content::new()));
                Arc::make_mut(&mut self.names).change(op, Node::File(*id), None, Some(path));
            }
            Event::Link { of, path, id } => {
                let content =
                    self.files.get(of).map_or_else(|| Arc::new(Content::new()), Arc::clone);
                self.files.insert(*id, content);
                Arc::make_mut(&mut self.names).change(op, Node::File(*id), None, Some(path));
            }
            Event::Clone { of, path, id } => {
                let bytes = self.files.get(of).map_or_else(Vec::new, |content| content.to_vec());
                let mut content = Content::new();
                content.write(op, 0, &bytes);
                self.files.insert(*id, Arc::new(content));
                Arc::make_mut(&mut self.names).change(op, Node::File(*id), None, Some(path));
            }
            Event::Rename { from, to, id } => {
                Arc::make_mut(&mut self.names).change(op, Node::File(*id), Some(from), Some(to));
            }
            Event::Remove { path, node } => {
                Arc::make_mut(&mut self.names).change(op, *node, Some(path), None);
            }
            Event::SyncDir { dir, through, ok: true } => {
                Arc::make_mut(&mut self.names).sync_dir(dir, *through);
            }
            Event::SyncDir { dir, through, ok: false } => {
                Arc::make_mut(&mut self.names).sync_dir_failed(dir, *through);
            }
            Event::Write { id, offset, bytes, .. } => {
                self.edit(*id, |content| content.write(op, *offset, bytes));
            }
            Event::Preallocate { id, bytes } => {
                self.edit(*id, |content| content.preallocate(op, *bytes));
            }
            Event::SetLen { id, bytes } => self.edit(*id, |content| content.set_len(op, *bytes)),
            Event::Sync { id, through, ok: true } => {
                self.edit(*id, |content| content.sync(*through));
            }
            Event::Sync { id, through, ok: false } => {
                self.edit(*id, |content| content.sync_failed(*through));
            }
        }
    }

    /// Puts a file there durably, past all operations.
    pub(crate) fn plant(&mut self, path: &Path, id: u64, bytes: &[u8]) {
        self.files.insert(id, Arc::new(Content::of(bytes)));
        Arc::make_mut(&mut self.names).plant(path, Node::File(id));
    }

    /// Puts something there that is neither a file nor a folder.
    pub(crate) fn plant_other(&mut self, path: &Path) {
        Arc::make_mut(&mut self.names).plant(path, Node::Other);
    }

    /// Disk space in use by all files that have a name.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.names
            .files()
            .filter_map(|(_, id)| self.file(id))
            .fold(0, |sum, content| sum.saturating_add(content.used_bytes()))
    }

    /// The files that have a name, had one that may come back, or may have one.
    fn survivable(&self) -> impl Iterator<Item = (u64, &Arc<Content>)> {
        let known = self.names.known_files();
        self.files.iter().filter(move |(id, _)| known.contains(id)).map(|(id, file)| (*id, file))
    }

    fn survey(&self, crash: Crash) -> Survey {
        let mut survey = Survey::default();
        self.names.survey(crash, &mut survey);
        for (_, content) in self.survivable() {
            content.survey(&mut survey);
        }
        survey
    }

    /// The disk after the power failed now.
    fn after_power_cut(&self, crash: Crash, choice: Choice) -> Self {
        let mut chooser = Chooser::new(choice, self.survey(crash));
        let names = self.names.after_power_cut(crash, &mut chooser);
        // Files that lose their name draw, too, so that units keep their numbers.
        let drawn = self.survivable().map(|(id, content)| {
            let content = if content.is_durable() {
                Arc::clone(content)
            } else {
                Arc::new(content.after_power_cut(crash, &mut chooser))
            };
            (id, content)
        });
        let mut files: BTreeMap<u64, Arc<Content>> = drawn.collect();
        let known = names.known_files();
        files.retain(|id, _| known.contains(id));
        Self { names: Arc::new(names), files }
    }
}

/// The instant of a crash: the disk before an operation, and that operation if it changes the disk.
#[derive(Clone, Debug)]
pub(crate) struct Instant {
    before: State,
    /// The disk with the operation in flight done, but for a sync, which promises nothing yet.
    with_flight: State,
    op: u64,
    in_flight: Option<Event>,
}

impl Instant {
    pub(crate) fn new(before: State, op: u64, in_flight: Option<Event>) -> Self {
        let mut with_flight = before.clone();
        if let Some(event) = in_flight.as_ref().filter(|event| !event.is_sync()) {
            with_flight.apply(op, event);
        }
        Self { before, with_flight, op, in_flight }
    }

    /// How many things the crash may take or leave; 0 means that every choice gives the same disk.
    pub(crate) fn units(&self, crash: Crash) -> usize {
        if crash.is_power_cut() {
            self.with_flight.survey(crash).units
        } else {
            usize::from(self.in_flight.as_ref().is_some_and(Event::can_tear))
        }
    }

    pub(crate) fn survivors(&self, crash: Crash, choice: Choice) -> State {
        if crash.is_power_cut() {
            return self.with_flight.after_power_cut(crash, choice);
        }
        match (choice, &self.in_flight) {
            (Choice::Everything, _) => self.with_flight.clone(),
            (Choice::Random(seed), Some(Event::Write { id, offset, bytes, way })) => {
                let mut state = self.before.clone();
                for (offset, bytes) in torn(*offset, bytes, *way, &mut Rng::new(seed)) {
                    state.apply(
                        self.op,
                        &Event::Write { id: *id, offset, bytes: bytes.into(), way: *way },
                    );
                }
                state
            }
            _ => self.before.clone(),
        }
    }
}

/// The pieces of a write that were done when the process was killed inside it.
fn torn<'a>(offset: u64, bytes: &'a [u8], way: Way, rng: &mut Rng) -> Vec<(u64, &'a [u8])> {
    match way {
        Way::Plain => {
            let some = pages_of(offset, bytes).saturating_sub(1);
            let pages = rng.below(some).saturating_add(1).min(some);
            vec![(offset, page_prefix(offset, bytes, pages))]
        }
        Way::Written => {
            let first = page_prefix(offset, bytes, 1).len();
            let (_, rest) = bytes.split_at(first);
            let rest_offset = offset.saturating_add(len_u64(first));
            let pages = rng.below(pages_of(rest_offset, rest).saturating_add(1));
            vec![(rest_offset, page_prefix(rest_offset, rest, pages))]
        }
        Way::Mapped => {
            if rng.one_in(2) {
                let words = rng.index(bytes.len().div_ceil(WORD_BYTES)).saturating_mul(WORD_BYTES);
                return vec![(offset, bytes.get(..words).unwrap_or(bytes))];
            }
            let mut lines = split_at_multiples(offset, bytes, LINE_BYTES);
            lines.retain(|_| rng.one_in(2));
            lines
        }
    }
}

/// The part of a write that lies in its first `pages` pages.
pub(crate) fn page_prefix(offset: u64, bytes: &[u8], pages: u64) -> &[u8] {
    let first_page = offset.checked_div(PAGE_BYTES).unwrap_or(0);
    let end = first_page.saturating_add(pages).saturating_mul(PAGE_BYTES);
    let len = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    bytes.get(..len.min(bytes.len())).unwrap_or_default()
}

/// How many pages a write touches.
pub(crate) fn pages_of(offset: u64, bytes: &[u8]) -> u64 {
    let end = offset.saturating_add(len_u64(bytes.len()));
    end.div_ceil(PAGE_BYTES).saturating_sub(offset.checked_div(PAGE_BYTES).unwrap_or(0))
}

fn split_at_multiples(offset: u64, bytes: &[u8], multiple: u64) -> Vec<(u64, &[u8])> {
    let mut pieces = Vec::new();
    let (mut at, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        let room = multiple.saturating_sub(at.checked_rem(multiple).unwrap_or(0));
        let len = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
        let (piece, after) = rest.split_at(len);
        pieces.push((at, piece));
        at = at.saturating_add(len_u64(len));
        rest = after;
    }
    pieces
}

pub(crate) fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
