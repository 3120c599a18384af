//! Window functions of random queries.

use super::*;

impl Grammar<'_> {
    pub(super) fn windows(&mut self, depth: usize) -> Relation {
        let from = self.from(depth);
        let filter = self.filter(&from.scope, depth);
        let mut items = self.items(&from.scope, 0);
        for _ in 0..1 + self.random.below(2) {
            let over = self.over(&from.scope);
            items.push(self.window_call(&from.scope, &over));
        }
        let (list, columns) = self.named(items);
        let text = format!("select {list} from {}{filter}", from.text);
        Relation { text, columns, wide: from.wide }
    }

    pub(super) fn window_call(&mut self, scope: &[Column], over: &str) -> (String, Kind) {
        // A window over a constant is refused.
        let known: Vec<&Column> =
            scope.iter().filter(|column| column.kind != Kind::Shown).collect();
        if known.is_empty() {
            return (format!("row_number() over ({over})"), Kind::Int);
        }
        let Column { text: value, kind } = (*self.random.pick(&known)).clone();
        let frame = self.frame();
        match self.random.below(10) {
            9 => {
                // DataFusion has no texts over frames whose beginning moves.
                let last =
                    *self.random.pick(&["current row", "1 following", "unbounded following"]);
                let unit = *self.random.pick(&["rows", "groups"]);
                let frame = format!("{unit} between unbounded preceding and {last}");
                let text = self.scalar(Kind::Text, scope, 1);
                (format!("string_agg({text}, '+') over ({over} {frame})"), Kind::Shown)
            }
            0 => (format!("row_number() over ({over})"), Kind::Int),
            1 => {
                let call = *self.random.pick(&["rank", "dense_rank"]);
                (format!("{call}() over ({over})"), Kind::Int)
            }
            2 => {
                let call = *self.random.pick(&["percent_rank", "cume_dist"]);
                (format!("{call}() over ({over})"), Kind::Shown)
            }
            3 => {
                let call = *self.random.pick(&["lag", "lead"]);
                let offset = 1 + self.random.below(2);
                (format!("{call}({value}, {offset}) over ({over})"), kind)
            }
            4 => {
                let call = *self.random.pick(&["first_value", "last_value"]);
                (format!("{call}({value}) over ({over} {frame})"), kind)
            }
            5 => (format!("nth_value({value}, 2) over ({over} {frame})"), kind),
            6 => (format!("count({value}) over ({over} {frame})"), Kind::Int),
            7 if kind == Kind::Small => (format!("sum({value}) over ({over} {frame})"), Kind::Int),
            _ if kind == Kind::Bool => (format!("count(*) over ({over})"), Kind::Int),
            _ => {
                let call = *self.random.pick(&["min", "max"]);
                (format!("{call}({value}) over ({over} {frame})"), kind)
            }
        }
    }

    pub(super) fn frame(&mut self) -> String {
        let unit = *self.random.pick(&["rows", "groups", "rows"]);
        let first = *self.random.pick(&["unbounded preceding", "2 preceding", "current row"]);
        let last = *self.random.pick(&["current row", "1 following", "unbounded following"]);
        match self.random.below(4) {
            0 => String::new(),
            1 => format!(
                "range between unbounded preceding and {}",
                *self.random.pick(&["current row", "unbounded following"])
            ),
            _ => format!("{unit} between {first} and {last}"),
        }
    }

    /// A partition and an order.
    pub(super) fn over(&mut self, scope: &[Column]) -> String {
        let partition = self.keys(scope, 2).join(", ");
        let order = self.order(scope);
        if partition.is_empty() {
            format!("order by {order}")
        } else {
            format!("partition by {partition} order by {order}")
        }
    }
}
