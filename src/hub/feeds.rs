//! Feeds in the hub: the intake that they deliver to, the feed actions that make them, and their end with their trigger.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use rand::distr::Alphanumeric;
use triggerfish_feeds::lifecycle::{self, Change, Fresh, Lifecycle, LifecyclePlan, LifecycleRequest};
use triggerfish_feeds::{
    AlsoDelete, Delivered, FeedEvent, Intake as FeedIntake, IntakeError, Refused, Undeliverable,
};
use triggerfish_model::{
    ActivationId, DeadContent, DeadLetter, Entity, EventKey, FeedId, Json, JsonObject, QualifiedName,
    Subscription, Timestamp,
};
use triggerfish_store::StoreError;

use crate::api::backend::FeedCall;

use super::Hub;
use super::intake::{Incoming, Intake};

/// How long a feed waits before it offers a refused batch again.
const BUSY_FOR: Duration = Duration::from_millis(500);
/// Characters of a secret that the hub makes for a feed: 238 bits.
const SECRET_CHARS: usize = 40;

/// What a feed's action answers.
pub(super) struct FeedAnswer {
    /// What the record has.
    pub(super) answer: JsonObject,
    /// What the caller alone is told, once.
    pub(super) secret: Option<String>,
}

/// The hub's side of [`FeedIntake`].
pub(super) struct Deliveries {
    pub(super) intake: Arc<Intake>,
    /// The hub; for feeds that end by themselves.
    pub(super) hub: Weak<Hub>,
}

#[async_trait]
impl FeedIntake for Deliveries {
    async fn deliver(
        &self,
        subscription: &Subscription,
        events: Vec<FeedEvent>,
        left_out: Vec<Refused>,
        cursor: Option<Json>,
    ) -> Result<Delivered, IntakeError> {
        let found = self.intake.catalog.listener(&subscription.trigger).await.map_err(refused)?;
        let Some(listener) = found else {
            return Err(IntakeError::Gone(format!(
                "the trigger `{}` does not exist any more",
                subscription.trigger
            )));
        };
        let incoming =
            events.into_iter().map(|event| Incoming { key: event.key, payload: event.payload }).collect();
        let letters = dead_letters(subscription, left_out, cursor.as_ref(), self.intake.clock.now());
        let taken =
            self.intake.take(&listener, subscription, incoming, letters, cursor).await.map_err(refused)?;
        Ok(Delivered { accepted: taken.accepted, duplicates: taken.duplicates })
    }

    async fn cursor(&self, feed: FeedId) -> Result<Option<Json>, IntakeError> {
        self.intake.log.cursor(feed).await.map_err(refused)
    }

    async fn known(&self, feed: FeedId, keys: &[EventKey]) -> Result<Vec<bool>, IntakeError> {
        self.intake.log.known(feed, keys).await.map_err(refused)
    }

    async fn ended(&self, subscription: &Subscription, why: &str, also_delete: AlsoDelete) {
        let Some(hub) = self.hub.upgrade() else { return };
        let (subscription, why) = (subscription.clone(), why.to_owned());
        // Beside this call, which is part of the feed's own task: taking the feed out waits for that task.
        hub.clone().upkeep.spawn(async move {
            let trigger = subscription.trigger.clone();
            if let Err(error) = hub.feed_ended(subscription, why, also_delete).await {
                tracing::error!(%trigger, %error, "the end of a feed cannot be written down; it ends again after a restart");
            }
        });
    }
}

/// What is kept of messages that are no events. Their ids follow from the cursor behind them: written twice, they are there
/// once.
fn dead_letters(
    subscription: &Subscription,
    left_out: Vec<Refused>,
    cursor: Option<&Json>,
    now: Timestamp,
) -> Vec<DeadLetter> {
    let cursor = cursor.map_or("", Json::as_str);
    let letters = left_out.into_iter().enumerate().filter_map(|(n, Refused { why, message })| {
        let Undeliverable { context, payload } = message?;
        let place = [subscription.id.0.as_bytes(), cursor.as_bytes(), &n.to_be_bytes()];
        Some(DeadLetter {
            id: ActivationId::derive(&place),
            namespace: subscription.trigger.namespace.clone(),
            at: now,
            reason: why,
            replays: 0,
            content: DeadContent::Message {
                feed: subscription.id,
                trigger: subscription.trigger.clone(),
                subject: subscription.subject.clone(),
                context,
                payload,
            },
        })
    });
    letters.collect()
}

/// A store's refusal as the feeds' runtime hears it: nothing is dropped, the batch comes again.
fn refused(error: StoreError) -> IntakeError {
    match error {
        StoreError::OverShare { .. } | StoreError::DiskFull { .. } => {
            IntakeError::Busy { retry_after: BUSY_FOR, why: error.to_string() }
        }
        StoreError::Conflict
        | StoreError::BadQuery(_)
        | StoreError::Unavailable(_)
        | StoreError::Corrupt(_) => IntakeError::Failed(error.to_string()),
    }
}

impl Hub {
    /// Runs the feeds that are wanted. One whose trigger was deleted while its own deletion failed goes with it.
    pub(super) async fn start_feeds(&self) -> Result<(), StoreError> {
        for subscription in self.feed_store.all().await? {
            match self.entities.get(&subscription.trigger).await? {
                Some(_) => self.feeds.set(subscription),
                None => drop(self.forget_feed(subscription.id).await?),
            }
        }
        Ok(())
    }

