//! The receiving half of an MQTT session as a pure machine: packets and durable cursors in, packets to send out.
//!
//! It knows no socket, no clock and no protocol version. It decides which deliveries are new, which are repeated, and
//! which packets may be sent once a cursor is durable. Nothing is acknowledged before that (invariant 1).
//!
//! After a crash a new machine starts from the last durable [`Cursor`]. QoS 2 is exact: a packet id leaves the cursor
//! durably before PUBCOMP is sent, so the broker cannot have reused it. QoS 1 has no such handshake: a delivery stays in
//! the cursor until a PINGRESP proves that its PUBACK arrived, and a repeated one is told by flag, id and content.

use std::collections::{BTreeMap, VecDeque};

use super::cursor::{Cursor, Digest, Open};

/// Deliveries emitted but not yet durable, above which no more are read; also the receive maximum told to a v5 broker.
/// It covers several batches of [`BATCH_EVENTS_MAX`] in the making, and keeps a cursor at some 16 KB.
pub(crate) const HELD_MAX: usize = 1_000;

/// Events in one batch, so that one durable write is shared by many but none waits long for its neighbours.
pub(crate) const BATCH_EVENTS_MAX: usize = 256;

/// A message as the broker sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    /// The packet id; 0 with QoS 0.
    pub(crate) id: u16,
    /// Whether the broker says that it may have sent this before.
    pub(crate) dup: bool,
    /// Digest of topic and payload.
    pub(crate) digest: Digest,
}

/// A packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// QoS 1: taken.
    PubAck(u16),
    /// QoS 2: taken.
    PubRec(u16),
    /// QoS 2: forgotten.
    PubComp(u16),
    /// A round trip, which proves that what was sent before it arrived.
    Ping,
}

/// How far a packet id has come on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Durable before this connection; whether its acknowledgement arrived is unknown.
    Recovered,
    /// Emitted, not yet durable.
    Held,
    /// Durable and acknowledged; the ping with this number, once answered, proves it (QoS 1).
    Acked(u64),
    /// QoS 2: released by the broker; forgotten once a cursor without it is durable.
    Releasing,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    qos: u8,
    digest: Digest,
    stage: Stage,
}

/// What one sealed batch allows to be sent, once durable.
#[derive(Debug)]
struct Sealed {
    number: u64,
    replies: Vec<Reply>,
    held: usize,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Session {
    number: u64,
    entries: BTreeMap<u16, Entry>,
    /// Replies that the batch in the making will allow.
    making: Vec<Reply>,
    making_held: usize,
    sealed: VecDeque<Sealed>,
    held: usize,
    /// Pings sent and answered on this connection.
    pings_sent: u64,
    pings_answered: u64,
    duplicates: u64,
    /// Whether the durable cursor holds more than is still open.
    trimmable: bool,
}

impl Session {
    /// The machine of a new connection. `resumed` says whether the broker still has the session; without it nothing that
    /// the cursor remembers can come again.
    pub(crate) fn new(cursor: &Cursor, resumed: bool) -> Self {
        let open = if resumed { cursor.open.as_slice() } else { &[] };
        let entry = |open: &Open| Entry { qos: open.qos, digest: open.digest, stage: Stage::Recovered };
        Self {
            number: cursor.number,
            entries: open.iter().map(|open| (open.id, entry(open))).collect(),
            making: Vec::new(),
            making_held: 0,
            sealed: VecDeque::new(),
            held: 0,
            pings_sent: 0,
            pings_answered: 0,
            duplicates: 0,
            trimmable: !resumed && !cursor.open.is_empty(),
        }
    }

    /// Takes a delivery. `true` where it is new and has to be emitted with the next batch.
    pub(crate) fn receive(&mut self, delivery: Delivery, out: &mut Vec<Reply>) -> bool {
        let Delivery { qos, id, dup, digest } = delivery;
        if qos > 0
            && let Some(known) = self.entries.get(&id).copied()
            && self.is_repeated(known, qos, dup, digest)
        {
            self.duplicates += 1;
            self.answer_repeated(id, known, out);
            return false;
        }
        if qos > 0 {
            self.entries.insert(id, Entry { qos, digest, stage: Stage::Held });
            self.making.push(if qos == 1 { Reply::PubAck(id) } else { Reply::PubRec(id) });
        }
        self.making_held += 1;
        self.held += 1;
        true
    }

    /// Whether a delivery under the id of `known` is that one again. Equal contents under different ids are different
    /// messages, and so is an unflagged one after its forerunner was acknowledged.
    fn is_repeated(&self, known: Entry, qos: u8, dup: bool, digest: Digest) -> bool {
        if known.qos != qos || known.digest != digest {
            return false;
        }
        // An id that was not acknowledged on this connection cannot have been given to another message; neither can one of
        // QoS 2 that is in the cursor, since it leaves that before PUBCOMP.
        known.stage == Stage::Held || dup || qos == 2
    }

