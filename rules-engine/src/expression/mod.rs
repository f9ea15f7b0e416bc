//! Conditions and transforms in CEL, over `event` (the payload) and `trigger`.
//!
//! An expression is checked when its rule is made (length, depth, nesting of macros, names, literal regular
//! expressions), and what it may cost is estimated from the event's size before it is evaluated: the interpreter cannot
//! be interrupted. Nothing an expression can call reads a clock or draws a random number.
//!
//! JSON does not tell `21` from `21.0`, so arithmetic mixes whole and floating numbers, unlike plain CEL.

mod arithmetic;
mod check;
mod cost;
mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, Value};

use crate::conditions::{Clause, ConditionError, Failure};
use crate::document::Node;

pub(crate) use value::{event_value, output_text, trigger_value};

/// The longest expression, in bytes; longer logic belongs in an action.
pub(crate) const SOURCE_BYTES_MAX: usize = 4096;

/// How deep operators may nest: an unoptimised build takes about 35 kB of stack for each level, and an expression is
/// evaluated on a worker's 2 MiB.
const DEPTH_MAX: usize = 32;

/// Stack of the thread that parses: an unoptimised parser takes up to 16 MiB for the worst text of [`SOURCE_BYTES_MAX`].
const PARSER_STACK_BYTES: usize = 64 << 20;

/// The largest payload that `with` may give, in bytes of JSON.
pub(crate) const OUTPUT_BYTES_MAX: usize = 1 << 20;

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    arithmetic::declare(&mut env);
    Arc::new(env)
});

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Expression {
    clause: Clause,
    source: Arc<str>,
    tree: IdedExpr,
    places: SourceInfo,
    /// Whether it goes through lists or maps, so that its cost must be estimated for each event.
    loops: bool,
    /// How many nodes it has.
    nodes: usize,
}

impl Expression {
    /// Checks `source`, the text of `clause`.
    pub(crate) fn compile(clause: Clause, source: &str) -> Result<Self, ConditionError> {
        if source.len() > SOURCE_BYTES_MAX {
            let message = format!("{} bytes are more than the {SOURCE_BYTES_MAX} allowed", source.len());
            return Err(ConditionError::at(clause, source, 0, message));
        }
        let parse = || Self::parse(clause, source);
        // A hostile text costs the parser stack, not time; its tree is dropped there too.
        let outcome = std::thread::scope(|scope| {
            let spawned =
                std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn_scoped(scope, parse);
            spawned.ok().and_then(|thread| thread.join().ok())
        });
        outcome.unwrap_or_else(|| {
            Err(ConditionError::at(clause, source, 0, "the parser gave up: expected a simpler expression"))
        })
    }

    fn parse(clause: Clause, source: &str) -> Result<Self, ConditionError> {
        let parsed = ENV.parser().parse_with_source_info(source);
        let (mut tree, places) = parsed.map_err(|errors| check::syntax_error(clause, source, &errors))?;
        let found = check::check(clause, source, &tree, &places)?;
        arithmetic::rewrite(&mut tree);
        Ok(Self { clause, source: source.into(), tree, places, loops: found.loops, nodes: found.nodes })
    }

    /// Its value in `context`, which holds `event`.
    pub(crate) fn evaluate<'e, 'v>(
        &'e self,
        context: &'e Context<'e, 'v>,
        event: &Node<'_>,
    ) -> Result<CowVal<'e, 'v>, Failure> {
        self.afford(event)?;
        self.resolve(&self.tree, context)
    }

    fn resolve<'e, 'v>(
        &'e self,
        tree: &'e IdedExpr,
        context: &'e Context<'e, 'v>,
    ) -> Result<CowVal<'e, 'v>, Failure> {
        // A panic of the interpreter (time arithmetic that overflows) is this rule's failure and no one else's.
        let outcome = catch_unwind(AssertUnwindSafe(|| Value::resolve_val(tree, context)));
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::new(self.clause, describe(&error))),
            Err(_) => Err(Failure::new(self.clause, "the interpreter failed on these values")),
        }
    }

    fn afford(&self, event: &Node<'_>) -> Result<(), Failure> {
        if !self.loops && cost::is_surely_cheap(self.nodes, event) {
            return Ok(());
        }
        cost::afford(&self.tree, event).map_err(|message| Failure::new(self.clause, message))
    }

    /// Whether it is true.
    pub(crate) fn is_true<'e, 'v>(
        &'e self,
        context: &'e Context<'e, 'v>,
        event: &Node<'_>,
    ) -> Result<bool, Failure> {
        let value = self.evaluate(context, event)?;
        let flag = value.downcast_ref::<cel::common::types::CelBool>().map(|flag| *flag.inner());
        flag.ok_or_else(|| {
            Failure::new(self.clause, format!("expected true or false, got a {}", value.get_type().name()))
        })
    }

    /// The parts of the expression worth telling, as text with their values: `event.temperature` is `31`.
    pub(crate) fn terms(&self, context: &Context<'_, '_>, event: &Node<'_>) -> Vec<(String, String)> {
        if self.afford(event).is_err() {
            return Vec::new();
        }
        check::paths(&self.tree)
            .into_iter()
            .map(|(text, tree)| {
                let value = match self.resolve(tree, context) {
                    Ok(value) => output_text(&*value).unwrap_or_else(|error| error),
                    Err(failure) => failure.message,
                };
                (text, value)
            })
            .collect()
    }

    /// The operands of the outermost `&&` or `||` with their places, for telling which one decided.
    pub(crate) fn operands(&self, context: &Context<'_, '_>, event: &Node<'_>) -> Vec<(String, String)> {
        if self.afford(event).is_err() {
            return Vec::new();
        }
        check::operands(&self.tree)
            .into_iter()
            .map(|tree| {
                let value = match self.resolve(tree, context) {
                    Ok(value) => output_text(&*value).unwrap_or_else(|error| error),
                    Err(failure) => failure.message,
                };
                (check::text_of(tree, &self.places, &self.source), value)
            })
            .collect()
    }

    /// The text as it was given.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

/// A context that knows the functions, but no variables yet.
pub(crate) fn context<'v>() -> Context<'v, 'v> {
    Context::with_env(ENV.clone())
}

/// The interpreter's error without the whole values that its own texts hold: they can be large, and private.
fn describe(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => {
            format!("there is no `{key}`; `has(…)` tells whether a field is there")
        }
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(", ");
            let name = overload.function().trim_matches(['_', '@']).replace('_', " ");
            format!("`{name}` does not take ({types})")
        }
        ExecutionError::UndeclaredReference(name) => format!("there is no `{name}`"),
        ExecutionError::FunctionError { function, message } => format!("`{function}`: {message}"),
        ExecutionError::UnexpectedType { got, want } => format!("expected {want}, got {got}"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".into(),
        ExecutionError::Overflow(operation, ..) => {
            format!("the result of `{operation}` does not fit 64 bits")
        }
        ExecutionError::IndexOutOfBounds(_) => "the list has no such element".into(),
        ExecutionError::UnsupportedBinaryOperator(operation, ..) => {
            format!("`{operation}` does not take these types of values")
        }
        ExecutionError::ValuesNotComparable(..) => "these types of values do not compare".into(),
        _ => "an operation does not take these values".into(),
    }
}
