//! What a process writes: digested whole, kept in part.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::base::{Digest, HashingReader};
use crate::sandbox::Stdio;

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

/// The two output streams of one process, being read.
pub struct CapturedOutput {
    stdout: Receiver<Stream>,
    stderr: Receiver<Stream>,
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
    /// still open counts as empty.
    pub fn collect(self, patience: Duration) -> (Stream, Stream) {
        let deadline = Instant::now() + patience;
        let receive = |stream: Receiver<Stream>| {
            let left = deadline.saturating_duration_since(Instant::now());
            stream.recv_timeout(left).unwrap_or(Stream { digest: Digest::of(b""), bytes: 0, tail: Vec::new() })
        };
        (receive(self.stdout), receive(self.stderr))
    }
}

fn read(stream: File, keep: usize) -> io::Result<Receiver<Stream>> {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let mut tail = VecDeque::new();
        let mut reader = HashingReader::new(stream);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    tail.extend(&buffer[..n]);
                    let excess = tail.len().saturating_sub(keep);
                    tail.drain(..excess);
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let (digest, bytes) = reader.finish();
        // Whoever wanted this may have lost patience.
        drop(sender.send(Stream { digest, bytes, tail: tail.into() }));
    };
    thread::Builder::new().name("output".into()).spawn(work)?;
    Ok(receiver)
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
}
