//! Replays the seeds of the fuzz targets: every rule that the fuzzers check is checked here for the
//! known inputs.

use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use it")]
mod fuzz;

use fuzz::recipe;

#[test]
fn every_seed_passes() {
    for (name, body) in fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let seed = std::fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| body(&seed));
            assert!(outcome.is_ok(), "{}", path.display());
            seeds += 1;
        }
        assert!(seeds >= 12, "{name} has only {seeds} seeds");
    }
}

/// A body that checks nothing would pass every seed: this one must fail.
#[test]
fn the_bodies_can_fail() {
    let trace = |output: &[u8]| std::panic::catch_unwind(|| recipe::Trace::default().sent(Some(output.to_vec())));
    assert!(trace(b"* OK\r\n").is_ok());
    assert!(trace(b"* OK\r\n\x07\r\n").is_err());
    assert!(trace(b"* OK\n").is_err());
}
