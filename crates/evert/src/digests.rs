//! What views hold at a Time, as a hash each: what a backup notes, and a restored log is compared with.

use std::sync::Arc;

use backup::{ViewDigest, ViewDigests};
use change::Time;
use log::Log;
use serve::api::Digests;
use view::{Snapshot, ViewInfo, Views};

use crate::catalogue::Catalogue;
use crate::engine::{Engine, Maintenance};
use crate::failure::Failure;
use crate::knowledge::knowledge;

/// Computes the views as they are at a Time, from the log alone.
pub(crate) fn computed(log: &Log, time: Time) -> Result<ViewDigests, Failure> {
    let catalogue = Catalogue::at(log, time)?;
    let program = catalogue.program(catalogue.tables()?)?;
    let views = Views::new(program.views.iter().map(ViewInfo::from).collect());
    let (plans, forgotten) = (&program.views, catalogue.forgotten());
    let options = knowledge(plans, &program.sources, forgotten);
    let maintenance = Maintenance { plans, options, forgotten };
    let reader = log.reader(Time::ZERO);
    Engine::new(reader, &maintenance, Arc::clone(&views), Vec::new())?.run_up_to(time)?;
    of(&views.snapshot(), time)
}

fn of(snapshot: &Snapshot, time: Time) -> Result<ViewDigests, Failure> {
    let digest = |info: &Arc<ViewInfo>| {
        Ok(ViewDigest {
            name: info.name.clone(),
            rows: snapshot.row_count(&info.name)?,
            lacking_rows: snapshot.lacking_rows(&info.name)?,
            digest: snapshot.digest(&info.name)?,
        })
    };
    let views = snapshot.views().map(digest).collect::<Result<Vec<_>, Failure>>();
    Ok(sorted(ViewDigests { time: time.0, views: views? }))
}

/// What a running process says of the views that the catalogue has at that Time. Others belong to one run alone.
pub(crate) fn told(digests: Digests, log: &Log) -> Result<ViewDigests, Failure> {
    let time = digests.time;
    let catalogue = Catalogue::at(log, time)?;
    let kept = catalogue.of(change::catalog::Kind::View);
    let is_kept = |name: &str| kept.iter().any(|(kept, _)| *kept == name);
    let views = digests.views.into_iter().filter(|view| is_kept(&view.name));
    let views = views.map(|view| ViewDigest {
        name: view.name,
        rows: view.row_count,
        lacking_rows: view.lacking_rows,
        digest: view.digest,
    });
    Ok(sorted(ViewDigests { time: time.0, views: views.collect() }))
}

fn sorted(mut digests: ViewDigests) -> ViewDigests {
    digests.views.sort_by(|one, other| one.name.cmp(&other.name));
    digests
}

/// What is not as it was, one sentence for each view.
pub(crate) fn differences(was: &ViewDigests, is: &ViewDigests) -> Vec<String> {
    let find =
        |all: &ViewDigests, name: &str| all.views.iter().find(|view| view.name == name).cloned();
    let changed = was.views.iter().filter_map(|before| {
        let name = &before.name;
        match find(is, name) {
            None => Some(format!("view {name} is not there")),
            Some(now) if now == *before => None,
            Some(now) if (now.rows, now.lacking_rows) == (before.rows, before.lacking_rows) => {
                Some(format!("view {name} has {} rows as before, but not the same", now.rows))
            }
            Some(now) => Some(format!(
                "view {name} has {} rows and lacks {}; it had {} and lacked {}",
                now.rows, now.lacking_rows, before.rows, before.lacking_rows
            )),
        }
    });
    let new = is.views.iter().filter(|view| find(was, &view.name).is_none());
    changed.chain(new.map(|view| format!("view {} was not there", view.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(views: &[(&str, u64, &str)]) -> ViewDigests {
        let view = |&(name, rows, digest): &(&str, u64, &str)| ViewDigest {
            name: name.to_owned(),
            rows,
            lacking_rows: 0,
            digest: digest.to_owned(),
        };
        ViewDigests { time: 1, views: views.iter().map(view).collect() }
    }

    #[test]
    fn every_difference_is_said() {
        let was = digests(&[("a", 1, "x"), ("b", 2, "y"), ("c", 3, "z")]);
        assert_eq!(differences(&was, &was), Vec::<String>::new());
        let is = digests(&[("a", 1, "w"), ("b", 3, "y"), ("d", 0, "")]);
        let told = differences(&was, &is);
        assert_eq!(
            told,
            [
                "view a has 1 rows as before, but not the same",
                "view b has 3 rows and lacks 0; it had 2 and lacked 0",
                "view c is not there",
                "view d was not there",
            ]
        );
    }
}
