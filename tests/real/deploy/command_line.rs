//! The manual pages and the completions of the command line, which are generated from its definition.

use std::path::PathBuf;

use crate::deploy::support::{repository, run, said, succeed};

/// The generated manual pages.
pub(super) fn manual_pages() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository("docs/man")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
#[ignore = "needs mandoc and groff"]
fn the_manual_pages_please_those_who_show_them() {
    let pages = manual_pages();
    assert!(pages.len() > 15, "{pages:?}");
    for page in &pages {
        let page = page.to_str().unwrap();
        assert_eq!(said(&run("mandoc", &["-T", "lint", "-W", "warning", page])), "", "{page}");
        assert_eq!(succeed("groff", &["-Kutf8", "-man", "-Tutf8", "-ww", "-z", page]), "", "{page}");
    }
}

#[test]
#[ignore = "needs bash, zsh and fish"]
fn the_completions_are_scripts_of_their_shells_and_complete_commands() {
    let path = |name: &str| repository("deploy/completions").join(name).to_str().unwrap().to_owned();
    let (bash, zsh, fish) = (path("gatepost.bash"), path("_gatepost"), path("gatepost.fish"));
    assert_eq!(succeed("bash", &["-n", &bash]), "");
    assert_eq!(succeed("zsh", &["--no-exec", &zsh]), "");
    assert_eq!(succeed("fish", &["--no-execute", &fish]), "");
    let ask = "source \"$0\"; COMP_WORDS=(gatepost pass); COMP_CWORD=1; _gatepost gatepost pass gatepost; echo \"${COMPREPLY[@]}\"";
    assert_eq!(succeed("bash", &["--norc", "-c", ask, &bash]), "password\n");
    let ask = "source $argv[1]; complete --do-complete 'gatepost password rev'";
    assert_eq!(
        succeed("fish", &["--no-config", "-c", ask, &fish]),
        "revoke\tRevoke a device password and end its sessions\n"
    );
}
