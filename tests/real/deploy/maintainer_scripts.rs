//! What the packages' scripts do on a machine: in a sandbox with the files of the package, with the
//! real `deb-systemd-helper`, and with a systemd that only records what it is asked.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use crate::common::directory::Directory;
use crate::deploy::package::Built;
use crate::deploy::support::{run, said, succeed};

/// Answers from `/machine/active`, which has a unit in each line.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "systemctl $*" >>/machine/calls
case "$1" in
    is-active)
        shift 2
        for pattern; do
            while read -r unit; do
                case $unit in $pattern) exit 0 ;; esac
            done </machine/active
        done
        exit 3
        ;;
    list-units) sed -n 's/^gatepost@.*/& loaded active running Gatepost/p' /machine/active ;;
    show) cat /machine/settings ;;
esac
"#;

/// `gatepost check`, with the exit code in `/machine/code`.
const GATEPOST: &str = r#"#!/bin/sh
echo "gatepost $* ($CREDENTIALS_DIRECTORY)" >>/machine/calls
echo "proxy.yaml:1:1: what check says"
exit "$(cat /machine/code)"
"#;

const SETPRIV: &str = r#"#!/bin/sh
echo "setpriv $1 $2 $3" >>/machine/calls
shift 3
exec "$@"
"#;

const SYSUSERS: &str = r#"#!/bin/sh
echo "systemd-sysusers $*" >>/machine/calls
"#;

const CHECK: [&str; 2] = [
    "setpriv --reuid=gatepost --regid=gatepost --init-groups",
    "gatepost check --config /etc/gatepost/proxy.yaml (/run/credentials/gatepost.service)",
];
const USER: &str = "systemd-sysusers gatepost.sysusers.conf";
const RELOAD: &str = "systemctl daemon-reload";
const RESTART: &str = "systemctl --no-block try-restart gatepost.service";
const STOP: &str = "systemctl stop gatepost-*.socket gatepost.service gatepost@*.service";

const UNITS: &str = "usr/lib/systemd/system";

/// What an administrator's `systemctl enable` makes.
const LINKS: [(&str, &str); 3] = [
    ("multi-user.target.wants", "gatepost.service"),
    ("sockets.target.wants", "gatepost-imaps.socket"),
    ("multi-user.target.wants", "gatepost@a.service"),
];

/// A machine with the files of a package, and its scripts in `/scripts`.
struct Machine(Directory);

impl Machine {
    fn debian() -> Self {
        let machine = Self(Directory::new());
        let file = Built::stand_in(&machine.0).debian(&machine.0);
        succeed("dpkg-deb", &["--extract", &file, machine.path("").to_str().unwrap()]);
        succeed("dpkg-deb", &["--control", &file, machine.path("scripts").to_str().unwrap()]);
        machine.equip()
    }

    fn rpm() -> Self {
        let machine = Self(Directory::new());
        let file = Built::stand_in(&machine.0).rpm(&machine.0);
        let unpack =
            format!("cd {} && rpm2cpio {file} | cpio --extract --quiet --make-directories", machine.path("").display());
        succeed("sh", &["-c", &unpack]);
        for (script, tag) in [("post", "POSTIN"), ("preun", "PREUN"), ("postun", "POSTUN")] {
            let format = format!("%{{{tag}}}");
            machine.0.write(&format!("scripts/{script}"), succeed("rpm", &["-qp", "--queryformat", &format, &file]));
        }
        machine.equip()
    }

