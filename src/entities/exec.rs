//! Reading what an action runs (contract §1.4.2).

use indexmap::IndexMap;
use triggerfish_model::{Code, Exec, Json, Namespace, QualifiedName};

use super::error::EntityError;
use super::input::{Reference, reference};
use super::kinds;

/// The largest code, in bytes (contract §1.4.2).
const CODE_BYTES_MAX: usize = 48 << 20;

/// Reads an `exec`; `own` is what `_` stands for.
pub fn read(exec: &Json, own: &Namespace) -> Result<Exec, EntityError> {
    let fields = exec.as_object().ok_or_else(|| EntityError::malformed("JSON object expected"))?.fields();
    let kind: String = fields
        .get("kind")
        .and_then(|kind| kind.read().ok())
        .ok_or_else(|| EntityError::malformed("'kind' must be a string defined in 'exec'"))?;
    let kind = kind.trim().to_lowercase();
    match kind.as_str() {
        "sequence" => Ok(Exec::Sequence { components: components(&fields, own)? }),
        "blackbox" => blackbox(&fields),
        _ => code(&fields, &kind),
    }
}

/// Refuses code that is too large, and kinds that are read and deleted only.
pub fn check(exec: &Exec) -> Result<(), EntityError> {
    let (Exec::Code { code, .. } | Exec::Blackbox { code: Some(code), .. }) = exec else { return Ok(()) };
    let is = code.text.len();
    if is > CODE_BYTES_MAX {
        return Err(EntityError::TooLarge { what: "exec", is, max: CODE_BYTES_MAX });
    }
    match kinds::resolve(exec.kind()) {
        Some(kind) if kind.deprecated => Err(EntityError::Invalid(format!(
            "The '{}' runtime is no longer supported. You may read and delete but not update or invoke this action.",
            kind.kind
        ))),
        _ => Ok(()),
    }
}

fn code(fields: &IndexMap<String, Json>, kind: &str) -> Result<Exec, EntityError> {
    let runtime = kinds::resolve(kind).ok_or_else(|| EntityError::malformed(kinds::unknown(kind)))?;
    let code = fields.get("code").ok_or_else(|| {
        EntityError::malformed(format!(
            "'code' must be a string or attachment object defined in 'exec' for '{kind}' actions"
        ))
    })?;
    let text: String = code
        .read()
        .map_err(|_| EntityError::malformed(format!("Could not deserialize as attachment record: {code}")))?;
    let main = main(fields, kind)?;
    if runtime.require_main && main.is_none() {
        return Err(EntityError::malformed(format!(
            "'main' must be a string defined in 'exec' for '{kind}' actions"
        )));
    }
    Ok(Exec::Code { kind: runtime.kind.to_owned(), code: code_of(text), main })
}

fn main(fields: &IndexMap<String, Json>, kind: &str) -> Result<Option<String>, EntityError> {
    let Some(main) = fields.get("main") else { return Ok(None) };
    main.read().map(Some).map_err(|_| {
        EntityError::malformed(format!("if defined, 'main' be a string in 'exec' for '{kind}' actions"))
    })
}

fn blackbox(fields: &IndexMap<String, Json>) -> Result<Exec, EntityError> {
    let image: String = fields.get("image").and_then(|image| image.read().ok()).ok_or_else(|| {
        EntityError::malformed("'image' must be a string defined in 'exec' for 'blackbox' actions")
    })?;
    // The digest is cut off, as the reference does.
    let image = image.split('@').next().unwrap_or_default();
    if !is_image(image) {
        return Err(EntityError::malformed("could not parse image name"));
    }
    let text: String = fields.get("code").and_then(|code| code.read().ok()).unwrap_or_default();
    let code = (!text.trim().is_empty()).then(|| code_of(text));
    Ok(Exec::Blackbox { image: image.to_owned(), code, main: main(fields, "blackbox")? })
}

