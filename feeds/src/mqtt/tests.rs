//! The session machine at each step of the protocol at which a client can die.

use super::cursor::{Cursor, Digest};
use super::session::{Delivery, Reply, Session};

fn message(qos: u8, id: u16, dup: bool, payload: &[u8]) -> Delivery {
    Delivery { qos, id, dup, digest: Digest::of(b"t", payload) }
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    for (qos, taken) in [(1, vec![Reply::PubAck(7), Reply::Ping]), (2, vec![Reply::PubRec(7)])] {
        let (mut session, mut out) = (Session::new(&Cursor::default(), false), vec![]);
        assert!(session.receive(message(qos, 7, false, b"x"), &mut out));
        let cursor = session.seal();
        assert_eq!(out, []);
        session.durable(cursor.number, &mut out);
        assert_eq!(out, taken);
    }
}

#[test]
fn a_durable_delivery_that_comes_again_is_dropped_and_acknowledged() {
    for (qos, answer) in [(1, vec![Reply::PubAck(7), Reply::Ping]), (2, vec![Reply::PubRec(7)])] {
        let (mut first, mut out) = (Session::new(&Cursor::default(), false), vec![]);
        first.receive(message(qos, 7, false, b"x"), &mut out);
        let mut second = Session::new(&first.seal(), true);
        assert!(!second.receive(message(qos, 7, true, b"x"), &mut out));
        assert_eq!((second.take_duplicates(), &out), (1, &answer));
        let mut lost = Session::new(&first.seal(), false);
        assert!(lost.receive(message(qos, 7, true, b"x"), &mut out), "a lost session repeats nothing");
    }
}

#[test]
fn other_content_or_an_unflagged_one_is_new_after_a_crash() {
    let (mut first, mut out) = (Session::new(&Cursor::default(), false), vec![]);
    first.receive(message(1, 7, false, b"x"), &mut out);
    let cursor = first.seal();
    for other in [message(1, 7, true, b"y"), message(1, 7, false, b"x"), message(1, 8, true, b"x")] {
        assert!(Session::new(&cursor, true).receive(other, &mut out), "{other:?}");
    }
}

#[test]
fn a_pubcomp_waits_for_a_durable_cursor_without_the_id() {
    let (mut session, mut out) = (Session::new(&Cursor::default(), false), vec![]);
    session.receive(message(2, 7, false, b"x"), &mut out);
    let taken = session.seal();
    session.durable(taken.number, &mut out);
    out.clear();
    session.release(7, &mut out);
    assert!(out.is_empty() && session.wants_seal());
    let released = session.seal();
    assert_eq!((taken.open.len(), released.open.len()), (1, 0));
    session.durable(released.number, &mut out);
    assert_eq!(out, [Reply::PubComp(7)]);
}

#[test]
fn a_pubrel_of_a_forgotten_id_is_confirmed_and_not_refused() {
    let mut out = vec![];
    Session::new(&Cursor::default(), true).release(7, &mut out);
    assert_eq!(out, [Reply::PubComp(7)]);
}

#[test]
fn only_a_ping_sent_after_the_acknowledgement_proves_it() {
    let (mut session, mut out) = (Session::new(&Cursor::default(), false), vec![]);
    session.ping(&mut out);
    session.receive(message(1, 7, false, b"x"), &mut out);
    let number = session.seal().number;
    session.durable(number, &mut out);
    session.pong(&mut out);
    assert_eq!(session.seal().open.len(), 1, "that ping was sent before the acknowledgement");
    session.pong(&mut out);
    assert_eq!(session.seal().open.len(), 0);
    assert_eq!(out, [Reply::Ping, Reply::PubAck(7), Reply::Ping]);
}

#[test]
fn a_ping_to_keep_alive_proves_nothing_that_was_sent_after_it() {
    let (mut session, mut out) = (Session::new(&Cursor::default(), false), vec![]);
    session.ping(&mut out);
    session.keep_alive(&mut out);
    session.receive(message(1, 7, false, b"x"), &mut out);
    let number = session.seal().number;
    session.durable(number, &mut out);
    session.pong(&mut out);
    session.pong(&mut out);
    assert_eq!(session.seal().open.len(), 1, "both pings were sent before the acknowledgement");
    assert!(session.awaits_pong(), "another one is on its way to prove it");
    session.pong(&mut out);
    assert_eq!(session.seal().open.len(), 0);
}

#[test]
fn a_repeated_delivery_of_qos_2_needs_no_flag() {
    let (mut first, mut out) = (Session::new(&Cursor::default(), false), vec![]);
    first.receive(message(2, 7, false, b"x"), &mut out);
    let cursor = first.seal();
    assert!(!Session::new(&cursor, true).receive(message(2, 7, false, b"x"), &mut out));
    assert!(
        Session::new(&cursor, true).receive(message(2, 7, true, b"y"), &mut out),
        "other content is in doubt"
    );
}
