//! The stream to an MQTT broker: bytes on their way in and out, pings when they are due, and CONNECT.
//!
//! Every wait is cancel-safe: what was read stays in the input, what was not sent in the output.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::outgoing;
use super::settings::Settings;
use super::wire::{Decoder, Greeting, Incoming, KEEP_ALIVE_S, WireError};
use crate::provider::FeedError;
use crate::transport::{self, STEP_MAX, Stream};

/// Bytes asked of the socket at once.
const READ_BYTES: usize = 64 << 10;
/// Bytes that wait to be sent, above which nothing more is read: a broker that does not read gets no answers to give.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Capacity of the input above which it is not kept while nothing is in it: one large message takes no memory for ever.
const INPUT_KEPT_MAX: usize = 1 << 20;

/// The two ends of a stream and what is on its way through them.
pub(super) struct Link {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    decoder: Decoder,
    input: BytesMut,
    pub(super) output: BytesMut,
    flushed: bool,
    last_sent: Instant,
    pub(super) last_received: Instant,
    /// How long nothing is sent before a ping: half of what the broker counts with.
    ping_after: Duration,
    pub(super) peer: String,
}

impl Link {
    pub(super) async fn open(settings: &Settings, payload_bytes_max: usize) -> Result<Self, FeedError> {
        Ok(Self::over(transport::connect(&settings.target()).await?, settings, payload_bytes_max))
    }

    /// A link over a stream that is there.
    pub(super) fn over(stream: Box<dyn Stream>, settings: &Settings, payload_bytes_max: usize) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            decoder: Decoder::new(settings.version, payload_bytes_max),
            input: BytesMut::with_capacity(READ_BYTES),
            output: BytesMut::new(),
            flushed: true,
            last_sent: Instant::now(),
            last_received: Instant::now(),
            ping_after: Duration::from_secs(u64::from(KEEP_ALIVE_S)) / 2,
            peer: settings.peer(),
        }
    }

    fn broken(&self, error: &std::io::Error) -> FeedError {
        FeedError::Unavailable(format!("the connection to the MQTT broker {} broke off: {error}", self.peer))
    }

    fn garbled(&self, error: &WireError) -> FeedError {
        FeedError::Unavailable(format!("the MQTT broker {} sent {error}", self.peer))
    }

    fn closed(&self) -> FeedError {
        FeedError::Unavailable(format!("the MQTT broker {} closed the connection", self.peer))
    }

    pub(super) fn decode(&mut self) -> Result<Option<Incoming>, FeedError> {
        self.decoder.decode(&mut self.input).map_err(|error| self.garbled(&error))
    }

    /// Sends all that waits. Cancel-safe: what was not sent still waits.
    pub(super) async fn flush(&mut self) -> Result<(), FeedError> {
        while self.output.has_remaining() || !self.flushed {
            self.write_some().await?;
        }
        Ok(())
    }

    async fn write_some(&mut self) -> Result<(), FeedError> {
        let written = send(&mut self.writer, &mut self.output, &mut self.flushed).await;
        self.last_sent = Instant::now();
        written.map_err(|error| self.broken(&error))
    }

    /// Whether the broker must hear something.
    pub(super) fn ping_is_due(&self) -> bool {
        self.last_sent.elapsed() >= self.ping_after
    }

    fn make_room(&mut self) {
        if self.input.is_empty() && self.input.capacity() > INPUT_KEPT_MAX {
            self.input = BytesMut::new();
        }
        self.input.reserve(READ_BYTES);
    }

    /// Reads what has arrived, without waiting. `false` where nothing has.
    pub(super) fn read_arrived(&mut self) -> Result<bool, FeedError> {
        self.make_room();
        match self.reader.read_buf(&mut self.input).now_or_never() {
            None => Ok(false),
            Some(Ok(0)) => Err(self.closed()),
            Some(Ok(_)) => {
                self.last_received = Instant::now();
                Ok(true)
            }
            Some(Err(error)) => Err(self.broken(&error)),
        }
    }

    /// Sends, and reads where `reads`, until something moved, a ping is due, or `silence` has
    /// passed. Cancel-safe.
    pub(super) async fn wait(&mut self, reads: bool, silence: Duration) -> Result<(), FeedError> {
        let reads = reads && self.output.len() < OUTPUT_BYTES_MAX;
        let sends = self.output.has_remaining() || !self.flushed;
        if reads {
            self.make_room();
        }
        let ping_at = self.last_sent + self.ping_after;
        let (reader, writer, input, output, flushed) =
            (&mut self.reader, &mut self.writer, &mut self.input, &mut self.output, &mut self.flushed);
        let moved = tokio::select! {
            biased;
            sent = send(writer, output, flushed), if sends => {
                self.last_sent = Instant::now();
                sent.map(|()| 1)
            }
            read = reader.read_buf(input), if reads => {
                self.last_received = Instant::now();
                read
            }
            () = tokio::time::sleep_until(ping_at) => return Ok(()),
            () = tokio::time::sleep(silence) => return Ok(()),
        };
        match moved {
            Ok(0) => Err(self.closed()),
            Ok(_) => Ok(()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// Says DISCONNECT and ends the stream. A connection that is already gone has been told all that it must hear.
    pub(super) async fn close(&mut self) {
        outgoing::disconnect(&mut self.output);
        if self.flush().await.is_ok() {
            let _ = self.writer.shutdown().await;
        }
    }

    /// Sends CONNECT and takes CONNACK: whether the broker has the session. `clean` ends the session of before.
    pub(super) async fn greet(&mut self, settings: &Settings, clean: bool) -> Result<bool, FeedError> {
        let wrote = outgoing::connect(settings, clean, &mut self.output);
        wrote.map_err(|error| FeedError::Invalid(error.to_string()))?;
        match self.answer("CONNECT").await? {
            Incoming::Connected(Ok(Greeting { present, keep_alive_s })) => {
                if let Some(seconds @ 1..) = keep_alive_s {
                    self.ping_after = self.ping_after.min(Duration::from_secs(u64::from(seconds)) / 2);
                }
                Ok(present)
            }
            Incoming::Connected(Err(why)) => {
                let user = match &settings.login {
                    Some((user, _)) => format!("the user `{user}`"),
                    None => "a client without user and password".to_owned(),
                };
                Err(FeedError::Refused(format!("the MQTT broker {} refused {user}: {why}", self.peer)))
            }
            _ => {
                let text =
                    format!("{} did not answer CONNECT with CONNACK: is it an MQTT broker?", self.peer);
                Err(FeedError::Unavailable(text))
            }
        }
    }

    /// The next packet, which is the answer to `step`.
    pub(super) async fn answer(&mut self, step: &str) -> Result<Incoming, FeedError> {
        let late = Instant::now() + STEP_MAX;
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(packet);
            }
            let left = late.saturating_duration_since(Instant::now());
            match self.wait(true, left).await {
                Ok(()) if left.is_zero() => {
                    let text =
                        format!("the MQTT broker {} did not answer {step} within {STEP_MAX:?}", self.peer);
                    return Err(FeedError::Unavailable(text));
                }
                Ok(()) => {}
                Err(error) => {
                    return Err(FeedError::Unavailable(format!("{error} instead of answering {step}")));
                }
            }
        }
    }
}

/// Writes a part of `output`, or flushes where all of it is written. Cancel-safe.
async fn send(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    output: &mut BytesMut,
    flushed: &mut bool,
) -> std::io::Result<()> {
    if output.has_remaining() {
        *flushed = false;
        if writer.write_buf(output).await? == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
    } else {
        writer.flush().await?;
        *flushed = true;
    }
    Ok(())
}
