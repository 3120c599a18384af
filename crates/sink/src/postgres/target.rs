//! The target's table: created when it is missing, checked when it is there; and the SQL that changes it.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use view::ViewInfo;

use super::address::Address;
use super::session::{failed, literal, quoted};
use super::types::{PgColumn, TargetType, is_assignable};
use crate::SinkError;

/// The comment by which a table is known to be made by us, so that its key may be changed.
const OURS: &str = "maintained by Evert";

/// A table that fits the view.
#[derive(Debug)]
pub(super) struct Target {
    /// Its name as SQL wants it.
    pub(super) table: String,
    /// Its address for people.
    pub(super) shown: String,
    /// The view's columns.
    pub(super) columns: Vec<PgColumn>,
    /// The key's positions among them.
    pub(super) key: Vec<usize>,
    /// The types that the values are cast to, without length or precision.
    casts: Vec<String>,
    oid: u32,
    is_ours: bool,
}

/// A column of the table as the catalogue describes it.
struct Found {
    name: String,
    kind: TargetType,
    is_required: bool,
}

impl Target {
    /// Names the table and the view's columns in it, without looking at the server.
    ///
    /// # Errors
    /// When the view has no key, or a column has no counterpart in PostgreSQL.
    pub(super) fn describe(view: &ViewInfo, address: &Address) -> Result<Self, SinkError> {
        let shown = address.shown.clone();
        if view.key.is_empty() {
            return Err(SinkError::NoKey { view: view.name.to_string(), target: shown });
        }
        let columns = PgColumn::of_schema(&view.schema)?;
        let key = view.key.clone();
        let casts = columns.iter().map(|column| column.declared.clone()).collect();
        Ok(Self { table: String::new(), shown, columns, key, casts, oid: 0, is_ours: false })
    }

    /// Finds the table. Returns whether it is there.
    ///
    /// # Errors
    /// When the connection breaks, or the name belongs to something that is not a table.
    pub(super) async fn find(
        &mut self,
        client: &Client,
        address: &Address,
    ) -> Result<bool, SinkError> {
        let schema = match &address.schema {
            Some(schema) => schema.clone(),
            None => {
                let row =
                    client.query_one("select coalesce(current_schema(), 'public')", &[]).await;
                row.map_err(|error| failed(&self.shown, &error))?.get(0)
            }
        };
        self.table = format!("{}.{}", quoted(&schema), quoted(&address.table));
        let sql = "select c.oid, c.relkind in ('r', 'p'),
                coalesce(obj_description(c.oid, 'pg_class') = $3, false)
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = $2";
        let found = client
            .query_opt(sql, &[&schema, &address.table, &OURS])
            .await
            .map_err(|error| failed(&self.shown, &error))?;
        let Some(found) = found else { return Ok(false) };
        if !found.get::<_, bool>(1) {
            let problem = "it is not a table".to_owned();
            return Err(self.mismatch(problem, format!("drop view {}", self.table)));
        }
        (self.oid, self.is_ours) = (found.get(0), found.get(2));
        Ok(true)
    }

    /// Creates the table.
    ///
    /// # Errors
    /// When the server refuses, for example for want of a privilege.
    pub(super) async fn create(&mut self, client: &Client) -> Result<(), SinkError> {
        self.find_types(client).await?;
        let sql = self.create_sql();
        client.batch_execute(&sql).await.map_err(|error| failed(&self.shown, &error))?;
        let row = client.query_one("select $1::text::regclass::oid", &[&self.table]).await;
        self.oid = row.map_err(|error| failed(&self.shown, &error))?.get(0);
        self.is_ours = true;
        Ok(())
    }

    /// Looks for the types that we know by name only; what the target lacks is text there.
    async fn find_types(&mut self, client: &Client) -> Result<(), SinkError> {
        for at in 0..self.columns.len() {
            let column = &self.columns[at];
            if !column.by_name {
                continue;
            }
            // The schema that it has in the source may be another one here.
            let declared = column.declared.clone();
            let bare = declared.split_once('.').map_or(declared.as_str(), |(_, bare)| bare);
            let mut found = if column.array { "text[]" } else { "text" };
            // `regclass` and its kin name things of the source's database.
            let names = if bare.starts_with("reg") { &[][..] } else { &[declared.as_str(), bare] };
            for name in names {
                let row = client.query_one("select to_regtype($1) is not null", &[&name]).await;
                if row.map_err(|error| failed(&self.shown, &error))?.get(0) {
                    found = name;
                    break;
                }
            }
            self.columns[at].declared = found.to_owned();
            self.casts[at] = found.to_owned();
        }
        Ok(())
    }

    fn create_sql(&self) -> String {
        let column = |column: &PgColumn| format!("{} {}", quoted(&column.name), column.declared);
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        format!(
            "create table {table} ({}, primary key ({})); comment on table {table} is {}",
            columns.join(", "),
            self.names(&self.key),
            literal(OURS),
            table = self.table,
        )
    }

