//! Other readers of the messages that go out through Microsoft Graph, which reads their header by
//! its own lights.

use std::path::Path;
use std::process::Command;

use super::process::run;

#[test]
#[ignore = "needs Python: run tests/run"]
fn python_finds_the_same_recipients() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let script = tests.join("real/corpus.py");
    run(Command::new("python3").arg("-B").arg(script).arg(tests.join("corpus"))).expect_success("tests/corpus");
}
