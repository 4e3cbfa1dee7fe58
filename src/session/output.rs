//! What a process writes: digested whole, kept in part.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::base::{Digest, HashingReader};
use crate::observation::Redactor;
use crate::sandbox::Stdio;

/// How much of a stream has to be kept beyond what is shown of it, in bytes: more than any secret is long.
pub const EDGE: usize = 64 << 10;

/// How much of each stream a probe's command may write before the rest is only digested: 16 MiB.
const MAX_KEPT: usize = 16 << 20;

/// What one stream carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Of all of it.
    pub digest: Digest,
    /// How much.
    pub bytes: u64,
    /// The end of it.
    pub tail: Vec<u8>,
}

impl Stream {
    /// The end of it as text without secrets, `length` bytes at most. Whoever captured it kept [`EDGE`] bytes more, so
    /// that no piece of a secret is left at the edge.
    pub fn ending(&self, redactor: &Redactor, length: usize) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let text = redactor.text(&text);
        let mut from = text.len().saturating_sub(length);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text[from..].to_owned()
    }
}

/// The two output streams of one process, being read.
pub struct CapturedOutput {
    stdout: Reading,
    stderr: Reading,
}

/// One stream, being read by a thread.
struct Reading {
    whole: Receiver<Stream>,
    so_far: Arc<Mutex<SoFar>>,
}

/// What of a stream was read so far.
#[derive(Default)]
struct SoFar {
    bytes: u64,
    tail: VecDeque<u8>,
}

/// Starts readers for the output of a process that is about to be started, with an empty standard input. At most
/// `keep` bytes at the end of each stream are kept.
pub fn capture(keep: usize) -> io::Result<(Stdio, CapturedOutput)> {
    let (stdout_reader, stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr_reader, stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let captured =
        CapturedOutput { stdout: read(stdout_reader.into(), keep)?, stderr: read(stderr_reader.into(), keep)? };
    let stdin = File::open("/dev/null")?.into();
    Ok((Stdio { stdin, stdout, stderr }, captured))
}

/// [`capture`] for the command of a probe, whose whole output is compared.
pub fn capture_whole() -> io::Result<(Stdio, CapturedOutput)> {
    capture(MAX_KEPT)
}

impl CapturedOutput {
    /// Standard output and standard error, once all writers are gone, or `patience` is over: then a stream that is
    /// still open is what was kept of it so far.
    pub fn collect(self, patience: Duration) -> (Stream, Stream) {
        let deadline = Instant::now() + patience;
        let receive = |stream: Reading| {
            let left = deadline.saturating_duration_since(Instant::now());
            stream.whole.recv_timeout(left).unwrap_or_else(|_| {
                let so_far = lock(&stream.so_far);
                let tail: Vec<u8> = so_far.tail.iter().copied().collect();
                Stream { digest: Digest::of(&tail), bytes: so_far.bytes, tail }
            })
        };
        (receive(self.stdout), receive(self.stderr))
    }
}

fn lock(so_far: &Mutex<SoFar>) -> MutexGuard<'_, SoFar> {
    so_far.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stream: File, keep: usize) -> io::Result<Reading> {
    let (sender, whole) = mpsc::channel();
    let so_far = Arc::new(Mutex::new(SoFar::default()));
    let shared = so_far.clone();
    let work = move || {
        let mut reader = HashingReader::new(stream);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    let mut so_far = lock(&shared);
                    so_far.bytes += n as u64;
                    so_far.tail.extend(&buffer[..n]);
                    let excess = so_far.tail.len().saturating_sub(keep);
                    so_far.tail.drain(..excess);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let (digest, bytes) = reader.finish();
        let tail = std::mem::take(&mut lock(&shared).tail).into();
        // Whoever wanted this may have lost patience.
        drop(sender.send(Stream { digest, bytes, tail }));
    };
    thread::Builder::new().name("output".into()).spawn(work)?;
    Ok(Reading { whole, so_far })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn all_is_digested_and_the_end_is_kept() {
        let (stdio, captured) = capture(4).unwrap();
        File::from(stdio.stdout).write_all(b"abcdefgh").unwrap();
        drop(stdio.stderr);
        let (stdout, stderr) = captured.collect(Duration::from_secs(10));
        assert_eq!(stdout, Stream { digest: Digest::of(b"abcdefgh"), bytes: 8, tail: b"efgh".to_vec() });
        assert_eq!(stderr.bytes, 0);
    }

    #[test]
    fn what_a_stream_that_stays_open_said_is_not_lost() {
        let (stdio, captured) = capture(100).unwrap();
        let mut open = File::from(stdio.stdout);
        open.write_all(b"started").unwrap();
        // The reader has it once the pipe is empty, and then it only has to take a lock that nobody holds for long.
        while captured.stdout.so_far.lock().unwrap().bytes < 7 {
            thread::yield_now();
        }
        drop(stdio.stderr);
        let (stdout, _) = captured.collect(Duration::ZERO);
        assert_eq!(stdout, Stream { digest: Digest::of(b"started"), bytes: 7, tail: b"started".to_vec() });
    }

    #[test]
    fn no_piece_of_a_secret_is_left_at_the_edge() {
        let tail = b"xx hunter22 and more".to_vec();
        let stream = Stream { digest: Digest::of(b""), bytes: 20, tail };
        for length in 0..20 {
            let text = stream.ending(&Redactor::new(["hunter22"]), length);
            assert!(!text.contains("nter") && !text.contains("r22"), "{text}");
        }
    }
}
