//! What a path below `/namespaces/` addresses.

use std::borrow::Cow;

use axum::http::StatusCode;
use triggerfish_model::{Name, NameError, Namespace, QualifiedName};

use super::problem::Problem;
use super::reply::Result;

/// The segments of a path, decoded; a trailing slash leaves an empty last one.
pub(super) fn segments(path: &str) -> Vec<Cow<'_, str>> {
    path.split('/').map(decoded).collect()
}

/// `%XX` decoded; what is no UTF-8 then becomes U+FFFD, which no name may hold.
fn decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = (byte == b'%').then(|| after.get(..2)).flatten();
        let decoded = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match decoded {
            Some(decoded) => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// An illegal name: a rejection before any handler.
fn illegal(error: &NameError) -> Problem {
    Problem::rejection(StatusCode::BAD_REQUEST, error.to_string())
}

/// The namespace of a path; `_` is the caller's.
pub(super) fn namespace(segment: &str, own: &Namespace) -> Result<Namespace> {
    if segment == "_" {
        return Ok(own.clone());
    }
    segment.parse().map_err(|error| illegal(&error))
}

/// A name of a path.
pub(super) fn name(segment: &str) -> Result<Name> {
    segment.parse().map_err(|error| illegal(&error))
}

/// `namespace/[package/]name` of a path's last segments.
pub(super) fn id(namespace: &Namespace, package: Option<&str>, last: &str) -> Result<QualifiedName> {
    let package = package.map(name).transpose()?;
    Ok(QualifiedName { namespace: namespace.clone(), package, name: name(last)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        assert_eq!(segments("a%20b/c%2Fd//%"), ["a b", "c/d", "", "%"]);
        assert_eq!(segments("%25%32%30%E4"), ["%20\u{fffd}"]);
    }
}
