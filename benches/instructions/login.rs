//! A login through each protocol machine, in either role.

use gatepost_core::protocol::MailProtocol;
use gatepost_proto::mail::{client_side, upstream_side};

use crate::counted::passes;
use crate::machines::{
    Server, announced, client_login, client_reads, client_settings, upstream_login, upstream_settings,
};

pub(crate) fn imap_client() {
    client(MailProtocol::Imap);
}

pub(crate) fn pop3_client() {
    client(MailProtocol::Pop3);
}

pub(crate) fn smtp_client() {
    client(MailProtocol::Smtp);
}

pub(crate) fn imap_upstream() {
    upstream(MailProtocol::Imap);
}

pub(crate) fn pop3_upstream() {
    upstream(MailProtocol::Pop3);
}

pub(crate) fn smtp_upstream() {
    upstream(MailProtocol::Smtp);
}

fn client(protocol: MailProtocol) {
    let (settings, announced) = (client_settings(protocol), announced(protocol));
    passes(
        &mut (),
        |()| settings.clone(),
        |(), settings| {
            let mut machine = client_side(protocol, settings);
            client_login(machine.as_mut(), client_reads(protocol), &announced);
        },
    );
}

/// The count holds the stand-in server's part as well: some string formatting.
fn upstream(protocol: MailProtocol) {
    // A long token would hide the rest: it is wiped octet by octet, without optimisation.
    let settings = upstream_settings(1);
    passes(
        &mut (),
        |()| (settings.clone(), Server::new(protocol)),
        |(), (settings, server)| {
            let mut machine = upstream_side(protocol, settings);
            upstream_login(machine.as_mut(), server);
        },
    );
}
