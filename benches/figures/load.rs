//! The load: keep-alive connections that send one request after the other, from one thread, with as little work of its
//! own as can be, since it shares two cores with the hub.

use std::time::{Duration, Instant};

use base64::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::KEY;

/// One connection.
struct Lane {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
pub struct Answer {
    pub status: u16,
    /// `X-Openwhisk-Activation-Id`, where there is one.
    pub activation: Option<String>,
    pub body: Vec<u8>,
}

/// What a load measured.
#[derive(Default)]
pub struct Load {
    /// How long each answered request took, in microseconds, sorted.
    pub micros: Vec<u32>,
    /// The ids of the answers.
    pub ids: Vec<String>,
    /// From the first request to the last answer.
    pub took: Duration,
}

impl Load {
    pub fn per_second(&self) -> f64 {
        self.micros.len() as f64 / self.took.as_secs_f64()
    }

    /// The `p`-th percentile, in milliseconds.
    pub fn millis(&self, p: f64) -> f64 {
        percentile(&self.micros, p) / 1000.0
    }
}

/// The `p`-th percentile of sorted values.
pub fn percentile(sorted: &[u32], p: f64) -> f64 {
    let at = ((sorted.len() as f64 * p / 100.0).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).map_or(f64::NAN, |value| f64::from(*value))
}

/// A request with the development key.
pub fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let key = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", KEY.0, KEY.1));
    format!(
        "{method} /api/v1/namespaces/_/{path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Basic {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Lane {
    async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the hub listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// Sends a request and reads the whole answer.
    async fn call(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).await.expect("the hub takes the request");
        self.buffer.clear();
        let (head, length) = loop {
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the hub answers");
            assert!(read > 0, "the hub closed the connection");
            if let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                let text = std::str::from_utf8(&self.buffer[..end]).expect("a head is ASCII").to_owned();
                let length =
                    header(&text, "content-length").map_or(0, |n| n.parse::<usize>().expect("a number"));
                break (text, (end + 4, length));
            }
        };
        let (begin, bytes) = length;
        while self.buffer.len() < begin + bytes {
            assert!(self.stream.read_buf(&mut self.buffer).await.expect("the hub answers") > 0);
        }
        Answer {
            status: head.get(9..12).and_then(|code| code.parse().ok()).expect("a status line"),
            activation: header(&head, "x-openwhisk-activation-id").map(str::to_owned),
            body: self.buffer[begin..].to_vec(),
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Runs `future` on a thread of its own with a runtime of one thread.
fn alone<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(future)
        });
        thread.join().expect("the load ends")
    })
}

/// Sends `requests`, over and over, on `concurrency` connections for `span`; each answer must have the status `expected`.
pub fn run(address: &str, concurrency: usize, span: Duration, request: &[u8], expected: u16) -> Load {
    alone(async {
        let mut lanes = Vec::new();
        for _ in 0..concurrency {
            lanes.push(Lane::connect(address).await);
        }
        let begun = Instant::now();
        let work = lanes.into_iter().map(async |mut lane| {
            let (mut micros, mut ids) = (Vec::new(), Vec::new());
            while begun.elapsed() < span {
                let sent = Instant::now();
                let answer = lane.call(request).await;
                let body = || String::from_utf8_lossy(&answer.body).into_owned();
                assert_eq!(answer.status, expected, "{}", body());
                micros.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                ids.push(answer.activation.unwrap_or_else(|| panic!("an answer without an id: {}", body())));
            }
            (micros, ids)
        });
        let parts = futures::future::join_all(work).await;
        let mut load = Load { took: begun.elapsed(), ..Load::default() };
        for (micros, ids) in parts {
            load.micros.extend(micros);
            load.ids.extend(ids);
        }
        load.micros.sort_unstable();
        load
    })
}

/// One request by itself.
pub fn once(address: &str, request: &[u8]) -> (Answer, Duration) {
    alone(async {
        let mut lane = Lane::connect(address).await;
        let sent = Instant::now();
        let answer = lane.call(request).await;
        (answer, sent.elapsed())
    })
}

/// Asks for the record of every id until it is there; `found` sees each. Fails after `patience`, with what is missing.
pub fn records(address: &str, ids: &[String], patience: Duration, mut found: impl FnMut(&[u8]) + Send) {
    const LANES: usize = 4;
    alone(async {
        let begun = Instant::now();
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            lanes.push(Lane::connect(address).await);
        }
        let found = std::sync::Mutex::new(&mut found);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = lanes.into_iter().map(async |mut lane| {
            while let Some(id) = ids.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                let request = request("GET", &format!("activations/{id}"), "");
                loop {
                    let answer = lane.call(&request).await;
                    if answer.status == 200 {
                        (*found.lock().expect("nothing panics in it"))(&answer.body);
                        break;
                    }
                    assert!(begun.elapsed() < patience, "no record of {id} within {patience:?}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        futures::future::join_all(work).await;
    });
}
