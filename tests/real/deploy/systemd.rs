//! The systemd units.

use std::path::PathBuf;

use crate::common::directory::Directory;
use crate::deploy::support::{repository, succeed, text};

/// The units with a program that exists, since Gatepost is installed nowhere here.
fn units(directory: &Directory) -> Vec<PathBuf> {
    std::fs::read_dir(repository("deploy/systemd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".service") || name.ends_with(".socket"))
        .map(|name| {
            let unit = text(&format!("deploy/systemd/{name}"));
            assert!(!name.ends_with(".service") || unit.contains("\nExecStart=gatepost run "));
            directory.write(&name, unit.replace("=gatepost ", "=/bin/true "))
        })
        .collect()
}

#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_finds_nothing_wrong_with_the_units() {
    let directory = Directory::new();
    let units = units(&directory);
    assert_eq!(units.len(), 4);
    let mut arguments = vec!["verify".into()];
    arguments.extend(units.into_iter().map(PathBuf::into_os_string));
    assert_eq!(succeed("systemd-analyze", &arguments), "", "it has something to say");
}

#[test]
#[ignore = "needs systemd-analyze"]
fn the_service_is_exposed_to_at_most_two_of_ten() {
    let directory = Directory::new();
    for unit in units(&directory) {
        if unit.extension().is_some_and(|kind| kind == "service") {
            // The threshold is in tenths.
            succeed("systemd-analyze", &["security", "--offline=true", "--threshold=20", unit.to_str().unwrap()]);
        }
    }
}

#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_finds_nothing_wrong_with_the_examples_for_sendmail() {
    let directory = Directory::new();
    let service = text("deploy/systemd/gatepost.service").replace("=gatepost ", "=/bin/true ");
    directory.write("gatepost.service", service);
    for name in ["mail-failure@.service", "report.service", "report.timer"] {
        directory.write(name, text(&format!("deploy/sendmail/{name}")));
    }
    directory.write("gatepost.service.d/sendmail.conf", text("deploy/systemd/sendmail.conf"));
    // Named without a path, the units see each other and the drop-in.
    let path = format!("SYSTEMD_UNIT_PATH={}:", directory.path().display());
    let units = ["gatepost.service", "report.service", "report.timer", "mail-failure@report.service.service"];
    let arguments = [&[&*path, "systemd-analyze", "verify"][..], &units].concat();
    assert_eq!(succeed("env", &arguments), "", "it has something to say");
    assert!(text("deploy/systemd/sendmail.conf").contains("[Service]\nPrivateUsers=no\n"));
    for name in ["gatepost.service", "gatepost@.service"] {
        assert!(settings(name).contains(&"RuntimeDirectoryMode=0711".to_owned()), "{name}");
    }
}

#[test]
#[ignore = "needs systemd-sysusers"]
fn the_user_of_the_service_is_one_that_systemd_can_make() {
    let root = Directory::new();
    let file = repository("deploy/systemd/gatepost.sysusers.conf");
    let root = format!("--root={}", root.path().display());
    let said = succeed("systemd-sysusers", &["--dry-run", &root, file.to_str().unwrap()]);
    assert!(said.contains("Creating user 'gatepost'"), "{said}");
}

/// What counts in a unit: its lines without comments, those of `[Unit]` and `[Install]` included.
fn settings(name: &str) -> Vec<String> {
    let unit = text(&format!("deploy/systemd/{name}"));
    unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_template_differs_from_the_service_in_its_take_over_alone() {
    let service = settings("gatepost.service").join("\n");
    let expected = service
        .replace("user name and a password\n", "user name and a password (%i)\n")
        .replace("ExecStart=gatepost run ", "ExecStart=gatepost run --take-over ");
    assert_ne!(service, expected);
    assert_eq!(settings("gatepost@.service").join("\n"), expected);
}

#[test]
fn a_stop_tells_the_service_that_it_is_no_restart() {
    // The command of the unit, with a systemd that knows of one job.
    let stop = settings("gatepost.service").into_iter().find_map(|line| {
        let script = line.strip_prefix("ExecStop=-+/bin/sh -c '")?.strip_suffix('\'')?;
        Some(script.replace("%n", "gatepost.service").replace("$$", "$"))
    });
    let directory = Directory::new();
    for (job, told) in [("stop", true), ("restart", false), ("try-restart", false), ("reload", false)] {
        let line = format!("1234 gatepost.service {job} running");
        let systemctl = directory.write("systemctl", format!("#!/bin/sh\necho '{line}'\n"));
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&systemctl, permissions).unwrap();
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        // A program that is ended by the signal, unless it is told nothing and ends by itself.
        let script = format!(
            "sleep 600 & MAINPID=$!; export MAINPID; sh -c '{}'; kill -s TERM $MAINPID; wait $MAINPID; echo $?",
            stop.as_deref().unwrap()
        );
        let ended = std::process::Command::new("sh").args(["-c", &script]).env("PATH", path).output().unwrap();
        let code: i32 = String::from_utf8(ended.stdout).unwrap().trim().parse().unwrap();
        let signal = if told { rustix::process::Signal::USR1 } else { rustix::process::Signal::TERM };
        assert_eq!(code, 128 + signal.as_raw(), "{job}");
    }
}

/// `name` of each `[Socket]` with the port that it opens.
fn sockets() -> Vec<(String, String)> {
    ["imaps", "submission"]
        .map(|name| {
            let unit = text(&format!("deploy/systemd/gatepost-{name}.socket"));
            let key = |key: &str| {
                let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                line.unwrap_or_else(|| panic!("{name}: no {key}")).to_owned()
            };
            assert_eq!(key("Service"), "gatepost.service");
            (key("FileDescriptorName"), key("ListenStream"))
        })
        .to_vec()
}

#[test]
fn each_socket_is_named_after_a_listener_of_the_sample() {
    let sample = crate::deploy::support::yaml(&text("deploy/systemd/proxy.sample.yaml"));
    let ports = [("imaps", "imap", "993"), ("submission", "smtp", "587")];
    for ((name, port), (listener, protocol, expected)) in sockets().into_iter().zip(ports) {
        assert_eq!((name.as_str(), port.as_str()), (listener, expected));
        assert_eq!(sample["listeners"][&name]["protocol"], protocol);
    }
}
