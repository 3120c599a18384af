//! One directory: the names that programs see, those that are durable, and what a crash makes of the two.

use std::collections::BTreeMap;

use crate::random::Random;

/// A file or a directory, by its number.
pub(crate) type Node = usize;

#[derive(Clone, Debug)]
enum Op {
    Put(String, Node),
    Remove(String),
    Rename { from: String, to: String, node: Node },
}

/// A directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    seen: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    /// What was done since the last sync.
    ops: Vec<Op>,
}

impl Directory {
    pub(crate) fn get(&self, name: &str) -> Option<Node> {
        self.seen.get(name).copied()
    }

    pub(crate) fn entries(&self) -> &BTreeMap<String, Node> {
        &self.seen
    }

    pub(crate) fn put(&mut self, name: &str, node: Node) {
        self.take(Op::Put(name.to_owned(), node));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.take(Op::Remove(name.to_owned()));
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, node: Node) {
        self.take(Op::Rename { from: from.to_owned(), to: to.to_owned(), node });
    }

    fn take(&mut self, op: Op) {
        op.apply(&mut self.seen);
        self.ops.push(op);
    }

    pub(crate) fn sync(&mut self) {
        self.durable.clone_from(&self.seen);
        self.ops.clear();
    }

    /// Loses names that were not synced: the latest ones where the file system keeps their order, else any of them.
    pub(crate) fn crash(&mut self, in_order: bool, random: &mut Random) {
        let persisted = random.index(self.ops.len() + 1);
        for (at, op) in std::mem::take(&mut self.ops).into_iter().enumerate() {
            if if in_order { at < persisted } else { random.one_in(2) } {
                op.apply(&mut self.durable);
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

impl Op {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Put(name, node) => drop(names.insert(name.clone(), *node)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_durable_when_its_directory_is_synced_and_a_rename_is_whole_or_not() {
        let mut directory = Directory::default();
        directory.put("a", 1);
        directory.sync();
        directory.rename("a", "b", 1);
        let crashed = |seed| {
            let mut crashed = directory.clone();
            crashed.crash(seed % 2 == 0, &mut Random::new(seed, 1));
            crashed.entries().keys().cloned().collect::<Vec<_>>().join(" ")
        };
        let found: std::collections::BTreeSet<String> = (0..50).map(crashed).collect();
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
        directory.sync();
        directory.crash(true, &mut Random::new(1, 1));
        assert_eq!((directory.get("a"), directory.get("b")), (None, Some(1)));
    }
}
