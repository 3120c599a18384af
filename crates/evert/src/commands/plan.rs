//! `evert plan`: what a pipe or script means, without running it.

use crate::cli::PlanArgs;
use crate::commands::script_text;
use crate::directory;
use crate::failure::Failure;
use crate::intent;
use crate::output;

/// Prints the equivalent script, then how each view is maintained.
pub(crate) async fn plan(arguments: PlanArgs) -> Result<(), Failure> {
    let text = script_text(&arguments.script)?;
    let root = arguments.dir.path();
    let planned = if directory::log_dir(&root).is_dir() {
        let opened = intent::Opened::new(&root)?;
        intent::plan_only(&text, &opened.catalogue).await?
    } else {
        intent::plan_only(&text, &crate::catalogue::Catalogue::default()).await?
    };
    let mut shown = format!("{}\n", planned.script);
    for view in &planned.program.views {
        shown.push_str(&format!("\n-- how {} is maintained\n{}", view.name, plan::explain(view)));
    }
    output::print(shown.as_bytes())
}
