//! A deep stack for what recurses: the parser, the planner and the optimiser walk trees as deep as the text is nested.

use std::thread;

/// The size of the stack. Pages that are not touched cost nothing.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` on a stack of its own and waits for it.
pub(crate) fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("plan".to_owned()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work).expect("the system starts one more thread");
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
