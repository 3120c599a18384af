//! A grammar of random SQL text: views over random tables and over each other.
//!
//! PostgreSQL is the second oracle: whoever asks for texts for it gets windows and limits whose order names every column,
//! because PostgreSQL breaks ties as it likes, and nothing that it does not have (`qualify`) or shows otherwise (lists).
//!
//! What is left out on purpose:
//! - Division and large products: rows that cannot be computed are told by the engine, and fail the whole batch.
//! - Sums and means of floats over sliding frames: DataFusion takes a row out by subtraction, which never gets rid of a
//!   NaN or an infinity.
//! - For DataFusion, floats that are no plain numbers (see `World::any`): it tells −0.0 from 0.0 in sorts and groups, and
//!   loses its way over a NaN in `min` and `max`.
//! - Means and deviations in conditions, keys and orders: the last bits differ by the order of addition.

mod windows;

use change::TableSchema;

use crate::kind::Kind;
use crate::world::Random;

/// A column that can be named, as it is written.
#[derive(Clone, Debug)]
struct Column {
    text: String,
    kind: Kind,
}

/// A table, or the view that a query makes: its text, and the columns that it gives.
#[derive(Clone, Debug)]
struct Relation {
    text: String,
    columns: Vec<Column>,
    /// It may have so many rows that it is joined with nothing.
    wide: bool,
}

/// A `from` clause and the columns that it offers.
struct From {
    text: String,
    scope: Vec<Column>,
    wide: bool,
}

/// Writes random queries.
pub(crate) struct Grammar<'a> {
    random: &'a mut Random,
    relations: Vec<Relation>,
    names: usize,
    for_postgres: bool,
}

impl<'a> Grammar<'a> {
    pub(crate) fn new(random: &'a mut Random, tables: &[&TableSchema], for_postgres: bool) -> Self {
        let relation = |table: &&TableSchema| {
            let columns = table.columns().fields().iter().map(|field| Column {
                text: field.name().clone(),
                kind: Kind::of(field.data_type()),
            });
            let text = table.name().table.to_string();
            Relation { text, columns: columns.collect(), wide: false }
        };
        let relations = tables.iter().map(relation).collect();
        Self { random, relations, names: 0, for_postgres }
    }

    /// Writes a query. When the planner takes it as a view, [`keep`](Self::keep) lets later queries read that.
    pub(crate) fn query(&mut self) -> Written {
        Written(self.any_query(2))
    }

    /// Makes a query's view one of the relations.
    pub(crate) fn keep(&mut self, name: &str, written: Written) {
        self.relations.push(Relation { text: name.to_owned(), ..written.0 });
    }

