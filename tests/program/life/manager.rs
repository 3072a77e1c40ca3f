//! Plays systemd for one service: hears what it says, and keeps its sockets.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::common::wait::PATIENCE;
use crate::life::program::{Program, World};

/// The name of the sockets in the store.
pub(crate) const KEPT: &str = "gatepost-kept";

pub(crate) struct Manager {
    socket: UnixDatagram,
    path: String,
    /// The store, with the names of its sockets.
    pub(crate) kept: Vec<(String, OwnedFd)>,
}

impl Manager {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let path = world.path(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), kept: Vec::new() }
    }

    /// The variable by which the service finds it.
    pub(crate) fn variable(&self) -> (&str, &str) {
        ("NOTIFY_SOCKET", &self.path)
    }

    /// Starts the service with what is in the store, as after a restart or a crash.
    pub(crate) fn start_again(&mut self, world: &World) -> Program {
        self.hear_all();
        let kept = self.kept.iter().map(|(name, socket)| (name.as_str(), socket.try_clone().unwrap()));
        world.activate(kept.collect(), &[self.variable()])
    }

    fn receive(&mut self, flags: RecvFlags) -> Option<String> {
        let mut octets = [0; 1_024];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut octets)];
        let received = match recvmsg(&self.socket, &mut into, &mut with, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::AGAIN) => return None,
            received => received.unwrap().bytes,
        };
        let text = String::from_utf8(octets[..received].to_vec()).unwrap();
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                let name = text.split_once("FDNAME=").unwrap().1.to_owned();
                self.kept.extend(descriptors.map(|descriptor| (name.clone(), descriptor)));
            }
        }
        if let Some(name) = text.strip_prefix("FDSTOREREMOVE=1\nFDNAME=") {
            self.kept.retain(|(kept, _)| kept != name);
        }
        Some(text)
    }

    /// Hears one message.
    pub(crate) fn hear(&mut self) -> String {
        self.receive(RecvFlags::empty()).expect("it says something")
    }

    /// Hears what was said so far.
    pub(crate) fn hear_all(&mut self) {
        while self.receive(RecvFlags::DONTWAIT).is_some() {}
    }

    /// Hears until somebody says this.
    pub(crate) fn until(&mut self, wanted: &str) -> String {
        loop {
            let text = self.hear();
            if text.contains(wanted) {
                return text;
            }
        }
    }

    /// Hears until the store has so many sockets.
    pub(crate) fn until_kept(&mut self, sockets: usize) {
        while self.kept.len() != sockets {
            self.hear();
        }
        assert!(self.kept.iter().all(|(name, _)| name == KEPT), "{:?}", self.kept);
    }
}

/// A socket as a socket unit opens it, at an address of its own choice.
pub(crate) fn unit_socket() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}
