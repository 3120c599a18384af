//! Reads: a query over rows that are at hand, run once.

#![allow(clippy::wildcard_enum_match_arm, reason = "the planner's errors grow with DataFusion")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::common::{SchemaError, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{self, Query};
use datafusion::sql::sqlparser::parser::ParserError;

use crate::codes;
use crate::functions::session_context;
use crate::lex::{DIALECT, lex, statement_tokens};
use crate::logical;
use crate::problem::{Problem, Problems, suggest};
use crate::spelling::{respell_query, respell_statement};
use crate::wanted::{Late, Wanted, wanted};
use crate::whole_rows::{names_of, write_whole_rows};

/// Before the names of what Evert itself keeps.
const OWN_SCHEMA: &str = "evert";

/// A query to run once.
#[derive(Clone, Debug)]
pub struct Read {
    pub(crate) query: Box<Query>,
    pub(crate) text: Arc<str>,
    pub(crate) span: Range<usize>,
}

/// Rows that a query may read.
#[derive(Clone, Debug)]
pub struct Relation {
    /// The name that they are read by.
    pub name: String,
    /// Their columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
}

/// What is known of rows before a query says which of them it wants.
#[derive(Clone, Debug)]
pub struct Described {
    /// The name that they are read by.
    pub name: String,
    /// Their columns.
    pub schema: SchemaRef,
    /// The columns by whose values rows can be found without a look at the others.
    pub keys: Vec<Vec<usize>>,
}

/// A query that knows which rows it wants.
pub struct PlannedRead<'a> {
    read: &'a Read,
    context: SessionContext,
    schema: SchemaRef,
    plan: LogicalPlan,
    tables: BTreeMap<String, Arc<Late>>,
    wanted: BTreeMap<String, Wanted>,
}

/// What a query answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
}

impl Read {
    fn statement(&self, described: &[Described]) -> Statement {
        let mut query = self.query.clone();
        write_whole_rows(&mut query, &|name| {
            let relation = described.iter().find(|relation| relation.name == name)?;
            Some(names_of(&relation.schema))
        });
        respell_query(&mut query);
        Statement::Statement(Box::new(ast::Statement::Query(query)))
    }

    /// The names of what the query reads.
    ///
    /// # Errors
    /// When a name has a form that cannot be.
    pub fn relations(&self) -> Result<Vec<String>, Problems> {
        let state = session_context().state();
        let found = state.resolve_table_references(&self.statement(&[]));
        let found = found.map_err(|error| self.problems(&error))?;
        Ok(found.iter().map(relation_name).collect())
    }

    /// Whether a name may stand for a function that makes rows, such as `generate_series`.
    #[must_use]
    pub fn is_function(name: &str) -> bool {
        session_context().state().table_functions().contains_key(name)
    }

    /// Says that there is nothing of that name.
    #[must_use]
    pub fn unknown<'a>(&self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Problems {
        let span = word_span(&self.text, &self.span, name);
        let message = format!("there is no table or view {name}");
        let problem = Problem::new(codes::TABLE, span, message, "not known");
        let help = suggest(name, known, "there are");
        Problems { text: self.text.to_string(), problems: vec![Problem { help, ..problem }] }
    }

    /// Runs the query over the rows of what it reads. It must run within a tokio runtime.
    ///
    /// # Errors
    /// When the query cannot be planned, or fails on a row.
    pub async fn run(&self, relations: Vec<Relation>) -> Result<Answer, Problems> {
        self.answer(relations).await.map_err(|error| self.problems(&error))
    }

    async fn answer(&self, relations: Vec<Relation>) -> Result<Answer, DataFusionError> {
        let describe = |relation: &Relation| {
            let (name, schema) = (relation.name.clone(), Arc::clone(&relation.schema));
            Described { name, schema, keys: Vec::new() }
        };
        let planned = self.planned(relations.iter().map(describe).collect()).await?;
        let rows = relations.into_iter().map(|relation| (relation.name, relation.rows));
        planned.answer(rows.collect()).await
    }

    /// Plans the query over what it reads, to learn which rows it wants.
    ///
    /// # Errors
    /// When the query cannot be planned.
    pub async fn plan(&self, described: Vec<Described>) -> Result<PlannedRead<'_>, Problems> {
        self.planned(described).await.map_err(|error| self.problems(&error))
    }

    async fn planned(&self, described: Vec<Described>) -> Result<PlannedRead<'_>, DataFusionError> {
        let context = session_context();
        let mut tables = BTreeMap::new();
        for Described { name, schema, .. } in &described {
            let table = Arc::new(Late::new(name, schema));
            register(&context, name, Arc::<Late>::clone(&table))?;
            tables.insert(name.clone(), table);
        }
        let state = context.state();
        let plan = state.statement_to_plan(self.statement(&described)).await?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let plan = state.optimize(&plan)?;
        let wanted = described.into_iter().map(|relation| {
            let wanted = wanted(&plan, &relation)?;
            Ok((relation.name, wanted))
        });
        let wanted = wanted.collect::<Result<_, DataFusionError>>()?;
        Ok(PlannedRead { read: self, context, schema, plan, tables, wanted })
    }

    fn problems(&self, error: &DataFusionError) -> Problems {
        let mut problem = logical::problem(error, &self.text, &self.span);
        if let DataFusionError::SchemaError(found, _) = error.find_root()
            && let SchemaError::FieldNotFound { field, valid_fields } = found.as_ref()
        {
            let names: Vec<_> = valid_fields.iter().map(|field| field.name().to_owned()).collect();
            let names = names.iter().map(String::as_str);
            problem.code = codes::COLUMN.code;
            problem.message = format!("there is no column {}", field.name());
            problem.span = word_span(&self.text, &self.span, field.name());
            problem.help = suggest(field.name(), names, "there are");
        }
        Problems { text: self.text.to_string(), problems: vec![problem] }
    }
}

