//! Runs one case of a program. Only what happens in [`region`] is counted: `run` tells Valgrind its
//! name.

use std::env;
use std::process::ExitCode;

/// Passes before the count begins, because they fill caches and buffers.
const WARM_UP: usize = 3;

/// Passes that are counted together, so that what only some of them cost is spread.
const PASSES: usize = 8;

/// A case: its name, and what does all passes.
pub(crate) type Case = (&'static str, fn());

/// Runs the case that the first argument names, or lists the cases.
pub(crate) fn run(cases: &[Case]) -> ExitCode {
    let name = env::args().nth(1).unwrap_or_default();
    match cases.iter().find(|(case, _)| *case == name) {
        Some((_, run)) => run(),
        // `cargo bench` adds arguments of its own.
        None => cases.iter().for_each(|(case, _)| println!("{case}")),
    }
    ExitCode::SUCCESS
}

#[inline(never)]
fn region(work: &mut dyn FnMut()) {
    work();
}

/// Runs `pass` until it is warm, and then counts it. `prepare` makes what one pass uses up.
pub(crate) fn passes<S, T>(state: &mut S, mut prepare: impl FnMut(&mut S) -> T, mut pass: impl FnMut(&mut S, T)) {
    for turn in 0..WARM_UP + PASSES {
        let mut prepared = Some(prepare(state));
        let mut work = || {
            if let Some(prepared) = prepared.take() {
                pass(state, prepared);
            }
        };
        if turn < WARM_UP { work() } else { region(&mut work) }
    }
}
