//! What probes need from the sandbox in which the application runs. The session implements it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::ImagePath;
use crate::probe::ProbeError;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// A socket that `listen`s.
    Tcp,
    /// A datagram socket that is bound to a port.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// A port as the keys of ExposedPorts and `--port` have it: `8080/tcp`, or `8080` for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Of which kind.
    pub protocol: Protocol,
    /// From 1 to 65535.
    pub number: u16,
}

impl Port {
    /// A TCP port.
    pub fn tcp(number: u16) -> Self {
        Port { protocol: Protocol::Tcp, number }
    }

    /// A UDP port.
    pub fn udp(number: u16) -> Self {
        Port { protocol: Protocol::Udp, number }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl FromStr for Port {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        let (number, protocol) = match text.split_once('/') {
            None => (text, Some(Protocol::Tcp)),
            Some((number, "tcp")) => (number, Some(Protocol::Tcp)),
            Some((number, "udp")) => (number, Some(Protocol::Udp)),
            Some((number, _)) => (number, None),
        };
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        match (number.parse(), protocol) {
            (Ok(number @ 1..), Some(protocol)) if digits => Ok(Port { protocol, number }),
            _ => {
                let hint = if text.contains(':') {
                    "give the port on which the application itself listens: nothing is published to the host"
                } else {
                    "a port is a number from 1 to 65535, `/udp` may follow: `8080`, `53/udp`"
                };
                Err(ProbeError::Port { text: text.into(), hint })
            }
        }
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A socket of the application that waits for peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// Of which kind.
    pub protocol: Protocol,
    /// The address it is bound to, `0.0.0.0` and `::` included.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: u16,
}

/// `tcp 0.0.0.0:80`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, std::net::SocketAddr::new(self.address, self.port))
    }
}

/// How the application ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The exit code, or 128 plus the signal, as shells and container runtimes have it.
    pub fn code(&self) -> i32 {
        match self {
            Exit::Code(code) => *code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A command to run beside the application, as `docker exec` would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// The command and its arguments; the command is looked up in the PATH of the application's environment.
    pub argv: Vec<String>,
    /// As image configs write it (`postgres`, `1000:1000`); `None` for the application's user.
    pub user: Option<String>,
    /// After this the command is killed, with all that it started.
    pub timeout: Duration,
    /// Whether what it uses belongs into the image; otherwise it only observes.
    pub keep: bool,
}

/// A program of the caller's to run outside of the sandbox, in the network of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptRequest {
    /// The program and its arguments; without a slash it is looked for along the caller's PATH.
    pub argv: Vec<String>,
    /// Variables beside the caller's.
    pub env: Vec<(String, String)>,
    /// After this the program is killed, with all that it started.
    pub timeout: Duration,
}

/// How a command that ran ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutcome {
    /// The exit code, or 128 plus the signal.
    pub code: i32,
    /// All that it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All that it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// Why a command has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ExecFailure {
    /// It could not be started, by its own fault: it is not there, or not executable. The probe fails.
    #[error("{0}")]
    NotStarted(String),
    /// It did not end in time and was killed. The probe fails.
    #[error("timed out")]
    TimedOut,
    /// The sandbox failed, not the command. The run fails.
    #[error("{0}")]
    Broken(io::Error),
}

/// The application under test and the sandbox around it.
///
/// Its methods are called from the one thread that [`crate::probe::run`] starts, and never two at a time.
pub trait Target: Sync {
    /// Moves the calling thread into the network of the application. Called once, first of all, on a fresh thread;
    /// threads that it starts later inherit the network.
    fn enter_network(&self) -> io::Result<()>;

    /// The sockets that wait for peers at this moment, in any order.
    fn listeners(&self) -> Vec<Listener>;

    /// Whether the application serves anything; a server on an AF_UNIX socket does without being a [`Listener`].
    fn serves(&self) -> bool {
        !self.listeners().is_empty()
    }

    /// The ports that began to listen, in the order in which they did; some may not do so any more.
    fn appeared(&self) -> Vec<Port> {
        let port = |listener: Listener| Port { protocol: listener.protocol, number: listener.port };
        self.listeners().into_iter().map(port).collect()
    }

