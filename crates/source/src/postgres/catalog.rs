//! What the server's system tables say: tables, columns, types, keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use change::limits::COLUMNS_MAX;
use change::{ChangeForm, TableName, TableSchema, is_same_logical_type, logical_type};
use postgres_protocol::escape::escape_identifier;

use super::decode::Target;
use super::kinds::{Derived, Kind, Types};
use super::refusals::{code, refused};
use super::session::{Session, SessionError, TextRow};
use super::settings::Settings;
use crate::SourceError;
use crate::options::{most_similar, wrong};

/// The oldest server with binary values in the stream.
const VERSION_MIN: u32 = 140_000;

const TABLES: &str = "\
select c.oid, n.nspname, c.relname, c.relkind, c.relreplident,
    case when c.relkind = 'p' then
        (select sum(greatest(l.reltuples, 0))::int8 from pg_partition_tree(c.oid) t
            join pg_class l on l.oid = t.relid where t.isleaf)
    when c.reltuples >= 0 then c.reltuples::int8 end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p'
    and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
order by n.nspname, c.relname";

const TYPES: &str = "\
select oid, typtype, typelem, typbasetype, typtypmod,
    case typtype when 'd' then format_type(typbasetype, typtypmod) end
from pg_type where typtype in ('e', 'd') or typoutput = 'array_out'::regproc and typdelim = ','";

/// A table that can be followed.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// What the decoder needs.
    pub(crate) target: Target,
    /// Whether it is the root of partitions.
    pub(crate) partitioned: bool,
    /// Whether updates and deletes say which row they mean.
    pub(crate) has_identity: bool,
    /// How many rows it probably has.
    pub(crate) rows_estimate: Option<u64>,
}

impl Found {
    /// The table's name in SQL.
    pub(crate) fn sql_name(&self) -> String {
        let Target { namespace, name, .. } = &self.target;
        format!("{}.{}", escape_identifier(namespace), escape_identifier(name))
    }

    /// The table in a publication: a partitioned one with its partitions, any other without those that inherit it.
    pub(crate) fn sql_published(&self) -> String {
        if self.partitioned { self.sql_name() } else { format!("only {}", self.sql_name()) }
    }

    /// The statement that copies the table.
    pub(crate) fn sql_copy(&self) -> String {
        let fields = self.target.schema.columns().fields();
        let as_text = self.target.has_texts();
        let columns = fields.iter().zip(&self.target.kinds).map(|(field, kind)| {
            let name = escape_identifier(field.name());
            // What the type writes out; a cast to text may be something else.
            let text = || format!("case num_nulls({name}) when 0 then format('%s', {name}) end");
            if kind.is_sent_as_text() { text() } else { name }
        });
        let (name, columns) = (self.sql_name(), columns.collect::<Vec<_>>().join(", "));
        match (self.partitioned, as_text) {
            (true, _) => format!("copy (select {columns} from {name}) to stdout (format binary)"),
            (false, true) => {
                format!("copy (select {columns} from only {name}) to stdout (format binary)")
            }
            (false, false) => format!("copy {name} ({columns}) to stdout (format binary)"),
        }
    }
}

/// All tables to follow, and the types that their values are made of.
#[derive(Clone, Debug)]
pub(crate) struct Discovered {
    /// The tables.
    pub(crate) tables: Vec<Found>,
    /// The types.
    pub(crate) types: Types,
}

/// A table as the server lists it.
struct Listed {
    oid: String,
    namespace: String,
    name: String,
    /// `orders`, or `audit.entries` outside of `public`.
    shown: String,
    partitioned: bool,
    identity: String,
    rows_estimate: Option<u64>,
}

/// A column as the server lists it.
struct Column {
    name: String,
    oid: u32,
    modifier: i32,
    type_name: String,
}

/// Why discovery failed: on the connection, or for a reason of its own.
#[derive(Debug)]
pub(crate) enum DiscoveryError {
    /// The connection failed.
    Session(SessionError),
    /// What was found cannot be followed.
    Source(SourceError),
}

