//! The internal-consistency test of streaming systems: money moves between accounts, and no output ever shows a total
//! that is not zero.
//!
//! A transfer is a debit and a credit in one transaction, and some are taken back later; accounts move between regions. Every view sums
//! the same money another way. A view's difference must have the sum zero in every step: then so has the view.
//! `EVERT_TRANSFERS=10000000` asks for that many.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use change::{ChangeBatch, ChangeForm, TableChanges, TableSchema};
use dataflow::{Dataflow, DataflowOptions};
use plan::Catalog;

use crate::world::{Random, table};

const ACCOUNTS: usize = 500;

/// Reads two numbers of a transfer.
type TwoOf = dyn Fn(&(i64, i64, i64)) -> [i64; 2];

/// The first column of each is money, and comes to zero over all rows.
const SCRIPT: &str = "
    create view balances as
        select sum(e_amount) as money, e_account from entries group by e_account;
    create view total as select sum(e_amount) as money from entries;
    create view total_of_balances as select sum(money) as money from balances;
    create view joined as
        select sum(e_amount) as money from entries join accounts on e_account = a_id;
    create view regions as
        select sum(e_amount) as money, a_region
        from entries join accounts on e_account = a_id group by a_region;
    create view total_of_regions as select sum(money) as money from regions;
    create view outer_joined as
        select sum(coalesce(money, 0)) as money, a_region
        from accounts left join balances on a_id = e_account group by a_region;
    create view both_sides as
        select sum(amount) as money, account
        from (select t_to as account, t_amount as amount from transfers
              union all select t_from, -t_amount from transfers) as sides
        group by account;
    create view total_of_both_sides as select sum(money) as money from both_sides;
    create view matched as
        select sum(e_amount) as money from entries
        where e_account in (select a_id from accounts);
    create view differing as
        select b.money - s.money as money, b.e_account
        from balances b join both_sides s on b.e_account = s.account;
    create view last_running as
        select money from (
            select e_account, sum(money) over (order by e_account) as money from balances
        ) as running order by e_account desc limit 1;
    create view entries_of_each as select 0 as money, count(*) as entries from entries;
";

/// The tables' schemas, and what they hold as far as the test must know it.
struct Bank {
    accounts: Arc<TableSchema>,
    entries: Arc<TableSchema>,
    transfers: Arc<TableSchema>,
    balances: Vec<i64>,
    /// Some transfers that can still be taken back.
    recent: Vec<(i64, i64, i64)>,
    count: i64,
}

impl Bank {
    fn new() -> Self {
        let int = DataType::Int64;
        let text = DataType::Utf8;
        let exact = ChangeForm::Exact;
        let accounts = [("a_id", int.clone()), ("a_region", text)];
        let entries = [("e_account", int.clone()), ("e_amount", int.clone())];
        let transfers = [("t_from", int.clone()), ("t_to", int.clone()), ("t_amount", int)];
        Self {
            accounts: table("accounts", ChangeForm::Upsert, &accounts),
            entries: table("entries", exact, &entries),
            transfers: table("transfers", exact, &transfers),
            balances: vec![0; ACCOUNTS],
            recent: Vec::new(),
            count: 0,
        }
    }

    fn tables(&self) -> Vec<Arc<TableSchema>> {
        [&self.accounts, &self.entries, &self.transfers].map(Arc::clone).into()
    }

    /// Accounts get a region, all of them or some.
    fn settle(&self, random: &mut Random, ids: &[usize]) -> Vec<TableChanges> {
        let regions = ["north", "south", "east", "west"];
        let text: StringArray = ids.iter().map(|_| Some(*random.pick(&regions))).collect();
        let ids: Int64Array = ids.iter().map(|id| i64::try_from(*id).unwrap()).collect();
        let rows = vec![Arc::new(ids) as ArrayRef, Arc::new(text)];
        vec![changes(&self.accounts, rows, None)]
    }

    /// A whole number of transfers; about one in ten takes an earlier one back.
    fn transfer(&mut self, random: &mut Random, count: usize) -> Vec<TableChanges> {
        let (mut list, mut signs) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for _ in 0..count {
            if !self.recent.is_empty() && random.one_in(10) {
                let at = random.below(self.recent.len());
                list.push(self.recent.swap_remove(at));
                signs.push(-1);
                continue;
            }
            let id = |random: &mut Random| i64::try_from(random.below(ACCOUNTS)).unwrap();
            let transfer = (id(random), id(random), i64::try_from(random.below(1000)).unwrap());
            if self.recent.len() < 1000 {
                self.recent.push(transfer);
            }
            list.push(transfer);
            signs.push(1);
        }
        for ((from, to, amount), sign) in list.iter().zip(&signs) {
            self.balances[usize::try_from(*from).unwrap()] -= amount * sign;
            self.balances[usize::try_from(*to).unwrap()] += amount * sign;
            self.count += 2 * sign;
        }
        let column = |of: &dyn Fn(&(i64, i64, i64)) -> i64| -> ArrayRef {
            Arc::new(list.iter().map(of).collect::<Int64Array>())
        };
        let whole = vec![column(&|t| t.0), column(&|t| t.1), column(&|t| t.2)];
        let two =
            |of: &TwoOf| -> ArrayRef { Arc::new(list.iter().flat_map(of).collect::<Int64Array>()) };
        let entries = vec![two(&|t| [t.0, t.1]), two(&|t| [-t.2, t.2])];
        let twice = signs.iter().flat_map(|sign| [*sign, *sign]).collect();
        vec![
            changes(&self.entries, entries, Some(twice)),
            changes(&self.transfers, whole, Some(signs)),
        ]
    }
}

