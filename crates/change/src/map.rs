//! Hash tables whose hashes are the same in every run. They are for looking up; never iterate over them where the
//! order could reach a result.

/// Hashes with a fixed seed.
pub type BuildHasher = foldhash::fast::FixedState;

/// A hash map with a fixed seed.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, BuildHasher>;

/// A hash set with a fixed seed.
pub type HashSet<K> = hashbrown::HashSet<K, BuildHasher>;

/// A hash table that is given its hashes, for keys that live elsewhere.
pub type HashTable<T> = hashbrown::HashTable<T>;
