//! A container factory for tests, and the calls of the action protocol.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use triggerfish_invoker::{Call, Container, ContainerError, ContainerFactory, ContainerSpec, OciFactory};

pub(crate) const WAIT: Duration = Duration::from_secs(10);

pub(crate) fn factory(directory: &Path) -> OciFactory {
    OciFactory::new(directory.to_owned(), "http://127.0.0.1:1").unwrap()
}

pub(crate) async fn container(factory: &OciFactory, kind: &str, memory_mb: u32) -> Arc<dyn Container> {
    let spec = ContainerSpec { name: "t".into(), kind: kind.into(), memory_mb, cpu_permille: 100 };
    factory.create(&spec).await.unwrap()
}

pub(crate) async fn call(
    container: &Arc<dyn Container>,
    call: Call,
    body: Value,
) -> Result<(u16, Value), ContainerError> {
    let answer = container.call(call, body.to_string().into(), WAIT, 1 << 20).await?;
    Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
}

pub(crate) async fn init(container: &Arc<dyn Container>, code: &str) {
    let (status, body) =
        call(container, Call::Init, json!({"value": {"name": "a", "main": "main", "code": code}}))
            .await
            .unwrap();
    assert_eq!(status, 200, "{body}");
}

pub(crate) async fn run(
    container: &Arc<dyn Container>,
    value: Value,
) -> Result<(u16, Value), ContainerError> {
    call(container, Call::Run, json!({"value": value, "activation_id": "1"})).await
}
