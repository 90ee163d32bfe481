//! Names in folders: what they show now, what is durable, and the changes between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::choice::{Chooser, Crash, Survey};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File(u64),
    Dir,
    Other,
}

type Tree = BTreeMap<Arc<Path>, Node>;

/// One change of names that is not known to be durable. Creation has no `from`, removal no `to`.
#[derive(Clone, Debug)]
struct Change {
    op: u64,
    node: Node,
    from: Option<Arc<Path>>,
    to: Option<Arc<Path>>,
    /// A folder that it touches was synced: it is durable, and so is all that led to it.
    synced: bool,
    /// A sync that should have made it durable failed: no later sync will.
    lost: bool,
}

impl Change {
    fn touches(&self, dir: &Path) -> bool {
        [&self.from, &self.to].into_iter().flatten().any(|path| path.parent() == Some(dir))
    }

    /// Whether both change the name of the same thing. Folders keep their names for life.
    fn same_node(&self, other: &Change) -> bool {
        match self.node {
            Node::File(_) => self.node == other.node,
            Node::Dir | Node::Other => self.to.is_some() && self.to == other.to,
        }
    }
}

/// All names of a disk, by absolute path.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    live: Tree,
    durable: Tree,
    changes: Vec<Change>,
}

impl Names {
    /// A disk with nothing but its root.
    pub(crate) fn new() -> Self {
        let live = Tree::from([(Arc::from(Path::new("/")), Node::Dir)]);
        Self { durable: live.clone(), live, changes: Vec::new() }
    }

    pub(crate) fn get(&self, path: &Path) -> Option<Node> {
        self.live.get(path).copied()
    }

    /// The names directly in a folder, in order.
    pub(crate) fn children<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (&'a Path, Node)> {
        self.live
            .iter()
            .filter(move |(path, _)| path.parent() == Some(dir))
            .map(|(path, node)| (path.as_ref(), *node))
    }

