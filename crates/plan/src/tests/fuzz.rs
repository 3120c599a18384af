//! Whatever the text, there is an answer: never a panic, and every problem has its place inside of the text.

use super::shop;
use crate::{Problems, parse_in, plan};

/// A small generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }
}

const SEEDS: [&str; 5] = [
    "postgres://a@b/shop | from orders o join customers c on o.customer_id = c.id | where o.total > 1.5 | aggregate sum(total) as s, count(*) group by c.region | search(columns = 'a')",
    "create source s from 'x.csv' (a = 'b'); create view v as select o.id, c.name from orders o left join customers c using (id) where status in ('a', e'b\\n', $$c$$) order by 1 desc nulls last limit 3 offset 1; create sink k from v into 'stdout'",
    "create view v as with t as (select distinct region r from customers) select t.*, case when r is null then 1 else 2 end x from t union all select name, length(name)::bigint from customers",
    "create view v as from items |> extend quantity * weight as w |> set w = w + 1 |> drop line |> rename w as weight2 |> as i |> distinct |> order by weight2 |> limit 4",
    "create view v as select date_trunc('month', placed_at), sum(total) filter (where status like 'a%'), avg(distinct total) from shop.orders group by 1 having count(*) > 2",
];

const PIECES: [&str; 24] = [
    "'",
    "\"",
    "$$",
    "|",
    "|>",
    "(",
    ")",
    ";",
    "--",
    "/*",
    ",",
    ".",
    "*",
    " from ",
    " select ",
    " where ",
    " group by ",
    " as ",
    "\u{00E9}",
    "\u{0}",
    "orders",
    "1e9",
    "::int",
    "null",
];

fn answer(text: &str) {
    let catalog = shop();
    let result = parse_in(text, &catalog).and_then(|script| plan(&script, &catalog));
    if let Err(Problems { problems, .. }) = result {
        assert!(!problems.is_empty());
        for problem in problems {
            assert!(problem.span.start <= problem.span.end, "{text:?}: {problem:?}");
            assert!(problem.span.end <= text.len(), "{text:?}: {problem:?}");
            assert!(text.is_char_boundary(problem.span.start), "{text:?}: {problem:?}");
            assert!(!problem.message.contains('\n'), "{text:?}: {problem:?}");
        }
    }
}

#[test]
fn mutated_texts_are_answered() {
    let mut numbers = Numbers(7);
    for round in 0..1500 {
        let mut text: Vec<char> = SEEDS[round % SEEDS.len()].chars().collect();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(text.len() + 1);
            let piece: Vec<char> = PIECES[numbers.below(PIECES.len())].chars().collect();
            let end = (at + numbers.below(6)).min(text.len());
            match numbers.below(3) {
                0 => drop(text.splice(at..at, piece)),
                1 => drop(text.splice(at..end, piece)),
                _ => drop(text.drain(at..end)),
            }
        }
        answer(&text.into_iter().collect::<String>());
    }
}

#[test]
fn random_texts_are_answered() {
    let mut numbers = Numbers(11);
    for _ in 0..3000 {
        let pieces = numbers.below(12);
        let text: String = (0..pieces).map(|_| PIECES[numbers.below(PIECES.len())]).collect();
        answer(&text);
        answer(&format!("create view v as {text}"));
    }
}

#[test]
fn deep_and_long_texts_are_answered() {
    answer(&format!(
        "create view v as select {}1{} from orders",
        "(".repeat(3000),
        ")".repeat(3000)
    ));
    answer(&format!("create view v as select {}1 as x from orders", "- ".repeat(3000)));
    answer(&format!("create view v as select id{} as x from orders", " + id".repeat(190)));
    answer(&format!("create view v as select id{} as x from orders", " + id".repeat(5000)));
    answer(&format!("create view v as select id from orders where {} true", "not ".repeat(1000)));
    answer(&format!("from orders {}", "| where id > 1 ".repeat(150)));
    answer(&"create view v as from orders;".repeat(200));
    answer(&"(".repeat(100_000));
}
