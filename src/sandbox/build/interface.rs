//! The interface of a container beside `lo`: `eth0` with a private address. Servers that serve what they find, or that
//! tell others where they are, look for one that is no loopback, and end when there is none. It leads nowhere: its
//! network is its own address.

use std::io::{Error, Result};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::base::CONTAINER_ADDRESS;

/// What it is called, as in a container.
const NAME: &[u8] = b"eth0";
/// Derived from the address, as engines do it; a random one would be in what servers tell of themselves.
const HARDWARE_ADDRESS: [u8; 6] = [0x02, 0x42, 10, 88, 0, 2];
/// A bridge without ports leads nowhere. The module of a dummy, if it has to be loaded, makes one on the machine too,
/// which would stay.
const KIND: &[u8] = b"bridge";
/// A container has no addresses of IPv6 where the engine was not told of any.
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";

/// Makes the interface in the network namespace of this process.
///
/// # Errors
/// When the kernel has no such kind, or forbids a step; what is done by then stays.
pub fn add() -> Result<()> {
    make(KIND)?;
    let socket = control()?;
    set(&socket, libc::SIOCSIFADDR as _, |request| request.ifr_ifru.ifru_addr = internet(CONTAINER_ADDRESS))?;
    set(&socket, libc::SIOCSIFNETMASK as _, |request| request.ifr_ifru.ifru_netmask = internet(Ipv4Addr::BROADCAST))?;
    bring_up(&socket, NAME)?;
    match Path::new(NO_IPV6).exists() {
        true => std::fs::write(NO_IPV6, "1"),
        false => Ok(()),
    }
}

/// Brings the loopback interface up.
pub fn loopback_up() -> Result<()> {
    bring_up(&control()?, b"lo")
}

fn bring_up(socket: &OwnedFd, name: &[u8]) -> Result<()> {
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    set_on(socket, name, libc::SIOCSIFFLAGS as _, |request| request.ifr_ifru.ifru_flags = flags)
}

fn control() -> Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

fn set(socket: &OwnedFd, operation: libc::Ioctl, fill: impl FnOnce(&mut libc::ifreq)) -> Result<()> {
    set_on(socket, NAME, operation, fill)
}

/// One setting of an interface (`netdevice(7)`).
fn set_on(socket: &OwnedFd, name: &[u8], operation: libc::Ioctl, fill: impl FnOnce(&mut libc::ifreq)) -> Result<()> {
    // SAFETY: an all-zero `ifreq` is a valid value of that plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(name) {
        *slot = *byte as libc::c_char;
    }
    fill(&mut request);
    // SAFETY: the request is a properly filled `ifreq` that outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), operation, &raw const request) };
    Ok(Errno::result(result).map(drop)?)
}

/// An address as the requests of `netdevice(7)` have it.
fn internet(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: an all-zero `sockaddr` is a valid value of that plain C structure.
    let mut place: libc::sockaddr = unsafe { std::mem::zeroed() };
    place.sa_family = libc::AF_INET as libc::sa_family_t;
    // After the port, in the order of the network.
    for (slot, byte) in place.sa_data[2..6].iter_mut().zip(address.octets()) {
        *slot = byte as libc::c_char;
    }
    place
}

/// Makes an interface of a kind (`rtnetlink(7)`, RTM_NEWLINK).
fn make(kind: &[u8]) -> Result<()> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(socket.as_raw_fd(), &new_link(kind), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // An acknowledgement is an error of number 0, after the header of 16 bytes.
    match answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Error::from_raw_os_error(-error)),
        None => Err(Errno::EPROTO.into()),
    }
}

/// The request for a new interface, in the byte order of this machine.
fn new_link(kind: &[u8]) -> Vec<u8> {
    let mut body = vec![0; size_of::<libc::c_int>() * 4];
    body.extend(attribute(libc::IFLA_IFNAME, &[NAME, b"\0"].concat()));
    body.extend(attribute(libc::IFLA_ADDRESS, &HARDWARE_ADDRESS));
    body.extend(attribute(libc::IFLA_LINKINFO, &attribute(libc::IFLA_INFO_KIND, kind)));
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// One attribute, filled up to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