impl From<SessionError> for DiscoveryError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<SourceError> for DiscoveryError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// Finds the tables that the settings name, or those that were logged.
pub(crate) async fn discover(
    session: &mut Session,
    source: &str,
    settings: &Settings,
    logged: &[Arc<TableSchema>],
) -> Result<Discovered, DiscoveryError> {
    check_server(session).await?;
    let listed: Vec<Listed> = session.query(TABLES).await?.into_iter().map(read_listed).collect();
    let chosen = choose(listed, settings, logged)?;
    let mut types = read_types(session).await?;
    let mut columns = read_columns(session, &chosen).await?;
    for column in columns.values().flatten() {
        types.name(column.oid, column.modifier, &column.type_name);
    }
    let keys = read_keys(session, &chosen).await?;
    let mut tables = Vec::new();
    for table in chosen {
        let all = columns.remove(&table.oid).unwrap_or_default();
        let key = keys.get(&table.oid).cloned().unwrap_or_default();
        let logged = logged.iter().find(|schema| *schema.name().table == *table.shown);
        let mut kinds = Vec::new();
        for column in all {
            if settings.exclude.contains(&format!("{}.{}", table.shown, column.name)) {
                continue;
            }
            if let Some(kind) = types.resolve(column.oid, column.modifier) {
                kinds.push((column.name, kind));
            }
        }
        tables.push((table, kinds, key, logged));
    }
    let tables = tables.into_iter().map(|(table, kinds, key, logged)| {
        let schema = describe(source, &table, &kinds, &key)?;
        let (schema, kinds) = match logged {
            Some(logged) => as_logged(logged, &schema, kinds)?,
            None => (schema, kinds.into_iter().map(|(_, kind)| kind).collect()),
        };
        let has_identity = table.identity == "f" || !key.is_empty();
        let Listed { namespace, name, partitioned, rows_estimate, .. } = table;
        let target = Target { schema, kinds, namespace, name };
        Ok(Found { target, partitioned, has_identity, rows_estimate })
    });
    Ok(Discovered { tables: tables.collect::<Result<_, SourceError>>()?, types })
}

async fn check_server(session: &mut Session) -> Result<(), DiscoveryError> {
    let version = session.query_value("show server_version_num").await?.unwrap_or_default();
    let version: u32 = version.parse().unwrap_or_default();
    if version < VERSION_MIN {
        let what = format!("the server is PostgreSQL {}, which is too old", version / 10_000);
        let help = "Evert follows PostgreSQL 14 and later".to_owned();
        return Err(refused(code::VERSION, what, help).into());
    }
    let level = session.query_value("show wal_level").await?.unwrap_or_default();
    if level != "logical" {
        let what =
            format!("the server has wal_level = {level}, which does not log enough to follow it");
        let help = "ALTER SYSTEM SET wal_level = logical, then restart the server".to_owned();
        return Err(refused(code::WAL_LEVEL, what, help).into());
    }
    Ok(())
}

fn read_listed(row: TextRow) -> Listed {
    let mut row = row.into_iter();
    let mut next = || row.next().flatten();
    let (oid, namespace, name) = (next(), next(), next());
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    let shown = if namespace == "public" { name.clone() } else { format!("{namespace}.{name}") };
    Listed {
        oid: oid.unwrap_or_default(),
        namespace,
        name,
        shown,
        partitioned: next().as_deref() == Some("p"),
        identity: next().unwrap_or_default(),
        rows_estimate: next().and_then(|rows| rows.parse().ok()),
    }
}