/// Whether `text` is `[registry[:port]/]path[:tag]` in the characters that image names have.
fn is_image(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let (name, tag) = match text.rfind(':') {
        Some(at) if !text.get(at..).unwrap_or_default().contains('/') => text.split_at(at),
        _ => (text, ""),
    };
    let tag_is_legal =
        tag.bytes().skip(1).all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", name),
    };
    let host_is_legal = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
    tag != ":"
        && tag_is_legal
        && host_is_legal
        && path.split('/').all(|part| !part.is_empty() && part.bytes().all(lower))
}

fn components(fields: &IndexMap<String, Json>, own: &Namespace) -> Result<Vec<QualifiedName>, EntityError> {
    let components = fields
        .get("components")
        .ok_or_else(|| EntityError::malformed("'components' must be defined for sequence kind"))?;
    let components: Vec<Json> =
        components.read().map_err(|_| EntityError::malformed("'components' must be an array"))?;
    components
        .iter()
        .map(|component| match reference(component, own)? {
            Reference::To(id) => Ok(id),
            Reference::TooDeep => Err(EntityError::NotFound),
        })
        .collect()
}

/// Code with its `binary` flag: whether it is base64, whatever a client says (contract §1.4.2). Blanks around base64,
/// which the reference fails on, are taken off.
fn code_of(text: String) -> Code {
    let trimmed = text.trim();
    if is_base64(trimmed) {
        Code { text: trimmed.into(), binary: true }
    } else {
        Code { text: text.into(), binary: false }
    }
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(text: &str) -> Result<Exec, EntityError> {
        read(&Json::parse(text).unwrap(), &"guest".parse().unwrap())
    }

    #[test]
    fn kinds_are_resolved_and_code_is_told_from_archives() {
        let of = |code: &str| match exec(&format!(r#"{{"kind":" NodeJS:default","code":"{code}"}}"#)).unwrap()
        {
            Exec::Code { kind, code, .. } => (kind, code.binary),
            other => panic!("{other:?}"),
        };
        for (code, binary) in
            [("abcd", true), ("ab==", true), ("abcde", false), ("ab==abcd", false), ("ab-_", false)]
        {
            assert_eq!(of(code), ("nodejs:20".to_owned(), binary), "{code}");
        }
        assert_eq!(of(""), ("nodejs:20".to_owned(), false));
    }

    #[test]
    fn bad_execs_are_refused_with_the_contracts_words() {
        for (bad, why) in [
            ("[]", "JSON object expected"),
            ("{}", "'kind' must be a string defined in 'exec'"),
            (r#"{"kind":"nodejs:20"}"#, "'code' must be a string or attachment object"),
            (r#"{"kind":"nodejs:20","code":7}"#, "Could not deserialize as attachment record: 7"),
            (r#"{"kind":"nodejs:20","code":"x","main":null}"#, "if defined, 'main' be a string"),
            (
                r#"{"kind":"java:default","code":"x"}"#,
                "'main' must be a string defined in 'exec' for 'java:default'",
            ),
            (r#"{"kind":"cobol:1","code":"x"}"#, "The specified runtime 'cobol:1' is not supported"),
            (r#"{"kind":"blackbox"}"#, "'image' must be a string"),
            (r#"{"kind":"sequence"}"#, "'components' must be defined"),
            (r#"{"kind":"sequence","components":"/_/a"}"#, "'components' must be an array"),
        ] {
            assert!(exec(bad).unwrap_err().to_string().contains(why), "{bad}");
        }
    }

    #[test]
    fn image_names_are_told_from_others() {
        for good in ["me/img", "me/img:1", "openwhisk/dockerskeleton", "reg.example.com:5000/a/b:tag", "img"]
        {
            assert!(is_image(good), "{good}");
        }
        for bad in ["A b", "ME/Img", "", "a//b", "a:"] {
            assert!(!is_image(bad), "{bad}");
        }
    }
}
