//! Full-text search: a view's copy in a tantivy index, one directory a view.
//!
//! Rows are created, updated and deleted by key, and the Time that the index holds is written in the payload of the
//! same commit as the rows. So each change is in the index exactly once: a process that is killed between commits
//! comes back to the rows and the Time of the last one, and goes on from there. The writer's lock is a lock of the
//! operating system, which a killed process cannot leave behind.

mod fields;
mod read;

use std::path::{Path, PathBuf};

use change::map::HashMap;
use change::{ChangeBatch, Time};
use serde::{Deserialize, Serialize};
use tantivy::collector::TopDocs;
use tantivy::directory::MmapDirectory;
use tantivy::directory::error::LockError;
use tantivy::indexer::IndexWriterOptions;
use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::{Index, IndexSettings, IndexWriter, TantivyDocument, TantivyError, Term};

pub use read::{Found, Hit, SearchReader};

use crate::error::ViewError;
use crate::limits::SEARCH_WRITER_BYTES;
use crate::store::ViewInfo;
use fields::{Documents, Fields};

/// The version of what this module writes.
const FORMAT: u32 = 1;

/// What an index says of itself, in the payload of each commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The version of the index's layout.
    pub format: u32,
    /// The log that the view is derived from, in hexadecimal.
    pub log_id: String,
    /// The view.
    pub view: String,
    /// A short hash of what the view computes.
    pub definition: String,
    /// The view's columns: name, type and logical type.
    pub columns: Vec<String>,
    /// The positions of the view's key columns.
    pub key: Vec<usize>,
    /// The columns that are searched; empty for all.
    pub searched: Vec<String>,
    /// The Time that the index is exact at; `None` before anything was written.
    pub time: Option<Time>,
}

/// The writer of a view's search index.
///
/// Invariant: what readers see is the view at [`held`](Self::held).
pub struct SearchIndex {
    dir: PathBuf,
    fields: Fields,
    writer: IndexWriter,
    reader: SearchReader,
    identity: Identity,
    /// How often rows without a key are there that changed since the last commit, by key.
    uncommitted: HashMap<String, u64>,
}

impl std::fmt::Debug for SearchIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { dir, identity, .. } = self;
        f.debug_struct("SearchIndex")
            .field("dir", dir)
            .field("identity", identity)
            .finish_non_exhaustive()
    }
}

impl SearchIndex {
    /// Opens a view's index for writing, or creates it.
    ///
    /// `definition` is a short hash of what the view computes: an index of a view of the same name that computed
    /// something else is not this one. `searched` names the columns to search; none of them means all.
    ///
    /// # Errors
    /// When the index in the directory belongs to another log or view or has other columns, when somebody else writes
    /// it, when a column cannot be searched, or when the directory cannot be read or written.
    pub fn open(
        dir: &Path,
        info: &ViewInfo,
        log_id: [u8; 16],
        definition: &str,
        searched: &[String],
    ) -> Result<Self, ViewError> {
        let fail = |error: TantivyError| failed(dir, error);
        let fields = Fields::new(info, searched)?;
        let mut expected = expected(info, log_id, definition, searched);
        std::fs::create_dir_all(dir).map_err(|error| fail(error.into()))?;
        let directory = MmapDirectory::open(dir).map_err(|error| fail(error.into()))?;
        let index = if Index::exists(&directory).map_err(|error| fail(error.into()))? {
            Index::open(directory).map_err(fail)?
        } else {
            let schema = fields.schema.clone();
            Index::create(directory, schema, IndexSettings::default()).map_err(fail)?
        };
        let found = identity(&index, dir)?;
        expected.time = found.as_ref().and_then(|found| found.time);
        match &found {
            Some(found) if *found != expected => return Err(other(dir, found, &expected)),
            Some(_) | None if index.schema() != fields.schema => {
                return Err(ViewError::OtherIndex {
                    dir: dir.to_owned(),
                    found: "another layout".to_owned(),
                    expected: "the one of this version".to_owned(),
                });
            }
            Some(_) | None => {}
        }
        fields::register_tokenizers(&index);
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(SEARCH_WRITER_BYTES)
            .build();
        let writer = index.writer_with_options(options).map_err(fail)?;
        // Files of a commit that was killed before it was one. The same commit, made again, gives them the same names.
        writer.garbage_collect_files().wait().map_err(fail)?;
        let reader = SearchReader::new(dir, index)?;
        let uncommitted = HashMap::default();
        let dir = dir.to_owned();
        let mut search = Self { dir, fields, writer, reader, identity: expected, uncommitted };
        if found.is_none() {
            search.write_commit(None)?;
        }
        Ok(search)
    }

