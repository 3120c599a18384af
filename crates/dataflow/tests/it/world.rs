//! Random tables: what a source would send, and what the tables then hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use change::{ChangeBatch, ChangeForm, TRUNCATE, TableChanges, TableName, TableSchema, Unchanged};

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A value of a column.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Float(f64),
    Decimal(i128),
    Text(String),
    Bool(bool),
}

/// Builds a column of cells.
pub(crate) fn column(data_type: &DataType, cells: &[Cell]) -> ArrayRef {
    let int = |cell: &Cell| if let Cell::Int(v) = cell { Some(*v) } else { None };
    let float = |cell: &Cell| if let Cell::Float(v) = cell { Some(*v) } else { None };
    let decimal = |cell: &Cell| if let Cell::Decimal(v) = cell { Some(*v) } else { None };
    let text = |cell: &Cell| if let Cell::Text(v) = cell { Some(v.clone()) } else { None };
    let boolean = |cell: &Cell| if let Cell::Bool(v) = cell { Some(*v) } else { None };
    match data_type {
        DataType::Int64 => Arc::new(cells.iter().map(int).collect::<Int64Array>()),
        DataType::Int32 => {
            let narrow = |cell| int(cell).map(|v| i32::try_from(v).unwrap());
            Arc::new(cells.iter().map(narrow).collect::<Int32Array>())
        }
        DataType::Float64 => Arc::new(cells.iter().map(float).collect::<Float64Array>()),
        DataType::Utf8 => Arc::new(cells.iter().map(text).collect::<StringArray>()),
        DataType::Boolean => Arc::new(cells.iter().map(boolean).collect::<BooleanArray>()),
        DataType::Date32 => {
            let days = |cell| int(cell).map(|v| i32::try_from(v).unwrap());
            Arc::new(cells.iter().map(days).collect::<Date32Array>())
        }
        DataType::Timestamp(_, zone) => {
            let column = cells.iter().map(int).collect::<TimestampMicrosecondArray>();
            Arc::new(column.with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(..) => {
            let column = cells.iter().map(decimal).collect::<Decimal128Array>();
            Arc::new(column.with_data_type(data_type.clone()))
        }
        other => panic!("no column of {other}"),
    }
}

/// Builds a batch of rows of cells.
pub(crate) fn rows(table: &TableSchema, rows: &[Vec<Cell>]) -> RecordBatch {
    let fields = table.columns().fields().iter().enumerate();
    let columns = fields.map(|(at, field)| {
        let cells: Vec<Cell> = rows.iter().map(|row| row[at].clone()).collect();
        column(field.data_type(), &cells)
    });
    RecordBatch::try_new(Arc::clone(table.columns()), columns.collect()).unwrap()
}

/// Changes of one transaction.
pub(crate) fn changes(
    table: &Arc<TableSchema>,
    list: &[(Vec<Cell>, i64)],
    unchanged: Vec<Unchanged>,
) -> TableChanges {
    let cells: Vec<Vec<Cell>> = list.iter().map(|(row, _)| row.clone()).collect();
    let diffs: Vec<i64> = list.iter().map(|(_, diff)| *diff).collect();
    let batch = ChangeBatch::new(rows(table, &cells), diffs.into());
    let end = u32::try_from(list.len()).unwrap();
    TableChanges::new(Arc::clone(table), batch, vec![end], unchanged)
}

/// Describes a table `t.name` whose first column is the key when its changes are upserts.
pub(crate) fn table(
    name: &str,
    form: ChangeForm,
    columns: &[(&str, DataType)],
) -> Arc<TableSchema> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    let key = if form == ChangeForm::Upsert { vec![0] } else { vec![] };
    let name = TableName::new("t", name);
    Arc::new(TableSchema::new(name, Arc::new(Schema::new(fields)), key, form))
}

/// A table, and the rows that it holds after all that was sent.
pub(crate) struct World {
    pub(crate) tables: Vec<Model>,
}

pub(crate) struct Model {
    pub(crate) table: Arc<TableSchema>,
    /// By key for upserts, by a serial number for exact changes.
    rows: BTreeMap<i64, Vec<Cell>>,
    serial: i64,
    /// How many keys there are.
    keys: usize,
    /// Whether there are floats that are no plain numbers: NaN, −0.0 and infinity.
    odd_floats: bool,
}

/// The changes of a table's part.
struct Sent {
    list: Vec<(Vec<Cell>, i64)>,
    unchanged: Vec<Unchanged>,
}

impl World {
    /// Two tables with keys and one without.
    pub(crate) fn new() -> Self {
        let items = table(
            "items",
            ChangeForm::Upsert,
            &[
                ("i_id", DataType::Int64),
                ("i_owner", DataType::Int64),
                ("i_size", DataType::Int32),
                ("i_price", DataType::Float64),
                ("i_cost", DataType::Decimal128(12, 2)),
                ("i_name", DataType::Utf8),
                ("i_note", DataType::Utf8),
            ],
        );
        let owners = table(
            "owners",
            ChangeForm::Upsert,
            &[("o_id", DataType::Int64), ("o_rank", DataType::Int64), ("o_region", DataType::Utf8)],
        );
        let facts = table(
            "facts",
            ChangeForm::Exact,
            &[
                ("f_item", DataType::Int64),
                ("f_value", DataType::Int64),
                ("f_weight", DataType::Float64),
                ("f_total", DataType::Decimal128(30, 4)),
                ("f_flag", DataType::Boolean),
                ("f_word", DataType::Utf8),
            ],
        );
        let model =
            |table| Model { table, rows: BTreeMap::new(), serial: 0, keys: 24, odd_floats: true };
        Self { tables: [items, owners, facts].map(model).into() }
    }

    /// Two to four small tables of random columns, with keys or without.
    pub(crate) fn any(random: &mut Random, odd_floats: bool) -> Self {
        let zone = Some(Arc::from("UTC"));
        let types = [
            DataType::Int32,
            DataType::Int64,
            DataType::Float64,
            DataType::Decimal128(12, 2),
            DataType::Utf8,
            DataType::Boolean,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(TimeUnit::Microsecond, zone),
        ];
        let model = |at: usize, random: &mut Random| {
            let form = *random.pick(&[ChangeForm::Upsert, ChangeForm::Exact]);
            let prefix = char::from(b"abcd"[at]);
            let more = (0..1 + random.below(5)).map(|_| random.pick(&types).clone());
            let columns: Vec<(String, DataType)> = [DataType::Int64]
                .into_iter()
                .chain(more)
                .enumerate()
                .map(|(column, data_type)| (format!("{prefix}{column}"), data_type))
                .collect();
            let columns: Vec<(&str, DataType)> =
                columns.iter().map(|(name, kind)| (name.as_str(), kind.clone())).collect();
            let table = table(&format!("t{prefix}"), form, &columns);
            Model { table, rows: BTreeMap::new(), serial: 0, keys: 10, odd_floats }
        };
        let count = 2 + random.below(3);
        Self { tables: (0..count).map(|at| model(at, random)).collect() }
    }

    /// Sends a random small part of a transaction.
    pub(crate) fn small_part(&mut self, random: &mut Random) -> Vec<TableChanges> {
        let mut parts = Vec::new();
        for model in &mut self.tables {
            if random.one_in(4) {
                continue;
            }
            let count = 1 + random.below(4);
            parts.push(model.part(random, count));
        }
        parts
    }

    /// Sends a random part of a transaction, and returns it by table.
    pub(crate) fn part(&mut self, random: &mut Random) -> Vec<TableChanges> {
        let mut parts = Vec::new();
        for model in &mut self.tables {
            if random.one_in(4) {
                continue;
            }
            let limit = if random.one_in(5) { 40 } else { 6 };
            let count = 1 + random.below(limit);
            parts.push(model.part(random, count));
        }
        parts
    }
}

impl Model {
    /// The rows that the table holds.
    pub(crate) fn batch(&self) -> RecordBatch {
        rows(&self.table, &self.rows.values().cloned().collect::<Vec<_>>())
    }

    /// The rows that the table holds, as cells.
    pub(crate) fn cells(&self) -> Vec<Vec<Cell>> {
        self.rows.values().cloned().collect()
    }

    pub(crate) fn part(&mut self, random: &mut Random, count: usize) -> TableChanges {
        let mut sent = Sent { list: Vec::new(), unchanged: Vec::new() };
        for _ in 0..count {
            if random.one_in(60) {
                self.rows.clear();
                sent.list.push((self.nulls(), TRUNCATE));
            } else if self.table.form() == ChangeForm::Exact {
                self.change_exactly(random, &mut sent.list);
            } else {
                self.upsert(random, &mut sent);
            }
        }
        changes(&self.table, &sent.list, sent.unchanged)
    }

    fn nulls(&self) -> Vec<Cell> {
        vec![Cell::Null; self.table.columns().fields().len()]
    }

    fn row(&self, random: &mut Random) -> Vec<Cell> {
        let fields = self.table.columns().fields();
        fields.iter().map(|field| cell(random, field.data_type(), self.odd_floats)).collect()
    }

    fn change_exactly(&mut self, random: &mut Random, list: &mut Vec<(Vec<Cell>, i64)>) {
        let known: Vec<i64> = self.rows.keys().copied().collect();
        if !known.is_empty() && random.below(5) < 2 {
            let row = self.rows.remove(random.pick(&known)).unwrap();
            list.push((row, -1));
        }
        let row = self.row(random);
        for _ in 0..1 + random.below(2) {
            self.serial += 1;
            self.rows.insert(self.serial, row.clone());
            list.push((row.clone(), 1));
        }
    }

    fn upsert(&mut self, random: &mut Random, sent: &mut Sent) {
        let key = i64::try_from(random.below(self.keys)).unwrap();
        let mut gone = self.nulls();
        gone[0] = Cell::Int(key);
        match random.below(10) {
            // A delete, also of a row that is not there.
            0 | 1 => {
                self.rows.remove(&key);
                sent.list.push((gone, -1));
            }
            // An update of the key that leaves values out.
            2 => {
                let Some(old) = self.rows.remove(&key) else { return };
                sent.list.push((gone, -1));
                let to = i64::try_from(random.below(self.keys)).unwrap();
                let base = self.rows.get(&to).cloned().unwrap_or(old);
                self.set(random, to, Some(&base), sent);
            }
            // An update that leaves values out.
            3..=5 => {
                let old = self.rows.get(&key).cloned();
                self.set(random, key, old.as_ref(), sent);
            }
            // An equal row.
            6 => {
                let Some(old) = self.rows.get(&key) else { return };
                sent.list.push((old.clone(), 1));
            }
            _ => self.set(random, key, None, sent),
        }
    }

    fn set(&mut self, random: &mut Random, key: i64, old: Option<&Vec<Cell>>, sent: &mut Sent) {
        let mut row = self.row(random);
        row[0] = Cell::Int(key);
        let mut shown = row.clone();
        for column in 1..row.len() {
            if let Some(old) = old.filter(|_| random.one_in(3)) {
                row[column] = old[column].clone();
                shown[column] = Cell::Null;
                sent.unchanged.push(Unchanged {
                    row: u32::try_from(sent.list.len()).unwrap(),
                    column: u32::try_from(column).unwrap(),
                });
            }
        }
        self.rows.insert(key, row);
        sent.list.push((shown, 1));
    }
}

/// A value out of few, so that rows meet; sums of floats are exact in any order.
fn cell(random: &mut Random, data_type: &DataType, odd_floats: bool) -> Cell {
    if random.one_in(6) {
        return Cell::Null;
    }
    let small = i64::try_from(random.below(9)).unwrap() - 2;
    match data_type {
        DataType::Int64 | DataType::Int32 => Cell::Int(small),
        DataType::Float64 => {
            Cell::Float(match random.below(12) + if odd_floats { 0 } else { 12 } {
                0 => f64::NAN,
                1 | 2 => -0.0,
                3 => 0.0,
                4 if random.one_in(4) => f64::INFINITY,
                _ => f64::from(i32::try_from(small).unwrap()) * 0.25,
            })
        }
        // Days around the leap day of 2024, and times of those days.
        DataType::Date32 => Cell::Int(19_782 + small),
        DataType::Timestamp(..) => Cell::Int((19_782 * 24 + small * 7) * 3_600_000_000),
        DataType::Decimal128(..) => Cell::Decimal(i128::from(small) * 1_001),
        DataType::Utf8 => Cell::Text((*random.pick(&["", "a", "ab", "b", "ünï", "zebra"])).into()),
        DataType::Boolean => Cell::Bool(random.one_in(2)),
        other => panic!("no cell of {other}"),
    }
}
