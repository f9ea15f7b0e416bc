//! Reaching a broker: TCP, and TLS over it. Errors name the broker and the step.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::provider::FeedError;

/// How long one step of connecting may take: TCP, TLS, each answer of the broker. All of them fit into the runtime's limit.
pub(crate) const STEP_MAX: Duration = Duration::from_secs(5);

/// Where a connection leads to.
pub(crate) struct Target<'a> {
    /// What it is, for texts: "the MQTT broker host:port".
    pub(crate) name: String,
    /// Its name or address.
    pub(crate) host: &'a str,
    /// Its port.
    pub(crate) port: u16,
    /// The certificates that its own must be signed by, those of the system where empty; `None` without TLS.
    pub(crate) tls: Option<&'a [CertificateDer<'static>]>,
}

/// A connection, plain or through TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the broker.
pub(crate) async fn connect(target: &Target<'_>) -> Result<Box<dyn Stream>, FeedError> {
    let Target { name, host, port, tls } = target;
    let unreachable = |why: String| FeedError::Unavailable(format!("cannot reach {name}: {why}"));
    let stream = tokio::time::timeout(STEP_MAX, TcpStream::connect((*host, *port)))
        .await
        .map_err(|_| unreachable(format!("no TCP connection within {STEP_MAX:?}")))?
        .map_err(|error| unreachable(error.to_string()))?;
    // Acknowledgements are small and waited for.
    stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    let Some(ca) = tls else { return Ok(Box::new(stream)) };
    let failed = |why: String| format!("no TLS with {name}: {why}");
    let server = ServerName::try_from((*host).to_owned())
        .map_err(|_| FeedError::Invalid(failed("its name can be in no certificate".into())))?;
    let config = client_config(ca).await.map_err(|why| FeedError::Refused(failed(why)))?;
    match tokio::time::timeout(STEP_MAX, TlsConnector::from(config).connect(server, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        // A certificate that is not trusted stays so until somebody changes something.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(FeedError::Refused(failed(untrusted(&error.to_string()))))
        }
        Ok(Err(error)) => Err(FeedError::Unavailable(failed(error.to_string()))),
        Err(_) => Err(FeedError::Unavailable(failed(format!("no handshake within {STEP_MAX:?}")))),
    }
}

/// Why a certificate is not trusted, in words where the library has none.
fn untrusted(text: &str) -> String {
    if text.contains("CaUsedAsEndEntity") {
        return "its certificate is that of an authority (`CA:TRUE`), with which no server may identify itself (RFC 5280 §4.2.1.9): \
                give the server a certificate that is signed by it, and `ca` the authority's"
            .into();
    }
    text.to_owned()
}

/// Reads the parameter `ca`: PEM text of certificates.
pub(crate) fn read_ca(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err("the parameter `ca` holds no certificate; expected PEM text".into()),
        Err(error) => Err(format!("the parameter `ca` is no PEM text of certificates: {error}")),
    }
}

/// `%41` as `A` (RFC 3986 §2.1), as user, password and path stand in a URL.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(out).ok()
}

async fn client_config(ca: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if ca.is_empty() {
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
        for certificate in ca {
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
