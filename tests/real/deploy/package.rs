//! The Debian package, and what the program is built from.

use std::path::Path;

use crate::common::directory::Directory;
use crate::deploy::support::{repository, succeed, text, tool};

/// Builds it around the program that is tested.
fn package(directory: &Directory) -> String {
    let file = directory.path().join("gatepost.deb").to_str().unwrap().to_owned();
    let built = Path::new(env!("CARGO_BIN_EXE_gatepost")).parent().unwrap().file_name().unwrap().to_str().unwrap();
    let profile = if built == "debug" { "dev" } else { built };
    succeed(tool("cargo-deb"), &["deb", "--no-build", "--fast", "--profile", profile, "--output", &file]);
    file
}

#[test]
#[ignore = "needs cargo-deb, dpkg and lintian"]
fn the_package_brings_units_and_user_starts_nothing_and_pleases_lintian() {
    let directory = Directory::new();
    let file = package(&directory);
    let content = succeed("dpkg-deb", &["--contents", &file]);
    for path in [
        "etc/logrotate.d/gatepost",
        "usr/bin/gatepost",
        "usr/lib/systemd/system/gatepost.service",
        "usr/lib/systemd/system/gatepost-imaps.socket",
        "usr/lib/systemd/system/gatepost-submission.socket",
        "usr/lib/sysusers.d/gatepost.sysusers.conf",
        "usr/share/doc/gatepost/operations.md",
        "usr/share/doc/gatepost/proxy.example.yaml",
        "usr/share/man/man1/gatepost.1.gz",
    ] {
        assert!(content.lines().any(|line| line.ends_with(&format!("./{path}"))), "{path}\n{content}");
    }
    let control = directory.path().join("control").to_str().unwrap().to_owned();
    succeed("dpkg-deb", &["--control", &file, &control]);
    let scripts = std::fs::read_to_string(format!("{control}/postinst")).unwrap();
    assert!(
        scripts.contains("systemd-sysusers ") && scripts.contains("deb-systemd-invoke try-restart gatepost.service")
    );
    assert!(!scripts.contains("deb-systemd-invoke start") && !scripts.contains("invoke $_dh_action"), "{scripts}");
    assert!(!repository("deploy/debian/postinst").exists(), "nothing of our own runs as root");
    // Where its makers are reached is known to whoever publishes it.
    let unknown = "--suppress-tags=bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs";
    assert_eq!(succeed("lintian", &["--allow-root", "--fail-on=error,warning", unknown, &file]), "");
}

#[test]
#[ignore = "needs logrotate"]
fn logrotate_takes_the_rule_for_the_audit_log() {
    let directory = Directory::new();
    let log = directory.write("audit.jsonl", "{}\n");
    let rule = text("deploy/logrotate/gatepost");
    let (owner, place) = ("    su gatepost gatepost\n", "/var/log/gatepost/*.jsonl");
    assert!(rule.contains(owner) && rule.contains(place));
    let rule = directory.write("rule", rule.replace(owner, "").replace(place, log.to_str().unwrap()));
    let state = directory.path().join("state");
    let said = succeed("logrotate", &["--force", "--state", state.to_str().unwrap(), rule.to_str().unwrap()]);
    assert_eq!(said, "");
    assert!(!log.exists() && directory.path().join("audit.jsonl.1").exists());
}

/// Their interfaces and their care for secrets are not settled yet.
#[test]
fn no_dependency_is_a_pre_release() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let lock = text(lock);
        let versions = lock.split("[[package]]").filter_map(|package| {
            let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)?.strip_suffix('"'));
            Some((value("name = \"")?, value("version = \"")?))
        });
        // What follows a plus names a build.
        let (released, early): (Vec<_>, Vec<_>) =
            versions.partition(|(_, version)| !version.split('+').next().is_some_and(|version| version.contains('-')));
        assert!(early.is_empty() && released.len() > 100, "{early:?}");
    }
}
