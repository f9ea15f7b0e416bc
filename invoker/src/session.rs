//! The hub's side of the action protocol: a small HTTP/1.1 client over a container's unix socket (contract §4.1).
//!
//! Connections are kept and used again. Each begins with the launcher's line `ready`. After a failure of any kind the
//! container is of no more use, so nothing here is tried again; [`Failure::Unheard`] says that another container may.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::{Answer, Call};

/// The head of an answer; the launchers' own is below a hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest answer that is read to its end, to tell its length; a longer one breaks the connection.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// What the launcher writes first.
const READY: &[u8] = b"ready\n";

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not in time.
    Timeout(Duration),
    /// The container ended before it had read the whole request: it cannot have begun to serve it.
    Unheard,
    /// The connection broke, or what came is no answer.
    Broken,
}

/// Connections to one container.
pub(crate) struct Session {
    socket: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
}

impl Session {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::new(Vec::new()) }
    }

    /// Connects for the first time: the container is ready when this returns.
    pub(crate) async fn ready(&self) -> std::io::Result<()> {
        let stream = self.connect().await?;
        self.idle.lock().push(stream);
        Ok(())
    }

    async fn connect(&self) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let mut line = [0; READY.len()];
        stream.read_exact(&mut line).await?;
        if line != READY {
            return Err(std::io::Error::other("the launcher's first line is not `ready`"));
        }
        Ok(stream)
    }

    /// POSTs `body` and reads the answer.
    pub(crate) async fn call(
        &self,
        call: Call,
        body: Bytes,
        timeout: Duration,
        body_bytes_max: usize,
    ) -> Result<Answer, Failure> {
        let exchange = async {
            let idle = self.idle.lock().pop();
            let mut stream = match idle {
                Some(stream) => stream,
                None => self.connect().await.map_err(|_| Failure::Unheard)?,
            };
            let path = match call {
                Call::Init => "/init",
                Call::Run => "/run",
            };
            let mut request =
                format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
            request.extend_from_slice(&body);
            stream.write_all(&request).await.map_err(|_| Failure::Unheard)?;
            // unix(7): a peer that closes with unread data resets the connection, one that read all just ends it.
            let answer = read(&mut stream, body_bytes_max).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::ConnectionReset => Failure::Unheard,
                _ => Failure::Broken,
            })?;
            self.idle.lock().push(stream);
            Ok(answer)
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Failure::Timeout(timeout)))
    }
}

/// Reads one answer; of its body at most `keep` bytes are kept.
async fn read(stream: &mut UnixStream, keep: usize) -> std::io::Result<Answer> {
    let bad = |what: &str| std::io::Error::other(format!("the runtime's answer has {what}"));
    let mut data = Vec::with_capacity(4096);
    let head_end = loop {
        if let Some(at) = data.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if data.len() > HEAD_BYTES_MAX {
            return Err(bad("too long a head"));
        }
        if stream.read_buf(&mut data).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = data.split_off(head_end);
    let head = String::from_utf8_lossy(&data);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| bad("no status"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<u64>().ok())
        .filter(|length| *length <= BODY_BYTES_MAX)
        .ok_or_else(|| bad("no Content-Length, or too great a one"))?;
    let mut received = body.len() as u64;
    if received > length {
        // A process that the action forked answers too: whose answer the next one would be is anybody's guess.
        return Err(bad("more bytes than it promised"));
    }
    body.truncate(keep);
    let mut rest = Vec::new();
    while received < length {
        rest.clear();
        rest.reserve(64 << 10);
        let count = stream.read_buf(&mut rest).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        received += count as u64;
        let room = keep.saturating_sub(body.len()).min(rest.len());
        body.extend_from_slice(rest.get(..room).unwrap_or_default());
    }
    Ok(Answer { status, body, body_bytes: length })
}
