//! `evert plan`: what a pipe or script means, without running it.

use std::sync::Arc;

use ::plan::ir::ViewPlan;
use change::catalog::Kind;
use log::{Log, RealDisk};

use crate::catalogue::Catalogue;
use crate::cli::PlanArgs;
use crate::commands::script_text;
use crate::directory;
use crate::explained::{drawn, explained};
use crate::failure::Failure;
use crate::intent;
use crate::output;

/// Prints the equivalent script, then how each view is maintained.
pub(crate) async fn plan(arguments: PlanArgs) -> Result<(), Failure> {
    let text = script_text(&arguments.script)?;
    let root = arguments.dir.path();
    let log_dir = directory::log_dir(&root);
    let catalogue = if log_dir.is_dir() {
        // Also beside a running process: nothing is written, and what is being written does not matter.
        Catalogue::read(&Log::open_read_only(&log_dir, Arc::new(RealDisk))?.0)?
    } else {
        Catalogue::default()
    };
    let planned = intent::plan_only(&text, &catalogue).await;
    let planned = planned.map_err(|failure| failure.in_script(&arguments.script))?;
    let mut script = planned.script.to_string();
    if let Ok(here) = std::env::current_dir() {
        // The catalogue keeps whole paths; people wrote them from here.
        script = script.replace(&format!("'{}/", here.display()), "'");
    }
    let mut shown = script;
    // Views that exist already are planned along, but were not asked about.
    let exists = |name: &str| catalogue.get(Kind::View, name).is_some();
    let asked = |view: &&ViewPlan| !exists(&view.name) || shown.contains(&view.statement);
    let views = &planned.program.views;
    let asked: Vec<usize> = (0..views.len()).filter(|&at| asked(&&views[at])).collect();
    for at in asked {
        let (_, rows) = explained(views, at)?;
        let tree = drawn(&output::objects(&[rows]));
        shown.push_str(&format!("\n-- how {} is maintained\n{tree}", views[at].name));
    }
    output::print(shown.as_bytes())
}
