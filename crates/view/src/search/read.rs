//! Searching an index: beside its writer, from another process, or at rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use change::Time;
use tantivy::collector::{Count, TopDocs};
use tantivy::directory::MmapDirectory;
use tantivy::query::{AllQuery, Query, QueryParser, QueryParserError};
use tantivy::schema::{Field, FieldType, Value as _};
use tantivy::{Index, IndexReader, ReloadPolicy, Searcher, TantivyDocument, TantivyError};

use super::{Identity, fields};
use crate::error::{ViewError, which};
use crate::limits::SEARCH_HITS_MAX;

/// A row that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// How well it fits; comparable only within one search.
    pub score: f32,
    /// How often the row is in the view.
    pub copies: u64,
    /// The row; its numbers keep all digits.
    pub row: serde_json::Map<String, serde_json::Value>,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// How many different rows there are, whether shown or not.
    pub total: u64,
    /// The best of them, the best first.
    pub hits: Vec<Hit>,
}

/// A reader of a search index. Cloning it is cheap; it sees a commit after [`reload`](Self::reload), which the writer
/// in the same process does for all its readers.
#[derive(Clone)]
pub struct SearchReader {
    dir: Arc<PathBuf>,
    index: Index,
    reader: IndexReader,
    parser: Arc<QueryParser>,
    columns: Arc<Vec<String>>,
    row: Field,
    count: Field,
}