fn changes(
    table: &Arc<TableSchema>,
    columns: Vec<ArrayRef>,
    diffs: Option<Vec<i64>>,
) -> TableChanges {
    let rows = RecordBatch::try_new(Arc::clone(table.columns()), columns).unwrap();
    let end = u32::try_from(rows.num_rows()).unwrap();
    let batch = match diffs {
        Some(diffs) => ChangeBatch::new(rows, diffs.into()),
        None => ChangeBatch::inserts(rows),
    };
    TableChanges::new(Arc::clone(table), batch, vec![end], vec![])
}

/// The money in a difference.
fn money(difference: &ChangeBatch) -> i128 {
    let column = cast(difference.rows().column(0), &DataType::Int64).unwrap();
    let column = column.as_primitive::<Int64Type>();
    let diffs = difference.diffs().iter();
    let terms = column.iter().zip(diffs).map(|(v, d)| i128::from(v.unwrap_or(0)) * i128::from(*d));
    terms.sum()
}

fn run(transfers: usize, workers: usize, step_max: usize) {
    let mut random = Random::new(u64::try_from(workers).unwrap() ^ 0xba_4c);
    let mut bank = Bank::new();
    let catalog = Catalog { tables: bank.tables(), ..Catalog::default() };
    let program = plan::plan(&plan::parse(SCRIPT).unwrap(), &catalog).unwrap();
    let options = DataflowOptions { workers, ..DataflowOptions::default() };
    let mut dataflow = Dataflow::with_options(&program.views, &options).unwrap();
    let every: Vec<usize> = (0..ACCOUNTS).collect();
    dataflow.push(&bank.settle(&mut random, &every)).unwrap();
    let at = |name: &str| program.views.iter().position(|view| view.name == name).unwrap();
    let (balances, entries) = (at("balances"), at("entries_of_each"));
    let mut held = std::collections::BTreeMap::<i64, i64>::new();
    let (mut done, mut shown, mut counted) = (0, vec![0_usize; program.views.len()], 0);
    while done < transfers {
        for _ in 0..1 + random.below(3) {
            let count = 1 + random.below(step_max);
            dataflow.push(&bank.transfer(&mut random, count)).unwrap();
            done += count;
        }
        let some: Vec<usize> = (0..random.below(4)).map(|_| random.below(ACCOUNTS)).collect();
        dataflow.push(&bank.settle(&mut random, &some)).unwrap();
        for (view, difference) in dataflow.finish_step().unwrap() {
            let name = &program.views[view].name;
            assert_eq!(money(&difference), 0, "{name} after {done} transfers, {workers} workers");
            shown[view] += 1;
            let rows = difference.rows();
            let second = |row| rows.column(1).as_primitive::<Int64Type>().value(row);
            if view == balances {
                let column = rows.column(0).as_primitive::<Int64Type>();
                for (row, diff) in difference.diffs().iter().enumerate() {
                    *held.entry(second(row)).or_default() += column.value(row) * diff;
                }
            } else if view == entries {
                counted +=
                    difference.diffs().iter().enumerate().map(|(r, d)| second(r) * d).sum::<i64>();
            }
        }
    }
    assert!(dataflow.take_faults().is_empty());
    assert!(shown.iter().all(|&shown| shown > 0), "every view was shown: {shown:?}");
    assert_eq!(counted, bank.count);
    for (id, balance) in bank.balances.iter().enumerate() {
        let id = i64::try_from(id).unwrap();
        assert_eq!(held.get(&id).copied().unwrap_or(0), *balance, "account {id}");
    }
}

#[test]
fn the_total_of_transfers_is_zero_in_every_output() {
    let asked = std::env::var("EVERT_TRANSFERS").ok().map(|text| text.parse().expect("a number"));
    let transfers: usize = asked.unwrap_or(100_000);
    for workers in 1..=3 {
        run(transfers / 3 + 1, workers, (transfers / 100).clamp(10, 20_000));
    }
}

#[test]
fn the_total_of_transfers_is_zero_after_each_one() {
    run(300, 1, 1);
    run(100, 2, 2);
}
