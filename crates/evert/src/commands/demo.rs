//! `evert demo`: a shop that lives, and three views of it, on embedded defaults.

use crate::cli::DemoArgs;
use crate::failure::Failure;
use crate::intent::prepare;
use crate::knowledge::WORKERS_DEFAULT;
use crate::output;
use crate::pipeline::{self, RunOptions};
use crate::signals::Interrupts;

/// Runs the shop until interrupted.
pub(crate) async fn demo(arguments: DemoArgs) -> Result<(), Failure> {
    let script = script(arguments.rate, arguments.seed);
    let root = arguments.dir.data.clone().unwrap_or_else(|| ".evert/demo".into());
    let prepared = prepare(&root, &script).await?;
    output::print(welcome(&arguments, &root.display().to_string()).as_bytes())?;
    let (once, http, workers) = (false, Some(arguments.http), WORKERS_DEFAULT);
    let history = plan::History::Forever;
    let options = RunOptions { once, http, workers, history, scrub_megabytes: 0 };
    pipeline::run(prepared, options, Interrupts::new()?).await
}

/// The demo's statements: also an example of a script.
fn script(rate: u32, seed: u64) -> String {
    format!("create source shop from 'demo' (rate = '{rate}', seed = '{seed}');\n{VIEWS}")
}

const VIEWS: &str = "\
-- A join with an aggregate: it changes when an order, an item or a customer does.
create view revenue_by_region as
  from orders
  |> join customers on orders.customer_id = customers.id
  |> join order_items on order_items.order_id = orders.id
  |> where orders.status <> 'void'
  |> aggregate sum(order_items.quantity * order_items.price) as revenue,
               count(distinct orders.id) as orders
     group by customers.region
  |> order by revenue desc;

-- A top-10.
create view bestsellers as
  select p.id, p.name, sum(i.quantity) as sold
  from order_items i join products p on i.product_id = p.id
  group by p.id, p.name
  order by sold desc, p.id
  limit 10;

-- A filtered view for searching.
create view catalogue as
  from products
  |> where price < 500
  |> select id, name, category, description, price
  |> order by name;

create sink catalogue_search from catalogue into 'search';
";

fn welcome(arguments: &DemoArgs, root: &str) -> String {
    let DemoArgs { http, rate, .. } = arguments;
    format!(
        "\
Evert is running a small shop: {rate} transactions a second, in {root}.

  Look   http://{http}
         three views that stay right while the shop lives, and a search box

  Ask    evert query --data {root} 'select * from revenue_by_region order by revenue desc'
         evert query --data {root} -o csv 'select name, sold from bestsellers'
         evert search --data {root} catalogue 'teapot'

  Follow curl -N http://{http}/v1/views/bestsellers/changes
         evert log tail --data {root} --follow
         evert status --data {root}

  Next   evert run 'postgres://user@host/db | from orders | where total > 100 | stdout'

Stop it with Ctrl-C. Start it again, and it goes on where it stopped.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_read() {
        let script = plan::parse(&script(20, 42)).unwrap();
        assert_eq!(script.sources().len(), 1);
        assert_eq!(script.sinks().len(), 1);
    }
}
