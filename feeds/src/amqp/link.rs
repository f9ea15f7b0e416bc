//! Reaching an AMQP broker: connection, channel, declarations, consumer. Errors name the broker and the step.

use std::future::Future;
use std::sync::Arc;

use async_rs::Runtime;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Consumer, Error, ErrorKind, ExchangeKind,
};
use parking_lot::Mutex;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::runtime::{self, Kit, Wire};
use super::session::Answer;
use super::settings::{Binding, Declare, Settings};
use crate::provider::FeedError;
use crate::transport::{self, STEP_MAX};

/// Seconds without a sign of life after which either side gives the other up (lapin sends one every half of it).
const HEARTBEAT_S: u16 = 20;

/// A connection with the one channel of a feed.
pub(super) struct Link {
    connection: Connection,
    channel: Channel,
    queue: ShortString,
    peer: String,
}

impl Link {
    /// Connects and opens a channel.
    async fn reach(settings: &Settings) -> Result<Self, FeedError> {
        let peer = settings.peer();
        let stream = transport::connect(&settings.target()).await?;
        // lapin asks for a stream once: it is not told to recover.
        let stream = Arc::new(Mutex::new(Some(stream.compat())));
        let connect = async move |_: AMQPUri, _: Runtime<Kit>| -> lapin::Result<AsyncTcpStream<Wire>> {
            let stream = stream.lock().take();
            let stream = stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected))?;
            Ok(AsyncTcpStream::Plain(stream))
        };
        let properties = ConnectionProperties::default().with_connection_name("triggerfish".into());
        let connecting = Connection::connector(uri(settings), runtime::current(), connect, properties);
        let connection = step(&peer, "open a connection", connecting).await?;
        let channel = step(&peer, "open a channel", connection.create_channel()).await?;
        Ok(Self { connection, channel, queue: settings.queue.as_str().into(), peer })
    }

    /// Connects, declares what is to be declared, and consumes.
    pub(super) async fn open(settings: &Settings) -> Result<(Self, Consumer), FeedError> {
        let this = Self::reach(settings).await?;
        if let Some(Binding { exchange, kind: Some(kind), .. }) = &settings.binding {
            let kind = match kind.as_str() {
                "direct" => ExchangeKind::Direct,
                "fanout" => ExchangeKind::Fanout,
                "topic" => ExchangeKind::Topic,
                "headers" => ExchangeKind::Headers,
                other => ExchangeKind::Custom(other.to_owned()),
            };
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let declared =
                this.channel.exchange_declare(exchange.as_str().into(), kind, options, FieldTable::default());
            step(&this.peer, &format!("declare the exchange `{exchange}`"), declared).await?;
        }
        let queue = this.queue.clone();
        match &settings.declare {
            Some(declare) => {
                let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                let declared = this.channel.queue_declare(queue.clone(), options, arguments(declare));
                step(&this.peer, &format!("declare the queue `{queue}`"), declared).await?;
            }
            None => drop(step(&this.peer, &format!("use the queue `{queue}`"), this.look()).await?),
        }
        if let Some(Binding { exchange, keys, .. }) = &settings.binding {
            for key in keys {
                let bound = this.channel.queue_bind(
                    queue.clone(),
                    exchange.as_str().into(),
                    key.as_str().into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                );
                step(&this.peer, &format!("bind the queue `{queue}` to the exchange `{exchange}`"), bound)
                    .await?;
            }
        }
        let limited = this.channel.basic_qos(settings.prefetch, BasicQosOptions::default());
        step(&this.peer, "limit the deliveries under way", limited).await?;
        let options = BasicConsumeOptions::default();
        let consuming =
            this.channel.basic_consume(queue.clone(), ShortString::default(), options, FieldTable::default());
        let consumer = step(&this.peer, &format!("consume the queue `{queue}`"), consuming).await?;
        Ok((this, consumer))
    }

    /// Asks how many messages wait in the queue. The answer comes after all that was sent before it was dealt with.
    pub(super) fn look(&self) -> impl Future<Output = lapin::Result<u32>> + Send + 'static {
        let (channel, queue) = (self.channel.clone(), self.queue.clone());
        async move {
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let found = channel.queue_declare(queue, options, FieldTable::default()).await?;
            Ok(found.message_count())
        }
    }

    pub(super) async fn answer(&self, answer: Answer) -> Result<(), FeedError> {
        let sent = match answer {
            Answer::Ack(tag) => self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
            Answer::Reject(tag) => {
                self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await
            }
        };
        sent.map_err(|error| self.broken(&error))
    }

    /// What the error of a connection that worked means.
    pub(super) fn broken(&self, error: &Error) -> FeedError {
        failed(&self.peer, "the connection broke off", error)
    }

    /// The broker takes the consumer away: the queue is gone, or has moved.
    pub(super) fn cancelled(&self) -> FeedError {
        FeedError::Unavailable(format!(
            "the AMQP broker {} ended the consumption of the queue `{}`: was it deleted?",
            self.peer, self.queue
        ))
    }

    /// Whether the channel is open.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.connection.close(200, "".into()).await {
            tracing::debug!(broker = self.peer, %error, "an AMQP connection was not closed in good order");
        }
    }
}

/// Deletes the feed's own queue, with what is in it.
pub(crate) async fn forget(settings: &Settings) -> Result<(), FeedError> {
    if !settings.owns_queue {
        return Ok(());
    }
    let link = Link::reach(settings).await?;
    let deleted = link.channel.queue_delete(link.queue.clone(), QueueDeleteOptions::default());
    step(&link.peer, &format!("delete the queue `{}`", link.queue), deleted).await?;
    link.close().await;
    Ok(())
}

fn uri(settings: &Settings) -> AMQPUri {
    AMQPUri {
        // What is spoken below is the stream's matter.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: settings.username.clone(),
                password: settings.password.clone(),
            },
            host: settings.host.clone(),
            port: settings.port,
        },
        vhost: settings.vhost.clone(),
        query: AMQPQueryString { heartbeat: Some(HEARTBEAT_S), ..AMQPQueryString::default() },
    }
}

fn arguments(declare: &Declare) -> FieldTable {
    let mut arguments = FieldTable::default();
    for (name, value) in [("x-queue-type", &declare.kind), ("x-dead-letter-exchange", &declare.dead_letters)]
    {
        if let Some(value) = value {
            arguments.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
        }
    }
    arguments
}

/// One step of connecting, with its limit.
async fn step<T>(
    peer: &str,
    what: &str,
    doing: impl Future<Output = lapin::Result<T>>,
) -> Result<T, FeedError> {
    match tokio::time::timeout(STEP_MAX, doing).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(peer, &format!("cannot {what}"), &error)),
        Err(_) => Err(FeedError::Unavailable(format!(
            "the AMQP broker {peer}: cannot {what}: no answer within {STEP_MAX:?}"
        ))),
    }
}

fn failed(peer: &str, what: &str, error: &Error) -> FeedError {
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return FeedError::Unavailable(format!("the AMQP broker {peer}: {what}: {error}"));
    };
    let text = format!("the AMQP broker {peer}: {what}: {}", said.get_message());
    match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED)
        | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => FeedError::Refused(text),
        AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => FeedError::Unavailable(text),
    }
}
