//! A disk in memory, behind the log's own interface, that fails as real ones do.
//!
//! Every operation that changes something is a *step*. The disk can be told the step at which the machine stops: that
//! operation is done in part or not at all, and nothing works any more until the machine is started again. So a run can
//! be stopped at each of its steps, one after the other.

mod faults;
mod file;
mod names;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{Access, Disk, DiskFile};
use rustix::io::Errno;

pub use faults::{Faults, Omissions, Stop};

use crate::clock;
use crate::random::Random;
use crate::setup::Listener;
use file::{File, Misfortune};
use names::{Directory, Node};

/// How a disk is made, apart from its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The bytes that are written whole or not at all.
    pub sector_bytes: usize,
    /// Whether names that were not synced are lost latest first, as a journal does.
    pub names_in_order: bool,
    /// What the log seems to forget, when it is to be wrong.
    pub omissions: Omissions,
}

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The file.
    pub path: PathBuf,
    /// The bytes.
    pub bytes: Range<usize>,
}

impl Extent {
    /// Whether the two have bytes in common.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let (these, those) = (&self.bytes, &other.bytes);
        self.path == other.path && these.start < those.end && those.start < these.end
    }
}

struct State {
    options: DiskOptions,
    random: Random,
    nodes: Vec<Item>,
    faults: Faults,
    /// How many bytes all files may have; `None` for as many as they like.
    room_bytes: Option<usize>,
    steps: u64,
    stop_at: Option<u64>,
    down: bool,
    /// Grows with each start; what was opened before does not work any more.
    life: u64,
    /// A hash of all that was done and answered.
    trace: u64,
    latest_write: Option<(Node, Range<usize>)>,
    listener: Option<Listener>,
}

enum Item {
    Directory(Directory),
    File(File),
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// The machine stops in the middle of it.
    Stopping,
}

const ROOT: Node = 0;

impl SimDisk {
    /// Makes an empty disk.
    #[must_use]
    pub(crate) fn new(options: DiskOptions, random: Random) -> Self {
        let state = State {
            options,
            random,
            nodes: vec![Item::Directory(Directory::default())],
            faults: Faults::default(),
            room_bytes: None,
            steps: 0,
            stop_at: None,
            down: false,
            life: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            latest_write: None,
            listener: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Tells somebody what happens from now on.
    pub(crate) fn tell(&self, listener: Option<Listener>) {
        self.state().listener = listener;
    }

    /// Says something to whoever listens.
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        self.state().say(what);
    }

    /// Sets how often faults come.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Leaves room for so many bytes more; `None` for as many as are asked for.
    pub fn set_room(&self, more_bytes: Option<usize>) {
        let mut state = self.state();
        state.room_bytes = more_bytes.map(|more| state.used_bytes() + more);
    }

    /// Stops the machine at a step; `None`: never.
    pub fn stop_at(&self, step: Option<u64>) {
        self.state().stop_at = step;
    }

    /// How many steps were made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Whether the machine stopped.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state().down
    }

    /// A hash of all that was done and answered: the same run has the same.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state().trace
    }

    /// Stops the machine, if it has not stopped, and starts it again.
    pub fn restart(&self, stop: Stop) {
        let mut state = self.state();
        state.say(|| format!("stopped: {stop:?}"));
        if stop == Stop::Power {
            state.crash();
        }
        state.down = false;
        state.stop_at = None;
        state.life += 1;
    }

    /// Turns a bit over in some file, or makes a sector unreadable.
    pub fn rot(&self, is_unreadable: bool) {
        let mut state = self.state();
        let files: Vec<Node> = state.files().into_iter().map(|(_, node)| node).collect();
        if files.is_empty() {
            return;
        }
        let node = files[state.random.index(files.len())];
        let State { nodes, random, options, listener, .. } = &mut *state;
        let Item::File(file) = &mut nodes[node] else { return };
        // Most of a file is room for what is yet to come: the bytes in use are more worth hitting.
        let used = file.seen().iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let length = if random.one_in(8) { file.length() } else { used };
        if length == 0 {
            return;
        }
        let byte = random.index(length);
        if let Some(listener) = listener {
            listener(&format!("byte {byte} of file {node} goes bad"));
        }
        if is_unreadable {
            file.spoil(byte / options.sector_bytes);
        } else {
            let bit = random.pick(&[0, 1, 2, 3, 4, 5, 6, 7]);
            file.rot(byte, bit, random.one_in(2));
        }
    }

    /// Where files are not what the disk promised.
    #[must_use]
    pub fn harm(&self) -> Vec<Extent> {
        let state = self.state();
        let of = |(path, node): (PathBuf, Node)| match &state.nodes[node] {
            Item::File(file) => {
                file.harm().into_iter().map(|bytes| Extent { path: path.clone(), bytes }).collect()
            }
            Item::Directory(_) => Vec::new(),
        };
        state.files().into_iter().flat_map(of).collect()
    }

    /// The bytes of all files as programs see them.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let of = |(path, node): (PathBuf, Node)| match &state.nodes[node] {
            Item::File(file) => Some((path, file.seen().to_vec())),
            Item::Directory(_) => None,
        };
        state.files().into_iter().filter_map(of).collect()
    }

    /// Where the latest write was.
    #[must_use]
    pub fn latest_write(&self) -> Option<Extent> {
        let state = self.state();
        let (node, bytes) = state.latest_write.clone()?;
        let path = state.files().into_iter().find(|(_, of)| *of == node)?.0;
        Some(Extent { path, bytes })
    }

    /// Changes bytes as if they had been written so, for canaries.
    pub fn forge(&self, path: &Path, offset: usize, bytes: &[u8]) {
        self.with_file(path, |file| file.forge(offset, bytes));
    }

    /// Cuts a file as if it had never been longer, for canaries.
    pub fn cut(&self, path: &Path, length: usize) {
        self.with_file(path, |file| file.cut(length));
    }

    fn with_file(&self, path: &Path, change: impl FnOnce(&mut File)) {
        let mut state = self.state();
        if let Ok(node) = state.find(path)
            && let Item::File(file) = &mut state.nodes[node]
        {
            change(file);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, node: Node, life: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), node, life })
    }
}