    /// Whether nothing has happened in the sandbox for a while: everything in it sleeps, so that nothing is to be
    /// expected of waiting for it. Whoever asks, asks again and again: time counts from the first question.
    fn rests(&self) -> bool {
        false
    }

    /// The executables of the processes that listen, as far as they are known: behind an entrypoint script they are
    /// what tells which application this is.
    fn executables(&self) -> Vec<ImagePath> {
        Vec::new()
    }

    /// Blocks until [`Target::listeners`] (or [`Target::serves`]) is no longer what it was at `known`, or the
    /// application has ended, at most for `timeout`. It returns at once when that is so already, and may return early
    /// for no reason: callers look again.
    fn wait(&self, known: &[Listener], timeout: Duration);

    /// Waits for the end of the application, at most for `timeout`.
    fn wait_end(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        while self.exited().is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.wait(&self.listeners(), left);
        }
    }

    /// Waits until the application serves or has ended, at most for `timeout`; returns whether either happened.
    fn wait_serving_or_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let listeners = self.listeners();
            if self.exited().is_some() || self.serves() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.wait(&listeners, left);
        }
    }

    /// Runs a command beside the application and waits for its end.
    fn exec(&self, request: &ExecRequest) -> Result<ExecOutcome, ExecFailure>;

    /// Runs a program of the caller's outside of the sandbox, in the application's network, and waits for its end.
    fn script(&self, request: &ScriptRequest) -> Result<ExecOutcome, ExecFailure>;

    /// What the application does from now on, it does for the probe `label`.
    fn begin(&self, label: &str);

    /// The probe that began last is over.
    fn end(&self);

    /// How the application ended; `None` while it runs.
    fn exited(&self) -> Option<Exit>;
}

/// The addresses at which a peer in the application's network reaches `port`, the likeliest first.
pub(super) fn addresses(listeners: &[Listener], port: Port) -> Vec<IpAddr> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let mut out = Vec::new();
    for listener in listeners.iter().filter(|l| l.protocol == port.protocol && l.port == port.number) {
        match listener.address {
            IpAddr::V4(address) if address.is_unspecified() => out.push(v4),
            // Such a socket takes IPv4 too, unless it was asked not to.
            IpAddr::V6(address) if address.is_unspecified() => out.extend([v4, v6]),
            address => out.push(address),
        }
    }
    out.sort_by_key(|&address| (address != v4, address != v6, address));
    out.dedup();
    if out.is_empty() { vec![v4] } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_text() {
        for (text, port) in [("80", Port::tcp(80)), ("443/tcp", Port::tcp(443)), ("53/udp", Port::udp(53))] {
            assert_eq!(text.parse::<Port>().unwrap(), port);
        }
        for bad in ["", "0", "65536", "+80", "80/sctp", "http", "80/", " 80"] {
            let message = bad.parse::<Port>().unwrap_err().to_string();
            assert!(message.contains("hint: a port is a number"), "{message}");
        }
        let message = "8080:80".parse::<Port>().unwrap_err().to_string();
        assert!(message.ends_with("nothing is published to the host"), "{message}");
    }

    #[test]
    fn a_listener_is_reached_where_it_listens() {
        let listener = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            Listener { protocol: Protocol::Tcp, address: address.ip(), port: address.port() }
        };
        for (listeners, expected) in [
            (vec![], "127.0.0.1"),
            (vec!["0.0.0.0:80"], "127.0.0.1"),
            (vec!["[::]:80"], "127.0.0.1 ::1"),
            (vec!["[::]:80", "0.0.0.0:80"], "127.0.0.1 ::1"),
            (vec!["[::1]:80"], "::1"),
            (vec!["10.1.2.3:80", "0.0.0.0:81"], "10.1.2.3"),
            (vec!["10.1.2.3:80", "127.0.0.1:80"], "127.0.0.1 10.1.2.3"),
        ] {
            let listeners: Vec<Listener> = listeners.into_iter().map(listener).collect();
            let found: Vec<String> = addresses(&listeners, Port::tcp(80)).iter().map(IpAddr::to_string).collect();
            assert_eq!(found.join(" "), expected, "{listeners:?}");
        }
        assert_eq!(addresses(&[listener("[::1]:80")], Port::udp(80)), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }
}
