//! Commands where the operator stands: with the first configuration of the documents, from another
//! directory, as root and as the service's user, and after the configuration has changed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Directory, RIGHT, code, stderr, stdout};
use crate::common::port::free_port;
use crate::common::wait::wait_until;
use crate::service::Service;

/// `nobody`, as on most systems.
const OTHER: u32 = 65_534;

/// The smallest configuration of the documents, with ports that are free.
fn first_configuration() -> (String, u16) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate/configure.md")).unwrap();
    let (_, from) = page.split_once("```yaml\n").unwrap();
    let mut yaml = from.split_once("```").unwrap().0.to_owned();
    let mut first = None;
    for port in ["1143", "1110", "1587"] {
        let free = free_port();
        assert!(yaml.contains(port), "{yaml}");
        yaml = yaml.replace(port, &free.to_string());
        first = first.or(Some(free));
    }
    (yaml, first.unwrap())
}

/// A command or a service, as a user, in a directory. It reaches nothing outside of this machine.
fn gatepost(user: u32, within: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
    command.args(arguments).current_dir(within).env_clear().env("HTTPS_PROXY", "http://127.0.0.1:9");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if is_root() {
        command.uid(user).gid(user);
    }
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn serve(user: u32, directory: &Directory, file: &Path, port: u16) -> Service {
    let log = fs::File::create(directory.file("log")).unwrap();
    let mut command = gatepost(user, directory.0.path(), &["run", "-c", file.to_str().unwrap()]);
    Service::listening(command.stdout(Stdio::null()).stderr(log).spawn().unwrap(), port)
}

fn run(user: u32, within: &Path, arguments: &[&str]) -> Output {
    gatepost(user, within, arguments).output().unwrap()
}

/// A directory, and a configuration file in it.
fn open_directory() -> (Directory, PathBuf) {
    let directory = Directory::new();
    let file = directory.file("proxy.yaml");
    (directory, file)
}

/// Writes a file that every user may read.
fn write(directory: &Directory, name: &str, text: &str) {
    directory.write(name, text);
    fs::set_permissions(directory.file(name), fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn the_smallest_documented_configuration_has_a_service_that_commands_find() {
    let users = if is_root() { vec![0, OTHER] } else { vec![own()] };
    for user in users {
        let (directory, file) = open_directory();
        let (yaml, port) = first_configuration();
        write(&directory, "proxy.yaml", &yaml);
        if is_root() {
            // It is the user's own: somebody else's service would not be believed.
            chown(&file, Some(user), Some(user)).unwrap();
        }
        let service = serve(user, &directory, &file, port);
        let config = file.to_str().unwrap();
        let elsewhere = Path::new("/");
        wait_until("it answers", || {
            run(user, elsewhere, &["status", "--ready", "-c", config]).status.code() == Some(0)
        });
        // Root asks the service of the user to whom the file belongs.
        for asking in [user, own()] {
            for arguments in [&["status"][..], &["reload"], &["account", "unlock", "a@contoso.com"]] {
                let output = run(asking, elsewhere, &[arguments, &["-c", config]].concat());
                assert_eq!((code(&output), stderr(&output)), (0, ""), "user {asking}: {arguments:?}");
            }
        }
        // The service is not in its own way, also where its user sees nothing of the process.
        let check = run(user, elsewhere, &["check", "-c", config]);
        let told = stderr(&check);
        assert!(told.contains("is the placeholder of the documentation") && !told.contains("is in use"), "{told}");
        let status = run(user, directory.0.path(), &["status"]);
        assert!(
            stdout(&status).contains("Logins: 0 accepted, 0 refused. Token cache: 0 hits, 0 misses."),
            "{}",
            stdout(&status)
        );
        if user == OTHER {
            // Another user's service with root's file is not asked: a command may send it a password.
            chown(&file, Some(0), Some(0)).unwrap();
            let output = run(0, elsewhere, &["status", "-c", config]);
            assert!(
                code(&output) == 1 && stderr(&output).contains("no service is running here"),
                "{}",
                stderr(&output)
            );
        }
        drop(service);
    }
}

#[test]
fn a_command_without_a_service_says_what_it_needs() {
    let (directory, _) = open_directory();
    write(&directory, "proxy.yaml", &format!("{RIGHT}admin: {{socket: none}}\n"));
    for command in ["status", "reload"] {
        let output = directory.gatepost(&[command]);
        let told = format!(
            "gatepost: `gatepost {command}` needs a control socket. Set `state.directory` or `admin.socket`, then restart \
             Gatepost\n"
        );
        assert_eq!((code(&output), stderr(&output)), (3, told.as_str()));
    }
    write(&directory, "proxy.yaml", RIGHT);
    let output = directory.gatepost(&["password", "list"]);
    assert!(stderr(&output).contains("need a state directory. Set `state: {directory: "), "{}", stderr(&output));
}

#[test]
fn commands_find_the_service_after_its_state_directory_has_changed() {
    let (directory, file) = open_directory();
    let port = free_port();
    let yaml = format!(
        "{}state: {{directory: one}}\nlimits: {{reload_check: 0s}}\n",
        RIGHT.replace("21587", &port.to_string())
    );
    write(&directory, "proxy.yaml", &yaml);
    let service = serve(own(), &directory, &file, port);
    wait_until("it has its socket", || directory.file("one/gatepost.sock").exists());
    for (from, to) in [("directory: one", "directory: two"), ("limits:", "admin: {socket: own.sock}\nlimits:")] {
        let changed = yaml.replace(from, to);
        write(&directory, "proxy.yaml", &changed);
        let output = directory.gatepost(&["reload"]);
        assert_eq!(code(&output), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("restart"), "{}", stderr(&output));
        let output = directory.gatepost(&["status"]);
        assert_eq!((code(&output), stderr(&output)), (0, ""));
    }
    drop(service);
    let output = directory.gatepost(&["status"]);
    assert!(stderr(&output).contains("no service is running here"), "{}", stderr(&output));
}

#[test]
fn a_suggested_command_names_the_configuration() {
    let (directory, _) = open_directory();
    write(&directory, "other.yaml", &format!("{RIGHT}state: {{directory: state}}\n"));
    let file = fs::canonicalize(directory.0.path()).unwrap().join("other.yaml");
    let flag = format!("-c {}", file.display());
    let told = |arguments: &[&str]| {
        let output = directory.gatepost(arguments);
        format!("{}{}", stdout(&output), stderr(&output)).replace("/private/", "/")
    };
    let list = told(&["password", "list", "-c", "other.yaml"]);
    assert!(list.contains(&format!("run `gatepost password add LOGIN --name … {flag}`")), "{list}");
    let check = told(&["check", "-c", "other.yaml"]);
    assert!(check.contains(&format!("run `gatepost doctor {flag}`")), "{check}");
    let status = told(&["status", "-c", "other.yaml"]);
    assert!(status.contains(&format!("`gatepost run {flag}`")), "{status}");
    // The usual place needs no mention.
    fs::rename(&file, directory.file("proxy.yaml")).unwrap();
    assert!(told(&["password", "list"]).contains("run `gatepost password add LOGIN --name …`"));
}

#[test]
fn a_check_tells_what_cannot_work_and_ends_with_1() {
    let (directory, _) = open_directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (wrong, zero) = ("2f5c7e10-7d0a-4c1e-9f6b-0d4a5b6c7d8e", "00000000-0000-0000-0000-000000000000");
    write(&directory, "proxy.yaml", &RIGHT.replace("127.0.0.1:21587", &address.to_string()).replace(wrong, zero));
    let output = directory.gatepost(&["check"]);
    assert_eq!((code(&output), stdout(&output)), (1, ""));
    let told = stderr(&output);
    let has = |text: &str| assert!(told.contains(text), "{text}\n{told}");
    has(
        "proxy.yaml:2:45: microsoft.client_id: `00000000-0000-0000-0000-000000000000` is the placeholder of the documentation\n",
    );
    has("  hint: copy the application (client) id from Entra: App registrations, your application, Overview\n");
    has("^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^");
    if cfg!(target_os = "linux") {
        has(&format!("proxy.yaml:1:26: listeners.smtp.bind: `{address}` is in use by `"));
        has(&format!("` (process {})\n", std::process::id()));
        has("\n3 problems found\n");
    }
    let json = directory.gatepost(&["check", "--json"]);
    let value: serde_json::Value = serde_json::from_str(stdout(&json)).unwrap();
    assert_eq!((code(&json), &value["ok"]), (1, &false.into()));
    assert!(value["problems"].as_array().unwrap().iter().any(|problem| problem["key"] == "microsoft.client_id"));
    drop(taken);

    // The service starts all the same, and warns.
    let port = free_port();
    write(&directory, "proxy.yaml", &RIGHT.replace("21587", &port.to_string()).replace(wrong, zero));
    let _service = serve(own(), &directory, &directory.file("proxy.yaml"), port);
    let log = || fs::read_to_string(directory.file("log")).unwrap();
    wait_until("it warns", || log().contains("microsoft.client_id: `00000000-"));
    wait_until("it answers", || directory.gatepost(&["status", "--ready"]).status.code() == Some(0));
    // A check beside it does not take it for another program.
    write(&directory, "proxy.yaml", &RIGHT.replace("21587", &port.to_string()));
    let output = directory.gatepost(&["check"]);
    assert_eq!((code(&output), stderr(&output)), (0, ""));
    if cfg!(target_os = "linux") {
        assert!(
            stdout(&output).contains("the service of this configuration is running (process "),
            "{}",
            stdout(&output)
        );
    }
}

#[test]
fn a_store_of_another_user_is_told_with_names_and_the_command() {
    if !is_root() {
        return;
    }
    let (directory, _) = open_directory();
    let port = free_port();
    write(&directory, "x.yaml", &format!("{}state: {{directory: state}}\n", RIGHT.replace("21587", &port.to_string())));
    let state = directory.file("state");
    assert_eq!(code(&directory.gatepost(&["password", "list", "-c", "x.yaml"])), 0);
    let within = directory.0.path();

    // Root has made it, and the service runs as another user.
    let output = run(OTHER, within, &["run", "-c", "x.yaml"]);
    let told = stderr(&output);
    assert_eq!(code(&output), 1, "{told}");
    let shown = fs::canonicalize(&state).unwrap().display().to_string();
    let command = format!("`{shown}` belongs to user root. Run `sudo chown -R nobody: {shown}`");
    assert!(told.contains("user nobody cannot ") && told.contains(&command), "{told}");
    assert!(!told.contains("os error") && !told.contains("``") && !told.contains(".new"), "{told}");
    // A command of that user cannot know whether the service is to run as root.
    let output = run(OTHER, within, &["password", "list", "-c", "x.yaml"]);
    assert!(
        stderr(&output).contains("Run the command as root: `sudo gatepost password list -c x.yaml`"),
        "{}",
        stderr(&output)
    );
    let output = run(OTHER, within, &["check", "-c", "x.yaml"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("`state` belongs to user root, and this is user nobody\n"), "{}", stderr(&output));

    // The reverse.
    for path in [state.clone(), state.join("gatepost.sqlite"), state.join("state.key")] {
        if path.exists() {
            chown(&path, Some(OTHER), Some(OTHER)).unwrap();
        }
    }
    let output = directory.gatepost(&["password", "list", "-c", "x.yaml"]);
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains(
            "belongs to user nobody, and this is user root. Run the command as that user: `sudo -u nobody gatepost password \
             list -c x.yaml`"
        ),
        "{}",
        stderr(&output)
    );
    assert_eq!(fs::metadata(&state).unwrap().uid(), OTHER);
}