    fn answer_repeated(&mut self, id: u16, known: Entry, out: &mut Vec<Reply>) {
        // A held one is answered with its batch; any other is durable already.
        match (known.stage, known.qos) {
            (Stage::Held | Stage::Releasing, _) => {}
            (_, 1) => {
                out.push(Reply::PubAck(id));
                let stage = Stage::Acked(self.pings_sent + 1);
                self.entries.insert(id, Entry { stage, ..known });
                self.ping(out);
            }
            _ => out.push(Reply::PubRec(id)),
        }
    }

    /// Takes a PUBREL. An id that is not open was forgotten durably before, and is confirmed at once: answering it with an
    /// error is what makes other clients reconnect for ever.
    pub(crate) fn release(&mut self, id: u16, out: &mut Vec<Reply>) {
        match self.entries.get_mut(&id) {
            Some(entry) if entry.qos == 2 => {
                if entry.stage != Stage::Releasing {
                    entry.stage = Stage::Releasing;
                    self.making.push(Reply::PubComp(id));
                }
            }
            _ => out.push(Reply::PubComp(id)),
        }
    }

    /// Takes a PINGRESP: the acknowledgements sent before that ping have arrived.
    pub(crate) fn pong(&mut self, out: &mut Vec<Reply>) {
        self.pings_answered = (self.pings_answered + 1).min(self.pings_sent);
        let answered = self.pings_answered;
        let before = self.entries.len();
        self.entries.retain(|_, entry| match entry.stage {
            Stage::Acked(ping) => entry.qos == 2 || ping > answered,
            // A broker resends right after the connection; by the second round trip it has.
            Stage::Recovered => entry.qos == 2 || answered < 2,
            Stage::Held | Stage::Releasing => true,
        });
        self.trimmable |= self.entries.len() < before;
        if self.entries.values().any(|entry| entry.qos == 1 && matches!(entry.stage, Stage::Acked(_))) {
            self.ping(out);
        }
    }

    /// Sends a ping, whatever is under way: the broker must hear something from time to time.
    pub(crate) fn keep_alive(&mut self, out: &mut Vec<Reply>) {
        self.pings_sent += 1;
        out.push(Reply::Ping);
    }

    /// Sends a ping, unless one is under way (its answer will send the next where one is needed).
    pub(crate) fn ping(&mut self, out: &mut Vec<Reply>) {
        if self.pings_sent == self.pings_answered {
            self.pings_sent += 1;
            out.push(Reply::Ping);
        }
    }

    /// Whether a ping waits for its answer.
    pub(crate) fn awaits_pong(&self) -> bool {
        self.pings_sent > self.pings_answered
    }

    /// Whether the batch in the making must be written even without an event in it: replies wait for it.
    pub(crate) fn wants_seal(&self) -> bool {
        !self.making.is_empty()
    }

    /// Whether an idle moment should be used to write a smaller cursor.
    pub(crate) fn wants_trim(&self) -> bool {
        self.trimmable && self.sealed.is_empty()
    }

    /// Whether more may be read from the broker.
    pub(crate) fn has_room(&self) -> bool {
        self.held < HELD_MAX && self.making_held < BATCH_EVENTS_MAX
    }

    /// Deliveries recognised as repeated since the last call.
    pub(crate) fn take_duplicates(&mut self) -> u64 {
        std::mem::take(&mut self.duplicates)
    }

    /// Ends the batch in the making, and gives the cursor that belongs to it.
    pub(crate) fn seal(&mut self) -> Cursor {
        self.number += 1;
        self.trimmable = false;
        let replies = std::mem::take(&mut self.making);
        let held = std::mem::take(&mut self.making_held);
        self.sealed.push_back(Sealed { number: self.number, replies, held });
        let open = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stage != Stage::Releasing)
            .map(|(id, entry)| Open { id: *id, qos: entry.qos, digest: entry.digest })
            .collect();
        Cursor { number: self.number, open, ..Cursor::default() }
    }

    /// The cursor of that number is durable, and with it all before it: sends what they allow.
    pub(crate) fn durable(&mut self, number: u64, out: &mut Vec<Reply>) {
        // With a ping under way, only the one after it proves what is sent now.
        let ping = self.pings_sent + 1;
        let mut acked = false;
        while self.sealed.front().is_some_and(|sealed| sealed.number <= number) {
            let Some(sealed) = self.sealed.pop_front() else { break };
            self.held -= sealed.held;
            for reply in sealed.replies {
                acked |= self.note_sent(reply, ping);
                out.push(reply);
            }
        }
        if acked {
            self.ping(out);
        }
    }

    /// Keeps what sending `reply` means; `true` where a round trip has to prove it.
    fn note_sent(&mut self, reply: Reply, ping: u64) -> bool {
        match reply {
            Reply::PubAck(id) => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.stage = Stage::Acked(ping);
                }
                true
            }
            Reply::PubRec(id) => {
                if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.stage == Stage::Held) {
                    entry.stage = Stage::Acked(u64::MAX);
                }
                false
            }
            Reply::PubComp(id) => {
                self.entries.remove(&id);
                false
            }
            Reply::Ping => false,
        }
    }
}
