//! `+`, `-`, `*` and `/` that mix whole and floating numbers.
//!
//! A sensor that sends 21.5 sends 21 for 21.0, so `event.t * 1.8` must not fail on some of its readings. Each operator
//! of an expression is replaced by a function of ours that widens where one side is a floating number, and else does
//! what CEL does.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators};
use cel::common::types::{CelDouble, CelInt, CelUInt, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};

type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

/// Makes the functions known.
pub(super) fn declare(env: &mut Env) {
    let functions: [(&str, cel::common::functions::Function); 4] =
        [("@plus", plus), ("@minus", minus), ("@times", times), ("@over", over)];
    for (name, function) in functions {
        env.add_overload(name, name, vec![DYN_TYPE, DYN_TYPE], function)
            .expect("no standard function has a name with `@`, and each of ours is declared once");
    }
}

/// Replaces the operators of `tree`, but not those that macros made: the growing list of `map` stays one.
pub(super) fn rewrite(tree: &mut IdedExpr) {
    match &mut tree.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| rewrite(target));
            call.args.iter_mut().for_each(rewrite);
            replace(call);
        }
        Expr::Select(select) => rewrite(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(rewrite),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key);
                    rewrite(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(loop_) => {
            rewrite(&mut loop_.iter_range);
            rewrite(&mut loop_.loop_step);
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

fn replace(call: &mut CallExpr) {
    let of_macro = |arg: &IdedExpr| matches!(&arg.expr, Expr::Ident(name) if name.starts_with('@'));
    if call.args.len() != 2 || call.args.iter().any(of_macro) {
        return;
    }
    let name = match call.func_name.as_str() {
        operators::ADD => "@plus",
        operators::SUBSTRACT => "@minus",
        operators::MULTIPLY => "@times",
        operators::DIVIDE => "@over",
        _ => return,
    };
    call.func_name = name.to_owned();
}

fn float(value: &dyn Val) -> Option<f64> {
    value.downcast_ref::<CelDouble>().map(|double| *double.inner())
}

#[expect(clippy::cast_precision_loss, reason = "that is what mixing with a floating number means")]
fn widened(value: &dyn Val) -> Option<f64> {
    float(value)
        .or_else(|| value.downcast_ref::<CelInt>().map(|int| *int.inner() as f64))
        .or_else(|| value.downcast_ref::<CelUInt>().map(|uint| *uint.inner() as f64))
}

/// Both sides as floating numbers, where one is a floating and the other a whole number.
fn mixed(left: &dyn Val, right: &dyn Val) -> Option<(f64, f64)> {
    let one_float = float(left).is_some() != float(right).is_some();
    if one_float { Some((widened(left)?, widened(right)?)) } else { None }
}

macro_rules! operator {
    ($name:ident, $symbol:tt, $text:literal, $capability:ident, $method:ident) => {
        fn $name<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Outcome<'b, 'v> {
            let refused = || ExecutionError::no_such_overload($text, types(&args));
            let [left, right] = args.as_slice() else { return Err(refused()) };
            if let Some((left, right)) = mixed(&**left, &**right) {
                return Ok(CowVal::owned(CelDouble::from(left $symbol right)));
            }
            let able = left.$capability().ok_or_else(refused)?;
            match able.$method(&**right) {
                Ok(value) => Ok(CowVal::Owned(value.into_owned())),
                Err(ExecutionError::UnsupportedBinaryOperator(..)) => Err(refused()),
                Err(error) => Err(error),
            }
        }
    };
}

operator!(plus, +, "+", as_adder, add);
operator!(minus, -, "-", as_subtractor, sub);
operator!(times, *, "*", as_multiplier, mul);
operator!(over, /, "/", as_divider, div);

fn types(args: &[CowVal<'_, '_>]) -> Vec<String> {
    args.iter().map(|arg| arg.get_type().name().to_owned()).collect()
}
