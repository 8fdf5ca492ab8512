//! Opens connections: TCP, TLS if asked for, and the handshake of HTTP/1 or HTTP/2.

use crate::url_storm::failure::{Failure, with_sources};
use crate::url_storm::options::UrlOptions;
use crate::url_storm::target::{Target, check_address};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Opens connections to one address.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: SocketAddr,
    owned: bool,
    http2: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Dialer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A connection that takes requests, and the task that drives it.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) sender: Sender,
    pub(crate) driver: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Dialer {
    /// Resolves the name, and takes the first address that accepts a connection.
    pub(crate) async fn set_up(target: &Target, options: &UrlOptions) -> Result<Self, String> {
        let tls = if target.tls { Some(tls(target, options)?) } else { None };
        let owned = options.i_own_this_service;
        let mut last = Failure::ConnectionRefused;
        let addresses = target.resolve(owned).await?;
        for &address in &addresses {
            let dialer = Self { address, owned, http2: target.http2, tls: tls.clone() };
            match tokio::time::timeout(options.deadline.max(PATIENCE), dialer.open()).await {
                Ok(Ok(_)) => return Ok(dialer),
                Ok(Err(failure)) => last = failure,
                Err(_) => last = Failure::Unreachable(format!("no answer within {PATIENCE:?}")),
            }
        }
        Err(format!("{}: {last}", addresses[addresses.len() - 1]))
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) const fn http2(&self) -> bool {
        self.http2
    }

    /// Opens a connection. The address it is connected to is checked again.
    pub(crate) async fn open(&self) -> Result<Dialed, Failure> {
        let stream =
            TcpStream::connect(self.address).await.map_err(|error| Failure::of_connect(&error))?;
        let peer = stream.peer_addr().map_err(|error| Failure::Closed(error.to_string()))?;
        check_address(peer, self.owned).map_err(Failure::Forbidden)?;
        stream.set_nodelay(true).map_err(|error| Failure::Closed(error.to_string()))?;
        let Some((connector, name)) = &self.tls else { return self.shake_hands(stream).await };
        let stream = connector.connect(name.clone(), stream).await;
        self.shake_hands(stream.map_err(|error| Failure::Tls(with_sources(&error)))?).await
    }

    async fn shake_hands(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Dialed, Failure> {
        let io = TokioIo::new(stream);
        let failed = |error: hyper::Error| Failure::of_http(&error);
        if self.http2 {
            let (sender, driver) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(failed)?;
            let driver = tokio::spawn(async move { _ = driver.await });
            return Ok(Dialed { sender: Sender::Http2(sender), driver });
        }
        let (sender, driver) = http1::handshake(io).await.map_err(failed)?;
        let driver = tokio::spawn(async move { _ = driver.await });
        Ok(Dialed { sender: Sender::Http1(sender), driver })
    }
}

/// How long a first connection may take, where the deadline is shorter.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

fn tls(
    target: &Target,
    options: &UrlOptions,
) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(target.host.clone())
        .map_err(|error| format!("{}: no name for TLS: {error}", target.host))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(options)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![if target.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn roots(options: &UrlOptions) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.cacert {
        let wrong = |why: String| format!("--cacert {}: {why}", path.display());
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("no certificate in it".into()));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(roots)
}
