//! The records of an established TLS connection, one of 16 KiB or one line.

use std::hint::black_box;

use gatepost_net::tls::MOST_OVERHEAD;
use gatepost_net::tls::record::MOST_PLAIN;
use gatepost_net::tls::session::{KeySchedule, Session};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, Error, ExtractedSecrets, Side};

use crate::counted::passes;

/// What an IMAP client sends most often.
pub(crate) const LINE: &[u8] = b"a0042 UID FETCH 4711:* (UID FLAGS)\r\n";

/// The versions of TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Tls12,
    Tls13,
}

/// A key schedule that is never asked.
struct Unused;

impl KeySchedule for Unused {
    fn next_secrets(&mut self, _: bool) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        Err(Error::EncryptError)
    }

    fn ticket(&mut self, _: &[u8]) -> Result<(), Error> {
        Err(Error::EncryptError)
    }
}

/// Both ends of one connection with AES-256-GCM, the client's first.
pub(crate) fn pair(version: Version) -> (Session, Session) {
    let secrets = |key| ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([key; 32]), iv: Iv::new([key; 12]) };
    let end = |role, tx, rx| {
        let secrets = ExtractedSecrets { tx: (0, secrets(tx)), rx: (0, secrets(rx)) };
        let schedule = (version == Version::Tls13).then(|| Box::new(Unused) as Box<dyn KeySchedule>);
        Session::new(role, secrets, u64::MAX, schedule).expect("a known cipher")
    };
    (end(Side::Client, 1, 2), end(Side::Server, 2, 1))
}

/// The record of these octets.
pub(crate) fn sealed(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    let mut wire = vec![0; plain.len() + MOST_OVERHEAD];
    let (taken, written) = session.seal(plain, &mut wire).expect("a fresh key");
    assert_eq!(taken, plain.len(), "one record holds it");
    wire.truncate(written);
    wire
}

pub(crate) fn seal_tls13() {
    seal(Version::Tls13);
}

pub(crate) fn seal_tls12() {
    seal(Version::Tls12);
}

pub(crate) fn open_tls13() {
    open(Version::Tls13, &[7; MOST_PLAIN]);
}

pub(crate) fn open_tls12() {
    open(Version::Tls12, &[7; MOST_PLAIN]);
}

pub(crate) fn open_line_tls13() {
    open(Version::Tls13, LINE);
}

fn seal(version: Version) {
    let (mut client, _) = pair(version);
    let (plain, mut wire) = (vec![7; MOST_PLAIN], vec![0; MOST_PLAIN + MOST_OVERHEAD]);
    passes(
        &mut client,
        |_| (),
        |client, ()| {
            black_box(client.seal(&plain, &mut wire).expect("a fresh key"));
        },
    );
}

fn open(version: Version, plain: &[u8]) {
    let (mut client, server) = pair(version);
    let mut into = vec![0; MOST_PLAIN + MOST_OVERHEAD];
    passes(
        &mut { server },
        |_| sealed(&mut client, plain),
        |server, record| assert_eq!(server.open(&record, &mut into).expect("the right key"), plain.len()),
    );
}
