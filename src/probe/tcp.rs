//! The tcp probe: a connection, something sent, something read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::base::Digest;
use crate::observation::{Answer, Redactor};
use crate::probe::run::{Outcome, excerpt, timed_out};
use crate::probe::step::TcpStep;

/// No more than this is read, in bytes.
const LARGEST_ANSWER: usize = 16 << 20;

/// Connects to the first of `addresses` that accepts, and reads until what is expected has come, the peer has closed
/// the connection or `timeout` is over.
///
/// When the expectation is met the answer ends right there, so that it does not depend on how the peer's bytes were
/// cut into packets. Without an expectation the end of the time is no failure: the answer is what came till then.
pub(super) fn probe(step: &TcpStep, addresses: &[IpAddr], timeout: Duration, redactor: &Redactor) -> Outcome {
    let port = step.port.unwrap_or_default();
    let deadline = Instant::now() + timeout;
    let mut stream = match connect(addresses, port, timeout) {
        Ok(stream) => stream,
        Err((address, error)) => return failed(&error, &format!("on {}", SocketAddr::new(address, port)), timeout),
    };
    let sent = match &step.send {
        Some(bytes) => stream.set_write_timeout(Some(timeout)).and_then(|()| stream.write_all(&bytes.0)),
        None => Ok(()),
    };
    if step.send.is_none() && step.expect.is_empty() {
        return Outcome::new(Answer::Connected, None);
    }
    let mut received = Vec::new();
    let end = match sent {
        Ok(()) => receive(step, &mut stream, deadline, &mut received),
        Err(error) => Err(error),
    };
    if let Some(at) = step.expect.met_at(&received)
        && !step.expect.is_empty()
    {
        received.truncate(at);
        return Outcome::new(bytes(&received), None).showing("bytes", received);
    }
    let got = || if received.is_empty() { "nothing".into() } else { excerpt(&received, redactor) };
    match end {
        Ok(()) if step.expect.is_empty() => Outcome::new(bytes(&received), None).showing("bytes", received),
        Err(error) if step.expect.is_empty() && timed_out(&error) => {
            Outcome::new(bytes(&received), None).showing("bytes", received)
        }
        Ok(()) => {
            let failure = format!("expected {}, got {} and the end of the connection", step.expect, got());
            Outcome::new(bytes(&received), Some(failure))
        }
        Err(error) if timed_out(&error) => {
            let failure =
                format!("expected {}, got {}; timed out after {} s", step.expect, got(), timeout.as_secs_f64());
            Outcome::new(bytes(&received), Some(failure))
        }
        Err(error) => Outcome { answer: bytes(&received), ..failed(&error, &format!("after {}", got()), timeout) },
    }
}

/// A connection to the first address that does not refuse.
pub(super) fn connect(addresses: &[IpAddr], port: u16, timeout: Duration) -> Result<TcpStream, (IpAddr, io::Error)> {
    let mut refused = None;
    for &address in addresses {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused = refused.or(Some((address, error))),
            Err(error) => return Err((address, error)),
        }
    }
    Err(refused.unwrap_or_else(|| (IpAddr::from([127, 0, 0, 1]), ErrorKind::ConnectionRefused.into())))
}

fn receive(step: &TcpStep, stream: &mut TcpStream, deadline: Instant, received: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    while received.len() < LARGEST_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => received.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if !step.expect.is_empty() && step.expect.met_at(received).is_some() {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("the answer is longer than {} MiB", LARGEST_ANSWER >> 20)))
}

pub(super) fn bytes(received: &[u8]) -> Answer {
    Answer::Bytes { digest: Digest::of(received), bytes: received.len() as u64 }
}