    /// The Time that the index is exact at; `None` when nothing was ever written.
    #[must_use]
    pub fn held(&self) -> Option<Time> {
        self.identity.time
    }

    /// A reader that sees each commit as soon as it is made.
    #[must_use]
    pub fn reader(&self) -> SearchReader {
        self.reader.clone()
    }

    /// Takes in consolidated changes of the view; readers see them after [`commit`](Self::commit).
    ///
    /// # Errors
    /// When the index cannot be written; it must then be opened again, at what it held.
    ///
    /// # Panics
    /// When the batch has other columns than the view, or goes against the view's key: its rows would be wrong.
    pub fn apply(&mut self, changes: &ChangeBatch) -> Result<(), ViewError> {
        let columns = changes.schema().fields().len();
        assert_eq!(columns, self.identity.columns.len(), "the changes have the view's columns");
        let fields = self.fields.clone();
        let documents = Documents::new(&fields, changes.rows());
        let applied = if fields.keyed() {
            self.apply_keyed(&documents, changes.diffs())
        } else {
            self.apply_counted(&documents, changes.diffs())
        };
        applied.map_err(|error| self.reason(error))
    }

    /// Asks a worker that died of what it died; that nobody takes documents any more says too little.
    fn reason(&mut self, error: ViewError) -> ViewError {
        match self.writer.prepare_commit() {
            Err(reason) => failed(&self.dir, reason),
            Ok(_never_committed) => error,
        }
    }

    /// Makes all that was taken in visible and durable, together with the Time. It waits for the disk.
    ///
    /// # Errors
    /// When the index cannot be written; it must then be opened again, at what it held.
    ///
    /// # Panics
    /// When `time` lies before what the index holds.
    pub fn commit(&mut self, time: Time) -> Result<(), ViewError> {
        assert!(self.identity.time <= Some(time), "the index never goes back");
        self.write_commit(Some(time))
    }

    /// Finds rows in what was committed; see [`SearchReader::search`].
    ///
    /// # Errors
    /// When the query is wrong, or the index cannot be read.
    pub fn search(&self, query: &str, limit: usize) -> Result<Found, ViewError> {
        self.reader.search(query, limit)
    }

    /// All committed rows; see [`SearchReader::contents`].
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn contents(&self) -> Result<Vec<String>, ViewError> {
        self.reader.contents()
    }

    /// A row goes before the row with the same key comes.
    fn apply_keyed(&self, documents: &Documents<'_>, diffs: &[i64]) -> Result<(), ViewError> {
        for (row, &diff) in diffs.iter().enumerate() {
            assert!(diff.abs() == 1, "a row with a key comes or goes once, not {diff} times");
            if diff < 0 {
                self.writer.delete_term(documents.key_term(&documents.key(row)));
            }
        }
        for (row, &diff) in diffs.iter().enumerate() {
            if diff > 0 {
                self.add(documents.document(row, &documents.key(row), 1))?;
            }
        }
        Ok(())
    }

    /// Without a key, a row is one document that says how often the row is there.
    fn apply_counted(&mut self, documents: &Documents<'_>, diffs: &[i64]) -> Result<(), ViewError> {
        for (row, &diff) in diffs.iter().enumerate() {
            let key = documents.key(row);
            let term = documents.key_term(&key);
            let before = match self.uncommitted.get(&key) {
                Some(&count) => count,
                None => self.committed_count(&term)?,
            };
            let after = before.checked_add_signed(diff);
            let after = after.expect("a row goes no more often than it is there");
            if before > 0 {
                self.writer.delete_term(term);
            }
            if after > 0 {
                self.add(documents.document(row, &key, after))?;
            }
            self.uncommitted.insert(key, after);
        }
        Ok(())
    }