impl std::fmt::Debug for SearchReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchReader").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl SearchReader {
    /// Opens the index in a directory for reading, whether somebody writes it or not.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, ViewError> {
        let missing = || ViewError::NoIndex { dir: dir.to_owned() };
        if !dir.is_dir() {
            return Err(missing());
        }
        let fail = |error: TantivyError| super::failed(dir, error);
        let directory = MmapDirectory::open(dir).map_err(|error| fail(error.into()))?;
        if !Index::exists(&directory).map_err(|error| fail(error.into()))? {
            return Err(missing());
        }
        let index = Index::open(directory).map_err(fail)?;
        if super::identity(&index, dir)?.is_none() {
            return Err(missing());
        }
        fields::register_tokenizers(&index);
        Self::new(dir, index)
    }

    pub(crate) fn new(dir: &Path, index: Index) -> Result<Self, ViewError> {
        let fail = |error| super::failed(dir, error);
        let schema = index.schema();
        let (mut columns, mut text) = (Vec::new(), Vec::new());
        for (field, entry) in schema.fields() {
            if [fields::KEY, fields::ROW, fields::COUNT].contains(&entry.name()) {
                continue;
            }
            columns.push(entry.name().to_owned());
            if let FieldType::Str(options) = entry.field_type()
                && options.get_indexing_options().is_some_and(|o| o.tokenizer() == fields::WORDS)
            {
                text.push(field);
            }
        }
        let mut parser = QueryParser::for_index(&index, text);
        parser.set_conjunction_by_default();
        let builder = index.reader_builder().reload_policy(ReloadPolicy::Manual);
        Ok(Self {
            reader: builder.try_into().map_err(fail)?,
            row: schema.get_field(fields::ROW).map_err(fail)?,
            count: schema.get_field(fields::COUNT).map_err(fail)?,
            dir: Arc::new(dir.to_owned()),
            columns: Arc::new(columns),
            parser: Arc::new(parser),
            index,
        })
    }

    /// Finds the rows with all the words; the `limit` best are shown. No words find every row.
    ///
    /// A word may name its column (`region:emea`); `"two words"` stand together; `price:>10`, `day:[2026-01-01 TO *]`
    /// and `-void`, `a OR b` mean what they look like.
    ///
    /// # Errors
    /// When the query is wrong, or the index cannot be read.
    pub fn search(&self, query: &str, limit: usize) -> Result<Found, ViewError> {
        let query: Box<dyn Query> = if query.trim().is_empty() {
            Box::new(AllQuery)
        } else {
            self.parser.parse_query(query).map_err(|error| self.query_error(&error))?
        };
        let searcher = self.reader.searcher();
        let fail = |error| super::failed(&self.dir, error);
        let limit = limit.min(SEARCH_HITS_MAX);
        if limit == 0 {
            let total = searcher.search(&query, &Count).map_err(fail)?;
            return Ok(Found { total: total as u64, hits: Vec::new() });
        }
        let best = TopDocs::with_limit(limit).order_by_score();
        let (best, total) = searcher.search(&query, &(best, Count)).map_err(fail)?;
        let mut hits = Vec::with_capacity(best.len());
        for (score, address) in best {
            let document: TantivyDocument = searcher.doc(address).map_err(fail)?;
            let (row, copies) = self.row(&document)?;
            hits.push(Hit { score, copies, row: parse(&self.dir, &row)? });
        }
        Ok(Found { total: total as u64, hits })
    }

    /// Every row of the index as JSON text, as often as the view has it, sorted: what must equal the view.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn contents(&self) -> Result<Vec<String>, ViewError> {
        let fail = |error| super::failed(&self.dir, error);
        let mut rows = Vec::new();
        for segment in self.reader.searcher().segment_readers() {
            let store = segment.get_store_reader(1).map_err(|error| fail(error.into()))?;
            for document in store.iter::<TantivyDocument>(segment.alive_bitset()) {
                let (row, copies) = self.row(&document.map_err(fail)?)?;
                rows.extend((0..copies).map(|_| row.clone()));
            }
        }
        rows.sort_unstable();
        Ok(rows)
    }

    /// The Time that the index is exact at; `None` before its first commit.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn held(&self) -> Result<Option<Time>, ViewError> {
        Ok(super::identity(&self.index, &self.dir)?.and_then(|identity| identity.time))
    }

    /// What the index says of itself.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn identity(&self) -> Result<Option<Identity>, ViewError> {
        super::identity(&self.index, &self.dir)
    }

    /// Looks at the last commit from now on.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn reload(&self) -> Result<(), ViewError> {
        self.reader.reload().map_err(|error| super::failed(&self.dir, error))
    }

    pub(crate) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    fn row(&self, document: &TantivyDocument) -> Result<(String, u64), ViewError> {
        let row = document.get_first(self.row).and_then(|value| value.as_str());
        let count = document.get_first(self.count).and_then(|value| value.as_u64());
        match (row, count) {
            (Some(row), Some(count)) => Ok((row.to_owned(), count)),
            (Some(_) | None, Some(_) | None) => Err(damaged(&self.dir, "a row is incomplete")),
        }
    }

    fn query_error(&self, error: &QueryParserError) -> ViewError {
        let columns = || format!("the columns are {}", self.columns.join(", "));
        let number = "compare the column with a number, as in `price:>10`".to_owned();
        let (message, help) = match error {
            QueryParserError::SyntaxError(query) => (
                format!("the search {query:?} cannot be read"),
                "close every quote and bracket, and put words with special characters in double \
                 quotes"
                    .to_owned(),
            ),
            QueryParserError::FieldDoesNotExist(name) => (
                format!("there is no searched column {name:?}"),
                format!(
                    "{} (a word that contains a colon needs double quotes)",
                    which(name, &self.columns, "column")
                ),
            ),
            QueryParserError::ExpectedInt(_) => {
                ("the column holds whole numbers, and this is none".to_owned(), number)
            }
            QueryParserError::ExpectedFloat(_) => {
                ("the column holds numbers, and this is none".to_owned(), number)
            }
            QueryParserError::ExpectedBool(_) => (
                "the column holds true or false".to_owned(),
                "write `column:true` or `column:false`".to_owned(),
            ),
            QueryParserError::AllButQueryForbidden => (
                "the search only says what is not wanted".to_owned(),
                "add `*` for all rows, as in `* -void`".to_owned(),
            ),
            QueryParserError::NoDefaultFieldDeclared => (
                "the view has no text column to search for words".to_owned(),
                format!("name a column, as in `column:value`: {}", columns()),
            ),
            QueryParserError::UnsupportedQuery(what) => {
                (format!("this cannot be searched for: {}", what.trim_end_matches('.')), columns())
            }
            other @ (QueryParserError::ExpectedBase64(_)
            | QueryParserError::FieldNotIndexed(_)
            | QueryParserError::FieldDoesNotHavePositionsIndexed(_)
            | QueryParserError::PhrasePrefixRequiresAtLeastTwoTerms { .. }
            | QueryParserError::UnknownTokenizer { .. }
            | QueryParserError::RangeMustNotHavePhrase
            | QueryParserError::DateFormatError(_)
            | QueryParserError::FacetFormatError(_)
            | QueryParserError::IpFormatError(_)) => (other.to_string(), columns()),
        };
        ViewError::SearchQuery { message, help }
    }
}

fn parse(dir: &Path, row: &str) -> Result<serde_json::Map<String, serde_json::Value>, ViewError> {
    serde_json::from_str(row).map_err(|error| damaged(dir, &format!("a row is not JSON: {error}")))
}

fn damaged(dir: &Path, what: &str) -> ViewError {
    super::failed(dir, TantivyError::InternalError(what.to_owned()))
}
