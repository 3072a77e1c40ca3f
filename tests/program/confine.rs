//! What a confined process can no longer do, and what it still can: tried out in a process of its
//! own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use gatepost::system::confine;
use gatepost_config::{Confine, load};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, chroot, kill_process, pidfd_getfd, pidfd_open, pivot_root,
};
use rustix::system::{setdomainname, sethostname};
use rustix::thread::{UnshareFlags, set_thread_uid};
use rustix::time::{ClockId, clock_gettime, clock_settime};

use crate::common::again::again;
use crate::common::directory::Directory;

/// Tells the child that it is one, and where to work.
const DIRECTORY: &str = "GATEPOST_TEST_CONFINED";

/// Attempts that harm nobody when they succeed.
const HARMLESS: [&str; 8] = [
    "read a file of others",
    "list a directory of others",
    "make a file elsewhere",
    "delete a file of others",
    "start a program",
    "connect to another port",
    "signal another process",
    "read the environment of another process",
];

const READ_HASHES: &str = "read the password hashes of the system";
const READ_CLOSED: &str = "read what another user keeps to himself";

/// Readable for root alone.
const PASSWORD_HASHES: &str = "/etc/shadow";

type Attempt<'a> = (&'static str, Box<dyn Fn() -> io::Result<()> + 'a>);

/// What whoever took over the process would like to do.
fn forbidden<'a>(ours: &'a Path, foreign: &'a Path, port: u16) -> Vec<Attempt<'a>> {
    let parent = || {
        let parent = Pid::from_raw(std::os::unix::process::parent_id().cast_signed());
        parent.ok_or(io::Error::from(io::ErrorKind::NotFound))
    };
    let of_parent = |file: &str| PathBuf::from(format!("/proc/{}/{file}", std::os::unix::process::parent_id()));
    let internet = |kind, protocol| Ok(socket(AddressFamily::INET, kind, protocol).map(drop)?);
    let family = |number| Ok(socket(AddressFamily::from_raw(number), SocketType::RAW, None).map(drop)?);
    vec![
        ("read a file of others", Box::new(move || fs::read(foreign.join("secret")).map(drop))),
        ("list a directory of others", Box::new(move || fs::read_dir(foreign).map(drop))),
        (
            "write a file of others",
            Box::new(move || OpenOptions::new().append(true).open(foreign.join("secret")).map(drop)),
        ),
        ("empty a file of others", Box::new(move || File::create(foreign.join("secret")).map(drop))),
        ("make a file elsewhere", Box::new(move || File::create(foreign.join("new")).map(drop))),
        ("delete a file of others", Box::new(move || fs::remove_file(foreign.join("doomed")))),
        ("rename a file of others", Box::new(move || fs::rename(foreign.join("secret"), foreign.join("renamed")))),
        ("link a file of others", Box::new(move || fs::hard_link(foreign.join("secret"), ours.join("link")))),
        ("make a directory elsewhere", Box::new(move || fs::create_dir(foreign.join("directory")))),
        ("make a symbolic link", Box::new(move || symlink("/etc/passwd", ours.join("symlink")))),
        (
            "make a pipe with a name",
            Box::new(move || Ok(mknodat(CWD, ours.join("fifo"), FileType::Fifo, Mode::RUSR, 0)?)),
        ),
        ("make a device", Box::new(move || Ok(mknodat(CWD, ours.join("disk"), FileType::BlockDevice, Mode::RUSR, 1)?))),
        ("listen at a socket elsewhere", Box::new(move || UnixListener::bind(foreign.join("socket")).map(drop))),
        ("start a program", Box::new(|| Command::new("/bin/true").status().map(drop))),
        ("start a shell", Box::new(|| Command::new("/bin/sh").args(["-c", "exit 0"]).status().map(drop))),
        ("connect to another port", Box::new(move || TcpStream::connect(("127.0.0.1", port)).map(drop))),
        ("open a raw socket", Box::new(move || internet(SocketType::RAW, Some(ipproto::ICMP)))),
        ("open a packet socket", Box::new(move || family(17))),
        (
            "open a socket to the hypervisor",
            Box::new(|| Ok(socket(AddressFamily::from_raw(40), SocketType::STREAM, None).map(drop)?)),
        ),
        (
            "open a socket of the kernel's cryptography",
            Box::new(|| Ok(socket(AddressFamily::from_raw(38), SocketType::SEQPACKET, None).map(drop)?)),
        ),
        ("signal another process", Box::new(move || Ok(kill_process(parent()?, Signal::CONT)?))),
        (READ_HASHES, Box::new(|| fs::read(PASSWORD_HASHES).map(drop))),
        ("read the memory of another process", Box::new(move || File::open(of_parent("mem")).map(drop))),
        ("read the environment of another process", Box::new(move || fs::read(of_parent("environ")).map(drop))),
        (
            "take a descriptor of another process",
            Box::new(move || {
                let parent = pidfd_open(parent()?, PidfdFlags::empty())?;
                Ok(pidfd_getfd(parent, 2, PidfdGetfdFlags::empty()).map(drop)?)
            }),
        ),
        ("begin a user namespace", Box::new(|| unshare(UnshareFlags::NEWUSER))),
        ("begin a network namespace", Box::new(|| unshare(UnshareFlags::NEWNET))),
        ("change the root", Box::new(move || Ok(chroot(ours)?))),
        ("exchange the root", Box::new(move || Ok(pivot_root(ours, ours)?))),
        ("mount", Box::new(move || Ok(mount("none", ours, "tmpfs", MountFlags::empty(), None)?))),
        ("unmount", Box::new(|| Ok(unmount("/proc", UnmountFlags::DETACH)?))),
        ("rename the machine", Box::new(|| Ok(sethostname(b"owned")?))),
        ("rename the domain", Box::new(|| Ok(setdomainname(b"owned")?))),
        ("set the clock", Box::new(|| Ok(clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime))?))),
        ("become another user", Box::new(|| Ok(set_thread_uid(rustix::process::getuid())?))),
        (
            "change the kernel's settings",
            Box::new(|| OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern").map(drop)),
        ),
    ]
}

