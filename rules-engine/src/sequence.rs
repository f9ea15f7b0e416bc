//! Sequences (contract §2.4): which component runs next, with what, and the records that a sequence leaves.
//!
//! [`Machine`] is written down after each step; a hub that restarts goes on at the step after the last one that is on
//! disk. Ids follow from the sequence's own, so a step that is done again is the same activation.

use serde::{Deserialize, Serialize};
use serde_json::json;
use triggerfish_model::{
    Activation, ActivationId, Json, Limits, Namespace, Origin, Parameters, QualifiedName, Response,
    StatusCode, Subject, Timestamp, Version,
};

/// The most actions of a sequence, those of inner sequences counted (contract §2.4).
const ACTIONS_MAX: u32 = 50;
/// The most components looked at: a bound for sequences of nothing but sequences.
const STEPS_MAX: u32 = 1000;

/// A sequence as it is when its turn comes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// The sequence's own name.
    pub action: QualifiedName,
    /// Its version.
    pub version: Version,
    /// Its limits.
    pub limits: Limits,
    /// Its components, in order.
    pub components: Vec<QualifiedName>,
}

/// For whom a sequence runs.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The namespace.
    pub namespace: Namespace,
    /// Whose rights.
    pub subject: Subject,
    /// The trigger and rule behind it.
    pub origin: Origin,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The component to look up.
    pub component: QualifiedName,
    /// What it gets.
    pub arguments: Json,
    /// Its activation.
    pub id: ActivationId,
    /// The sequence that it is a component of.
    pub cause: ActivationId,
}

/// How a component ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its activation.
    pub id: ActivationId,
    /// What it answered.
    pub response: Response,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
    /// Its memory limit, in MB.
    pub memory_mb: u32,
}

/// A sequence under way, with the inner sequences that it is in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    frames: Vec<Frame>,
    input: Json,
    actions: u32,
    steps: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Frame {
    id: ActivationId,
    sequence: Sequence,
    next: usize,
    start: Timestamp,
    wait_ms: u64,
    duration_ms: u64,
    memory_mb: u32,
    logs: Vec<ActivationId>,
}

impl Machine {
    /// Begins a sequence under the activation `id`, with `input` for its first component.
    pub fn start(
        id: ActivationId,
        sequence: Sequence,
        input: Json,
        accepted: Timestamp,
        now: Timestamp,
    ) -> Self {
        let mut machine = Self { frames: Vec::new(), input, actions: 0, steps: 0 };
        machine.push(id, sequence, accepted, now);
        machine
    }

    fn push(&mut self, id: ActivationId, sequence: Sequence, accepted: Timestamp, now: Timestamp) {
        let wait_ms = u64::try_from(now.since(accepted).as_millis()).unwrap_or(u64::MAX);
        let logs = Vec::new();
        self.frames.push(Frame {
            id,
            sequence,
            next: 0,
            start: now,
            wait_ms,
            duration_ms: 0,
            memory_mb: 0,
            logs,
        });
    }

    /// The next component; `None` where the sequence has ended.
    pub fn step(&self) -> Option<Step> {
        let frame = self.frames.last()?;
        let component = frame.sequence.components.get(frame.next)?.clone();
        let id = frame.id.child(format!("step {}", frame.next).as_bytes());
        Some(Step { component, arguments: self.input.clone(), id, cause: frame.id })
    }

    /// The component of the present step is a sequence itself. Records are those of sequences that ended by it: one that
    /// is too long, or empty.
    pub fn enter(&mut self, sequence: Sequence, owner: &Owner, now: Timestamp) -> Vec<Activation> {
        self.steps += 1;
        let Some(step) = self.step().filter(|_| self.steps <= STEPS_MAX) else {
            return self.too_long(owner, now);
        };
        self.push(step.id, sequence, now, now);
        Vec::new()
    }

    /// The component of the present step is an action; whether it may run. Else the sequence has too many.
    pub fn admits(&mut self) -> bool {
        self.steps += 1;
        self.actions += 1;
        self.actions <= ACTIONS_MAX && self.steps <= STEPS_MAX
    }

    /// The sequence ends since it has too many actions.
    pub fn too_long(&mut self, owner: &Owner, now: Timestamp) -> Vec<Activation> {
        self.fail("Too many actions in the sequence.", owner, now)
    }

    /// The component of the present step does not exist.
    pub fn missing(&mut self, owner: &Owner, now: Timestamp) -> Vec<Activation> {
        self.fail("Sequence component does not exist.", owner, now)
    }

    fn fail(&mut self, text: &str, owner: &Owner, now: Timestamp) -> Vec<Activation> {
        let response = Response::error(StatusCode::ApplicationError, text);
        self.end_frame(response, owner, now)
    }

    /// The component of the present step has ended. The records are those of the sequences that ended with it.
    pub fn ended(&mut self, ended: Ended, owner: &Owner, now: Timestamp) -> Vec<Activation> {
        let Some(frame) = self.frames.last_mut() else { return Vec::new() };
        frame.logs.push(ended.id);
        frame.duration_ms += ended.duration_ms;
        frame.memory_mb = frame.memory_mb.max(ended.memory_mb);
        frame.next += 1;
        let last = frame.next >= frame.sequence.components.len();
        if last || ended.response.status != StatusCode::Success {
            return self.end_frame(ended.response, owner, now);
        }
        self.input = ended.response.result;
        Vec::new()
    }

    /// Ends the innermost sequence with `response`, and tells the one around it.
    fn end_frame(&mut self, response: Response, owner: &Owner, now: Timestamp) -> Vec<Activation> {
        let Some(frame) = self.frames.pop() else { return Vec::new() };
        let cause = self.frames.last().map(|outer| outer.id);
        let mut records = vec![record(&frame, cause, response.clone(), owner, now)];
        let Frame { id, duration_ms, memory_mb, .. } = frame;
        records.extend(self.ended(Ended { id, response, duration_ms, memory_mb }, owner, now));
        records
    }
}

