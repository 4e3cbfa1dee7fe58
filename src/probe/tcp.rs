//! The tcp probe: a connection, and in turns something sent and something read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::base::Digest;
use crate::observation::{Answer, Redactor};
use crate::probe::run::{Outcome, excerpt, timed_out};
use crate::probe::step::{Exchange, TcpStep};

/// No more than this is read, in bytes.
const LARGEST_ANSWER: usize = 16 << 20;

/// Connects to the first of `addresses` that accepts, and talks: each turn sends and then reads until its end, or what
/// it expects, has come, the peer has closed the connection or `timeout`, which is for all of it, is over.
///
/// The answer of a turn ends right there, and what came beyond begins that of the next, so that neither depends on how
/// the peer's bytes were cut into packets. A turn with nothing to wait for reads nothing, but for the last, which reads
/// to the end of the connection; that the time ends first is no failure then: the answer is what came till then.
pub(super) fn probe(step: &TcpStep, addresses: &[IpAddr], timeout: Duration, redactor: &Redactor) -> Outcome {
    let port = step.port.unwrap_or_default();
    let deadline = Instant::now() + timeout;
    let stream = match connect(addresses, port, timeout) {
        Ok(stream) => stream,
        Err((address, error)) => return failed(&error, &format!("on {}", SocketAddr::new(address, port)), timeout),
    };
    if step.dialogue.iter().all(|turn| *turn == Exchange::default()) {
        return Outcome::new(Answer::Connected, None);
    }
    let mut talk = Talk { stream, deadline, unread: Vec::new(), heard: Vec::new() };
    let last_sent = step.dialogue.iter().rposition(|turn| turn.send.is_some());
    for (number, turn) in step.dialogue.iter().enumerate() {
        let is_last = number + 1 == step.dialogue.len();
        let closes = step.half_close && last_sent.unwrap_or(0) == number;
        match talk.turn(turn, closes, is_last, timeout, redactor) {
            Ok(()) => {}
            Err(Ended::Well) => break,
            Err(Ended::Badly(failure)) => {
                let failure = match step.dialogue.len() {
                    1 => failure,
                    _ => format!("turn {}: {failure}", number + 1),
                };
                return Outcome::new(bytes(&talk.heard), Some(failure));
            }
        }
    }
    Outcome::new(bytes(&talk.heard), None).showing("bytes", talk.heard)
}

/// How a dialogue ended before its last turn.
enum Ended {
    /// The peer hung up, as it may.
    Well,
    /// For this reason.
    Badly(String),
}

/// A connection on which a dialogue goes on.
struct Talk {
    stream: TcpStream,
    deadline: Instant,
    /// What came and no turn has taken yet.
    unread: Vec<u8>,
    /// The answers of the turns so far.
    heard: Vec<u8>,
}

impl Talk {
    fn turn(
        &mut self,
        turn: &Exchange,
        closes: bool,
        is_last: bool,
        timeout: Duration,
        redactor: &Redactor,
    ) -> Result<(), Ended> {
        let sent = match &turn.send {
            Some(bytes) => self.stream.set_write_timeout(Some(timeout)).and_then(|()| self.stream.write_all(&bytes.0)),
            None => Ok(()),
        };
        let sent = sent.and_then(|()| if closes { self.stream.shutdown(Shutdown::Write) } else { Ok(()) });
        let waits = turn.until.is_some() || !turn.expect.is_empty();
        if !waits && !is_last {
            return sent
                .map_err(|error| Ended::Badly(failed(&error, "while sending", timeout).failure.unwrap_or_default()));
        }
        // What a peer said before it hung up may be all that is wanted.
        let end = sent.and_then(|()| self.read_until(|bytes| waits && turn.end(bytes).is_some()));
        let at = turn.end(&self.unread).filter(|_| waits);
        let answer: Vec<u8> = self.unread.drain(..at.unwrap_or(self.unread.len())).collect();
        self.heard.extend_from_slice(&answer);
        let got = if answer.is_empty() { "nothing".into() } else { excerpt(&answer, redactor) };
        let wanted = match (&turn.until, turn.expect.is_empty()) {
            (Some(until), true) => format!("a match of /{until}/"),
            _ => turn.expect.to_string(),
        };
        let hung_up = match &end {
            Ok(()) => true,
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        };
        let badly = |failure| Err(Ended::Badly(failure));
        match end {
            _ if at.is_none() && hung_up && turn.may_end => Err(Ended::Well),
            _ if at.is_some() && turn.expect.met_at(&answer).is_some() => Ok(()),
            _ if at.is_some() => badly(format!("expected {wanted}, got {got}")),
            Ok(()) if !waits => Ok(()),
            Err(error) if !waits && timed_out(&error) => Ok(()),
            Ok(()) => badly(format!("expected {wanted}, got {got} and the end of the connection")),
            Err(error) if timed_out(&error) => {
                badly(format!("expected {wanted}, got {got}; timed out after {} s", timeout.as_secs_f64()))
            }
            Err(error) => badly(failed(&error, &format!("after {got}"), timeout).failure.unwrap_or_default()),
        }
    }