/// The outcome of an exchange that the system ended.
pub(super) fn failed(error: &io::Error, place: &str, timeout: Duration) -> Outcome {
    match error.kind() {
        ErrorKind::ConnectionRefused => Outcome::not_yet(format!("connection refused {place}")),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Outcome::failed(format!("connection reset {place}")),
        _ if timed_out(error) => Outcome::failed(format!("timed out after {} s {place}", timeout.as_secs_f64())),
        _ => Outcome::failed(format!("{error} {place}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::probe::expect::BytesExpect;

    const LOCAL: [IpAddr; 1] = [IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)];

    /// A server for one connection; its thread ends with the test's interest in it.
    fn server(talk: impl FnOnce(TcpStream) + Send + 'static) -> (u16, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (port, thread::spawn(move || talk(listener.accept().unwrap().0)))
    }

    fn step(port: u16, send: Option<&str>, contains: Option<&[u8]>) -> TcpStep {
        let expect = BytesExpect { contains: contains.map(<[u8]>::to_vec), matches: None };
        TcpStep { port: Some(port), send: send.map(Into::into), expect }
    }

    fn run(step: &TcpStep, millis: u64) -> Outcome {
        probe(step, &LOCAL, Duration::from_millis(millis), &Redactor::default())
    }

    #[test]
    fn an_answer_ends_where_the_expectation_is_met_however_it_was_cut() {
        for packets in [vec![&b"+PO"[..], b"NG\r\n", b"more"], vec![&b"+PONG\r\nmore"[..]]] {
            let (port, handle) = server(move |mut stream| {
                stream.set_nodelay(true).unwrap();
                let mut request = [0; 6];
                stream.read_exact(&mut request).unwrap();
                assert_eq!(&request, b"PING\r\n");
                for packet in packets {
                    // The probe may hang up as soon as it has seen enough.
                    if stream.write_all(packet).is_err() {
                        break;
                    }
                }
            });
            let outcome = run(&step(port, Some("PING\r\n"), Some(b"+PONG\r\n")), 5000);
            assert_eq!((outcome.answer, outcome.failure), (bytes(b"+PONG\r\n"), None));
            handle.join().unwrap();
        }
    }

    #[test]
    fn a_banner_of_any_bytes_is_read_to_the_end_of_the_connection() {
        let banner = b"\x4a\x00\x00\x00\x0a8.0\xff\xfe";
        let (port, handle) = server(move |mut stream| stream.write_all(banner).unwrap());
        let outcome = run(&step(port, Some(""), None), 5000);
        assert_eq!((outcome.answer, outcome.failure), (bytes(banner), None));
        handle.join().unwrap();
    }

    #[test]
    fn failures_say_what_was_expected_and_what_came() {
        let (port, handle) = server(|mut stream| stream.write_all(b"-ERR \xff\r\n").unwrap());
        let outcome = run(&step(port, None, Some(b"+OK")), 5000);
        let failure = outcome.failure.unwrap();
        assert_eq!(failure, r#"expected "+OK", got "-ERR \xff\r\n" and the end of the connection"#);
        handle.join().unwrap();

        let (close, closed) = std::sync::mpsc::channel::<()>();
        let (port, handle) = server(move |_stream| assert!(closed.recv().is_err()));
        let outcome = run(&step(port, None, Some(b"+OK")), 50);
        assert_eq!(outcome.failure.unwrap(), r#"expected "+OK", got nothing; timed out after 0.05 s"#);
        let outcome = run(&step(port, Some("x"), None), 50);
        assert_eq!((outcome.answer, outcome.failure), (bytes(b""), None), "nothing was expected");
        drop(close);
        handle.join().unwrap();
    }

    #[test]
    fn a_refused_connection_is_named_and_may_be_tried_again() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let outcome = run(&step(port, None, None), 1000);
        assert_eq!(outcome.failure.unwrap(), format!("connection refused on 127.0.0.1:{port}"));
        assert!(outcome.not_yet);
    }

    #[test]
    fn a_connection_alone_is_an_answer() {
        let (port, handle) = server(drop);
        assert_eq!(run(&step(port, None, None), 5000).answer, Answer::Connected);
        handle.join().unwrap();
    }
}
