//! What is refused in an expression before it ever meets an event.

use cel::ParseErrors;
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators,
};

use super::DEPTH_MAX;
use crate::conditions::{Clause, ConditionError};

/// How many macros that go through lists may lie within one another: the cost of each multiplies the others'.
const LOOPS_NESTED_MAX: usize = 2;

/// How large a compiled regular expression may be, in bytes: it is compiled anew for each use.
const REGEX_BYTES_MAX: usize = 64 * 1024;

/// Everything an expression may call; none of it knows the time or chance.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "matches",
    "none",
    "of",
    "ofNonZeroValue",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
];

/// The macros, for messages.
const MACROS: &[&str] = &["all", "exists", "exists_one", "filter", "has", "map"];

/// Names that stand for types.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "int",
    "list",
    "map",
    "null_type",
    "optional",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// What the check learned.
#[derive(Default)]
pub(super) struct Found {
    pub(super) loops: bool,
    pub(super) nodes: usize,
}

/// The parser's errors, as the first of them in the text.
pub(super) fn syntax_error(clause: Clause, source: &str, errors: &ParseErrors) -> ConditionError {
    let place = |pos: (isize, isize)| {
        (usize::try_from(pos.0).unwrap_or(1).max(1), usize::try_from(pos.1).unwrap_or(1).max(1))
    };
    // "Incomplete …" tells what the parser was in, not what is wrong.
    let telling = errors.errors.iter().filter(|error| !error.msg.starts_with("Incomplete"));
    let first = telling.min_by_key(|error| error.pos).or_else(|| errors.errors.first());
    let Some(first) = first else { return ConditionError::at(clause, source, 0, "not a CEL expression") };
    let message = first.msg.trim_start_matches("Syntax error: ");
    let message = match message.split_once(" expecting ") {
        Some((what, _)) if what.contains("'<EOF>'") => {
            "the expression ends where a value was expected".to_owned()
        }
        Some((what, _)) => format!("{what}: expected a value or an operator"),
        // The parser's own limit, which it words as an internal error.
        None if message.contains("Recursion limit") => {
            "brackets nest deeper than the parser reads".to_owned()
        }
        // A part that it could not make, by the name of its class.
        None if message.contains("ContextAll") => "expected a value".to_owned(),
        None => message.to_owned(),
    };
    ConditionError::at_line(clause, source, place(first.pos), message)
}

/// Checks `tree`, which was read from `source`.
pub(super) fn check(
    clause: Clause,
    source: &str,
    tree: &IdedExpr,
    places: &SourceInfo,
) -> Result<Found, ConditionError> {
    let mut checker = Checker { clause, source, places, variables: Vec::new(), found: Found::default() };
    checker.result_type(tree)?;
    checker.visit(tree, 0, 0)?;
    Ok(checker.found)
}

struct Checker<'a> {
    clause: Clause,
    source: &'a str,
    places: &'a SourceInfo,
    /// The variables of the macros around.
    variables: Vec<String>,
    found: Found,
}