impl PlannedRead<'_> {
    /// The names of what it reads.
    pub fn relations(&self) -> impl Iterator<Item = &str> {
        self.wanted.keys().map(String::as_str)
    }

    /// Which rows of a relation the query can tell apart from none: the others need not be given.
    #[must_use]
    pub fn wanted(&self, relation: &str) -> &Wanted {
        self.wanted.get(relation).unwrap_or(&Wanted::All)
    }

    /// Runs the query over rows, by the names of their relations. It must run within a tokio runtime.
    ///
    /// # Errors
    /// When the query fails on a row.
    pub async fn run(self, rows: BTreeMap<String, Vec<RecordBatch>>) -> Result<Answer, Problems> {
        let read = self.read;
        self.answer(rows).await.map_err(|error| read.problems(&error))
    }

    async fn answer(
        self,
        mut rows: BTreeMap<String, Vec<RecordBatch>>,
    ) -> Result<Answer, DataFusionError> {
        for (name, table) in &self.tables {
            table.fill(rows.remove(name).unwrap_or_default());
        }
        let state = self.context.state();
        let plan = state.query_planner().create_physical_plan(&self.plan, &state).await?;
        let rows = collect(plan, self.context.task_ctx()).await?;
        Ok(Answer { schema: self.schema, rows })
    }
}

/// Reads one statement for a session, in the dialect of all texts; a pipe that begins with `from` is one as well. `columns`
/// knows what can be read by its name.
///
/// # Errors
/// When it is not written as the language wants it, or when there are several.
pub fn statement(
    sql: &str,
    columns: impl Fn(&str) -> Option<SchemaRef>,
) -> Result<Statement, DataFusionError> {
    let tokens = statement_tokens(sql).map_err(ParserError::from)?;
    let mut parser = DFParserBuilder::new(tokens).with_dialect(&DIALECT).build()?;
    let mut statements = parser.parse_statements()?;
    let one = statements.pop_front().filter(|_| statements.is_empty());
    let mut one = one.ok_or_else(|| {
        DataFusionError::Plan(
            "the session only supports a single SQL statement at a time".to_owned(),
        )
    })?;
    if let Statement::Statement(inner) = &mut one {
        write_whole_rows(inner, &|name| columns(name).map(|schema| names_of(&schema)));
        respell_statement(inner);
    }
    Ok(one)
}

/// The name that a reference stands for: without a schema, but for Evert's own.
#[must_use]
pub fn relation_name(table: &TableReference) -> String {
    match table.schema() {
        Some(OWN_SCHEMA) => format!("{OWN_SCHEMA}.{}", table.table()),
        _ => table.table().to_owned(),
    }
}

/// Lets queries of a session read a table by a name, which may be one of Evert's own.
///
/// # Errors
/// When there is one of that name.
pub fn register(
    context: &SessionContext,
    name: &str,
    table: Arc<dyn TableProvider>,
) -> Result<(), DataFusionError> {
    let own = name.strip_prefix(OWN_SCHEMA).and_then(|rest| rest.strip_prefix('.'));
    let Some(own) = own else {
        return context.register_table(TableReference::bare(name), table).map(drop);
    };
    let default = context.copied_config().options().catalog.default_catalog.clone();
    if let Some(catalog) = context.catalog(&default)
        && catalog.schema(OWN_SCHEMA).is_none()
    {
        catalog.register_schema(OWN_SCHEMA, Arc::new(MemorySchemaProvider::new()))?;
    }
    context.register_table(TableReference::partial(OWN_SCHEMA, own), table).map(drop)
}

/// The first place of a name within a statement; all of it, when the name is not written there.
pub(crate) fn word_span(text: &str, whole: &Range<usize>, name: &str) -> Range<usize> {
    let lexemes = lex(text, whole.clone()).unwrap_or_default();
    let found = lexemes.iter().find(|lexeme| lexeme.name().is_some_and(|found| found == name));
    found.map_or_else(|| whole.clone(), |lexeme| lexeme.span.clone())
}