#[allow(deprecated, reason = "the other one is unsafe, for flags that are not used here")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// What a proxy does all day.
fn needed<'a>(ours: &'a Path, certificate: &'a Path, journal: &'a Path, port: u16) -> Vec<Attempt<'a>> {
    vec![
        (
            "write into the store",
            Box::new(move || File::create(ours.join("store")).and_then(|mut file| file.write_all(b"x"))),
        ),
        ("delete in the store", Box::new(move || fs::remove_file(ours.join("store")))),
        ("listen at a socket beside the store", Box::new(move || UnixListener::bind(ours.join("socket")).map(drop))),
        ("read a certificate again", Box::new(move || fs::read(certificate).map(drop))),
        ("find the journal again", Box::new(move || UnixDatagram::unbound()?.connect(journal))),
        ("connect to the upstream", Box::new(move || TcpStream::connect(("127.0.0.1", port)).map(drop))),
        ("listen", Box::new(|| TcpListener::bind("127.0.0.1:0").map(drop))),
        ("resolve a name", Box::new(|| ("localhost", 993).to_socket_addrs().map(drop))),
        ("begin a thread", Box::new(|| std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()))),
        ("read the trusted certificates", Box::new(|| fs::read_dir("/etc/ssl/certs").map(drop))),
    ]
}