impl Checker<'_> {
    fn error(&self, tree: &IdedExpr, message: impl Into<String>) -> ConditionError {
        let start = self.places.offset_for(tree.id).map_or(0, |(start, _)| start as usize);
        ConditionError::at(self.clause, self.source, byte_offset(self.source, start), message)
    }

    /// Refuses what can never give a boolean (`when`) or an object (`with`).
    fn result_type(&self, tree: &IdedExpr) -> Result<(), ConditionError> {
        let is_logic = |name: &str| {
            use operators::*;
            const LOGIC: &[&str] = &[
                LOGICAL_AND,
                LOGICAL_OR,
                LOGICAL_NOT,
                EQUALS,
                NOT_EQUALS,
                LESS,
                LESS_EQUALS,
                GREATER,
                GREATER_EQUALS,
                IN,
            ];
            LOGIC.contains(&name) || ["contains", "startsWith", "endsWith", "matches"].contains(&name)
        };
        let is_number = |name: &str| {
            use operators::*;
            [SUBSTRACT, MULTIPLY, DIVIDE, MODULO, NEGATE].contains(&name)
                || ["size", "int", "double"].contains(&name)
        };
        let gives = match &tree.expr {
            Expr::Literal(LiteralValue::Boolean(_)) => "true or false",
            Expr::Literal(_) => "a plain value",
            Expr::List(_) => "a list",
            Expr::Map(_) => "an object",
            Expr::Select(select) if select.test => "true or false",
            Expr::Call(call) if is_logic(&call.func_name) => "true or false",
            Expr::Call(call) if is_number(&call.func_name) => "a number",
            Expr::Call(call) if call.func_name == operators::ADD => "a sum",
            _ => return Ok(()),
        };
        let expected = if self.clause == Clause::When { "true or false" } else { "an object" };
        if gives == expected {
            return Ok(());
        }
        Err(ConditionError::at(
            self.clause,
            self.source,
            0,
            format!("expected {expected}, but this gives {gives}"),
        ))
    }

    fn visit(&mut self, tree: &IdedExpr, depth: usize, loops: usize) -> Result<(), ConditionError> {
        self.found.nodes += 1;
        if depth > DEPTH_MAX {
            return Err(
                self.error(tree, format!("the operators nest deeper than the {DEPTH_MAX} levels allowed"))
            );
        }
        match &tree.expr {
            Expr::Call(call) => self.call(tree, call, depth, loops),
            Expr::Comprehension(inner) => self.comprehension(tree, inner, depth, loops),
            Expr::Ident(name) => self.name(tree, name),
            Expr::Select(select) => self.visit(&select.operand, depth + 1, loops),
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.visit(element, depth + 1, loops))
            }
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.visit(&entry.key, depth + 1, loops)?;
                    self.visit(&entry.value, depth + 1, loops)
                }
                EntryExpr::StructField(field) => self.visit(&field.value, depth + 1, loops),
            }),
            Expr::Struct(_) => Err(self.error(tree, "expected a value: there are no message types here")),
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn call(
        &mut self,
        tree: &IdedExpr,
        call: &CallExpr,
        depth: usize,
        loops: usize,
    ) -> Result<(), ConditionError> {
        let name = call.func_name.as_str();
        let is_function =
            name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') && !name.starts_with('_');
        if is_function && !FUNCTIONS.contains(&name) {
            return Err(self.error(tree, unknown("function", name, FUNCTIONS.iter().chain(MACROS))));
        }
        if name == "matches" {
            self.regex(tree, call)?;
        }
        let of_optional = |tree: &IdedExpr| matches!(&tree.expr, Expr::Ident(name) if name == "optional");
        if let Some(target) = &call.target
            && !of_optional(target)
        {
            self.visit(target, depth + 1, loops)?;
        }
        call.args.iter().try_for_each(|arg| self.visit(arg, depth + 1, loops))
    }

    fn regex(&self, tree: &IdedExpr, call: &CallExpr) -> Result<(), ConditionError> {
        let Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. }) = call.args.last()
        else {
            return Err(self.error(tree, "`matches` takes a literal regular expression, in quotes"));
        };
        match regex::RegexBuilder::new(pattern.inner()).size_limit(REGEX_BYTES_MAX).build() {
            Ok(_) => Ok(()),
            Err(regex::Error::CompiledTooBig(_)) => Err(self
                .error(tree, "this regular expression is too large: expected fewer or smaller repetitions")),
            Err(error) => {
                let reason = error.to_string();
                let reason =
                    reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(self.error(tree, format!("`{}` is no regular expression: {reason}", pattern.inner())))
            }
        }
    }

    fn comprehension(
        &mut self,
        tree: &IdedExpr,
        inner: &ComprehensionExpr,
        depth: usize,
        loops: usize,
    ) -> Result<(), ConditionError> {
        self.found.loops = true;
        if loops == LOOPS_NESTED_MAX {
            let message =
                format!("more than {LOOPS_NESTED_MAX} macros (`all`, `exists`, `map`, …) within one another");
            return Err(self.error(tree, message));
        }
        self.visit(&inner.iter_range, depth + 1, loops)?;
        self.variables.push(inner.iter_var.clone());
        self.variables.extend(inner.iter_var2.clone());
        let known = self.variables.len();
        self.visit(&inner.loop_step, depth + 1, loops + 1)?;
        self.variables.truncate(known - 1 - usize::from(inner.iter_var2.is_some()));
        Ok(())
    }

    fn name(&self, tree: &IdedExpr, name: &str) -> Result<(), ConditionError> {
        let known = name.starts_with('@')
            || ["event", "trigger"].contains(&name)
            || TYPES.contains(&name)
            || self.variables.iter().any(|variable| variable == name);
        if known {
            return Ok(());
        }
        let names = self.variables.iter().map(String::as_str);
        let nearest = nearest(name, ["event", "trigger"].into_iter().chain(names));
        let hint = nearest
            .map_or_else(|| "expected `event` or `trigger`".to_owned(), |n| format!("did you mean `{n}`?"));
        Err(self.error(tree, format!("unknown name `{name}`; {hint}")))
    }
}

/// The parser counts characters.
fn byte_offset(source: &str, characters: usize) -> usize {
    source.char_indices().nth(characters).map_or(source.len(), |(at, _)| at)
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a &'a str> + Clone) -> String {
    match nearest(name, known.clone().copied()) {
        Some(nearest) => format!("unknown {what} `{name}`; did you mean `{nearest}`?"),
        None => {
            let all: Vec<&str> = known.copied().filter(|name| name.len() > 2).collect();
            format!("unknown {what} `{name}`; there are {}", all.join(", "))
        }
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const EDITS_MAX: usize = 2;
    let scored = known.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate));
    scored.filter(|(edits, _)| *edits <= EDITS_MAX).min().map(|(_, candidate)| candidate)
}

