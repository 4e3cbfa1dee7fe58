//! The sandbox's network: bringing it up, and seeing who listens in it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use crate::sandbox::build::interface;
use crate::sandbox::failure::{During, Failure};

/// Ports below 1024 are free for all, as in a container.
const PORT_START: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
/// Every group may send echo requests, as in a container.
const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

/// Sets up the network namespace that this process has just made.
pub fn set_up(warnings: &mut Vec<String>) -> Result<(), Failure> {
    let up = interface::loopback_up().map_err(|cause| Errno::from_raw(cause.raw_os_error().unwrap_or_default()));
    up.during("bring up the network interface", "lo")?;
    if let Err(cause) = interface::add() {
        warnings.push(format!("cannot make the network interface eth0: {cause}; what looks for one finds only lo"));
    }
    if let Err(cause) = std::fs::write(PORT_START, "0") {
        warnings.push(format!("cannot write {PORT_START}: {cause}; ports below 1024 need NET_BIND_SERVICE"));
    }
    // Which groups exist depends on the id map; without it the one program that minds is `ping`.
    if std::fs::write(PING_GROUPS, "0 2147483647").is_err() && std::fs::write(PING_GROUPS, "0 0").is_err() {
        warnings.push(format!("cannot write {PING_GROUPS}; `ping` needs NET_RAW"));
    }
    Ok(())
}

/// Moves this process into the network of another sandbox. It is set up already.
pub fn join(namespace: Option<&OwnedFd>) -> Result<(), Failure> {
    let joined = namespace.ok_or(Errno::EBADF).and_then(|namespace| setns(namespace, CloneFlags::CLONE_NEWNET));
    joined.during("join the network of", "another sandbox")
}

/// The kind of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// A stream that listens.
    Tcp,
    /// Datagrams: bound and not connected.
    Udp,
}

/// A socket that waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// What it speaks.
    pub protocol: Protocol,
    /// The address it is bound to; unspecified for all.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: u16,
}

/// The sockets that wait in the network namespace of the process whose `/proc` directory is `process`. With `inodes`,
/// only those among them. A protocol that the kernel lacks has no table and no sockets.
pub fn listeners(process: &Path, inodes: Option<&BTreeSet<u64>>) -> io::Result<Vec<Listener>> {
    let mut found = BTreeSet::new();
    for (name, protocol) in
        [("tcp", Protocol::Tcp), ("tcp6", Protocol::Tcp), ("udp", Protocol::Udp), ("udp6", Protocol::Udp)]
    {
        let text = match std::fs::read_to_string(process.join("net").join(name)) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(cause),
        };
        found.extend(
            parse_table(&text, protocol)
                .filter(|(_, inode)| inodes.is_none_or(|inodes| inodes.contains(inode)))
                .map(|(listener, _)| listener),
        );
    }
    Ok(found.into_iter().collect())
}

/// The inodes of the sockets that the given processes have open. A process that has ended has none.
pub fn socket_inodes(proc: &Path, pids: &[i32]) -> BTreeSet<u64> {
    let mut inodes = BTreeSet::new();
    for pid in pids {
        let Ok(descriptors) = std::fs::read_dir(proc.join(pid.to_string()).join("fd")) else { continue };
        for link in descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
            let text = link.to_string_lossy();
            let inode = text.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            inodes.extend(inode.and_then(|digits| digits.parse::<u64>().ok()));
        }
    }
    inodes
}

/// Reads one of `/proc/net/{tcp,tcp6,udp,udp6}` (`proc_pid_net(5)`): sockets that wait, with their inodes.
fn parse_table(text: &str, protocol: Protocol) -> impl Iterator<Item = (Listener, u64)> {
    // TCP_LISTEN, and TCP_CLOSE for a datagram socket that is not connected (`net/tcp_states.h`).
    let waiting = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    text.lines().skip(1).filter_map(move |line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if *fields.get(3)? != waiting {
            return None;
        }
        let (address, port) = fields.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some((Listener { protocol, address: parse_address(address)?, port }, fields.get(9)?.parse().ok()?))
    })
}

/// The bytes of an address, printed as words of four bytes in the order of this machine.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::with_capacity(16);
    for at in (0..hex.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(v4).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn tables_of_the_kernel_are_read() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 5 1 0 100 0 0 10 0\n\
            1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000 0 6 1 0 100 0 0 10 0\n";
        let udp6 = "  sl  local_address remote_address st\n\
            7: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 77 2 0 0\n";
        let show = |text, protocol| {
            let found = parse_table(text, protocol);
            found.map(|(l, inode)| format!("{:?} {} {} {inode}", l.protocol, l.address, l.port)).collect::<Vec<_>>()
        };
        assert_eq!(show(tcp, Protocol::Tcp), ["Tcp 127.0.0.1 8080 5"]);
        assert_eq!(show(udp6, Protocol::Udp), ["Udp ::1 53 77"]);
    }

    #[test]
    fn our_own_listener_is_found_by_its_inode() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let inodes = socket_inodes(Path::new("/proc"), &[std::process::id() as i32]);
        let found = listeners(Path::new("/proc/self"), Some(&inodes)).unwrap();
        assert!(found.iter().any(|l| l.port == port && l.protocol == Protocol::Tcp));
        assert_eq!(listeners(Path::new("/proc/self"), Some(&BTreeSet::new())).unwrap(), []);
    }
}
