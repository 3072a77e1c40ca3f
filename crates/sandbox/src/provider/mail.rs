//! The mail servers of a provider beside Microsoft, each on a port of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::Provider;
use crate::mode::Service;
use crate::service::{Door, spawn_mail};
use crate::state::SandboxState;

/// Where the mail servers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MailPorts {
    pub(crate) imap: SocketAddr,
    pub(crate) pop3: SocketAddr,
    pub(crate) smtps: SocketAddr,
    pub(crate) submission: SocketAddr,
}

/// Starts all mail servers of a provider.
pub(crate) async fn start(shared: &Arc<SandboxState>, provider: Provider) -> io::Result<MailPorts> {
    let bind = || TcpListener::bind((shared.address, 0));
    let (imap, pop3, smtps, submission) = tokio::try_join!(bind(), bind(), bind(), bind())?;
    let ports = MailPorts {
        imap: imap.local_addr()?,
        pop3: pop3.local_addr()?,
        smtps: smtps.local_addr()?,
        submission: submission.local_addr()?,
    };
    let doors = [
        (Service::Imap, false, imap),
        (Service::Pop3, false, pop3),
        (Service::Smtp, false, smtps),
        (Service::Smtp, true, submission),
    ];
    for (service, starts_tls, listener) in doors {
        spawn_mail(shared, Door { provider, service, starts_tls }, listener);
    }
    Ok(ports)
}