impl State {
    /// Begins an operation that changes something.
    fn step(&mut self, what: &str, path: &Path) -> io::Result<Fate> {
        self.look(what)?;
        self.note(path.as_os_str().as_encoded_bytes());
        self.steps += 1;
        self.say(|| format!("{}: {what} {}", self.steps, path.display()));
        if self.stop_at == Some(self.steps) {
            self.down = true;
            self.say(|| "the machine stops".to_owned());
            return Ok(Fate::Stopping);
        }
        Ok(Fate::Done)
    }

    /// Begins an operation that changes nothing.
    fn look(&mut self, what: &str) -> io::Result<()> {
        if self.down {
            return Err(Errno::IO.into());
        }
        self.note(what.as_bytes());
        let slow = self.random.one_in(self.faults.slow);
        let took_us = self.random.signed(1, if slow { 5_000_000 } else { 500 });
        clock::advance(took_us);
        if self.random.one_in(self.faults.eviction) {
            self.say(|| "memory is short".to_owned());
            for item in &mut self.nodes {
                match item {
                    Item::File(file) => file.evict(),
                    Item::Directory(_) => {}
                }
            }
        }
        Ok(())
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if let Some(listener) = self.listener {
            listener(&what());
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn crash(&mut self) {
        let in_order = self.options.names_in_order;
        for item in &mut self.nodes {
            match item {
                Item::File(file) => file.crash(&mut self.random),
                Item::Directory(directory) => directory.crash(in_order, &mut self.random),
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let next = match &self.nodes[node] {
                Item::Directory(directory) => directory.get(&name.to_string_lossy()),
                Item::File(_) => return Err(Errno::NOTDIR.into()),
            };
            node = next.ok_or(Errno::NOENT)?;
        }
        Ok(node)
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut Directory> {
        let node = self.find(path)?;
        match &mut self.nodes[node] {
            Item::Directory(directory) => Ok(directory),
            Item::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    /// The directory that a path's last name is in.
    fn parent(&mut self, path: &Path) -> io::Result<(&mut Directory, String)> {
        let name = path.file_name().ok_or(Errno::INVAL)?.to_string_lossy().into_owned();
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.directory(parent)?, name))
    }

    fn file(&mut self, node: Node) -> io::Result<&mut File> {
        match &mut self.nodes[node] {
            Item::File(file) => Ok(file),
            Item::Directory(_) => Err(Errno::ISDIR.into()),
        }
    }

    fn add(&mut self, item: Item) -> Node {
        self.nodes.push(item);
        self.nodes.len() - 1
    }

    /// All files that have a name, in the order of their paths.
    fn files(&self) -> Vec<(PathBuf, Node)> {
        let (mut found, mut open) = (Vec::new(), vec![(PathBuf::from("/"), ROOT)]);
        while let Some((path, node)) = open.pop() {
            match &self.nodes[node] {
                Item::File(_) => found.push((path, node)),
                Item::Directory(directory) => {
                    open.extend(
                        directory.entries().iter().map(|(name, &node)| (path.join(name), node)),
                    );
                }
            }
        }
        found.sort();
        found
    }

    fn used_bytes(&self) -> usize {
        let length = |(_, node): (PathBuf, Node)| match &self.nodes[node] {
            Item::File(file) => file.length(),
            Item::Directory(_) => 0,
        };
        self.files().into_iter().map(length).sum()
    }

    /// How long a file of this length may become when it is to be `wanted` long.
    fn room(&self, length: usize, wanted: usize) -> usize {
        let growth = wanted.saturating_sub(length);
        match self.room_bytes {
            Some(room) => length + growth.min(room.saturating_sub(self.used_bytes())),
            None => wanted,
        }
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        for dir in dir.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if state.find(dir).is_ok() {
                continue;
            }
            let fate = state.step("create_dir", dir)?;
            if fate == Fate::Done || state.random.one_in(2) {
                let node = state.add(Item::Directory(Directory::default()));
                let (parent, name) = state.parent(dir)?;
                parent.put(&name, node);
            }
            fate.answer()?;
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.look("list")?;
        Ok(state.directory(dir)?.entries().keys().cloned().collect())
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.look("open")?;
        let node = state.find(path)?;
        state.file(node)?;
        Ok(self.handle(node, state.life))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let fate = state.step("create", path)?;
        let sector_bytes = state.options.sector_bytes;
        let known = state.find(path).ok();
        let done = fate == Fate::Done || state.random.one_in(2);
        let node = match known {
            Some(node) => {
                if done {
                    state.file(node)?.set_length(0);
                }
                node
            }
            None => {
                let node = state.add(Item::File(File::new(sector_bytes)));
                if done {
                    let (parent, name) = state.parent(path)?;
                    parent.put(&name, node);
                }
                node
            }
        };
        fate.answer()?;
        Ok(self.handle(node, state.life))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step("rename", to)?;
        let node = state.find(from)?;
        if fate == Fate::Done || state.random.one_in(2) {
            let (_, to) = state.parent(to)?;
            let (parent, from) = state.parent(from)?;
            parent.rename(&from, &to, node);
        }
        fate.answer()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step("remove", path)?;
        state.find(path)?;
        if fate == Fate::Done || state.random.one_in(2) {
            let (parent, name) = state.parent(path)?;
            parent.remove(&name);
        }
        fate.answer()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step("sync_dir", dir)?;
        let failing = state.faults.names_error;
        if fate == Fate::Done && state.random.one_in(failing) {
            return Err(Errno::IO.into());
        }
        let done = fate == Fate::Done || state.random.one_in(2);
        if done && !state.options.omissions.directory_sync {
            state.directory(dir)?.sync();
        }
        fate.answer()
    }
}

impl Fate {
    /// What the program is told; it hears nothing when the machine stops.
    fn answer(self) -> io::Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Stopping => Err(Errno::IO.into()),
        }
    }
}

struct SimFile {
    disk: SimDisk,
    node: Node,
    life: u64,
}

impl SimFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life == self.life { Ok(state) } else { Err(Errno::IO.into()) }
    }