    /// Every file, in the order of the paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.live.iter().filter_map(|(path, node)| match node {
            Node::File(id) => Some((path.as_ref(), *id)),
            Node::Dir | Node::Other => None,
        })
    }

    /// Every file that has a durable name or a change of names that may survive.
    pub(crate) fn known_files(&self) -> BTreeSet<u64> {
        let nodes = self.durable.values().copied().chain(self.changes.iter().map(|one| one.node));
        nodes.filter_map(|node| if let Node::File(id) = node { Some(id) } else { None }).collect()
    }

    /// A change of names; the caller has checked that it is possible.
    pub(crate) fn change(&mut self, op: u64, node: Node, from: Option<&Path>, to: Option<&Path>) {
        let (from, to) = (from.map(Arc::from), to.map(Arc::<Path>::from));
        if let Some(from) = &from {
            self.live.remove(from);
        }
        if let Some(to) = &to {
            self.live.insert(Arc::clone(to), node);
        }
        self.changes.push(Change { op, node, from, to, synced: false, lost: false });
    }

    /// Puts a name there durably, with its folders, past all operations.
    pub(crate) fn plant(&mut self, path: &Path, node: Node) {
        for dir in path.ancestors().skip(1) {
            self.live.entry(Arc::from(dir)).or_insert(Node::Dir);
            self.durable.entry(Arc::from(dir)).or_insert(Node::Dir);
        }
        self.live.insert(Arc::from(path), node);
        self.durable.insert(Arc::from(path), node);
    }

    /// A sync of a folder that succeeded: its changes up to operation `through` are durable.
    pub(crate) fn sync_dir(&mut self, dir: &Path, through: u64) {
        for change in &mut self.changes {
            change.synced |= change.op <= through && !change.lost && change.touches(dir);
        }
        let settled = self.changes.iter().take_while(|change| change.synced).count();
        for change in self.changes.drain(..settled) {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync of a folder that failed.
    pub(crate) fn sync_dir_failed(&mut self, dir: &Path, through: u64) {
        for change in &mut self.changes {
            change.lost |= change.op <= through && change.touches(dir);
        }
    }

    /// Counts what a power cut may take.
    pub(crate) fn survey(&self, crash: Crash, survey: &mut Survey) {
        if crash == Crash::Linux {
            survey.unit(self.prefixes().into_iter());
        } else {
            for life in self.lives() {
                survey.unit(life.states.iter().map(|(op, _)| *op));
            }
        }
    }

    /// The names after a power cut: all durable.
    pub(crate) fn after_power_cut(&self, crash: Crash, chooser: &mut Chooser) -> Self {
        let mut live = if crash == Crash::Linux {
            self.prefix(chooser)
        } else {
            self.independent(chooser).unwrap_or_else(|| self.live.clone())
        };
        // A parent sorts before what it holds.
        let mut dirs: BTreeSet<Arc<Path>> = BTreeSet::new();
        live.retain(|path, node| {
            let held = path.parent().is_none_or(|parent| dirs.contains(parent));
            if held && *node == Node::Dir {
                dirs.insert(Arc::clone(path));
            }
            held
        });
        Self { durable: live.clone(), live, changes: Vec::new() }
    }

    /// The operation of each prefix of changes that may survive alone, the shortest first.
    fn prefixes(&self) -> Vec<u64> {
        let shortest = self.synced_prefix();
        let before = shortest.checked_sub(1).and_then(|last| self.changes.get(last));
        let shortest_op = before.map_or(0, |change| change.op);
        let longer = self.changes.iter().skip(shortest).map(|change| change.op);
        std::iter::once(shortest_op).chain(longer).collect()
    }

    /// The number of changes up to the last one that is known to be durable.
    fn synced_prefix(&self) -> usize {
        self.changes.iter().rposition(|change| change.synced).map_or(0, |at| at.saturating_add(1))
    }

    fn prefix(&self, chooser: &mut Chooser) -> Tree {
        let ops = self.prefixes();
        let picked = chooser.pick(ops.len(), |at| ops.get(at).copied().unwrap_or(0));
        let mut tree = self.durable.clone();
        for change in self.changes.iter().take(self.synced_prefix().saturating_add(picked)) {
            apply(&mut tree, change);
        }
        tree
    }

    /// The names that each changed thing had since they were last known to be durable.
    fn lives(&self) -> Vec<Life> {
        let mut lives: Vec<Life> = Vec::new();
        let mut begun: Vec<&Change> = Vec::new();
        for change in &self.changes {
            let state = (change.op, change.to.clone());
            let known = begun.iter().position(|first| first.same_node(change));
            if let Some(life) = known.and_then(|at| lives.get_mut(at)) {
                if change.synced {
                    life.states.clear();
                }
                life.states.push(state);
            } else {
                begun.push(change);
                let base = change.from.clone();
                let states =
                    if change.synced { vec![state] } else { vec![(0, base.clone()), state] };
                lives.push(Life { node: change.node, base, states });
            }
        }
        lives
    }

    /// Each thing under one of its names; `None` if the names drawn exclude each other.
    fn independent(&self, chooser: &mut Chooser) -> Option<Tree> {
        let mut lives = self.lives();
        let mut tree = self.durable.clone();
        for life in &lives {
            if let Some(base) = &life.base {
                tree.remove(base);
            }
        }
        // Folders first: a file cannot survive under a name in a folder that did not.
        lives.sort_by_key(|life| life.node != Node::Dir);
        for life in &lives {
            let op_of = |at| life.states.get(at).map_or(0, |(op, _)| *op);
            let picked = chooser.pick(life.states.len(), op_of);
            let held = |path: &Path| path.parent().is_some_and(|dir| tree.contains_key(dir));
            let drawn = life.states.iter().skip(picked).take(1);
            let possible = drawn.chain(life.states.iter().rev()).find(|(_, name)| {
                name.as_ref().is_none_or(|path| held(path) && !tree.contains_key(path))
            });
            match possible {
                Some((_, Some(path))) => drop(tree.insert(Arc::clone(path), life.node)),
                Some((_, None)) => {}
                // A name that is durable in a folder that is not goes with the folder.
                None if life.sure_name().is_some_and(|path| !held(path)) => {}
                None => return None,
            }
        }
        Some(tree)
    }
}

/// One thing and its names, oldest first, each with the operation that gave it.
struct Life {
    node: Node,
    base: Option<Arc<Path>>,
    states: Vec<(u64, Option<Arc<Path>>)>,
}

impl Life {
    /// The oldest name that may survive, if there is no way to have none.
    fn sure_name(&self) -> Option<&Path> {
        self.states.first().and_then(|(_, name)| name.as_deref())
    }
}

fn apply(tree: &mut Tree, change: &Change) {
    if let Some(from) = &change.from {
        tree.remove(from);
    }
    if let Some(to) = &change.to {
        tree.insert(Arc::clone(to), change.node);
    }
}

/// The one form of a path: absolute, without `.` and `..`. Relative paths start at the root.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let mut whole = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir => drop(whole.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    whole
}
