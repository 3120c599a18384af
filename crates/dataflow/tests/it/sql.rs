//! SQL text through the planner: every view of a script equals its batch after every step.

use std::sync::Arc;

use arrow::compute::concat_batches;
use change::ChangeBatch;
use dataflow::Dataflow;
use plan::{Batch, Catalog};

use crate::property::{Held, comparable, nullable, seeds, show};
use crate::world::{Random, World};

const SCRIPT: &str = "
    create view regions as
        select o_region, count(*) as items, sum(i_cost) as cost, avg(i_cost) as mean,
               min(i_name) as first, count(distinct i_size) as sizes
        from items join owners on i_owner = o_id group by o_region;
    create view rich as select o_region, cost from regions where items > 1 and cost > 0;
    create view top as
        select i_id, upper(i_name) as name, i_cost * 2 as double
        from items order by i_cost desc nulls last limit 4;
    create view padded as
        select i_id, i_note, o_region, f_value
        from items left join owners on i_owner = o_id and o_rank > i_size
        left join facts on f_item = i_id;
    create view kinds as
        select distinct i_size, case when i_price > cast(0.25 as double) then 'dear' else 'cheap' end as kind
        from items where i_name like '%a%' or i_note is null;
    create view totals as
        select sum(f_total) as total, avg(f_value) as mean, max(f_word) as last,
               count(*) filter (where f_flag) as flagged
        from facts;
    create view busy as
        select f_word, count(*) as facts, sum(f_value) as value
        from facts group by f_word having count(*) > 2;
    create view both as select f_word as word from facts union all select i_name from items;
    create view every_fact as select count(*) as facts from facts;
";

fn run(seed: u64) {
    let mut random = Random::new(seed ^ 0x5917);
    let mut world = World::new();
    let tables = world.tables.iter().map(|model| Arc::clone(&model.table)).collect();
    let catalog = Catalog { tables, ..Catalog::default() };
    let script = plan::parse(SCRIPT).unwrap();
    let mut batch = Batch::new(&script, &catalog).unwrap();
    let views = batch.program().views.clone();
    let mut dataflow = Dataflow::new(&views).unwrap();
    let mut held: Vec<Held> = views.iter().map(|view| Held::new(nullable(&view.schema))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for step in 0..4 {
        for _ in 0..random.below(4) {
            dataflow.push(&world.part(&mut random)).unwrap();
        }
        for (view, difference) in dataflow.finish_step().unwrap() {
            held[view].add(&difference);
        }
        let rows =
            world.tables.iter().map(|model| (model.table.name().clone(), vec![model.batch()]));
        let rows = runtime.block_on(batch.run(rows.collect())).unwrap();
        for ((held, view), (_, rows)) in held.iter().zip(&views).zip(rows) {
            let schema = held.rows.schema();
            let rows = concat_batches(&view.schema, &rows).unwrap();
            let should = comparable(&ChangeBatch::inserts(rows), &schema);
            let is = comparable(&held.rows, &schema);
            let (found, wanted) = (show(&is), show(&should));
            assert!(is == should, "seed {seed}, step {step}, {}\n{found}\n{wanted}", view.name);
        }
    }
}

#[test]
fn every_view_of_a_script_equals_its_batch_after_every_step() {
    for seed in seeds(6) {
        run(seed);
    }
}