    /// Makes what the scripts find on a machine, with a configuration and all directories of a
    /// service that has run.
    fn equip(self) -> Self {
        for directory in [
            "dev",
            "proc",
            "usr/sbin",
            "usr/share",
            "run/systemd/system",
            "run/gatepost",
            "var/lib/gatepost",
            "var/log/gatepost",
        ] {
            fs::create_dir_all(self.path(directory)).unwrap();
        }
        for (name, to) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            symlink(to, self.path(name)).unwrap();
        }
        self.0.write("etc/gatepost/proxy.yaml", "");
        self.0.write("machine/code", "0");
        self.0.write("machine/settings", "\n\n");
        for (name, text) in
            [("systemctl", SYSTEMCTL), ("gatepost", GATEPOST), ("setpriv", SETPRIV), ("systemd-sysusers", SYSUSERS)]
        {
            self.program(&format!("fakes/{name}"), text);
        }
        self.active(&[])
    }

    /// A path of the machine.
    fn path(&self, path: &str) -> PathBuf {
        self.0.file(path)
    }

    fn program(&self, path: &str, text: &str) {
        fs::set_permissions(self.0.write(path, text), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// From now on these units are active, and no others.
    fn active(self, units: &[&str]) -> Self {
        self.0.write("machine/active", units.iter().map(|unit| format!("{unit}\n")).collect::<String>());
        self
    }

    /// Runs a script as the package manager does, and returns what it says. It must succeed.
    fn run(&self, script: &str, arguments: &[&str]) -> String {
        let _ = fs::remove_file(self.path("machine/calls"));
        let root = self.path("").to_str().unwrap().to_owned();
        let units = self.path(UNITS).to_str().unwrap().to_owned();
        let options = "--unshare-all --uid 0 --gid 0 --die-with-parent --new-session --clearenv --setenv PATH /fakes:/usr/bin \
             --setenv DPKG_MAINTSCRIPT_PACKAGE gatepost";
        let mut command: Vec<&str> = options.split_whitespace().collect();
        command.extend(["--bind", &root, "/", "--dev", "/dev", "--proc", "/proc"]);
        for part in ["/usr/bin", "/usr/lib", "/usr/share"] {
            command.extend(["--ro-bind", part, part]);
        }
        command.extend(["--ro-bind-try", "/usr/lib64", "/usr/lib64", "--ro-bind", &units, "/usr/lib/systemd/system"]);
        let script = format!("/scripts/{script}");
        command.extend(["/bin/sh", &script]);
        command.extend(arguments);
        let output = run("bwrap", &command);
        assert!(output.status.success(), "{script} {arguments:?}: {}\n{}", output.status, said(&output));
        said(&output)
    }

    /// What the last script did beyond asking.
    fn done(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("machine/calls")).unwrap_or_default();
        let asks = ["systemctl is-active ", "systemctl list-units ", "systemctl show "];
        calls.lines().filter(|call| !asks.iter().any(|ask| call.starts_with(ask))).map(str::to_owned).collect()
    }

    /// Enables units as an administrator does.
    fn enable(&self) {
        for (target, unit) in LINKS {
            fs::create_dir_all(self.path("etc/systemd/system").join(target)).unwrap();
            let file = unit.replace("@a", "@");
            symlink(format!("/usr/lib/systemd/system/{file}"), self.link(target, unit)).unwrap();
        }
    }

    fn link(&self, target: &str, unit: &str) -> PathBuf {
        self.path("etc/systemd/system").join(target).join(unit)
    }

    /// Every file and link below `/etc/systemd`.
    fn enabled(&self) -> Vec<String> {
        let found = succeed(
            "find",
            &[self.path("etc").to_str().unwrap(), "-path", "*/systemd/*", "!", "-type", "d", "-printf", "%f\n"],
        );
        let mut names: Vec<String> = found.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// Both packages with the script that ends an upgrade.
fn upgrades() -> [(Machine, &'static str, &'static [&'static str]); 2] {
    [(Machine::debian(), "postinst", &["configure", "0.0.9-1"]), (Machine::rpm(), "post", &["2"])]
}

#[test]
#[ignore = "needs cargo-deb, cargo-generate-rpm, rpm and bubblewrap"]
fn an_installation_makes_the_user_and_starts_and_enables_nothing() {
    for (machine, script, arguments) in
        [(Machine::debian(), "postinst", &["configure", ""]), (Machine::rpm(), "post", &["1", ""])]
    {
        assert_eq!(machine.run(script, arguments), "");
        assert_eq!(machine.done(), [USER], "{script}");
        assert!(machine.enabled().is_empty());
    }
}

#[test]
#[ignore = "needs cargo-deb, cargo-generate-rpm, rpm and bubblewrap"]
fn an_upgrade_restarts_the_running_service_and_says_what_that_takes() {
    for (machine, script, arguments) in upgrades() {
        let machine = machine.active(&["gatepost.service", "gatepost-imaps.socket"]);
        let said = machine.run(script, arguments);
        assert_eq!(machine.done(), [USER, RELOAD, CHECK[0], CHECK[1], RESTART], "{script}");
        assert!(
            said.contains("`limits.drain` to end (5 minutes by default)") && !said.contains("check says"),
            "{said}"
        );
        // What keeps the check from telling is no reason against a restart.
        machine.0.write("machine/code", "1");
        assert_eq!(machine.run(script, arguments), said);
        assert_eq!(machine.done().last().unwrap(), RESTART, "{script}");
    }
}

#[test]
#[ignore = "needs cargo-deb, cargo-generate-rpm, rpm and bubblewrap"]
fn an_upgrade_leaves_the_old_version_running_if_the_new_one_refuses_the_configuration() {
    for (machine, script, arguments) in upgrades() {
        let machine = machine.active(&["gatepost.service"]);
        machine.0.write("machine/code", "3");
        let said = machine.run(script, arguments);
        assert_eq!(machine.done(), [USER, RELOAD, CHECK[0], CHECK[1]], "{script}");
        assert!(said.contains("is not restarted") && said.contains("proxy.yaml:1:1: what check says\n"), "{said}");
        // A drop-in may be what makes it right.
        machine.0.write("machine/settings", "GATEPOST__MICROSOFT__TENANT=contoso.com\n\n");
        machine.run(script, arguments);
        assert_eq!(machine.done(), [USER, RELOAD, RESTART], "{script}");
    }
}

#[test]
#[ignore = "needs cargo-deb, cargo-generate-rpm, rpm and bubblewrap"]
fn an_upgrade_starts_nothing_that_does_not_run() {
    for (machine, script, arguments) in upgrades() {
        let machine = machine.active(&["gatepost-imaps.socket"]);
        assert_eq!(machine.run(script, arguments), "");
        assert_eq!(machine.done(), [USER, RELOAD], "{script}");
    }
}

#[test]
#[ignore = "needs cargo-deb, cargo-generate-rpm, rpm and bubblewrap"]
fn an_upgrade_names_the_instance_to_start_for_one_that_runs() {
    for (machine, script, arguments) in upgrades() {
        for (runs, next) in [("a", "b"), ("b", "a")] {
            fs::write(machine.path("machine/active"), format!("gatepost@{runs}.service\n")).unwrap();
            let said = machine.run(script, arguments);
            assert_eq!(machine.done(), [USER, RELOAD], "{script}");
            assert!(said.starts_with(&format!("gatepost@{runs} still runs the old version.\n")), "{said}");
            assert!(said.ends_with(&format!(": systemctl start gatepost@{next}\n")), "{said}");
        }
    }
}

#[test]
#[ignore = "needs cargo-deb and bubblewrap"]
fn an_administrator_who_forbids_packages_to_touch_services_is_obeyed() {
    let machine = Machine::debian().active(&["gatepost.service"]);
    machine.program("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n");
    machine.run("postinst", &["configure", "0.0.9-1"]);
    assert_eq!(machine.done(), [USER, RELOAD]);
    machine.run("prerm", &["remove"]);
    assert!(machine.done().is_empty());
}

#[test]
#[ignore = "needs cargo-deb, cargo-generate-rpm, rpm and bubblewrap"]
fn the_old_version_stops_nothing_when_it_makes_way_for_a_new_one() {
    let machine = Machine::debian().active(&["gatepost.service", "gatepost-imaps.socket"]);
    assert_eq!(machine.run("prerm", &["upgrade", "0.2.0-1"]), "");
    assert!(machine.done().is_empty());
    assert_eq!(machine.run("postrm", &["upgrade", "0.2.0-1"]), "");
    assert_eq!(machine.done(), ["systemctl --system daemon-reload"]);
    let machine = Machine::rpm().active(&["gatepost.service", "gatepost-imaps.socket"]);
    for script in ["preun", "postun"] {
        assert_eq!(machine.run(script, &["1"]), "");
        assert!(machine.done().is_empty());
    }
}

#[test]
#[ignore = "needs cargo-deb and bubblewrap"]
fn a_debian_removal_stops_all_and_an_installation_after_it_restores_what_was_enabled() {
    let machine = Machine::debian();
    machine.run("postinst", &["configure", ""]);
    machine.enable();
    let enabled = machine.enabled();
    let machine = machine.active(&["gatepost.service", "gatepost-imaps.socket"]);
    let said = machine.run("prerm", &["remove"]);
    assert_eq!(machine.done()[0], STOP);
    assert!(said.starts_with("Stopping gatepost. Its sessions have `limits.drain` to end"), "{said}");

    let machine = machine.active(&[]);
    fs::rename(machine.path(UNITS), machine.path("units")).unwrap();
    fs::create_dir(machine.path(UNITS)).unwrap();
    let said = machine.run("postrm", &["remove"]);
    assert_eq!(
        said,
        "Kept: /etc/gatepost\nKept: /var/lib/gatepost\nKept: /var/log/gatepost\nKept: the user gatepost\n"
    );
    assert!(!machine.path("run/gatepost").exists());
    // Hidden from systemd: a link to a file that is gone would be an error at each boot.
    for unit in ["gatepost.service", "gatepost-imaps.socket", "gatepost-submission.socket"] {
        let mask = fs::read_link(machine.path("etc/systemd/system").join(unit)).unwrap();
        assert_eq!(mask.to_str(), Some("/dev/null"), "{unit}");
    }

    fs::remove_dir(machine.path(UNITS)).unwrap();
    fs::rename(machine.path("units"), machine.path(UNITS)).unwrap();
    machine.run("postinst", &["configure", "0.0.9-1"]);
    assert_eq!(machine.enabled(), enabled);
}

#[test]
#[ignore = "needs cargo-deb and bubblewrap"]
fn a_debian_purge_leaves_no_link_and_no_log_but_what_cannot_be_had_again() {
    let machine = Machine::debian();
    machine.run("postinst", &["configure", ""]);
    machine.enable();
    assert_eq!(machine.enabled().len(), LINKS.len());
    machine.run("prerm", &["remove"]);
    fs::remove_dir_all(machine.path(UNITS)).unwrap();
    fs::create_dir(machine.path(UNITS)).unwrap();
    machine.run("postrm", &["remove"]);
    let said = machine.run("postrm", &["purge"]);
    assert!(machine.enabled().is_empty(), "{:?}", machine.enabled());
    assert!(!machine.path("var/log/gatepost").exists());
    assert!(machine.path("var/lib/gatepost").exists() && machine.path("etc/gatepost/proxy.yaml").exists());
    assert!(said.starts_with("Kept: /etc/gatepost\nKept: /var/lib/gatepost\nKept: the user gatepost\n"), "{said}");
    assert!(said.ends_with(": rm -r /var/lib/gatepost\n"), "{said}");
}

#[test]
#[ignore = "needs cargo-generate-rpm, rpm and bubblewrap"]
fn an_rpm_erasure_stops_and_disables_all_and_says_what_stays() {
    let machine = Machine::rpm().active(&["gatepost@a.service", "gatepost-imaps.socket"]);
    let said = machine.run("preun", &["0"]);
    let disable = "systemctl --no-reload --quiet disable gatepost-imaps.socket gatepost-submission.socket gatepost.service gatepost@.service";
    assert_eq!(machine.done(), [STOP, disable]);
    assert!(said.starts_with("Stopping gatepost. Its sessions have `limits.drain` to end"), "{said}");
    fs::remove_file(machine.path("usr/libexec/gatepost/package-script")).unwrap();
    let said = machine.run("postun", &["0"]);
    assert_eq!(machine.done(), [RELOAD]);
    assert!(!machine.path("usr/libexec/gatepost").exists());
    assert_eq!(
        said,
        "Kept: /etc/gatepost\nKept: /var/lib/gatepost\nKept: /var/log/gatepost\nKept: the user gatepost\n"
    );
    assert!(!machine.path("run/gatepost").exists());
}

#[test]
#[ignore = "needs systemctl"]
fn disabling_the_template_disables_each_instance() {
    let machine = Machine(Directory::new());
    for (_, unit) in LINKS {
        let file = unit.replace("@a", "@");
        machine.0.write(&format!("{UNITS}/{file}"), crate::deploy::support::text(&format!("deploy/systemd/{file}")));
    }
    machine.enable();
    let root = format!("--root={}", machine.path("").display());
    let disable = ["--quiet", "disable", "gatepost-imaps.socket", "gatepost.service", "gatepost@.service"];
    succeed("systemctl", &[&[root.as_str()], &disable[..]].concat());
    assert!(machine.enabled().is_empty(), "{:?}", machine.enabled());
}

#[test]
#[ignore = "needs shellcheck"]
fn shellcheck_finds_nothing_in_the_scripts() {
    for directory in ["deploy/debian", "deploy/package", "deploy/rpm"] {
        for entry in fs::read_dir(crate::deploy::support::repository(directory)).unwrap() {
            let path = entry.unwrap().path();
            if !["changelog", "copyright"].iter().any(|other| path.ends_with(other)) {
                assert_eq!(succeed("shellcheck", &["--shell=sh", path.to_str().unwrap()]), "");
            }
        }
    }
}