    /// Checks that the table takes the view's rows, and takes over its types.
    ///
    /// # Errors
    /// With the statement to run, when a column or the unique index on the key is missing.
    pub(super) async fn check(&mut self, client: &Client) -> Result<(), SinkError> {
        let sql = "select attname::text, format_type(atttypid, -1),
                format_type(atttypid, atttypmod), atttypmod,
                attnotnull and not atthasdef and attidentity = ''
            from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped";
        let rows = client.query(sql, &[&self.oid]).await;
        let rows = rows.map_err(|error| failed(&self.shown, &error))?;
        let there: Vec<Found> = rows
            .iter()
            .map(|row| Found {
                name: row.get(0),
                kind: TargetType { name: row.get(1), declared: row.get(2), modifier: row.get(3) },
                is_required: row.get(4),
            })
            .collect();
        self.casts = self.checked_columns(&there)?;
        self.check_key(client).await
    }

    fn checked_columns(&self, there: &[Found]) -> Result<Vec<String>, SinkError> {
        let mut casts = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let (table, name) = (&self.table, quoted(&column.name));
            let Some(found) = there.iter().find(|found| found.name == column.name) else {
                let problem = format!("it has no column {}", column.name);
                let ddl = format!("alter table {table} add column {name} {}", column.declared);
                return Err(self.mismatch(problem, ddl));
            };
            if !is_assignable(column, &found.kind) {
                let problem = format!(
                    "column {} is {}, which does not hold every {}",
                    column.name, found.kind.declared, column.declared
                );
                let ddl =
                    format!("alter table {table} alter column {name} type {}", column.declared);
                return Err(self.mismatch(problem, ddl));
            }
            casts.push(found.kind.name.clone());
        }
        let is_ours = |found: &Found| self.columns.iter().any(|column| column.name == found.name);
        match there.iter().find(|found| found.is_required && !is_ours(found)) {
            None => Ok(casts),
            Some(found) => {
                let problem = format!("its column {} needs a value", found.name);
                let name = quoted(&found.name);
                let ddl = format!("alter table {} alter column {name} drop not null", self.table);
                Err(self.mismatch(problem, ddl))
            }
        }
    }

    /// Lets PostgreSQL plan an upsert of nothing: it knows best whether there is a unique index on the key.
    async fn check_key(&self, client: &Client) -> Result<(), SinkError> {
        let nothing: Vec<String> = self.casts.iter().map(|cast| format!("null::{cast}")).collect();
        let sql = format!("explain {}", self.upsert(&format!("values ({})", nothing.join(", "))));
        match client.batch_execute(&sql).await {
            Ok(()) => Ok(()),
            Err(error) if error.code() == Some(&SqlState::INVALID_COLUMN_REFERENCE) => {
                let key = self.names(&self.key);
                let problem = format!("it has no unique index on ({key})");
                Err(self
                    .mismatch(problem, format!("alter table {} add unique ({key})", self.table)))
            }
            Err(error) => Err(failed(&self.shown, &error)),
        }
    }

    /// Makes the key of a table of ours take NULL, in the step's transaction, unless it does already.
    ///
    /// # Errors
    /// When the table is not ours, or the server is older than PostgreSQL 15.
    pub(super) async fn take_null_keys(
        &self,
        client: &Client,
        view: &str,
    ) -> Result<(), SinkError> {
        let failed = |error| failed(&self.shown, &error);
        let version = "select current_setting('server_version_num')::int >= 150000";
        let can: bool = client.query_one(version, &[]).await.map_err(failed)?.get(0);
        if can && self.has_null_key(client).await.map_err(failed)? {
            return Ok(());
        }
        let primary =
            "select conname::text from pg_constraint where conrelid = $1 and contype = 'p'";
        let primary = client.query_opt(primary, &[&self.oid]).await.map_err(failed)?;
        let ddl = self.null_key_ddl(primary.map(|row| row.get(0)));
        if !can || !self.is_ours {
            let (view, target) = (view.to_owned(), self.shown.clone());
            return Err(SinkError::NullKey { view, target, ddl });
        }
        client.batch_execute(&ddl).await.map_err(failed)
    }

    async fn has_null_key(&self, client: &Client) -> Result<bool, tokio_postgres::Error> {
        let sql = "select exists (select from pg_index where indrelid = $1 and indisunique
            and indpred is null and indexprs is null and indnullsnotdistinct
            and (select array_agg(attname::text order by attname::text) from pg_attribute
                 where attrelid = $1 and attnum = any (indkey[:indnkeyatts - 1])) = $2)";
        let mut key: Vec<&str> =
            self.key.iter().map(|&at| self.columns[at].name.as_str()).collect();
        key.sort_unstable();
        Ok(client.query_one(sql, &[&self.oid, &key]).await?.get(0))
    }

    fn null_key_ddl(&self, primary: Option<String>) -> String {
        let mut actions: Vec<String> =
            primary.iter().map(|name| format!("drop constraint {}", quoted(name))).collect();
        let names = self.key.iter().map(|&at| quoted(&self.columns[at].name));
        actions.extend(names.map(|name| format!("alter column {name} drop not null")));
        actions.push(format!("add unique nulls not distinct ({})", self.names(&self.key)));
        format!("alter table {} {}", self.table, actions.join(", "))
    }

    /// What `evert_progress` says is there, and is not: at most `limit` rows are counted.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn count(&self, client: &Client, limit: i64) -> Result<u64, SinkError> {
        let sql = format!("select count(*) from (select from {} limit $1) _", self.table);
        let row = client.query_one(&sql, &[&limit]).await;
        let count: i64 = row.map_err(|error| failed(&self.shown, &error))?.get(0);
        Ok(u64::try_from(count).expect("a count is not negative"))
    }

    /// The table's `pg_class.oid`.
    pub(super) fn oid(&self) -> u32 {
        self.oid
    }

    /// Whether values are stored in the very types in which they are sent.
    pub(super) fn is_exact(&self) -> bool {
        let sent = self.columns.iter().map(|column| {
            let name = super::types::sql_name(column.scalar);
            if column.array { format!("{name}[]") } else { name.to_owned() }
        });
        sent.eq(self.casts.iter().cloned())
    }

    /// The columns' names, for SQL.
    pub(super) fn names(&self, columns: &[usize]) -> String {
        let names: Vec<String> =
            columns.iter().map(|&column| quoted(&self.columns[column].name)).collect();
        names.join(", ")
    }

    /// All columns' positions.
    pub(super) fn all(&self) -> Vec<usize> {
        (0..self.columns.len()).collect()
    }

    /// The types in which the values of some columns are sent.
    pub(super) fn wire_types(&self, columns: &[usize]) -> Vec<Type> {
        columns.iter().map(|&column| self.columns[column].wire()).collect()
    }

    /// Rows of parameters.
    pub(super) fn values(&self) -> String {
        let value = |(at, cast): (usize, &String)| format!("${}::{cast}", at + 1);
        let values: Vec<String> = self.casts.iter().enumerate().map(value).collect();
        format!("values ({})", values.join(", "))
    }

    /// Rows of a staging table.
    pub(super) fn staged(&self, stage: &str) -> String {
        let value =
            |(at, cast): (usize, &String)| format!("s.{}::{cast}", quoted(&self.columns[at].name));
        let values: Vec<String> = self.casts.iter().enumerate().map(value).collect();
        format!("select {} from {stage} s", values.join(", "))
    }

    /// Adds rows whose keys are new.
    pub(super) fn insert(&self, rows: &str) -> String {
        let names = self.names(&self.all());
        format!("insert into {} ({names}) overriding system value {rows}", self.table)
    }

    /// Sets the rows of their keys.
    pub(super) fn upsert(&self, rows: &str) -> String {
        let set: Vec<String> = (0..self.columns.len())
            .filter(|column| !self.key.contains(column))
            .map(|column| quoted(&self.columns[column].name))
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        let action = if set.is_empty() {
            "do nothing".to_owned()
        } else {
            format!("do update set {}", set.join(", "))
        };
        format!("{} on conflict ({}) {action}", self.insert(rows), self.names(&self.key))
    }

    /// Removes the row of a key, of which `is_null` columns are NULL.
    pub(super) fn delete_one(&self, is_null: &[bool]) -> String {
        let mut parameter = 0;
        let conditions: Vec<String> = self
            .key
            .iter()
            .zip(is_null)
            .map(|(&column, &is_null)| {
                let name = quoted(&self.columns[column].name);
                if is_null {
                    return format!("{name} is null");
                }
                parameter += 1;
                format!("{name} = ${parameter}::{}", self.casts[column])
            })
            .collect();
        format!("delete from {} where {}", self.table, conditions.join(" and "))
    }

    /// Removes the rows whose keys are in a staging table.
    pub(super) fn delete_staged(&self, stage: &str) -> String {
        let equal = |&column: &usize| {
            let name = quoted(&self.columns[column].name);
            format!("t.{name} = s.{name}::{}", self.casts[column])
        };
        let equal: Vec<String> = self.key.iter().map(equal).collect();
        format!("delete from {} t using {stage} s where {}", self.table, equal.join(" and "))
    }

    /// Creates a staging table for some columns, once a session; it empties itself at commit.
    pub(super) fn create_stage(&self, stage: &str, columns: &[usize]) -> String {
        let column = |&at: &usize| {
            format!("{} {}", quoted(&self.columns[at].name), self.columns[at].wire().name_in_sql())
        };
        let columns: Vec<String> = columns.iter().map(column).collect();
        format!(
            "create temp table if not exists {stage} ({}) on commit delete rows",
            columns.join(", ")
        )
    }

    fn mismatch(&self, problem: String, ddl: String) -> SinkError {
        SinkError::Mismatch { target: self.shown.clone(), problem, ddl }
    }
}

/// A type's name in a column definition.
trait NameInSql {
    fn name_in_sql(&self) -> String;
}

impl NameInSql for Type {
    fn name_in_sql(&self) -> String {
        // The catalogue calls the array of int4 `_int4`.
        match self.name().strip_prefix('_') {
            Some(item) => format!("{item}[]"),
            None => self.name().to_owned(),
        }
    }
}
