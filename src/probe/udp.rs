//! The udp probe: a datagram sent, datagrams read.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::observation::Redactor;
use crate::probe::run::{Outcome, excerpt, timed_out};
use crate::probe::step::UdpStep;
use crate::probe::target::Target;
use crate::probe::tcp::{bytes, failed};

/// How long a peer that may have died is waited for before somebody asks whether it has: no packet tells.
const SLICE: Duration = Duration::from_millis(100);

/// Sends the datagram to the first of `addresses` that does not refuse, and reads datagrams until what is expected has
/// come (any one, when nothing is), the application has ended or `timeout` is over.
pub(super) fn probe(
    step: &UdpStep,
    addresses: &[IpAddr],
    timeout: Duration,
    target: &dyn Target,
    redactor: &Redactor,
) -> Outcome {
    let mut refused = None;
    for &address in addresses {
        let address = SocketAddr::new(address, step.port.unwrap_or_default());
        let mut received = Vec::new();
        match exchange(step, address, Instant::now() + timeout, target, &mut received) {
            Ok(()) => {
                let end = step.expect.met_at(&received).filter(|_| !step.expect.is_empty());
                received.truncate(end.unwrap_or(received.len()));
                return Outcome::new(bytes(&received), None).showing("bytes", received);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                refused = refused.or_else(|| Some(failed(&error, &format!("on udp {address}"), timeout)));
            }
            Err(error) if timed_out(&error) => {
                let got = if received.is_empty() { "nothing".into() } else { excerpt(&received, redactor) };
                let seconds = timeout.as_secs_f64();
                let failure = format!("expected {}, got {got}; timed out after {seconds} s", step.expect);
                return Outcome::new(bytes(&received), Some(failure));
            }
            Err(error) => return failed(&error, &format!("on udp {address}"), timeout),
        }
    }
    refused.unwrap_or_else(|| Outcome::failed("there is no address to send to".into()))
}

fn exchange(
    step: &UdpStep,
    address: SocketAddr,
    deadline: Instant,
    target: &dyn Target,
    received: &mut Vec<u8>,
) -> io::Result<()> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0))?;
    // A connected socket is told when nobody takes its datagrams.
    socket.connect(address)?;
    socket.send(&step.send.0)?;
    if !step.answer {
        return Ok(());
    }
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left.min(SLICE)))?;
        match socket.recv(&mut buffer) {
            Ok(n) => received.extend_from_slice(&buffer[..n]),
            Err(error) if timed_out(&error) || error.kind() == ErrorKind::Interrupted => {
                if target.exited().is_some() {
                    return Err(io::Error::other("no answer"));
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        if step.expect.is_empty() || step.expect.met_at(received).is_some() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::observation::Answer;
    use crate::probe::expect::BytesExpect;
    use crate::probe::fake::FakeTarget;
    use crate::probe::target::Exit;

    fn step(port: u16, contains: Option<&[u8]>) -> UdpStep {
        let expect = BytesExpect { contains: contains.map(<[u8]>::to_vec), matches: None };
        UdpStep { port: Some(port), send: "hello".into(), answer: true, expect }
    }

    fn run(step: &UdpStep, target: &FakeTarget, millis: u64) -> Outcome {
        probe(step, &[[127, 0, 0, 1].into()], Duration::from_millis(millis), target, &Redactor::default())
    }

    /// Answers the first datagram with `parts`.
    fn server(parts: &'static [&'static [u8]]) -> (u16, thread::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let handle = thread::spawn(move || {
            let mut buffer = [0; 100];
            let (n, peer) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], b"hello");
            for part in parts {
                socket.send_to(part, peer).unwrap();
            }
        });
        (port, handle)
    }

    #[test]
    fn datagrams_are_read_until_the_expectation_is_met() {
        const BINARY: &[&[u8]] = &[b"\xff\x00one", b"two"];
        const TEXT: &[&[u8]] = &[b"one", b"two"];
        for (parts, expect, answer) in [(BINARY, None, BINARY[0]), (TEXT, Some(&b"tw"[..]), b"onetw")] {
            let (port, handle) = server(parts);
            let outcome = run(&step(port, expect), &FakeTarget::default(), 5000);
            assert_eq!((outcome.answer, outcome.failure), (bytes(answer), None));
            handle.join().unwrap();
        }
    }

    #[test]
    fn nobody_there_is_seen_at_once() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let outcome = run(&step(port, None), &FakeTarget::default(), 60_000);
        assert_eq!(outcome.failure.unwrap(), format!("connection refused on udp 127.0.0.1:{port}"));
    }

    #[test]
    fn silence_is_a_failure_unless_no_answer_is_wanted() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let outcome = run(&step(port, None), &FakeTarget::default(), 50);
        assert_eq!(outcome.failure.unwrap(), "expected an answer, got nothing; timed out after 0.05 s");
        let outcome = run(&UdpStep { answer: false, ..step(port, None) }, &FakeTarget::default(), 50);
        assert_eq!((outcome.answer, outcome.failure), (bytes(b""), None));
        let dead = FakeTarget { exit: Some(Exit::Code(1)).into(), ..FakeTarget::default() };
        let outcome = run(&step(port, None), &dead, 600_000);
        assert!(outcome.failure.is_some() && outcome.answer == Answer::None, "a dead peer is not waited for");
    }
}