    /// Begins an operation that changes the file.
    fn step(&self, what: &str) -> io::Result<(MutexGuard<'_, State>, Fate)> {
        let mut state = self.state()?;
        let number = self.node.to_string();
        let fate = state.step(what, Path::new(&number))?;
        Ok((state, fate))
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        let mut state = self.state()?;
        state.look("length")?;
        Ok(state.file(self.node)?.length() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.look("read")?;
        let failing = state.faults.read_error;
        if state.random.one_in(failing) {
            return Err(Errno::IO.into());
        }
        let read = state.file(self.node)?.read(buffer, to_index(offset));
        let read = read.ok_or(Errno::IO)?;
        state.note(&buffer[..read]);
        Ok(read)
    }

    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        let (mut state, fate) = self.step("write")?;
        let (bytes, offset) = (pieces.concat(), to_index(offset));
        state.note(&bytes);
        let failing = state.faults.write_error;
        let fails = fate == Fate::Stopping || state.random.one_in(failing);
        let wanted = if fails { state.random.index(bytes.len() + 1) } else { bytes.len() };
        let length = state.file(self.node)?.length();
        let room = state.room(length, offset + wanted).max(offset);
        let written = wanted.min(room - offset);
        state.say(|| format!("  {written} of {} bytes at {offset}", bytes.len()));
        state.file(self.node)?.write(offset, &bytes[..written]);
        state.latest_write = Some((self.node, offset..offset + written));
        fate.answer()?;
        match (written < wanted, fails) {
            (true, _) => Err(Errno::NOSPC.into()),
            (false, true) => Err(Errno::IO.into()),
            (false, false) => Ok(()),
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let (mut state, fate) = self.step("allocate")?;
        let (before, wanted) = (state.file(self.node)?.length(), to_index(length));
        let room = state.room(before, wanted.max(before));
        if fate == Fate::Done || state.random.one_in(2) {
            state.file(self.node)?.set_length(room);
        }
        fate.answer()?;
        if room < wanted { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let (mut state, fate) = self.step("truncate")?;
        state.say(|| format!("  to {length}"));
        if fate == Fate::Done || state.random.one_in(2) {
            state.file(self.node)?.set_length(to_index(length));
        }
        fate.answer()
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, fate) = self.step("sync")?;
        let Faults { sync_error, sync_full, lost_write, misdirected_write, .. } = state.faults;
        let failed = match fate {
            Fate::Stopping => None,
            Fate::Done if state.random.one_in(sync_error) => Some(Errno::IO),
            Fate::Done if state.random.one_in(sync_full) => Some(Errno::NOSPC),
            Fate::Done => None,
        };
        let State { nodes, random, options, .. } = &mut *state;
        let Item::File(file) = &mut nodes[self.node] else { return Err(Errno::ISDIR.into()) };
        if let Some(error) = failed {
            file.fail_sync(random);
            state.say(|| format!("  fails: {error}"));
            return Err(error.into());
        }
        if options.omissions.file_sync || (fate == Fate::Stopping && random.one_in(2)) {
            return fate.answer();
        }
        let misfortune = match () {
            () if random.one_in(lost_write) => Some(Misfortune::Lost),
            () if random.one_in(misdirected_write) => Some(Misfortune::Misdirected),
            () => None,
        };
        let elsewhere = file.sync(misfortune, random);
        if let Some(misfortune) = misfortune {
            state.say(|| format!("  a sector is {misfortune:?}"));
        }
        if let Some(bytes) = elsewhere {
            state.misdirect(&bytes);
        }
        fate.answer()
    }
}

impl State {
    /// Writes a sector to some place where it does not belong.
    fn misdirect(&mut self, bytes: &[u8]) {
        let files = self.files();
        if files.is_empty() {
            return;
        }
        let (_, node) = files[self.random.index(files.len())];
        let State { nodes, random, .. } = self;
        if let Item::File(file) = &mut nodes[node]
            && file.platter_sectors() > 0
        {
            let sector = random.index(file.platter_sectors());
            file.overwrite(sector, bytes);
        }
    }
}

fn to_index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> SimDisk {
        let omissions = Omissions::default();
        let options = DiskOptions { sector_bytes: 512, names_in_order: true, omissions };
        SimDisk::new(options, Random::new(1, 1))
    }