fn record(
    frame: &Frame,
    cause: Option<ActivationId>,
    response: Response,
    owner: &Owner,
    now: Timestamp,
) -> Activation {
    let Sequence { action, version, limits, .. } = &frame.sequence;
    let memory_mb = if frame.memory_mb == 0 { limits.memory_mb } else { frame.memory_mb };
    let mut annotations = Parameters::new()
        .with("path", action.to_string().as_str())
        .with("waitTime", Json::from(json!(frame.wait_ms)))
        .with("kind", "sequence")
        .with("topmost", Json::from(json!(cause.is_none())))
        .with(
            "limits",
            Json::from(json!({
                "timeout": limits.timeout_ms,
                "memory": memory_mb,
                "logs": limits.logs_mb,
                "concurrency": limits.concurrency,
            })),
        );
    if cause.is_some() {
        annotations.set("causedBy", "sequence");
    }
    Activation {
        namespace: owner.namespace.clone(),
        name: action.name.clone(),
        version: *version,
        subject: owner.subject.clone(),
        id: frame.id,
        cause,
        start: frame.start,
        end: Some(now),
        duration_ms: Some(frame.duration_ms),
        response,
        logs: frame.logs.iter().map(ActivationId::to_string).collect(),
        annotations,
        origin: owner.origin.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5);

    fn sequence(name: &str, components: &[&str]) -> Sequence {
        Sequence {
            action: format!("guest/{name}").parse().unwrap(),
            version: Version::default(),
            limits: Limits::default(),
            components: components.iter().map(|name| format!("guest/{name}").parse().unwrap()).collect(),
        }
    }

    fn owner() -> Owner {
        Owner {
            namespace: "guest".parse().unwrap(),
            subject: "guest".parse().unwrap(),
            origin: Origin::default(),
        }
    }

    /// Runs a sequence of actions that append their name; writes the machine down after each step and, where `crash`
    /// says so, does the step again from what was written.
    fn drive(
        outer: Sequence,
        inner: &BTreeMap<&str, Sequence>,
        crash: bool,
    ) -> (Vec<Activation>, Vec<ActivationId>) {
        let mut machine = Machine::start(
            ActivationId::from_bytes([1; 16]),
            outer,
            Json::parse("{\"s\":\"\"}").unwrap(),
            NOW,
            NOW,
        );
        let (mut records, mut ran) = (Vec::new(), Vec::new());
        while let Some(step) = machine.step() {
            if crash {
                let text = serde_json::to_string(&machine).unwrap();
                machine = serde_json::from_str(&text).unwrap();
                assert_eq!(machine.step().as_ref(), Some(&step));
            }
            let name = step.component.name.as_str();
            if let Some(inner) = inner.get(name) {
                records.extend(machine.enter(inner.clone(), &owner(), NOW));
            } else if name == "gone" {
                records.extend(machine.missing(&owner(), NOW));
            } else if !machine.admits() {
                records.extend(machine.too_long(&owner(), NOW));
            } else {
                ran.push(step.id);
                let before = step.arguments.to_value()["s"].as_str().unwrap().to_owned();
                let status = if name == "bad" { StatusCode::ApplicationError } else { StatusCode::Success };
                let result = Json::from(json!({ "s": before + name }));
                let response = Response { status, result, size: Some(1) };
                let ended = Ended { id: step.id, response, duration_ms: 10, memory_mb: 128 };
                records.extend(machine.ended(ended, &owner(), NOW));
            }
        }
        (records, ran)
    }

    fn result(records: &[Activation]) -> String {
        records.last().unwrap().response.result.to_string()
    }

    #[test]
    fn results_pass_from_step_to_step_through_inner_sequences_and_crashes() {
        let inner = BTreeMap::from([("i", sequence("i", &["b", "c"]))]);
        for crash in [false, true] {
            let (records, ran) = drive(sequence("o", &["a", "i", "d"]), &inner, crash);
            assert_eq!(result(&records), r#"{"s":"abcd"}"#);
            let [inner, outer] = records.as_slice() else { panic!("{records:?}") };
            assert_eq!(outer.logs, [ran[0], inner.id, ran[3]].map(|id| id.to_string()));
            assert_eq!((inner.duration_ms, outer.duration_ms), (Some(20), Some(40)));
            assert_eq!((inner.cause, outer.cause), (Some(outer.id), None));
            assert!(!inner.annotations.is_truthy("topmost") && outer.annotations.is_truthy("topmost"));
        }
    }

    #[test]
    fn an_error_ends_it_and_so_does_a_component_that_is_gone() {
        let none = BTreeMap::new();
        let (records, ran) = drive(sequence("o", &["a", "bad", "c"]), &none, false);
        assert_eq!((result(&records), ran.len()), (r#"{"s":"abad"}"#.into(), 2));
        let (records, _) = drive(sequence("o", &["a", "gone", "c"]), &none, false);
        assert_eq!(result(&records), r#"{"error":"Sequence component does not exist."}"#);
    }

    #[test]
    fn a_sequence_that_grew_too_long_or_into_itself_ends() {
        let (records, ran) = drive(sequence("o", &["a"; 60]), &BTreeMap::new(), false);
        assert_eq!(
            (result(&records), ran.len()),
            (r#"{"error":"Too many actions in the sequence."}"#.into(), 50)
        );
        let inner = BTreeMap::from([("o", sequence("o", &["o"]))]);
        let (records, _) = drive(sequence("o", &["o"]), &inner, false);
        assert_eq!(result(&records), r#"{"error":"Too many actions in the sequence."}"#);
    }
}