/// Picks the tables: those that were logged, else those that were asked for, else all.
fn choose(
    listed: Vec<Listed>,
    settings: &Settings,
    logged: &[Arc<TableSchema>],
) -> Result<Vec<Listed>, SourceError> {
    let is_called = |table: &Listed, name: &str| {
        table.shown == name || name.strip_prefix("public.") == Some(&*table.shown)
    };
    let wanted = settings.tables.as_deref().unwrap_or_default();
    for name in wanted {
        if !listed.iter().any(|table| is_called(table, name)) {
            let did_you_mean = most_similar(name, listed.iter().map(|table| &*table.shown));
            let did_you_mean = did_you_mean.map(str::to_owned);
            return Err(SourceError::UnknownTable { table: name.clone(), did_you_mean });
        }
    }
    if !logged.is_empty() {
        return choose_logged(listed, wanted, logged);
    }
    for excluded in &settings.exclude {
        let is_of = |table: &Listed| {
            is_called(table, excluded) || excluded.starts_with(&format!("{}.", table.shown))
        };
        if !listed.iter().any(is_of) {
            let reason = format!("there is no table or column {excluded}");
            return Err(wrong("exclude", reason, None));
        }
    }
    let mut chosen = listed;
    chosen.retain(|table| {
        (wanted.is_empty() || wanted.iter().any(|name| is_called(table, name)))
            && !settings.exclude.iter().any(|name| is_called(table, name))
    });
    if chosen.is_empty() {
        let help = "create the tables first; system and temporary tables are not followed";
        let what = "the database has no table to follow".to_owned();
        return Err(refused(code::NO_TABLES, what, help.to_owned()));
    }
    Ok(chosen)
}

fn choose_logged(
    mut listed: Vec<Listed>,
    wanted: &[String],
    logged: &[Arc<TableSchema>],
) -> Result<Vec<Listed>, SourceError> {
    let is_logged = |name: &str| logged.iter().any(|schema| *schema.name().table == *name);
    for name in wanted {
        let name = name.strip_prefix("public.").unwrap_or(name);
        if !is_logged(name) {
            return Err(SourceError::CannotResume {
                input: format!("table {name}"),
                reason: "it was not among the tables when the source was first copied".to_owned(),
                help: "declare a second source for it, or start again with a new data directory"
                    .to_owned(),
            });
        }
    }
    for schema in logged {
        if !listed.iter().any(|table| *table.shown == *schema.name().table) {
            let difference = "it is gone, or was renamed".to_owned();
            return Err(SourceError::SchemaChanged {
                table: schema.name().to_string(),
                difference,
            });
        }
    }
    listed.retain(|table| is_logged(&table.shown));
    Ok(listed)
}

async fn read_types(session: &mut Session) -> Result<Types, SessionError> {
    let mut types = Types::default();
    for row in session.query(TYPES).await? {
        let number = |at: usize| row.get(at).and_then(Option::as_deref)?.parse::<i64>().ok();
        let oid = |at: usize| number(at).and_then(|number| u32::try_from(number).ok());
        let (Some(Some(kind)), Some(this)) = (row.get(1), oid(0)) else { continue };
        let modifier = number(4).and_then(|modifier| i32::try_from(modifier).ok()).unwrap_or(-1);
        let derived = match kind.as_str() {
            "e" => Some(Derived::Enum),
            "d" => oid(3).map(|base| Derived::Domain(base, modifier)),
            _ => oid(2).map(Derived::Array),
        };
        if let (Some(base), Some(Some(name))) = (oid(3), row.get(5)) {
            types.name(base, modifier, name);
        }
        if let Some(derived) = derived {
            types.insert(this, derived);
        }
    }
    Ok(types)
}

fn oids(tables: &[Listed]) -> String {
    tables.iter().map(|table| table.oid.as_str()).collect::<Vec<_>>().join(", ")
}

/// Generated columns are not there: the stream does not carry them.
async fn read_columns(
    session: &mut Session,
    tables: &[Listed],
) -> Result<BTreeMap<String, Vec<Column>>, SessionError> {
    let sql = format!(
        "select attrelid, attname, atttypid, atttypmod, format_type(atttypid, atttypmod)
         from pg_attribute where attrelid in ({}) and attnum > 0 and not attisdropped
             and attgenerated = '' order by attrelid, attnum",
        oids(tables)
    );
    let mut columns: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for row in session.query(&sql).await? {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten().unwrap_or_default();
        columns.entry(next()).or_default().push(Column {
            name: next(),
            oid: next().parse().unwrap_or_default(),
            modifier: next().parse().unwrap_or(-1),
            type_name: next(),
        });
    }
    Ok(columns)
}

