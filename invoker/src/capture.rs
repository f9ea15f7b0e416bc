//! A container's log lines: two pipes, read as they fill, so that an action that writes gigabytes neither blocks nor
//! fills memory (contract §4.3).

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;

use crate::CapturedLogs;

/// What the launcher writes after each activation.
const SENTINEL: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
/// Bytes of lines kept between two readings: the greatest log limit there is.
const KEPT_BYTES_MAX: u64 = 10 << 20;
/// A longer line is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The two log streams of one container.
pub(crate) struct Capture {
    lines: Arc<Mutex<Lines>>,
    news: Arc<Notify>,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    bytes: u64,
    dropped: bool,
    /// Sentinels seen and not yet read, by stream.
    ends: [u32; 2],
    closed: [bool; 2],
}

impl Capture {
    /// Reads both streams until they are closed.
    pub(crate) fn start(stdout: OwnedFd, stderr: OwnedFd) -> std::io::Result<Self> {
        let capture = Self { lines: Arc::default(), news: Arc::default() };
        for (index, (stream, name)) in [(stdout, "stdout"), (stderr, "stderr")].into_iter().enumerate() {
            let pipe = Receiver::from_owned_fd(stream)?;
            let (lines, news) = (capture.lines.clone(), capture.news.clone());
            // It ends with the container, whose ends of the pipes are the last ones.
            tokio::spawn(async move {
                follow(pipe, index, name, &lines, &news).await;
                if let Some(closed) = lines.lock().closed.get_mut(index) {
                    *closed = true;
                }
                news.notify_waiters();
            });
        }
        Ok(capture)
    }

    /// See [`crate::Container::logs`].
    pub(crate) async fn take(&self, bytes_max: u64, wait: Duration) -> CapturedLogs {
        let ended = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                // Registered before looking, so that nothing that comes in between is missed.
                news.as_mut().enable();
                {
                    let lines = self.lines.lock();
                    if lines.ends.iter().zip(lines.closed).all(|(ends, closed)| *ends > 0 || closed) {
                        return;
                    }
                }
                news.await;
            }
        };
        // A timeout is told by `complete`.
        let _ = tokio::time::timeout(wait, ended).await;
        let mut lines = self.lines.lock();
        let complete = lines.ends.iter().all(|ends| *ends > 0);
        for ends in &mut lines.ends {
            *ends = ends.saturating_sub(1);
        }
        lines.bytes = 0;
        let mut truncated = std::mem::take(&mut lines.dropped);
        let mut kept = std::mem::take(&mut lines.lines);
        drop(lines);
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

    /// The text of what is there, for an error.
    pub(crate) fn text(&self) -> String {
        let lines = self.lines.lock();
        lines.lines.iter().filter_map(|line| line.get(39..)).collect::<Vec<_>>().join("; ")
    }
}

async fn follow(mut pipe: Receiver, index: usize, name: &str, lines: &Mutex<Lines>, news: &Notify) {
    let mut buffer = Vec::with_capacity(8 << 10);
    // A stream that cannot be read is as good as closed.
    while let Ok(1..) = pipe.read_buf(&mut buffer).await {
        let mut rest = buffer.as_slice();
        let mut ended = false;
        {
            let mut lines = lines.lock();
            while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = rest.split_at(at);
                ended |= lines.add(index, name, line);
                rest = after.get(1..).unwrap_or_default();
            }
            while rest.len() > LINE_BYTES_MAX {
                let (line, after) = rest.split_at(LINE_BYTES_MAX);
                lines.add(index, name, line);
                rest = after;
            }
        }
        let left = rest.len();
        let consumed = buffer.len() - left;
        buffer.drain(..consumed);
        buffer.reserve(8 << 10);
        if ended {
            news.notify_waiters();
        }
    }
    if !buffer.is_empty() {
        lines.lock().add(index, name, &buffer);
    }
}

impl Lines {
    /// Adds a line; whether it was a sentinel.
    fn add(&mut self, index: usize, name: &str, line: &[u8]) -> bool {
        let text = String::from_utf8_lossy(line);
        let text = match text.strip_suffix(SENTINEL) {
            // What was written without a line end before it is a line of its own.
            Some(before) => {
                if let Some(ends) = self.ends.get_mut(index) {
                    *ends += 1;
                }
                if before.is_empty() {
                    return true;
                }
                self.push(name, before);
                return true;
            }
            None => text,
        };
        self.push(name, &text);
        false
    }

    fn push(&mut self, name: &str, text: &str) {
        let bytes = text.len() as u64 + 40;
        if self.bytes + bytes > KEPT_BYTES_MAX {
            self.dropped = true;
            return;
        }
        self.bytes += bytes;
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
        self.lines.push(format!("{time:<30} {name}: {text}"));
    }
}