    #[test]
    fn a_file_needs_its_own_sync_and_that_of_every_directory_above() {
        let dir = Path::new("/data/log");
        for (sync_file, sync_dirs) in [(true, 0), (true, 1), (true, 2), (false, 3), (true, 3)] {
            let survived = (0..40).filter(|&seed| {
                let disk = disk();
                disk.create_dir(dir).unwrap();
                let file = disk.create(&dir.join("a")).unwrap();
                file.write_at(&[b"hello ", b"world"], 0).unwrap();
                if sync_file {
                    file.sync().unwrap();
                }
                for dir in dir.ancestors().take(sync_dirs) {
                    disk.sync_dir(dir).unwrap();
                }
                disk.state().random = Random::new(seed, 7);
                disk.restart(Stop::Power);
                disk.contents().get(&dir.join("a")).is_some_and(|bytes| bytes == b"hello world")
            });
            let survived = survived.count();
            assert_eq!(
                survived == 40,
                sync_file && sync_dirs == 3,
                "{sync_file} {sync_dirs}: {survived}"
            );
        }
    }

    #[test]
    fn a_machine_stops_at_its_step_and_a_killed_process_leaves_what_it_wrote() {
        let disk = disk();
        let path = Path::new("/a");
        let file = disk.create(path).unwrap();
        file.write_at(&[b"one"], 0).unwrap();
        disk.stop_at(Some(3));
        file.write_at(&[b"two"], 3).unwrap_err();
        assert!(disk.is_down());
        assert!(file.length().is_err() && disk.list(Path::new("/")).is_err());
        disk.restart(Stop::Process);
        assert!(file.length().is_err(), "what was opened before does not work any more");
        let bytes = disk.contents().remove(path).unwrap();
        assert!(b"onetwo".starts_with(&bytes) && bytes.len() >= 3, "{bytes:?}");
    }

    #[test]
    fn a_full_disk_takes_what_there_is_room_for() {
        let disk = disk();
        let file = disk.create(Path::new("/a")).unwrap();
        disk.set_room(Some(10));
        file.write_at(&[b"12345678"], 0).unwrap();
        let error = file.write_at(&[b"abcd"], 8).unwrap_err();
        assert_eq!((error.kind(), file.length().unwrap()), (io::ErrorKind::StorageFull, 10));
        file.truncate(4).unwrap();
        file.allocate(10).unwrap();
        assert_eq!(file.allocate(11).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_room(None);
        file.allocate(1_000).unwrap();
    }
}