/// Where the confined process works, and what it must not reach. It is not below a directory that
/// the program itself needs.
fn directories() -> Directory {
    let directory = Directory::new();
    fs::create_dir(directory.file("state")).unwrap();
    for file in ["foreign/secret", "foreign/doomed", "configuration/closed"] {
        directory.write(file, "x");
    }
    close(&directory.file("configuration/closed"));
    directory
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For another user alone; as an ordinary user there is no way to make such a file.
fn close(file: &Path) {
    if is_root() {
        std::os::unix::fs::chown(file, Some(65_534), None).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Runs the child with a secret from a file that was made `ready`; the result are the names of what
/// succeeded.
fn run(confinement: &str, ready: impl Fn(&Path)) -> Vec<String> {
    let directory = directories();
    let (upstream, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (port, other) = (upstream.local_addr().unwrap().port(), other.local_addr().unwrap());
    let _open = TcpListener::bind(other);
    let _journal = UnixDatagram::bind(directory.file("journal")).unwrap();
    let secret = directory.file("configuration/key");
    fs::write(&secret, "correct-horse-battery").unwrap();
    ready(&secret);
    let yaml = format!(
        "listeners: {{imap: {{bind: '127.0.0.1:1143', upstream: 'localhost:{port}'}}}}\n\
         microsoft: {{tenant: contoso.example, client_id: 00000000-0000-0000-0000-000000000000,\n  \
           client_secret: {{file: key}}}}\n\
         state: {{directory: {}}}\nconfinement: {confinement}\n",
        directory.file("state").display()
    );
    fs::write(directory.file("configuration/proxy.yaml"), yaml).unwrap();
    let child = again(module_path!(), "child")
        .env(DIRECTORY, directory.path())
        .env("GATEPOST_TEST_PORTS", format!("{port} {}", other.port()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{text}{}", String::from_utf8_lossy(&child.stderr));
    assert!(text.contains("tried everything"), "{text}");
    text.lines().filter_map(|line| line.strip_prefix("could ")).map(str::to_owned).collect()
}

#[test]
#[ignore = "the body of the other tests' child process"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let ports = std::env::var("GATEPOST_TEST_PORTS").unwrap();
    let (upstream, other) = ports.split_once(' ').unwrap();
    let (upstream, other) = (upstream.parse().unwrap(), other.parse().unwrap());
    let config = load::load(Some(&directory.join("configuration/proxy.yaml")), &[], []).unwrap();
    let confinement = confine::enter(&config).unwrap();
    println!("\nconfinement: {:?}", confinement.report());
    confinement.covers(&config).unwrap();

    let (ours, foreign) = (directory.join("state"), directory.join("foreign"));
    let (certificate, closed) = (directory.join("configuration/key"), directory.join("configuration/closed"));
    let journal = directory.join("journal");
    let confined = config.confinement != Confine::Off;
    // Without confinement root would really do all of it, to the machine that runs the tests.
    let attempts =
        forbidden(&ours, &foreign, other).into_iter().filter(|(what, _)| confined || HARMLESS.contains(what));
    let of_root: Attempt = (READ_CLOSED, Box::new(move || fs::read(&closed).map(drop)));
    let of_root = Some(of_root).filter(|_| is_root());
    // Where names are resolved by a file that is replaced in `/etc`, root keeps all of it, and the
    // report says so.
    let whole_etc = confinement.report().iter().any(|line| line.contains("all of /etc"));
    let attempts = attempts.filter(|(what, _)| !(whole_etc && *what == READ_HASHES));
    for (what, attempt) in attempts.chain(of_root).chain(needed(&ours, &certificate, &journal, upstream)) {
        match attempt() {
            Ok(()) => println!("could {what}"),
            Err(error) => println!("not {what}: {error}"),
        }
    }
    println!("tried everything");
}

#[test]
fn a_confined_process_can_do_its_work_and_nothing_else() {
    let could = run("require", |_| ());
    let nowhere = Path::new("");
    let needed: Vec<&str> = needed(nowhere, nowhere, nowhere, 0).iter().map(|(what, _)| *what).collect();
    assert_eq!(could, needed);
    assert!(forbidden(nowhere, nowhere, 0).len() >= 30);
}

#[test]
fn root_keeps_its_right_to_all_files_only_while_a_file_of_the_configuration_needs_it() {
    let could = run("require", close);
    assert!(could.iter().any(|could| could == "read a certificate again"), "{could:?}");
    assert_eq!(could.iter().any(|could| could == READ_CLOSED), is_root(), "{could:?}");
}

#[test]
fn without_confinement_the_same_attempts_succeed() {
    let could = run("off", |_| ());
    for what in HARMLESS {
        assert!(could.iter().any(|could| could == what), "{what} among {could:?}");
    }
}
