//! Typed messages, with descriptors, over a stream socket between scrimp and its helper processes.
//!
//! A message is its length (four bytes, little endian) and that many bytes of JSON; descriptors travel with the first
//! byte. Both ends are scrimp itself: nothing here defends against a hostile peer.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How many descriptors one message may carry.
const MAX_DESCRIPTORS: usize = 3;

/// Sends one message. Descriptors are duplicated into the receiver; the caller keeps its own.
pub fn send<T: Serialize>(socket: &UnixStream, message: &T, descriptors: &[&dyn AsFd]) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(|_| io::Error::other("the message is too long"))?;
    let raw: Vec<RawFd> = descriptors.iter().map(|d| d.as_fd().as_raw_fd()).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &control[..0] } else { &control[..] };
    let header = length.to_le_bytes();
    let part = [io::IoSlice::new(&header)];
    let sent = retry(|| sendmsg::<UnixAddr>(socket.as_raw_fd(), &part, control, MsgFlags::MSG_NOSIGNAL, None))?;
    let mut socket = socket;
    socket.write_all(&header[sent..])?;
    socket.write_all(&body)
}

/// Receives one message and its descriptors; `None` when the peer has closed its end.
pub fn receive<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut header = [0; 4];
    let (got, descriptors) = receive_with_descriptors(socket, &mut header)?;
    if got == 0 {
        return Ok(None);
    }
    let mut socket = socket;
    socket.read_exact(&mut header[got..])?;
    let mut body = vec![0; u32::from_le_bytes(header) as usize];
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

/// Receives some bytes and the descriptors that came with them; 0 bytes mean that the peer has closed its end.
pub fn receive_with_descriptors(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MAX_DESCRIPTORS]);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let fd = socket.as_raw_fd();
    let message = loop {
        // A closure could not lend the buffer out again after a failure, hence no `retry` here.
        match recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut space), flags).map(|m| (m.bytes, owned(&m))) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(nix::errno::Errno::ECONNRESET) => return Ok((0, Vec::new())),
            other => break other?,
        }
    };
    Ok((message.0, message.1?))
}

fn owned(message: &nix::sys::socket::RecvMsg<'_, '_, UnixAddr>) -> nix::Result<Vec<OwnedFd>> {
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for this process; nobody else knows them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(descriptors)
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_as_sent() {
        let (a, b) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.sync_all().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                send(&a, &vec![7u8; 300_000], &[]).unwrap();
                send(&a, &"with a file", &[&file]).unwrap();
                a.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let (first, none) = receive::<Vec<u8>>(&b).unwrap().unwrap();
            assert_eq!((first.len(), none.len()), (300_000, 0));
            let (text, mut files) = receive::<String>(&b).unwrap().unwrap();
            let mut received = std::fs::File::from(files.remove(0));
            received.write_all(text.as_bytes()).unwrap();
            assert!(receive::<String>(&b).unwrap().is_none());
        });
        assert_eq!(file.metadata().unwrap().len(), 11);
    }
}