    /// Answers a feed's action. `Err` holds the text of a call that makes no sense.
    pub(super) async fn lifecycle(&self, call: &FeedCall) -> Result<Result<FeedAnswer, String>, StoreError> {
        let own = &call.caller.namespace;
        let named = |name: &str| match QualifiedName::parse(name, own) {
            Ok(trigger) if trigger.namespace == *own => Ok(trigger),
            Ok(trigger) => Err(format!("You are not authorized for the trigger `/{trigger}`.")),
            Err(error) => Err(format!("the triggerName `{name}` cannot be read: {error}")),
        };
        let read =
            LifecycleRequest::read(call.feed.clone(), &call.params, named, call.caller.subject.clone());
        let request = match read {
            Ok(request) => request,
            Err(error) => return Ok(Err(error.0)),
        };
        let deletes = request.event == Lifecycle::Delete;
        let is_trigger = self
            .entities
            .get(&request.trigger)
            .await?
            .is_some_and(|found| matches!(&*found.entity, Entity::Trigger(_)));
        if !deletes && !is_trigger {
            return Ok(Err(format!(
                "the trigger `/{}` does not exist: create it before its feed",
                request.trigger
            )));
        }
        let existing = self.feed_store.of_trigger(&request.trigger).await?;
        if let Some(other) = existing.as_ref().filter(|existing| existing.feed != request.feed && !deletes) {
            return Ok(Err(format!(
                "the trigger `/{}` has the feed `/{}` already",
                request.trigger, other.feed
            )));
        }
        let fresh = Fresh {
            id: FeedId(self.ids.activation_id()),
            secret: rand::rng().sample_iter(Alphanumeric).take(SECRET_CHARS).map(char::from).collect(),
        };
        match lifecycle::decide(&request, existing.as_ref(), &fresh, self.clock.now()) {
            Err(error) => Ok(Err(error.0)),
            Ok(plan) => self.carry_out(request.event, plan, existing.as_ref()).await,
        }
    }

    /// Does what a call of a feed's action is decided to do. `Err` holds what the remote side says against it.
    async fn carry_out(
        &self,
        event: Lifecycle,
        plan: LifecyclePlan,
        existing: Option<&Subscription>,
    ) -> Result<Result<FeedAnswer, String>, StoreError> {
        let LifecyclePlan { change, mut answer, secret } = plan;
        let mut tell = |key: &str, text: &str| {
            answer = answer.overlaid_with(&JsonObject::from_fields([(key, &Json::from(text))]));
        };
        match change {
            Change::Nothing => {
                if let Some(url) = existing.and_then(|existing| self.feeds.hook_url(existing)) {
                    tell("url", &url);
                }
            }
            Change::Put(subscription) => {
                if matches!(event, Lifecycle::Create | Lifecycle::Update) {
                    if self.feeds.is_taken(&subscription) {
                        let text = "another feed of this hub has the same client id at the same broker, and the two would throw each \
                                    other out: choose another `clientId`, or leave it out";
                        return Ok(Err(text.to_owned()));
                    }
                    // Before anything is written: what the remote side refuses leaves nothing here.
                    if let Err(error) = self.feeds.subscribe(&subscription).await {
                        return Ok(Err(error.to_string()));
                    }
                    if let Some(url) = self.feeds.hook_url(&subscription) {
                        tell("url", &url);
                    }
                }
                self.feed_store.put((*subscription).clone()).await?;
                self.feeds.set(*subscription);
            }
            Change::Delete(id) => {
                if let Err(why) = self.forget_feed(id).await? {
                    tell("warning", &format!("the remote side was not told: {why}"));
                }
            }
        }
        Ok(Ok(FeedAnswer { answer, secret }))
    }

    /// Ends a feed for good. The inner error says why its remote side could not be told, which keeps nothing here.
    pub(super) async fn forget_feed(&self, id: FeedId) -> Result<Result<(), String>, StoreError> {
        let told = self.feeds.remove(id).await;
        self.feed_store.delete(id).await?;
        self.log.forget_feed(id).await?;
        Ok(told)
    }

    /// Writes down that a feed has ended by itself, with what goes along (`deleteAfterFire`).
    async fn feed_ended(
        &self,
        subscription: Subscription,
        why: String,
        also: AlsoDelete,
    ) -> Result<(), StoreError> {
        if also == AlsoDelete::Nothing {
            let now = self.clock.now();
            return self
                .feed_store
                .put(Subscription { ended: Some(why), updated: now, ..subscription })
                .await;
        }
        let Some(found) = self.entities.get(&subscription.trigger).await? else {
            return self.forget_feed(subscription.id).await.map(drop);
        };
        if let (AlsoDelete::TriggerAndRules, Entity::Trigger(trigger)) = (also, &*found.entity) {
            for rule in trigger.rules.keys() {
                if let Some(rule) = self.entities.get(rule).await? {
                    self.entities.delete(rule.entity.id(), rule.revision).await?;
                }
            }
        }
        self.entities.delete(&subscription.trigger, found.revision).await?;
        self.forget_feed(subscription.id).await.map(drop)
    }
}