    fn name(&mut self, prefix: &str) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }

    fn any_query(&mut self, depth: usize) -> Relation {
        match self.random.below(if depth == 0 { 12 } else { 20 }) {
            0..=4 => self.plain(depth),
            5..=8 => self.aggregate(depth),
            9..=10 => self.windows(depth),
            11 => self.distinct_on(depth),
            12..=13 => self.first_rows(depth),
            14..=16 => self.set_operation(depth),
            17 => self.common(depth),
            18 => self.values(),
            _ => self.first_of_each(depth),
        }
    }

    /// `with w as (…) select … from w join w …`.
    fn common(&mut self, depth: usize) -> Relation {
        let inner = self.any_query(depth - 1);
        let name = self.name("w");
        let wide = inner.wide;
        let own = Relation { text: name.clone(), columns: inner.columns, wide };
        self.relations.push(own);
        let outer = self.any_query(depth - 1);
        self.relations.retain(|relation| relation.text != name);
        if outer.text.starts_with("with ") {
            return Relation { wide: true, ..outer_without(&outer, &name, &inner.text) };
        }
        Relation { text: format!("with {name} as ({}) {}", inner.text, outer.text), ..outer }
    }

    fn values(&mut self) -> Relation {
        let kinds: Vec<Kind> =
            (0..1 + self.random.below(3)).map(|_| *self.random.pick(&Kind::USED)).collect();
        let rows: Vec<String> = (0..1 + self.random.below(4))
            .map(|_| {
                let cells: Vec<String> = kinds.iter().map(|kind| self.literal(*kind)).collect();
                format!("({})", cells.join(", "))
            })
            .collect();
        let columns: Vec<Column> =
            kinds.iter().map(|&kind| Column { text: self.name("c"), kind }).collect();
        let names: Vec<&str> = columns.iter().map(|column| column.text.as_str()).collect();
        let (list, rows, alias) = (names.join(", "), rows.join(", "), self.name("v"));
        let text = format!("select {list} from (values {rows}) as {alias}({list})");
        Relation { text, columns, wide: false }
    }

    fn plain(&mut self, depth: usize) -> Relation {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let distinct = if self.random.one_in(4) { "distinct " } else { "" };
        let mut items = self.items(&from.scope, depth);
        if distinct.is_empty() && depth > 0 && self.random.one_in(5) {
            let value = self.scalar_subquery(Kind::Int, &from.scope);
            items.push((value, Kind::Int));
        }
        let (list, columns) = self.named(items);
        let text = format!("select {distinct}{list} from {}{filter}", from.text);
        Relation { text, columns, wide: from.wide }
    }

    fn first_rows(&mut self, depth: usize) -> Relation {
        let inner = self.any_query(depth - 1);
        let alias = self.name("r");
        let scope = qualified(&alias, &inner.columns);
        let (list, columns) = self.passed(&scope);
        let order = self.order(&scope);
        // `limit 0` breaks an assertion of DataFusion (`TopK`, k > 0).
        let limit = 1 + self.random.below(5);
        let offset = if self.random.one_in(3) {
            format!(" offset {}", self.random.below(3))
        } else {
            String::new()
        };
        let text = format!(
            "select {list} from ({}) as {alias} order by {order} limit {limit}{offset}",
            inner.text
        );
        Relation { text, columns, wide: false }
    }

    fn distinct_on(&mut self, depth: usize) -> Relation {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let keys = self.keys(&from.scope, 1);
        if keys.is_empty() {
            return self.values();
        }
        let order = self.order(&from.scope);
        let (list, columns) = self.passed(&from.scope);
        let keys = keys.join(", ");
        let text = format!(
            "select distinct on ({keys}) {list} from {}{filter} order by {keys}, {order}",
            from.text
        );
        Relation { text, columns, wide: from.wide }
    }

    /// `select … where row_number() over (…) <= n`, or `qualify`.
    fn first_of_each(&mut self, depth: usize) -> Relation {
        let from = self.from(depth);
        let over = self.over(&from.scope);
        let (alias, number) = (self.name("r"), self.name("n"));
        let (list, columns) = self.passed(&from.scope);
        let names: Vec<&str> = columns.iter().map(|column| column.text.as_str()).collect();
        let rank = *self.random.pick(&["<= 1", "<= 2", "< 3", "= 1"]);
        if !self.for_postgres && self.random.one_in(2) {
            let filter = self.filter(&from.scope, 0);
            let call = *self.random.pick(&["row_number", "rank", "dense_rank"]);
            let text = format!(
                "select {list} from {}{filter} qualify {call}() over ({over}) {rank}",
                from.text
            );
            return Relation { text, columns, wide: from.wide };
        }
        let text = format!(
            "select {} from (select {list}, row_number() over ({over}) as {number} from {}) as {alias} \
             where {number} {rank}",
            names.join(", "),
            from.text
        );
        Relation { text, columns, wide: from.wide }
    }

    fn set_operation(&mut self, depth: usize) -> Relation {
        let kinds: Vec<Kind> =
            (0..1 + self.random.below(2)).map(|_| *self.random.pick(&Kind::USED)).collect();
        let mut text = String::new();
        let mut wide = false;
        let mut columns = Vec::new();
        for side in 0..2 + self.random.below(2) {
            let from = self.from(depth - 1);
            let filter = self.filter(&from.scope, depth - 1);
            let items = kinds.iter().map(|&kind| (self.scalar(kind, &from.scope, 1), kind));
            let items = items.collect();
            let (list, names) = self.named(items);
            wide |= from.wide;
            if side == 0 {
                columns = names;
            } else {
                let all = if self.random.one_in(2) { " all" } else { "" };
                let operation = *self.random.pick(&["union", "intersect", "except", "union"]);
                text = format!("({text}) {operation}{all} ");
            }
            text.push_str(&format!("select {list} from {}{filter}", from.text));
        }
        let (list, alias) = (names_of(&columns), self.name("u"));
        Relation { text: format!("select {list} from ({text}) as {alias}"), columns, wide }
    }

    fn aggregate(&mut self, depth: usize) -> Relation {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let keys = self.keys(&from.scope, 3);
        let mut items: Vec<(String, Kind)> = Vec::new();
        for key in &keys {
            let kind = from.scope.iter().find(|column| &column.text == key).map(|c| c.kind);
            items.push((key.clone(), kind.unwrap_or(Kind::Shown)));
        }
        let list = keys.join(", ");
        let mut group = match (keys.len(), self.random.below(8)) {
            (0, _) => String::new(),
            (2.., 0) => format!(" group by rollup ({list})"),
            (2.., 1) => format!(" group by cube ({list})"),
            (2.., 2) => format!(" group by grouping sets (({list}), ({}), ())", keys[1]),
            _ => format!(" group by {list}"),
        };
        if group.contains('(') && self.random.one_in(2) {
            items.push((format!("grouping({})", keys[0]), Kind::Small));
        }
        for _ in 0..1 + self.random.below(3) {
            items.push(self.aggregate_call(&from.scope));
        }
        if self.random.one_in(4) {
            let (call, kind) = self.certain_aggregate(&from.scope);
            let comparison = self.comparison();
            let value = self.literal(kind);
            group.push_str(&format!(" having {call} {comparison} {value}"));
        }
        let (list, columns) = self.named(items);
        let text = format!("select {list} from {}{filter}{group}", from.text);
        Relation { text, columns, wide: from.wide }
    }

    fn certain_aggregate(&mut self, scope: &[Column]) -> (String, Kind) {
        loop {
            let (call, kind) = self.aggregate_call(scope);
            if kind != Kind::Shown {
                return (call, kind);
            }
        }
    }

    fn aggregate_call(&mut self, scope: &[Column]) -> (String, Kind) {
        let distinct = if self.random.one_in(4) { "distinct " } else { "" };
        let kind = *self.random.pick(&Kind::USED);
        let value = self.scalar(kind, scope, 1);
        let (call, kind) = match self.random.below(11) {
            0 | 1 => ("count(*)".to_owned(), Kind::Int),
            2 => (format!("count({distinct}{value})"), Kind::Int),
            3 | 4 if matches!(kind, Kind::Small | Kind::Int) => {
                (format!("cast(sum({distinct}{value}) as bigint)"), Kind::Int)
            }
            3 | 4 if kind.is_number() => (format!("sum({distinct}{value})"), Kind::Shown),
            5 if kind.is_number() => (format!("avg({distinct}{value})"), Kind::Shown),
            6 if matches!(kind, Kind::Small | Kind::Int) => {
                let call = *self.random.pick(&["stddev", "var_pop", "variance", "stddev_pop"]);
                (format!("{call}({value})"), Kind::Shown)
            }
            7 => {
                let flag = self.scalar(Kind::Bool, scope, 1);
                let call = *self.random.pick(&["bool_and", "bool_or"]);
                (format!("{call}({flag})"), Kind::Bool)
            }
            8 => self.list_call(scope, distinct),
            _ if kind == Kind::Bool => ("count(*)".to_owned(), Kind::Int),
            _ => {
                let call = *self.random.pick(&["min", "max"]);
                (format!("{call}({value})"), kind)
            }
        };
        if call.starts_with("cast") || !self.random.one_in(4) {
            return (call, kind);
        }
        let condition = self.condition(scope, 0);
        (format!("{call} filter (where {condition})"), kind)
    }

    /// A list of values in an order. DataFusion's batch fails when an order names a constant, or a value twice.
    fn list_call(&mut self, scope: &[Column], distinct: &str) -> (String, Kind) {
        let is_text = self.for_postgres || self.random.one_in(2);
        let kind = if is_text { Kind::Text } else { *self.random.pick(&Kind::USED) };
        let known: Vec<&Column> = scope.iter().filter(|column| column.kind == kind).collect();
        if known.is_empty() {
            return ("count(*)".to_owned(), Kind::Int);
        }
        let value = self.random.pick(&known).text.clone();
        let direction = *self.random.pick(&["", " desc", " nulls first", " desc nulls last"]);
        // A distinct list is ordered by its values; any other one may be by something else first.
        let first = if distinct.is_empty() { self.keys(scope, 1) } else { Vec::new() };
        let order = first.into_iter().filter(|key| *key != value).chain([value.clone()]);
        let order: Vec<String> = order.map(|key| key + direction).collect();
        let order = order.join(", ");
        if is_text {
            (format!("string_agg({distinct}{value}, '+' order by {order})"), Kind::Text)
        } else {
            (format!("array_agg({distinct}{value} order by {order})"), Kind::Shown)
        }
    }

    /// An order by some columns; by all of them when orders are whole.
    fn order(&mut self, scope: &[Column]) -> String {
        let mut order = Vec::new();
        for key in self.keys(scope, 2) {
            let direction = *self.random.pick(&["", " desc", " nulls first", " desc nulls last"]);
            order.push(format!("{key}{direction}"));
        }
        if self.for_postgres || order.is_empty() {
            order.extend(scope.iter().map(|column| format!("{} nulls first", column.text)));
        }
        order.join(", ")
    }

    /// Up to `most` columns that rows can be grouped and ordered by.
    fn keys(&mut self, scope: &[Column], most: usize) -> Vec<String> {
        let known: Vec<&Column> =
            scope.iter().filter(|column| column.kind != Kind::Shown).collect();
        let mut keys: Vec<String> = Vec::new();
        for _ in 0..self.random.below(most + 1).max(usize::from(most == 1)) {
            if known.is_empty() {
                break;
            }
            let key = self.random.pick(&known).text.clone();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// What a select list shows: columns and expressions.
    fn items(&mut self, scope: &[Column], depth: usize) -> Vec<(String, Kind)> {
        (0..1 + self.random.below(4))
            .map(|_| {
                if !scope.is_empty() && self.random.one_in(2) {
                    let column = self.random.pick(scope);
                    if column.kind != Kind::Shown {
                        return (column.text.clone(), column.kind);
                    }
                }
                let kind = *self.random.pick(&Kind::USED);
                (self.scalar(kind, scope, depth.min(1) + 1), kind)
            })
            .collect()
    }

    fn passed(&mut self, scope: &[Column]) -> (String, Vec<Column>) {
        self.named(scope.iter().map(|column| (column.text.clone(), column.kind)).collect())
    }

    fn named(&mut self, items: Vec<(String, Kind)>) -> (String, Vec<Column>) {
        let mut list = Vec::new();
        let mut columns = Vec::new();
        for (text, kind) in items {
            let name = self.name("c");
            list.push(format!("{text} as {name}"));
            columns.push(Column { text: name, kind });
        }
        (list.join(", "), columns)
    }

    fn from(&mut self, depth: usize) -> From {
        let (text, scope, wide) = self.relation(depth);
        let mut from = From { text, scope, wide };
        for _ in 0..*self.random.pick(&[0, 0, 1, 1, 2]) {
            if from.wide {
                break;
            }
            self.join(&mut from, depth);
        }
        from
    }

    fn relation(&mut self, depth: usize) -> (String, Vec<Column>, bool) {
        let alias = self.name("t");
        if depth > 0 && self.random.one_in(4) {
            let inner = self.any_query(depth - 1);
            let scope = qualified(&alias, &inner.columns);
            return (format!("({}) as {alias}", inner.text), scope, inner.wide);
        }
        // The last ones more often, so that views are read by views.
        let last = self.relations.len() - 1;
        let at = if self.random.one_in(3) { last } else { self.random.below(last + 1) };
        let relation = &self.relations[at];
        let scope = qualified(&alias, &relation.columns);
        (format!("{} as {alias}", relation.text), scope, relation.wide)
    }

    fn join(&mut self, from: &mut From, depth: usize) {
        if self.random.one_in(8) {
            return self.series(from);
        }
        let (text, scope, wide) = self.relation(depth.min(1));
        if wide {
            return;
        }
        let is_subquery = text.starts_with('(');
        if is_subquery && self.random.one_in(2) {
            return self.lateral(from);
        }
        let kind = *self.random.pick(&["join", "left join", "right join", "full join", "join"]);
        let condition = self.join_condition(&from.scope, &scope, kind);
        from.text = match condition {
            Some(condition) => format!("{} {kind} {text} on {condition}", from.text),
            None => format!("{} cross join {text}", from.text),
        };
        from.wide = from.text.matches(" join ").count() > 1
            || !from.text.contains(" = ")
            || from.text.contains("cross join");
        from.scope.extend(scope);
    }

    fn join_condition(&mut self, left: &[Column], right: &[Column], kind: &str) -> Option<String> {
        let pairs: Vec<(&Column, &Column)> = left
            .iter()
            .flat_map(|a| right.iter().map(move |b| (a, b)))
            .filter(|(a, b)| a.kind == b.kind && a.kind != Kind::Shown && a.kind != Kind::Bool)
            .collect();
        if pairs.is_empty() {
            return None;
        }
        let (a, b) = *self.random.pick(&pairs);
        // PostgreSQL joins fully by equality only.
        if kind == "full join" {
            return Some(format!("{} = {}", a.text, b.text));
        }
        if self.random.one_in(8)
            && let Some(band) = self.band(a, b)
        {
            return Some(band);
        }
        let comparison = match self.random.below(8) {
            // In parentheses: sqlparser reads all that follows as its right side.
            0 => return Some(format!("({} is not distinct from {})", a.text, b.text)),
            1 => "<",
            2 => ">=",
            3 if a.kind == Kind::Small => {
                // A band.
                return Some(format!("{0} between {1} - 1 and {1} + 1", a.text, b.text));
            }
            _ => "=",
        };
        let mut condition = format!("{} {comparison} {}", a.text, b.text);
        if self.random.one_in(3) {
            let (a, b) = *self.random.pick(&pairs);
            let comparison = self.comparison();
            condition.push_str(&format!(" and ({} {comparison} {})", a.text, b.text));
        }
        if self.random.one_in(4) {
            let all: Vec<Column> = left.iter().chain(right).cloned().collect();
            condition.push_str(&format!(" and {}", self.condition(&all, 0)));
        }
        Some(condition)
    }

    /// One value between bounds that follow from the other.
    fn band(&mut self, a: &Column, b: &Column) -> Option<String> {
        let (below, above) = match a.kind {
            Kind::Small | Kind::Int | Kind::Decimal | Kind::Float => ("2", "1"),
            Kind::Local | Kind::Zoned => ("interval '8 hours'", "interval '1 day'"),
            Kind::Text | Kind::Bool | Kind::Date | Kind::Shown => return None,
        };
        let (a, b) = (&a.text, &b.text);
        Some(match self.random.below(3) {
            0 => format!("({a} > {b} - {below} and {a} < {b})"),
            1 => format!("{b} + {above} >= {a}"),
            _ => format!("({a} between {b} - {below} and {b} + {above})"),
        })
    }

    /// Rows that are counted out for each row.
    fn series(&mut self, from: &mut From) {
        let alias = self.name("g");
        let known = from.scope.iter().find(|column| column.kind == Kind::Small);
        let rows = match known {
            _ if self.random.one_in(3) => "unnest(array[1, 2, null, 2])".to_owned(),
            Some(column) if self.random.one_in(3) => {
                format!("unnest(array[{0}, null, 7, {0}])", column.text)
            }
            // Values of tables are small, those of sums are not.
            Some(column) => format!("generate_series(1, least({}, 3))", column.text),
            None => "generate_series(1, 3)".to_owned(),
        };
        from.text = format!("{} cross join {rows} as {alias}(n)", from.text);
        from.scope.push(Column { text: format!("{alias}.n"), kind: Kind::Shown });
        from.wide = true;
    }

    fn lateral(&mut self, from: &mut From) {
        let (text, scope, wide) = self.relation(0);
        if wide {
            return;
        }
        let Some(condition) = self.join_condition(&from.scope, &scope, "full join") else { return };
        let alias = self.name("l");
        let (list, columns) = self.passed(&scope);
        let order = self.order(&scope);
        let join = *self.random.pick(&["cross join lateral", "left join lateral"]);
        let on = if join.starts_with("left") { " on true" } else { "" };
        let limit = 1 + self.random.below(2);
        from.text = format!(
            "{} {join} (select {list} from {text} where {condition} order by {order} limit {limit}) \
             as {alias}{on}",
            from.text
        );
        from.scope.extend(qualified(&alias, &columns));
        from.wide = true;
    }

    fn filter(&mut self, scope: &[Column], depth: usize) -> String {
        match self.random.below(3) {
            0 => String::new(),
            _ => format!(" where {}", self.condition(scope, depth)),
        }
    }

    fn comparison(&mut self) -> &'static str {
        self.random.pick::<&str>(&["=", "<>", "<", "<=", ">", ">=", "is distinct from"])
    }

    fn condition(&mut self, scope: &[Column], depth: usize) -> String {
        if depth > 0 && self.random.one_in(3) {
            return self.subquery_condition(scope);
        }
        let kind = *self.random.pick(&Kind::USED);
        let value = self.scalar(kind, scope, 0);
        match self.random.below(9) {
            0 => format!("{value} is null"),
            1 => format!("{value} is not null"),
            2 if kind != Kind::Bool => {
                let (first, last) = (self.literal(kind), self.literal(kind));
                format!("{value} between {first} and {last}")
            }
            3 => format!("{value} in ({}, {})", self.literal(kind), self.literal(kind)),
            4 => {
                let text = self.scalar(Kind::Text, scope, 0);
                let pattern = *self.random.pick(&["%a%", "a_", "z%", "%"]);
                format!("{text} like '{pattern}'")
            }
            5 => {
                let (a, b) = (self.condition(scope, 0), self.condition(scope, 0));
                format!("({a} or {b})")
            }
            6 => format!("not ({})", self.condition(scope, 0)),
            7 if depth > 0 => {
                let (a, b) = (self.condition(scope, depth), self.condition(scope, 0));
                format!("{a} and {b}")
            }
            _ => {
                let comparison = self.comparison();
                format!("({value} {comparison} {})", self.scalar(kind, scope, 0))
            }
        }
    }

    /// A relation for a subquery, and a condition that ties it to the query around it.
    fn tied(&mut self, outer: &[Column]) -> (String, Vec<Column>) {
        let (text, scope, _) = self.relation(0);
        let mut conditions = Vec::new();
        if !self.random.one_in(4) {
            conditions.extend(self.join_condition(outer, &scope, "full join"));
        }
        if self.random.one_in(4) {
            conditions.extend(self.join_condition(outer, &scope, "join"));
        }
        if self.random.one_in(4) {
            conditions.push(self.condition(&scope, 0));
        }
        if conditions.is_empty() {
            return (text, scope);
        }
        (format!("{text} where {}", conditions.join(" and ")), scope)
    }

    fn subquery_condition(&mut self, outer: &[Column]) -> String {
        let (from, inner) = self.tied(outer);
        let not = if self.random.one_in(2) { "not " } else { "" };
        let kind = *self.random.pick(&Kind::USED);
        let (value, element) = (self.scalar(kind, outer, 0), self.scalar(kind, &inner, 0));
        match self.random.below(6) {
            0 | 1 => format!("{not}exists (select 1 from {from})"),
            2 | 3 => format!("{value} {not}in (select {element} from {from})"),
            4 if kind != Kind::Bool => {
                let comparison = *self.random.pick(&["<", "<=", ">", ">="]);
                let which = *self.random.pick(&["any", "all"]);
                format!("{value} {comparison} {which} (select {element} from {from})")
            }
            _ => {
                let subquery = self.scalar_subquery(Kind::Int, outer);
                let value = self.scalar(Kind::Int, outer, 0);
                format!("({value} {} {subquery})", self.comparison())
            }
        }
    }

    fn scalar_subquery(&mut self, kind: Kind, outer: &[Column]) -> String {
        let (from, inner) = self.tied(outer);
        let value = self.scalar(kind, &inner, 0);
        let call = *self.random.pick(&["max", "min", "count"]);
        format!("(select {call}({value}) from {from})")
    }

    /// An expression of that kind.
    fn scalar(&mut self, kind: Kind, scope: &[Column], depth: usize) -> String {
        if depth > 0 && self.random.one_in(2) {
            return self.compound(kind, scope, depth - 1);
        }
        let known: Vec<&Column> = scope.iter().filter(|column| column.kind == kind).collect();
        if known.is_empty() || self.random.one_in(8) {
            return self.literal(kind);
        }
        self.random.pick(&known).text.clone()
    }

    fn compound(&mut self, kind: Kind, scope: &[Column], depth: usize) -> String {
        let (a, b) = (self.scalar(kind, scope, depth), self.scalar(kind, scope, depth));
        match self.random.below(8) {
            0 => return format!("coalesce({a}, {b})"),
            1 => {
                let condition = self.condition(scope, 0);
                return format!("case when {condition} then {a} else {b} end");
            }
            2 => return format!("nullif({a}, {b})"),
            3 if kind != Kind::Bool => {
                let call = *self.random.pick(&["greatest", "least"]);
                return format!("{call}({a}, {b})");
            }
            _ => {}
        }
        match kind {
            Kind::Small | Kind::Decimal | Kind::Float => {
                let sign = *self.random.pick(&["+", "-"]);
                let sum = format!("({a} {sign} {b})");
                if kind == Kind::Decimal { format!("cast({sum} as numeric(20, 2))") } else { sum }
            }
            Kind::Int => match self.random.below(4) {
                0 => format!("cast({} as bigint)", self.scalar(Kind::Small, scope, depth)),
                1 => format!("cast(length({}) as bigint)", self.scalar(Kind::Text, scope, depth)),
                2 => {
                    let date = self.scalar(Kind::Date, scope, 0);
                    format!("cast(extract(day from {date}) as bigint)")
                }
                _ => format!("({a} + {b})"),
            },
            Kind::Text => match self.random.below(4) {
                0 => format!("upper({a})"),
                1 => format!("substring({a}, 1, 2)"),
                2 => format!("replace({a}, 'a', 'o')"),
                _ => format!("({a} || {b})"),
            },
            Kind::Bool => format!("({})", self.condition(scope, 0)),
            Kind::Date => format!("cast({} as date)", self.scalar(Kind::Local, scope, 0)),
            Kind::Local => match self.random.below(3) {
                0 => format!("date_trunc('day', {a})"),
                1 => format!("cast({} as timestamp)", self.scalar(Kind::Date, scope, 0)),
                _ => format!("({a} + interval '90 minutes')"),
            },
            Kind::Zoned => format!("({a} - interval '1 day')"),
            Kind::Shown => a,
        }
    }

    fn literal(&mut self, kind: Kind) -> String {
        let name = kind.name();
        if self.random.one_in(12) {
            return format!("cast(null as {name})");
        }
        let number = i64::try_from(self.random.below(7)).unwrap() - 1;
        match kind {
            Kind::Small => number.to_string(),
            Kind::Int => format!("cast({number} as bigint)"),
            Kind::Float | Kind::Shown => format!("cast({number}.25 as {name})"),
            Kind::Decimal => format!("cast({number}.01 as {name})"),
            Kind::Text => format!("'{}'", *self.random.pick(&["", "a", "ab", "b", "zebra"])),
            Kind::Bool => (*self.random.pick(&["true", "false"])).to_owned(),
            Kind::Date => format!("date '2024-02-{}'", 27 + number.clamp(0, 2)),
            Kind::Local => format!("timestamp '2024-02-{} 07:00:00'", 23 + number),
            Kind::Zoned => format!("timestamptz '2024-02-{} 14:00:00+00'", 23 + number),
        }
    }
}

/// A query that was written.
#[derive(Clone, Debug)]
pub(crate) struct Written(Relation);

impl Written {
    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }
}

/// Puts a further `with` name before those that a query has.
fn outer_without(outer: &Relation, name: &str, inner: &str) -> Relation {
    let rest = outer.text.trim_start_matches("with ");
    Relation { text: format!("with {name} as ({inner}), {rest}"), ..outer.clone() }
}

fn names_of(columns: &[Column]) -> String {
    columns.iter().map(|column| column.text.as_str()).collect::<Vec<_>>().join(", ")
}

fn qualified(alias: &str, columns: &[Column]) -> Vec<Column> {
    let qualify =
        |column: &Column| Column { text: format!("{alias}.{}", column.text), kind: column.kind };
    columns.iter().map(qualify).collect()
}
