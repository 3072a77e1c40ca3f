//! Commands whose output nobody reads to its end, as in `gatepost check | head -4`.

use std::process::{Command, Output, Stdio};

use super::{Directory, RIGHT, code, stderr};

/// A stream whose reader has gone.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn gatepost(directory: &Directory, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(arguments).current_dir(directory.0.path()).env_clear().stdin(Stdio::null());
    command.stdout(stdout).stderr(stderr).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_gone_changes_nothing_of_what_a_command_does() {
    let directory = Directory::new();
    directory.write("proxy.yaml", &format!("{RIGHT}state: {{directory: state}}\n"));
    directory.write("wrong.yaml", "listeners: 5\n");
    for (arguments, expected) in [
        (&["check"][..], 0),
        (&["check", "--json"], 0),
        (&["check", "--json", "-c", "wrong.yaml"], 3),
        (&["password", "list"], 0),
        (&["password", "hash", "--generate"], 0),
        (&["state", "rotate-key"], 0),
        (&["account", "unlock", "a@contoso.com"], 0),
        (&["cert"], 0),
        (&["--help"], 0),
    ] {
        let output = gatepost(&directory, arguments, gone(), Stdio::piped());
        assert_eq!((code(&output), stderr(&output)), (expected, ""), "{arguments:?}");
    }
    for (arguments, expected) in [
        (&["check", "-c", "wrong.yaml"][..], 3),
        (&["run", "-c", "wrong.yaml"], 3),
        (&["password", "revoke", "absent"], 1),
        (&["account", "unlock", "a"], 1),
        (&["cert"], 1),
        (&["reload"], 1),
        (&["login", "a@contoso.com"], 1),
        (&["logout", "a@contoso.com"], 1),
        #[cfg(unix)]
        (&["status"], 1),
    ] {
        let output = gatepost(&directory, arguments, Stdio::piped(), gone());
        assert_eq!(code(&output), expected, "{arguments:?}");
    }
}
