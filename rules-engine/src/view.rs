//! One event as rules look at it: read when the first of them asks, once for all of them.

use std::cell::OnceCell;

use cel::Context;
use triggerfish_model::{Event, JsonObject, Trigger};

use crate::document::Node;
use crate::expression;

/// The largest event that expressions look into, in bytes: its values take about ten times as much while they do.
const EXPRESSION_BYTES_MAX: usize = 8 << 20;

/// An event with its trigger, and its payload read lazily.
pub struct EventView<'a> {
    event: &'a Event,
    trigger: &'a Trigger,
    payload: &'a JsonObject,
    document: OnceCell<Result<Node<'a>, String>>,
    context: OnceCell<Context<'a, 'a>>,
}

impl<'a> EventView<'a> {
    /// `payload` is the trigger's parameters overlaid with the event's own payload (contract §2.3).
    pub fn new(event: &'a Event, trigger: &'a Trigger, payload: &'a JsonObject) -> Self {
        Self { event, trigger, payload, document: OnceCell::new(), context: OnceCell::new() }
    }

    /// The payload that rules look at and actions get.
    pub fn payload(&self) -> &'a JsonObject {
        self.payload
    }

    /// The payload's tree, or why there is none.
    pub(crate) fn document(&self) -> Result<&Node<'a>, &str> {
        let read = || Node::read(self.payload.as_str()).map_err(|error| error.to_string());
        self.document.get_or_init(read).as_ref().map_err(String::as_str)
    }

    /// The variables of expressions, or why there are none.
    pub(crate) fn context(&self) -> Result<&Context<'a, 'a>, String> {
        let bytes = self.payload.as_str().len();
        if bytes > EXPRESSION_BYTES_MAX {
            return Err(format!(
                "an event of {bytes} bytes is larger than the {EXPRESSION_BYTES_MAX} that expressions look into"
            ));
        }
        let document = self.document().map_err(str::to_owned)?;
        Ok(self.context.get_or_init(|| {
            let mut context = expression::context();
            context.add_variable_as_val("event", expression::event_value(document));
            context.add_variable_as_val("trigger", expression::trigger_value(self.event, self.trigger));
            context
        }))
    }
}