    /// Reads until `done` says so of all that came, or the peer has closed the connection.
    fn read_until(&mut self, done: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while !done(&self.unread) {
            if self.unread.len() >= LARGEST_ANSWER {
                return Err(io::Error::other(format!("the answer is longer than {} MiB", LARGEST_ANSWER >> 20)));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => self.unread.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Exchange {
    /// Where its answer ends in what came; `None` when it has not come yet.
    fn end(&self, bytes: &[u8]) -> Option<usize> {
        match &self.until {
            Some(until) => until.match_end(bytes),
            None => self.expect.met_at(bytes),
        }
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
        TcpStep::new(Some(port), Exchange { send: send.map(Into::into), expect, ..Exchange::default() })
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

    /// A server that greets, answers each line in upper case, and says how many lines there were when no more come.
    fn echo(mut stream: TcpStream) {
        stream.write_all(b"220 hi\r\n").unwrap();
        let (mut lines, mut line, mut byte) = (0, Vec::new(), [0]);
        // The probe may hang up at any time.
        while stream.read(&mut byte).is_ok_and(|n| n > 0) {
            line.push(byte[0].to_ascii_uppercase());
            if byte == *b"\n" {
                lines += 1;
                if stream.write_all(&line).is_err() {
                    return;
                }
                line.clear();
            }
        }
        drop(stream.write_all(format!("{lines} lines").as_bytes()));
    }

    fn turn(send: Option<&str>, until: Option<&str>, contains: Option<&str>) -> Exchange {
        let contains = contains.map(|text| text.as_bytes().to_vec());
        Exchange {
            send: send.map(Into::into),
            until: until.map(|regex| regex.parse().unwrap()),
            expect: BytesExpect { contains, matches: None },
            may_end: false,
        }
    }

    #[test]
    fn a_dialogue_goes_turn_by_turn_to_the_half_close() {
        let line = Some("\n");
        for (dialogue, half_close, heard, failure) in [
            (
                vec![turn(None, line, Some("220")), turn(Some("a\n"), line, Some("A")), turn(Some("b\n"), line, None)],
                false,
                "220 hi\r\nA\nB\n",
                None,
            ),
            // What is sent at once is still answered turn by turn.
            (
                vec![turn(Some("a\nb\n"), line, None), turn(None, Some("A\n"), None), turn(None, None, Some("B"))],
                false,
                "220 hi\r\nA\nB",
                None,
            ),
            (
                vec![turn(None, line, None), turn(Some("a\n"), None, None), turn(Some("b\n"), None, None)],
                true,
                "220 hi\r\nA\nB\n2 lines",
                None,
            ),
            (
                vec![turn(None, line, None), turn(Some("a\n"), line, Some("b"))],
                false,
                "220 hi\r\nA\n",
                Some(r#"turn 2: expected "b", got "A\n""#),
            ),
            (
                vec![turn(None, line, None), turn(Some("a\n"), Some("z"), None)],
                true,
                "220 hi\r\nA\n1 lines",
                Some(r#"turn 2: expected a match of /z/, got "A\n1 lines" and the end of the connection"#),
            ),
            (
                vec![
                    turn(None, line, None),
                    turn(Some("a\n"), Some("1 lines"), None),
                    Exchange { may_end: true, ..turn(None, line, None) },
                    turn(None, line, None),
                ],
                true,
                "220 hi\r\nA\n1 lines",
                None,
            ),
        ] {
            let (port, handle) = server(echo);
            let outcome = run(&TcpStep { port: Some(port), dialogue, half_close }, 5000);
            assert_eq!((outcome.answer, outcome.failure.as_deref()), (bytes(heard.as_bytes()), failure), "{heard:?}");
            handle.join().unwrap();
        }
    }
}