    fn committed_count(&self, key: &Term) -> Result<u64, ViewError> {
        let fail = |error| failed(&self.dir, error);
        let searcher = self.reader.searcher();
        let query = TermQuery::new(key.clone(), IndexRecordOption::Basic);
        let best = TopDocs::with_limit(1).order_by_score();
        let found = searcher.search(&query, &best).map_err(fail)?;
        let Some(&(_, address)) = found.first() else { return Ok(0) };
        let segment = searcher.segment_reader(address.segment_ord);
        let counts = segment.fast_fields().u64(fields::COUNT).map_err(fail)?;
        Ok(counts.first(address.doc_id).expect("every row has a count"))
    }

    fn add(&self, document: TantivyDocument) -> Result<(), ViewError> {
        match self.writer.add_document(document) {
            Ok(_stamp) => Ok(()),
            Err(error) => Err(failed(&self.dir, error)),
        }
    }

    fn write_commit(&mut self, time: Option<Time>) -> Result<(), ViewError> {
        let identity = Identity { time, ..self.identity.clone() };
        let payload = serde_json::to_string(&identity).expect("names and numbers serialize");
        let committed = self.writer.prepare_commit().and_then(|mut commit| {
            commit.set_payload(&payload);
            commit.commit()
        });
        committed.map_err(|error| failed(&self.dir, error))?;
        self.identity = identity;
        self.uncommitted.clear();
        self.reader.reload()
    }
}

fn expected(info: &ViewInfo, log_id: [u8; 16], definition: &str, searched: &[String]) -> Identity {
    Identity {
        format: FORMAT,
        log_id: log_id.iter().map(|byte| format!("{byte:02x}")).collect(),
        view: info.name.clone(),
        definition: definition.to_owned(),
        columns: info.schema.fields().iter().map(|field| fields::describe(field)).collect(),
        key: info.key.clone(),
        searched: searched.to_vec(),
        time: None,
    }
}

/// Reads what the last commit says of the index; `None` when it was created and never committed.
fn identity(index: &Index, dir: &Path) -> Result<Option<Identity>, ViewError> {
    let metas = index.load_metas().map_err(|error| failed(dir, error))?;
    let Some(payload) = metas.payload else { return Ok(None) };
    match serde_json::from_str(&payload) {
        Ok(identity) => Ok(Some(identity)),
        Err(_) => Err(ViewError::OtherIndex {
            dir: dir.to_owned(),
            found: "another program".to_owned(),
            expected: "Evert".to_owned(),
        }),
    }
}

/// Names the first thing in which two identities differ.
fn other(dir: &Path, found: &Identity, expected: &Identity) -> ViewError {
    let say = |identity: &Identity| {
        if found.format != expected.format {
            format!("format {}", identity.format)
        } else if found.log_id != expected.log_id {
            format!("the log {}", identity.log_id)
        } else if found.view != expected.view {
            format!("the view {:?}", identity.view)
        } else if found.columns != expected.columns {
            format!("a view with the columns {}", identity.columns.join(", "))
        } else if found.key != expected.key {
            format!("a view with the key {:?}", identity.key)
        } else if found.definition != expected.definition {
            format!("the definition {} of the view {:?}", identity.definition, identity.view)
        } else {
            format!("a search over {:?}", identity.searched)
        }
    };
    ViewError::OtherIndex { dir: dir.to_owned(), found: say(found), expected: say(expected) }
}

fn failed(dir: &Path, error: TantivyError) -> ViewError {
    let dir = dir.to_owned();
    if matches!(error, TantivyError::LockFailure(LockError::LockBusy, _)) {
        return ViewError::IndexBusy { dir };
    }
    let source = Box::new(error);
    if is_disk_full(&source) {
        ViewError::IndexFull { dir, source }
    } else {
        ViewError::Index { dir, source }
    }
}

/// Whether the system had no room. What happens in tantivy's own threads arrives as text alone.
fn is_disk_full(error: &TantivyError) -> bool {
    if let TantivyError::IoError(error) = error {
        return error.kind() == std::io::ErrorKind::StorageFull;
    }
    error.to_string().contains("No space left on device")
}
