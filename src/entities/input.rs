//! Reading the documents that clients send (contract §1.3): fields that every entity has.

use indexmap::IndexMap;
use serde_json::Value;
use triggerfish_model::{Json, JsonError, Name, Namespace, Parameter, Parameters, QualifiedName, Version};

use super::error::EntityError;

/// The largest sum of keys and values of parameters, and of annotations, in bytes (contract §1.3).
const PARAMETERS_BYTES_MAX: usize = 1 << 20;

/// A PUT's document, field by field.
#[derive(Debug)]
pub struct Fields(IndexMap<String, Json>);

/// What every entity's document may say.
#[derive(Debug)]
pub struct Common {
    /// New parameters, replacing the old ones.
    pub parameters: Option<Parameters>,
    /// New annotations.
    pub annotations: Option<Parameters>,
    /// The version; the stored one's next where absent.
    pub version: Option<Version>,
    /// Whether it is public.
    pub publish: Option<bool>,
}

impl Fields {
    /// Reads the body of a PUT.
    pub fn parse(body: &[u8]) -> Result<Self, EntityError> {
        let json = Json::parse(body).map_err(unreadable)?;
        // The reference says `exec` whatever the collection is.
        let object =
            json.as_object().ok_or_else(|| EntityError::malformed("Object expected in field 'exec'"))?;
        Ok(Self(object.fields()))
    }

    /// The field as it was sent.
    pub fn raw(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }

    /// The field, where it is there and not null.
    pub fn given(&self, key: &str) -> Option<&Json> {
        self.0.get(key).filter(|value| value.as_str() != "null")
    }

    /// Reads what every entity has.
    pub fn common(&self) -> Result<Common, EntityError> {
        Ok(Common {
            parameters: self.given("parameters").map(parameters).transpose()?,
            annotations: self.given("annotations").map(parameters).transpose()?,
            version: self.given("version").map(version).transpose()?,
            publish: self.given("publish").map(publish).transpose()?,
        })
    }

    /// A reference to another entity, as text or as `{path, name}`.
    pub fn reference(&self, key: &str, own: &Namespace) -> Result<Option<Reference>, EntityError> {
        self.given(key).map(|value| reference(value, own)).transpose()
    }
}

impl Common {
    /// Refuses what is too large (contract §1.3).
    pub fn check_sizes(&self) -> Result<(), EntityError> {
        for (what, some) in [("parameters", &self.parameters), ("annotations", &self.annotations)] {
            let is = some.as_ref().map_or(0, Parameters::bytes);
            if is > PARAMETERS_BYTES_MAX {
                return Err(EntityError::TooLarge { what, is, max: PARAMETERS_BYTES_MAX });
            }
        }
        Ok(())
    }
}

/// A body that is no JSON.
pub fn unreadable(error: JsonError) -> EntityError {
    EntityError::malformed(error.to_string())
}

fn publish(value: &Json) -> Result<bool, EntityError> {
    value.read().map_err(|_| EntityError::malformed(format!("Expected JsBoolean, but got {value}")))
}

fn version(value: &Json) -> Result<Version, EntityError> {
    let text: String = value.read().unwrap_or_default();
    text.parse().map_err(|error: triggerfish_model::VersionError| EntityError::malformed(error.to_string()))
}

/// Reads an array of parameters or annotations.
fn parameters(value: &Json) -> Result<Parameters, EntityError> {
    let malformed = || EntityError::malformed("parameters malformed!");
    let elements: Vec<Json> = value.read().map_err(|_| malformed())?;
    elements.iter().map(|element| parameter(element).ok_or_else(malformed)).collect()
}

fn parameter(element: &Json) -> Option<Parameter> {
    let fields = element.as_object()?.fields();
    let optional = |key: &str| fields.get(key);
    Some(Parameter {
        key: optional("key")?.read().ok()?,
        value: optional("value")?.clone(),
        init: optional("init").map_or(Some(false), |init| init.read().ok())?,
        encryption: match optional("encryption") {
            Some(algorithm) => Some(algorithm.read().ok()?),
            None => None,
        },
    })
}

