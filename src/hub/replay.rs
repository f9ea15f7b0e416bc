//! Replays of dead letters. Taking the letter out and putting the work in its place is one write, so that of two who
//! replay one letter only the first does.

use triggerfish_model::{
    ActivationId, DeadContent, DeadLetter, Event, Invocation, Namespace, RecordPolicy, Retrying, Source,
};
use triggerfish_store::Batch;

use crate::api::backend::Refusal;

use super::Hub;

impl Hub {
    /// Replays a dead letter; the activation that it becomes, or `None` where it is not there (any more).
    pub(super) async fn replay_letter(
        &self,
        namespace: &Namespace,
        id: ActivationId,
    ) -> Result<Option<ActivationId>, Refusal> {
        let Some(letter) = self.dead_letters.dead_letter(namespace, id).await? else { return Ok(None) };
        let replays = letter.replays + 1;
        let DeadLetter { content, namespace, .. } = letter;
        match content {
            DeadContent::Run { invocation, retry } => {
                let new = replayed(&invocation.id, replays);
                let retry = Some(Retrying { policy: retry, attempt: 0, due: None, replays });
                let invocation = Invocation { id: new, accepted: self.clock.now(), retry, ..*invocation };
                Ok(self.intake.revive(id, invocation).await?.then_some(new))
            }
            DeadContent::Message { payload: None, .. } => Err(Refusal::Invalid(
                "the message was not kept whole, so it cannot be replayed: send it again from its source"
                    .into(),
            )),
            DeadContent::Message { feed, trigger, subject, payload: Some(payload), .. } => {
                let listener = self.intake.catalog.listener(&trigger).await?;
                let listener = listener.ok_or_else(|| Refusal::NotFound(trigger.clone()))?;
                let new = replayed(&id, replays);
                let source = Source::Feed(feed);
                let received = self.clock.now();
                let event = Event { id: new, trigger, subject, source, key: None, payload, received };
                // What somebody asked for by hand leaves a record in any case.
                let decided = self.intake.decide(&listener, event, RecordPolicy::All);
                let batch =
                    Batch { events: vec![decided], revived: Some((namespace, id)), ..Batch::default() };
                Ok((self.intake.append(batch).await?.accepted > 0).then_some(new))
            }
        }
    }
}

/// The id of a replay (design.md, invariant 4).
fn replayed(id: &ActivationId, replays: u32) -> ActivationId {
    id.child(format!("replay {replays}").as_bytes())
}
