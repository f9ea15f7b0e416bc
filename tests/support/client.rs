//! A client of the REST API, with the development key.

use serde_json::{Value, json};

/// The publicly known key of `--dev`.
pub const KEY: (&str, &str) = (
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502",
    "123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP",
);

#[derive(Clone)]
pub struct Client {
    pub base: String,
    http: reqwest::Client,
}

impl Client {
    pub fn new(address: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: format!("http://{address}/api/v1/namespaces/_"), http }
    }

    /// A request; `Err` where there is no answer (the hub was killed).
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), reqwest::Error> {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}/{path}", self.base) };
        let mut request = self.http.request(method.parse().unwrap(), url).basic_auth(KEY.0, Some(KEY.1));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.try_send(method, path, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send("GET", path, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    pub async fn put(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send("PUT", &format!("{path}?overwrite=true"), Some(body)).await;
        assert_eq!(status, 200, "PUT {path}: {answer}");
        answer
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, Some(body)).await
    }

    /// An action of source text.
    pub async fn put_action(&self, name: &str, kind: &str, code: &str) {
        self.put(&format!("actions/{name}"), &json!({"exec": {"kind": kind, "code": code}})).await;
    }

    /// A trigger, an action and a rule between them.
    pub async fn put_rule(&self, rule: &str, trigger: &str, action: &str, conditions: Value) {
        let mut body = json!({"trigger": format!("/_/{trigger}"), "action": format!("/_/{action}")});
        body.as_object_mut().unwrap().extend(conditions.as_object().cloned().unwrap_or_default());
        self.put(&format!("rules/{rule}"), &body).await;
    }

    /// Makes a trigger's feed.
    pub async fn create_feed(&self, feed: &str, trigger: &str, params: Value) -> (u16, Value) {
        let mut body = json!({
            "lifecycleEvent": "CREATE", "triggerName": format!("/_/{trigger}"),
            "authKey": format!("{}:{}", KEY.0, KEY.1),
        });
        body.as_object_mut().unwrap().extend(params.as_object().cloned().unwrap_or_default());
        let base = self.base.trim_end_matches("/_").to_owned();
        self.send("POST", &format!("{base}/whisk.system/actions/{feed}?blocking=true"), Some(&body)).await
    }

    /// Blocking invocation; the result.
    pub async fn invoke(&self, action: &str, body: &Value) -> (u16, Value) {
        self.post(&format!("actions/{action}?blocking=true&result=true"), body).await
    }

    /// Every record of a name, oldest first, read in pages.
    pub async fn all_activations(&self, name: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let page =
                self.get(&format!("activations?name={name}&limit=200&docs=true&skip={}", all.len())).await;
            let page = page.as_array().cloned().unwrap_or_default();
            if page.is_empty() {
                all.reverse();
                return all;
            }
            all.extend(page);
        }
    }
}