/// A reference of a rule or sequence to another entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A whole name.
    To(QualifiedName),
    /// More segments than any entity's name has: legal to write, and nothing is there.
    TooDeep,
}

/// Reads `[/]ns/[package/]name` or `{"path": "ns[/package]", "name": …}`; `_` is `own`.
pub fn reference(value: &Json, own: &Namespace) -> Result<Reference, EntityError> {
    let text = match value.to_value() {
        Value::String(text) => text,
        Value::Object(map) => {
            match (map.get("path").and_then(Value::as_str), map.get("name").and_then(Value::as_str)) {
                (Some(path), Some(name)) => format!("{path}/{name}"),
                _ => return Err(EntityError::malformed("fully qualified name malformed")),
            }
        }
        _ => return Err(EntityError::malformed("fully qualified name malformed")),
    };
    let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
    let failed = |what: String| EntityError::malformed(format!("requirement failed: {what}"));
    if segments.is_empty() {
        return Err(failed("path undefined".to_owned()));
    }
    if segments.iter().any(|segment| segment.parse::<Name>().is_err()) {
        return Err(failed(format!("path contains invalid parts ArraySeq({})", segments.join(", "))));
    }
    if segments.len() > 3 {
        return Ok(Reference::TooDeep);
    }
    QualifiedName::parse(&segments.join("/"), own)
        .map(Reference::To)
        .map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn parameters_are_read_or_refused() {
        let read = |text: &str| fields(&format!(r#"{{"parameters":{text}}}"#)).common();
        for bad in
            [r#"{"a":1}"#, r#"[{"key":"a"}]"#, r#"[{"value":1}]"#, r#"[{"key":1,"value":1}]"#, "[null]"]
        {
            assert_eq!(
                read(bad).unwrap_err().to_string(),
                "The request content was malformed:\nparameters malformed!"
            );
        }
        for bad in [r#""init":"yes""#, r#""encryption":null"#] {
            assert!(read(&format!(r#"[{{"key":"a","value":1,{bad}}}]"#)).is_err(), "{bad}");
        }
        let twice = read(r#"[{"key":"a","value":1},{"key":"a","value":null,"init":true}]"#)
            .unwrap()
            .parameters
            .unwrap();
        assert_eq!(twice.to_object().as_str(), r#"{"a":null}"#);
        assert!(read("null").unwrap().parameters.is_none());
    }

    #[test]
    fn sizes_count_keys_and_the_text_of_values() {
        let of = |n: usize| {
            let text = format!(r#"{{"annotations":[{{"key":"a","value":"{}"}}]}}"#, "x".repeat(n));
            fields(&text).common().unwrap().check_sizes()
        };
        assert!(of(1_048_573).is_ok());
        assert_eq!(
            of(1_048_574).unwrap_err().to_string(),
            "annotations larger than allowed: 1048577 > 1048576 bytes."
        );
    }

    #[test]
    fn references_are_whole_names() {
        let own: Namespace = "guest".parse().unwrap();
        let read = |text: &str| reference(&Json::parse(text).unwrap(), &own);
        assert_eq!(read(r#""/_/p/a""#).unwrap(), Reference::To("guest/p/a".parse().unwrap()));
        assert_eq!(
            read(r#"{"path":"_/p","name":"a"}"#).unwrap(),
            Reference::To("guest/p/a".parse().unwrap())
        );
        assert_eq!(read(r#""/_/p/q/a""#).unwrap(), Reference::TooDeep);
        for (bad, why) in [
            (r#""a""#, "requirement failed: The fully qualified name"),
            (r#""""#, "requirement failed: path undefined"),
            (r#""/_/-a""#, "requirement failed: path contains invalid parts ArraySeq(_, -a)"),
            ("1", "fully qualified name malformed"),
        ] {
            assert!(read(bad).unwrap_err().to_string().contains(why), "{bad}");
        }
    }
}
