
/// Says which mutant is meant to be alive; `tests/mutants/all` adds this to its copy of each crate.
#[doc(hidden)]
pub mod mutant_switch {
    use std::io::Write as _;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{LazyLock, Mutex};

    static ALIVE: LazyLock<u32> =
        LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(u32::MAX));
    static REACHED: LazyLock<Option<Mutex<std::fs::File>>> = LazyLock::new(|| {
        let path = std::env::var("MUTANTS_REACHED").ok()?;
        Some(Mutex::new(std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap()))
    });
    static NOTED: [AtomicBool; 65_536] = [const { AtomicBool::new(false) }; 65_536];

    /// Whether this mutant is alive. Notes that the test has reached it.
    pub fn is(number: u32) -> bool {
        if let Some(reached) = &*REACHED
            && !NOTED[number as usize].swap(true, Ordering::Relaxed)
        {
            let _ = reached.lock().unwrap().write_all(format!("{number}\n").as_bytes());
        }
        *ALIVE == number
    }
}
