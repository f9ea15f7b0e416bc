//! Reaching an MQTT broker: TCP, and TLS over it. Errors name the broker and the step.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::provider::FeedError;

use super::settings::Settings;

/// How long one step of connecting may take: TCP, TLS, CONNACK, SUBACK. All of them fit into the runtime's limit.
pub(crate) const STEP_MAX: Duration = Duration::from_secs(5);

/// A connection, plain or through TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the broker.
pub(crate) async fn connect(settings: &Settings) -> Result<Box<dyn Stream>, FeedError> {
    let peer = settings.peer();
    let unreachable =
        |why: String| FeedError::Unavailable(format!("cannot reach the MQTT broker {peer}: {why}"));
    let stream = tokio::time::timeout(STEP_MAX, TcpStream::connect((settings.host.as_str(), settings.port)))
        .await
        .map_err(|_| unreachable(format!("no TCP connection within {STEP_MAX:?}")))?
        .map_err(|error| unreachable(error.to_string()))?;
    // Acknowledgements are small and waited for.
    stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    if !settings.tls {
        return Ok(Box::new(stream));
    }
    let failed = |why: String| format!("no TLS with the MQTT broker {peer}: {why}");
    let name = ServerName::try_from(settings.host.clone())
        .map_err(|_| FeedError::Invalid(failed("its name can be in no certificate".into())))?;
    let connector =
        TlsConnector::from(client_config(settings).await.map_err(|why| FeedError::Refused(failed(why)))?);
    match tokio::time::timeout(STEP_MAX, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        // A certificate that is not trusted stays so until somebody changes something.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(FeedError::Refused(failed(error.to_string())))
        }
        Ok(Err(error)) => Err(FeedError::Unavailable(failed(error.to_string()))),
        Err(_) => Err(FeedError::Unavailable(failed(format!("no handshake within {STEP_MAX:?}")))),
    }
}

async fn client_config(settings: &Settings) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if settings.ca.is_empty() {
        let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
            .await
            .map_err(|error| error.to_string())?;
        let (added, _) = roots.add_parsable_certificates(native.certs);
        if added == 0 {
            return Err(
                "the system has no certificates to trust: install ca-certificates, or give `ca`".into()
            );
        }
    } else {
        for certificate in &settings.ca {
            roots.add(certificate.clone()).map_err(|error| format!("a certificate of `ca`: {error}"))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
