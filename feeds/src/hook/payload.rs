//! What an event of a webhook carries: the fields of its body, and the request's headers without credentials
//! (design.md, "What an event carries").

use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use triggerfish_model::{Json, JsonObject};
use url::form_urlencoded;

use crate::body;

use super::{HookError, HookMethod, HookReason, HookRequest};

/// Headers and parts of a query whose names hold one of these are never given to an action: they hold credentials, or with
/// the body make the request again.
const CREDENTIALS: [&str; 10] = [
    "authorization",
    "cookie",
    "api-key",
    "apikey",
    "token",
    "secret",
    "password",
    "signature",
    "hmac",
    "passwd",
];
/// The same, where it is the whole name of a query's parameter.
const CREDENTIALS_OF_QUERY: [&str; 4] = ["code", "key", "sig", "auth"];
/// Fields of a form; an honest form has some hundred.
const FORM_FIELDS_MAX: usize = 10_000;

/// The media type of forms.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// `fields` with `__ow_headers`, and with `__ow_query` where the address had a query. `hidden` is a further header that
/// holds a credential.
pub(crate) fn with_request(fields: &JsonObject, request: &HookRequest, hidden: &str) -> JsonObject {
    let headers = headers(request, |name| !name.eq_ignore_ascii_case(hidden));
    if request.query.is_empty() {
        return fields.overlaid_with(&JsonObject::from_fields([("__ow_headers", &headers)]));
    }
    let is_shown = |name: &str| !is_credential(name) && !CREDENTIALS_OF_QUERY.contains(&name);
    let query: Map<String, Value> = request
        .query
        .iter()
        .filter(|(name, _)| is_shown(&name.to_ascii_lowercase()))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let query = Json::from(JsonObject::from_map(&query));
    fields.overlaid_with(&JsonObject::from_fields([("__ow_headers", &headers), ("__ow_query", &query)]))
}

/// The headers that are no credentials and that `wanted` keeps.
fn headers(request: &HookRequest, wanted: impl Fn(&str) -> bool) -> Json {
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .filter(|(name, _)| !is_credential(name) && wanted(name))
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    JsonObject::from_map(&headers).into()
}

fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|part| name.contains(part))
}

/// The fields of a body: of a JSON object, of a form, or `body` and `encoding` of anything else.
pub(crate) fn fields(request: &HookRequest) -> Result<JsonObject, HookError> {
    if request.method == HookMethod::Get && request.body.is_empty() {
        return Ok(JsonObject::empty());
    }
    if request.media_type() == FORM {
        return form(&request.body).map(|form| of_form(&form));
    }
    let (json, encoding) = body::decode(&request.body);
    Ok(match json.as_object() {
        Some(object) => object,
        None => JsonObject::from_fields([("body", &json), ("encoding", &Json::from(encoding))]),
    })
}

/// A form's fields in order, each with its values.
pub(crate) type Form = IndexMap<String, Vec<String>>;

/// Reads a form.
pub(crate) fn form(body: &[u8]) -> Result<Form, HookError> {
    let mut form = Form::new();
    for (name, value) in form_urlencoded::parse(body) {
        if form.len() >= FORM_FIELDS_MAX {
            let text = format!("the form has more than {FORM_FIELDS_MAX} fields");
            return Err(HookError::new(HookReason::TooLarge, text));
        }
        form.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    Ok(form)
}

/// A field that is there once is a text, one that is repeated an array of them.
fn of_form(form: &Form) -> JsonObject {
    let value = |values: &Vec<String>| match values.as_slice() {
        [value] => json!(value),
        values => json!(values),
    };
    JsonObject::from_map(&form.iter().map(|(name, values)| (name.clone(), value(values))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::testing::request;

    #[test]
    fn bodies_give_their_fields() {
        let of = |body: &str, kind: &str| fields(&request(body, &[("content-type", kind)])).unwrap();
        assert_eq!(of(r#"{"a":1.50}"#, "application/json").as_str(), r#"{"a":1.50}"#);
        assert_eq!(of("hot", "text/plain").as_str(), r#"{"body":"hot","encoding":"utf8"}"#);
        assert_eq!(of("[1]", "application/json").as_str(), r#"{"body":[1],"encoding":"json"}"#);
        let form = of("a=1&b=x+y&b=%C3%A9&c", "Application/X-WWW-Form-Urlencoded; charset=utf-8");
        assert_eq!(form.as_str(), r#"{"a":"1","b":["x y","é"],"c":""}"#);
        let many: String = (0..=FORM_FIELDS_MAX).map(|n| format!("f{n}=&")).collect();
        let error = fields(&request(&many, &[("content-type", FORM)])).unwrap_err();
        assert_eq!(error.reason, HookReason::TooLarge);
    }

    #[test]
    fn credentials_are_left_out() {
        let mut request = request(
            "{}",
            &[
                ("authorization", "Basic x"),
                ("x-auth-token", "x"),
                ("webhook-signature", "v1,x"),
                ("x-sign", "x"),
                ("x-id", "7"),
            ],
        );
        request.query =
            vec![("code".into(), "x".into()), ("access_token".into(), "x".into()), ("q".into(), "1".into())];
        let payload = with_request(&JsonObject::empty(), &request, "X-Sign");
        assert_eq!(payload.as_str(), r#"{"__ow_headers":{"x-id":"7"},"__ow_query":{"q":"1"}}"#);
    }
}