/// The distinct paths into `event` and `trigger` outside of macros' bodies, written out.
pub(super) fn paths(tree: &IdedExpr) -> Vec<(String, &IdedExpr)> {
    const PATHS_MAX: usize = 32;
    let mut found: Vec<(String, &IdedExpr)> = Vec::new();
    let mut open = vec![tree];
    while let Some(tree) = open.pop() {
        if let Some(text) = path_text(tree) {
            if found.len() < PATHS_MAX && !found.iter().any(|(known, _)| *known == text) {
                found.push((text, tree));
            }
            continue;
        }
        let children = match &tree.expr {
            Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).collect(),
            Expr::Select(select) => vec![&*select.operand],
            Expr::List(list) => list.elements.iter().collect(),
            Expr::Map(map) => map.entries.iter().filter_map(entry_value).collect(),
            Expr::Comprehension(inner) => vec![&inner.iter_range],
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => Vec::new(),
        };
        open.extend(children.into_iter().rev());
    }
    found
}

fn entry_value(entry: &cel::common::ast::IdedEntryExpr) -> Option<&IdedExpr> {
    match &entry.expr {
        EntryExpr::MapEntry(entry) => Some(&entry.value),
        EntryExpr::StructField(_) => None,
    }
}

/// `event.a[0].b`, where `tree` is such a path of at least one step.
fn path_text(tree: &IdedExpr) -> Option<String> {
    match &tree.expr {
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", root_or_path(&select.operand)?, select.field))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, IdedExpr { expr: Expr::Literal(literal), .. }] = call.args.as_slice() else {
                return None;
            };
            let index = match literal {
                LiteralValue::Int(int) => int.inner().to_string(),
                LiteralValue::String(text) => format!("{:?}", text.inner()),
                _ => return None,
            };
            Some(format!("{}[{index}]", root_or_path(of)?))
        }
        _ => None,
    }
}

fn root_or_path(tree: &IdedExpr) -> Option<String> {
    match &tree.expr {
        Expr::Ident(name) if name == "event" || name == "trigger" => Some(name.clone()),
        _ => path_text(tree),
    }
}

/// The operands of the outermost chain of `&&` or `||`; the whole, where there is none.
pub(super) fn operands(tree: &IdedExpr) -> Vec<&IdedExpr> {
    let chain = match &tree.expr {
        Expr::Call(call)
            if [operators::LOGICAL_AND, operators::LOGICAL_OR].contains(&call.func_name.as_str()) =>
        {
            call.func_name.as_str()
        }
        _ => return vec![tree],
    };
    let mut found = Vec::new();
    let mut open = vec![tree];
    while let Some(tree) = open.pop() {
        match &tree.expr {
            Expr::Call(call) if call.func_name == chain => open.extend(call.args.iter().rev()),
            _ => found.push(tree),
        }
    }
    found
}

/// The text that `tree` was read from: from its first to its last token.
pub(super) fn text_of(tree: &IdedExpr, places: &SourceInfo, source: &str) -> String {
    let (mut from, mut to) = (usize::MAX, 0);
    let mut open = vec![tree];
    while let Some(tree) = open.pop() {
        if let Some((start, stop)) = places.offset_for(tree.id) {
            from = from.min(start as usize);
            to = to.max(stop as usize);
        }
        match &tree.expr {
            Expr::Call(call) => open.extend(call.target.iter().map(|target| &**target).chain(&call.args)),
            Expr::Select(select) => open.push(&select.operand),
            Expr::List(list) => open.extend(&list.elements),
            Expr::Map(map) => open.extend(map.entries.iter().filter_map(entry_value)),
            Expr::Comprehension(inner) => open.extend([&inner.iter_range, &inner.loop_step]),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }
    let chars: Vec<char> = source.chars().collect();
    let end = whole_end(&chars, from, to);
    chars.get(from..end).unwrap_or_default().iter().collect()
}

/// Where the text from `from` ends whose last known token is at `to`: behind a member's name and a closing bracket, whose
/// places the tree does not know.
fn whole_end(chars: &[char], from: usize, to: usize) -> usize {
    let is_word = |at: usize| chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let mut end = (to + 1).min(chars.len());
    if chars.get(to) == Some(&'.') || is_word(to) {
        while is_word(end) {
            end += 1;
        }
    }
    let (mut depth, mut quote, mut at) = (0_usize, None, from);
    while at < chars.len() && (at < end || depth > 0) {
        match (chars.get(at).copied().unwrap_or_default(), quote) {
            ('\\', Some(_)) => at += 1,
            (c, Some(open)) => quote = (c != open).then_some(open),
            (c @ ('"' | '\''), None) => quote = Some(c),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    at.clamp(end, chars.len())
}
