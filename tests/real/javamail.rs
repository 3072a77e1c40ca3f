//! JavaMail, on which much of the business software that reads mailboxes is built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::gatepost::{ClientTls, Gatepost, Protocol, Route};
use super::message::{assert_same, assert_same_behind_trace, message};
use super::process::{Directory, Finished, run};
use super::world::{Person, World};

/// Where Debian keeps the libraries.
const LIBRARIES: &str = "/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar";

/// The compiled program beside this file.
struct Program(Directory);

impl Program {
    fn compile() -> Self {
        let directory = Directory::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/Mail.java");
        let mut command = Command::new("javac");
        command.args(["-cp", LIBRARIES, "-d"]).arg(directory.path()).arg(source);
        run(&mut command).expect_success("javac");
        Self(directory)
    }

    /// `file` is where messages go to, or come from.
    fn run(
        &self,
        gatepost: &Gatepost<'_>,
        protocol: Protocol,
        tls: ClientTls,
        person: &Person,
        file: &Path,
    ) -> Finished {
        let (world, port) = (gatepost.world(), gatepost.port(protocol, tls).to_string());
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(format!("{}:{LIBRARIES}", self.0.path().display()));
        command.args(["Mail", &format!("{protocol:?}"), &format!("{tls:?}"), &port, &person.login, &person.password]);
        run(command.arg(file).arg(&world.authority.root)).expect_success(&format!("JavaMail {protocol:?} {tls:?}"))
    }

    /// Reads the inbox by `protocol` and compares it.
    fn reads(&self, gatepost: &Gatepost<'_>, protocol: Protocol, tls: ClientTls, count: usize) {
        let person = gatepost.world().person("javamail", (0..count).map(message));
        let target = Directory::new();
        self.run(gatepost, protocol, tls, &person, target.path());
        for number in 0..count {
            let file = target.path().join(format!("{}.eml", number + 1));
            let what = format!("{protocol:?} {tls:?}, message {number}");
            assert_same(&fs::read(file).unwrap(), &message(number), &what);
        }
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), count);
    }
}

#[test]
#[ignore = "needs Dovecot, Squid and mail clients: run tests/run"]
fn reads_and_submits() {
    let world = World::shared();
    let gatepost = Gatepost::start(&world, Route::Straight);
    let program = Program::compile();
    for tls in ClientTls::ALL {
        // All of a large mailbox once; the kind of TLS makes no difference to its end.
        let count = if tls == ClientTls::None { 2_000 } else { 50 };
        program.reads(&gatepost, Protocol::Imap, tls, count);
        program.reads(&gatepost, Protocol::Pop3, tls, count);

        let person = world.person("javamail-smtp", []);
        let directory = Directory::new();
        let file: PathBuf = directory.write("message", message(11));
        program.run(&gatepost, Protocol::Smtp, tls, &person, &file);
        let arrived = world.sink.take(&person.login);
        assert_eq!(arrived.recipients, ["recipient@example.org"]);
        assert_same_behind_trace(&arrived.data, &message(11), &format!("{tls:?}"));
    }
    gatepost.stop();
}