/// The columns that say which row is meant: of the replica identity, or else of the primary key.
async fn read_keys(
    session: &mut Session,
    tables: &[Listed],
) -> Result<BTreeMap<String, BTreeSet<String>>, SessionError> {
    let sql = format!(
        "select i.indrelid, a.attname from pg_index i join pg_class c on c.oid = i.indrelid
             cross join unnest(i.indkey::int2[]) with ordinality k (attnum, place)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
         where i.indrelid in ({}) and k.place <= i.indnkeyatts and i.indisvalid
             and case c.relreplident when 'i' then i.indisreplident
                 when 'n' then false else i.indisprimary end",
        oids(tables)
    );
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in session.query(&sql).await? {
        let mut row = row.into_iter();
        let mut next = || row.next().flatten().unwrap_or_default();
        keys.entry(next()).or_default().insert(next());
    }
    Ok(keys)
}

/// The table as the log is to know it.
fn describe(
    source: &str,
    table: &Listed,
    kinds: &[(String, Kind)],
    key: &BTreeSet<String>,
) -> Result<Arc<TableSchema>, SourceError> {
    if kinds.len() > COLUMNS_MAX {
        let reason = format!("table {} has more than {COLUMNS_MAX} columns", table.shown);
        return Err(wrong("exclude", reason, None));
    }
    if let Some(missing) = key.iter().find(|name| !kinds.iter().any(|(kept, _)| kept == *name)) {
        let reason =
            format!("{}.{missing} is part of the key, without which no row is known", table.shown);
        return Err(wrong("exclude", reason, None));
    }
    let positions = kinds.iter().enumerate().filter(|(_, (name, _))| key.contains(name));
    let positions = positions.map(|(at, _)| at).collect();
    let form = if table.identity == "f" || key.is_empty() {
        ChangeForm::Exact
    } else {
        ChangeForm::Upsert
    };
    let fields: Vec<_> = kinds.iter().map(|(name, kind)| kind.field(name)).collect();
    let name = TableName::new(source, &table.shown);
    Ok(Arc::new(TableSchema::new(name, Arc::new(Schema::new(fields)), positions, form)))
}

/// The table as it was logged, when its columns are still there as they were.
fn as_logged(
    logged: &Arc<TableSchema>,
    found: &TableSchema,
    kinds: Vec<(String, Kind)>,
) -> Result<(Arc<TableSchema>, Vec<Kind>), SourceError> {
    let changed = |difference: String| {
        Err(SourceError::SchemaChanged { table: logged.name().to_string(), difference })
    };
    let mut kinds: BTreeMap<String, Kind> = kinds.into_iter().collect();
    let mut kept = Vec::new();
    for field in logged.columns().fields() {
        let Some(kind) = kinds.remove(field.name()) else {
            return changed(format!("column {} is gone", field.name()));
        };
        let now = kind.field(field.name());
        if now.data_type() != field.data_type()
            || !is_same_logical_type(logical_type(field), logical_type(&now))
        {
            let (was, is) = (shown_type(field), shown_type(&Arc::new(now)));
            return changed(format!("column {} was {was} and is now {is}", field.name()));
        }
        kept.push(kind);
    }
    for added in kinds.keys() {
        tracing::warn!(
            table = %logged.name(),
            "column {added} was added after the table was first copied; it is not followed"
        );
    }
    let key = |table: &TableSchema| -> BTreeSet<String> {
        table.key().iter().map(|&at| table.columns().field(at).name().clone()).collect()
    };
    if logged.form() == ChangeForm::Upsert && key(logged) != key(found) {
        return changed("its key is another one".to_owned());
    }
    Ok((Arc::clone(logged), kept))
}

fn shown_type(field: &FieldRef) -> String {
    match logical_type(field) {
        Some(logical) => format!("{logical} ({})", field.data_type()),
        None => field.data_type().to_string(),
    }
}
