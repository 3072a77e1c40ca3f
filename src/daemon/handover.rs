//! Passes listening sockets to the next process (SCM_RIGHTS, unix(7)).
//!
//! Both processes then hold the same sockets with the same queues of connections. Either may
//! accept, so no client is refused. No client in a queue is reset when the older process closes its
//! copies.
//!
//! Each message carries one socket and the name of its listener (which older versions need), and is
//! acknowledged by one octet. A message without a socket ends the list.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener as StdListener;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, UnixStream};

use super::inherited::Inherited;

/// Longest name of a listener, in octets.
const NAME_BYTES: usize = 255;

/// Most sockets that are taken from another process.
const SOCKETS: usize = 1_024;

const ACKNOWLEDGED: u8 = b'+';

/// The content of the message that ends the list.
const END: &[u8] = b".";

/// Sends the sockets. Both processes hold them from then on.
///
/// # Errors
/// The other process went away, or did not take them.
pub(super) async fn hand_over(stream: &mut UnixStream, sockets: &[(Arc<str>, Arc<TcpListener>)]) -> io::Result<()> {
    for (name, socket) in sockets {
        let message = [b"=", name.as_bytes()].concat();
        send(stream, &message, Some(socket)).await?;
        if stream.read_u8().await? != ACKNOWLEDGED {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    send(stream, END, None).await
}

/// Receives what [`hand_over`] sends.
///
/// # Errors
/// The other process went away, or sent something else.
pub(super) async fn take_over(stream: &mut UnixStream) -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    for _ in 0..SOCKETS {
        let (message, socket) = receive(stream).await?;
        let socket = match (message.split_first(), socket) {
            (Some((b'=', _)), Some(socket)) => {
                stream.write_u8(ACKNOWLEDGED).await?;
                socket
            }
            _ if message == END => return Ok(inherited),
            _ => break,
        };
        if SockRef::from(&socket).is_listener().unwrap_or(false) {
            inherited.add_kept(socket);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it handed over something else than listening sockets"))
}

async fn send(stream: &UnixStream, message: &[u8], socket: Option<&TcpListener>) -> io::Result<()> {
    let message = message.get(..=NAME_BYTES).unwrap_or(message);
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut with = SendAncillaryBuffer::new(&mut space);
            let descriptor = socket.map(|socket| [socket.as_fd()]);
            if let Some(descriptor) = &descriptor {
                // The space fits exactly one descriptor.
                with.push(SendAncillaryMessage::ScmRights(descriptor));
            }
            Ok(sendmsg(stream, &[IoSlice::new(message)], &mut with, SendFlags::NOSIGNAL)?)
        })
        .await?;
    if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

async fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<StdListener>)> {
    stream
        .async_io(Interest::READABLE, || {
            let mut octets = [0; NAME_BYTES + 1];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut with = RecvAncillaryBuffer::new(&mut space);
            let received =
                recvmsg(stream, &mut [IoSliceMut::new(&mut octets)], &mut with, RecvFlags::CMSG_CLOEXEC)?.bytes;
            let mut descriptors = with.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            let socket = descriptors.next().and_then(|mut descriptors| descriptors.next()).map(StdListener::from);
            match octets.get(..received) {
                Some([]) | None => Err(io::ErrorKind::UnexpectedEof.into()),
                Some(octets) => Ok((octets.to_vec(), socket)),
            }
        })
        .await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn sockets_arrive_with_their_names_and_their_queues() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let mut sockets = Vec::new();
        for name in ["imap", "smtp"] {
            sockets.push((Arc::from(name), Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap())));
        }
        let addresses: Vec<_> = sockets.iter().map(|(_, socket)| socket.local_addr().unwrap()).collect();
        let waiting = tokio::net::TcpStream::connect(addresses[1]).await.unwrap();
        let (handed, taken) = tokio::join!(hand_over(&mut one, &sockets), take_over(&mut other));
        handed.unwrap();
        drop(sockets);
        let mut taken = taken.unwrap();
        let smtp = taken.at(addresses[1]).unwrap();
        let (_connection, peer) = smtp.accept().await.unwrap();
        assert_eq!(peer, waiting.local_addr().unwrap());
        assert_eq!(taken.left().map(|left| left.local_addr().unwrap()).collect::<Vec<_>>(), [addresses[0]]);
    }

    #[tokio::test]
    async fn what_is_no_listening_socket_is_left_out_and_nonsense_is_an_error() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let (handed, taken) = tokio::join!(hand_over(&mut one, &[]), take_over(&mut other));
        handed.unwrap();
        assert!(taken.unwrap().left().next().is_none());
        let (mut one, mut other) = UnixStream::pair().unwrap();
        one.write_all(b"=imap").await.unwrap();
        assert_eq!(take_over(&mut other).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(one);
        assert!(take_over(&mut other).await.is_err());
    }

    /// What another program might send on the socket.
    #[derive(Clone, Copy, Debug)]
    enum Descriptor {
        Listening,
        Datagram,
        File,
    }

    fn messages() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<Descriptor>)>> {
        let octets = prop_oneof![
            Just(END.to_vec()),
            Just(b"=imap".to_vec()),
            Just([b"=", &[b'x'; NAME_BYTES][..]].concat()),
            prop::collection::vec(any::<u8>(), 1..400),
        ];
        let descriptor = prop_oneof![Just(Descriptor::Listening), Just(Descriptor::Datagram), Just(Descriptor::File)];
        prop::collection::vec((octets, prop::collection::vec(descriptor, 0..4)), 0..8)
    }

    proptest! {
        /// Whatever comes, it ends, and what is kept are listening sockets that were sent.
        #[test]
        fn any_messages_leave_nothing_but_listening_sockets(messages in messages()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (one, mut other) = UnixStream::pair().unwrap();
                let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                let file = std::fs::File::open("/dev/null").unwrap();
                for (octets, descriptors) in &messages {
                    let descriptors: Vec<_> = descriptors
                        .iter()
                        .map(|descriptor| match descriptor {
                            Descriptor::Listening => listening.as_fd(),
                            Descriptor::Datagram => datagram.as_fd(),
                            Descriptor::File => file.as_fd(),
                        })
                        .collect();
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
                    let mut with = SendAncillaryBuffer::new(&mut space);
                    if !descriptors.is_empty() {
                        assert!(with.push(SendAncillaryMessage::ScmRights(&descriptors)));
                    }
                    sendmsg(&one, &[IoSlice::new(octets)], &mut with, SendFlags::NOSIGNAL).unwrap();
                }
                SockRef::from(&one).shutdown(std::net::Shutdown::Write).unwrap();
                if let Ok(taken) = take_over(&mut other).await {
                    assert!(messages.iter().any(|(octets, _)| octets.starts_with(END)), "without an end");
                    for socket in taken.left() {
                        assert_eq!(socket.local_addr().unwrap(), listening.local_addr().unwrap());
                    }
                }
            });
        }
    }
}
