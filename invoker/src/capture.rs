//! A container's log lines: two pipes, read while a call or a reading of the lines waits, so that an action that writes
//! gigabytes neither blocks nor fills memory (contract §4.3).
//!
//! Nothing reads them in between: what an idle container writes waits in its pipes, and one that fills them waits too,
//! until its next run. So a run costs no task and no thread of its own.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use parking_lot::Mutex;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;

use crate::CapturedLogs;

/// What the launcher writes after each activation.
const SENTINEL: &[u8] = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
/// Bytes of lines kept between two readings: the greatest log limit there is.
const KEPT_BYTES_MAX: u64 = 10 << 20;
/// A longer line is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Room for one read: of a stream that says little, and of one that filled it the last time.
const READ_BYTES: usize = 4 << 10;
const READ_BYTES_MAX: usize = 64 << 10;
/// What a pipe holds, where the system lets it: a writer of gigabytes waits for its reader a sixteenth as often as with the
/// usual 64 KiB. It counts as the writer's memory.
const PIPE_BYTES: i32 = 1 << 20;
/// Reads in one turn, so that a writer that never pauses does not keep its reader from looking at the time.
const READS_MAX: usize = 16;

/// The two log streams of one container.
pub(crate) struct Capture {
    pipes: [Receiver; 2],
    lines: Mutex<Lines>,
    /// A sentinel came, or a stream was closed.
    news: Notify,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    bytes: u64,
    dropped: bool,
    streams: [Stream; 2],
}

#[derive(Default)]
struct Stream {
    /// What came after the last line end.
    rest: Vec<u8>,
    /// The last read filled its room.
    flows: bool,
    /// Sentinels seen and not yet read.
    ends: u32,
    closed: bool,
}

impl Capture {
    pub(crate) fn new(stdout: OwnedFd, stderr: OwnedFd) -> std::io::Result<Self> {
        for pipe in [&stdout, &stderr] {
            // Refused to who may not have so much, whose pipes stay as they are.
            let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        }
        Ok(Self {
            pipes: [Receiver::from_owned_fd(stdout)?, Receiver::from_owned_fd(stderr)?],
            lines: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// Keeps reading while something else is waited for.
    pub(crate) async fn follow(&self) -> Infallible {
        loop {
            self.readable().await;
            self.read();
        }
    }

    /// See [`crate::Container::logs`].
    pub(crate) async fn take(&self, bytes_max: u64, wait: Duration) -> CapturedLogs {
        // The launcher writes the sentinels before it answers, so mostly they are there.
        if !self.read() {
            let ended = async {
                loop {
                    let news = self.news.notified();
                    tokio::pin!(news);
                    // Registered before looking, so that nothing that another reader finds in between is missed.
                    news.as_mut().enable();
                    if self.read() {
                        return;
                    }
                    tokio::select! {
                        () = news => {}
                        () = self.readable() => {}
                    }
                }
            };
            // A timeout is told by `complete`.
            let _ = tokio::time::timeout(wait, ended).await;
        }
        self.lines.lock().take(bytes_max)
    }

    /// The text of what is there, for an error.
    pub(crate) fn text(&self) -> String {
        let lines = self.lines.lock();
        lines.lines.iter().filter_map(|line| line.get(39..)).collect::<Vec<_>>().join("; ")
    }

    /// Waits until one of the streams has something to read; for ever once both are closed.
    async fn readable(&self) {
        let [stdout, stderr] = {
            let lines = self.lines.lock();
            lines.streams.each_ref().map(|stream| !stream.closed)
        };
        let [out, err] = &self.pipes;
        // An error is found by the read that follows.
        tokio::select! {
            _ = out.readable(), if stdout => {}
            _ = err.readable(), if stderr => {}
            else => std::future::pending().await,
        }
    }

    /// Reads what is there; whether both streams have come to the end of a run, or are closed.
    fn read(&self) -> bool {
        let mut lines = self.lines.lock();
        let lines = &mut *lines;
        let mut news = false;
        for ((pipe, name), index) in self.pipes.iter().zip(["stdout", "stderr"]).zip(0..) {
            news |= lines.read(pipe, name, index);
        }
        if news {
            self.news.notify_waiters();
        }
        lines.streams.iter().all(|stream| stream.ends > 0 || stream.closed)
    }
}

impl Lines {
    /// Reads what is there of one stream; whether it came to an end.
    fn read(&mut self, pipe: &Receiver, name: &str, index: usize) -> bool {
        let Some(mut stream) = self.streams.get_mut(index).map(std::mem::take) else { return false };
        let before = (stream.ends, stream.closed);
        for _ in 0..READS_MAX {
            if stream.closed {
                break;
            }
            stream.rest.reserve(if stream.flows { READ_BYTES_MAX } else { READ_BYTES });
            match pipe.try_read_buf(&mut stream.rest) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // A stream that cannot be read is as good as closed.
                Ok(0) | Err(_) => stream.closed = true,
                Ok(_) => {
                    stream.flows = stream.rest.len() == stream.rest.capacity();
                    self.split(&mut stream, name);
                }
            }
        }
        if stream.closed && !stream.rest.is_empty() {
            let rest = std::mem::take(&mut stream.rest);
            self.push(name, &rest);
        }
        if stream.rest.is_empty() && stream.rest.capacity() > READ_BYTES * 2 && !stream.flows {
            stream.rest = Vec::new();
        }
        let ended = before != (stream.ends, stream.closed);
        if let Some(place) = self.streams.get_mut(index) {
            *place = stream;
        }
        ended
    }

    /// Takes the whole lines out of what a stream brought.
    fn split(&mut self, stream: &mut Stream, name: &str) {
        let mut rest = stream.rest.as_slice();
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at);
            rest = after.get(1..).unwrap_or_default();
            match line.strip_suffix(SENTINEL) {
                Some(before) => {
                    stream.ends += 1;
                    // What was written without a line end before it is a line of its own.
                    if !before.is_empty() {
                        self.push(name, before);
                    }
                }
                None => self.push(name, line),
            }
        }
        while rest.len() > LINE_BYTES_MAX {
            let (line, after) = rest.split_at(LINE_BYTES_MAX);
            self.push(name, line);
            rest = after;
        }
        let consumed = stream.rest.len() - rest.len();
        stream.rest.drain(..consumed);
    }

    fn push(&mut self, name: &str, line: &[u8]) {
        let bytes = line.len() as u64 + 40;
        if self.bytes + bytes > KEPT_BYTES_MAX {
            self.dropped = true;
            return;
        }
        self.bytes += bytes;
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
        self.lines.push(format!("{time:<30} {name}: {}", String::from_utf8_lossy(line)));
    }

    /// The lines of the run that ended, or of what there is of it.
    fn take(&mut self, bytes_max: u64) -> CapturedLogs {
        let complete = self.streams.iter().all(|stream| stream.ends > 0);
        for stream in &mut self.streams {
            stream.ends = stream.ends.saturating_sub(1);
        }
        self.bytes = 0;
        let mut truncated = std::mem::take(&mut self.dropped);
        let mut kept = std::mem::take(&mut self.lines);
        let mut bytes = 0;
        let fits = kept.iter().take_while(|line| {
            bytes += line.len() as u64 + 1;
            bytes <= bytes_max
        });
        let fits = fits.count();
        truncated |= fits < kept.len();
        kept.truncate(fits);
        CapturedLogs { lines: kept, truncated, complete }
    }
}
