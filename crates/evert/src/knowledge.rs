//! What is known of tables besides their columns, from where they come: it saves the engine memory.
//!
//! Only what is certain for the whole log is said. The log may begin with an earlier life of a table, whose source was
//! another, and which ended in a truncation: of such a table nothing is said.

use std::collections::BTreeMap;

use change::catalog::TABLES_SOURCE;
use dataflow::DataflowOptions;
use plan::ir::{SourceSpec, ViewPlan};

use crate::board::kind;
use crate::earlier::Forgotten;

/// How many workers share the work when nobody says. On the two cores that were measured a second one gains little in
/// throughput and costs a step 70 µs (`bench engine`), so it is for who has cores to spare.
pub(crate) const WORKERS_DEFAULT: usize = 1;

/// What the engine may rely on, for views over the tables of these sources; it also measures its operators.
///
/// - A file or standard input is only ever read onwards: without a key its rows come, and never go.
/// - The demo never truncates, nor do statements over Evert's own tables: theirs is logged as deletes.
pub(crate) fn knowledge(
    plans: &[ViewPlan],
    sources: &[SourceSpec],
    forgotten: &[Forgotten],
) -> DataflowOptions {
    let kinds: BTreeMap<&str, &str> =
        sources.iter().map(|source| (source.name.as_str(), kind(&source.url))).collect();
    let clock = Some(crate::stopwatch::nanoseconds as dataflow::Clock);
    let mut options = DataflowOptions { clock, ..DataflowOptions::default() };
    for table in plans.iter().flat_map(|plan| plan.root.tables()) {
        let name = table.name();
        if forgotten.iter().any(|life| life.table.name() == name) {
            continue;
        }
        let kind = match &*name.source {
            TABLES_SOURCE => Some("own"),
            source => kinds.get(source).copied(),
        };
        match kind {
            Some("own" | "demo") => drop(options.never_truncated.insert(name.clone())),
            Some("file" | "stream") => {
                options.never_truncated.insert(name.clone());
                if table.key().is_empty() {
                    options.append_only.insert(name.clone());
                }
            }
            _ => {}
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use change::Time;

    use super::*;

    /// The tables never truncated and append-only, when a view reads all of a script's tables.
    async fn known(script: &str, forgotten: bool) -> (Vec<String>, Vec<String>) {
        let nothing = crate::catalogue::Catalogue::default();
        let program = crate::intent::plan_only(script, &nothing).await.unwrap().program;
        let tables = program.views.iter().flat_map(|view| view.root.tables());
        let lives = tables.map(|table| Forgotten { at: Time(1), table: Arc::clone(table) });
        let lives: Vec<Forgotten> = lives.filter(|_| forgotten).collect();
        let options = knowledge(&program.views, &program.sources, &lives);
        let names = |set: &std::collections::BTreeSet<change::TableName>| {
            set.iter().map(ToString::to_string).collect()
        };
        (names(&options.never_truncated), names(&options.append_only))
    }

    #[tokio::test]
    async fn what_is_known_follows_from_where_a_table_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.csv");
        std::fs::write(&path, "id,n\n1,2\n").unwrap();
        let url = path.display();
        let lines = format!("create source f from '{url}'; create view v as select n from e;");
        let both = vec!["f.e".to_owned()];
        assert_eq!(known(&lines, false).await, (both.clone(), both.clone()));
        let keyed = format!(
            "create source f from '{url}' with (key = 'id'); create view v as select n from e;"
        );
        assert_eq!(known(&keyed, false).await, (both, vec![]), "a row may be set anew");
        assert_eq!(known(&lines, true).await, (vec![], vec![]), "it was emptied once");
        let own = "create table t (id int); create view v as select id from t;";
        assert_eq!(known(own, false).await, (vec!["public.t".to_owned()], vec![]));
    }
}
