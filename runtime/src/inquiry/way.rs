//! The way to a server: TCP, and TLS where the url says so.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::tls::{Client, ClientSettings, Trust, Version};

/// Connects to servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways {
    /// Made when it is first needed: the system's authorities are read for it.
    tls: Arc<OnceLock<Result<Client, String>>>,
}

/// A connection to a server.
#[derive(Debug)]
pub(super) enum Way {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

impl Service<Uri> for Ways {
    type Response = TokioIo<Way>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Way>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let ways = self.clone();
        Box::pin(async move { ways.connect(&url).await.map(TokioIo::new) })
    }
}

impl Ways {
    pub(super) fn trusting(trust: Trust) -> Result<Self, String> {
        client(trust).map(Self::speaking)
    }

    pub(super) fn speaking(tls: Client) -> Self {
        Self { tls: Arc::new(OnceLock::from(Ok(tls))) }
    }

    async fn connect(&self, url: &Uri) -> io::Result<Way> {
        let host = url.host().unwrap_or_default();
        let is_secured = url.scheme() == Some(&Scheme::HTTPS);
        let port = url.port_u16().unwrap_or(if is_secured { 443 } else { 80 });
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let stream = TcpStream::connect((bare, port)).await?;
        stream.set_nodelay(true)?;
        // Who waits for an answer that goes on and on hears otherwise nothing of a server that has vanished.
        let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(SILENT / 3).with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        if !is_secured {
            return Ok(Way::Plain(stream));
        }
        let (tls, name) = self.tls(host)?;
        let stream = TlsConnector::from(tls.config()).connect(name, stream).await?;
        Ok(Way::Secured(Box::new(stream)))
    }

    fn tls(&self, host: &str) -> io::Result<(&Client, ServerName<'static>)> {
        let made = self.tls.get_or_init(|| client(Trust::System));
        let tls = made.as_ref().map_err(|error| io::Error::other(error.clone()))?;
        let name = tls.name(host).ok_or_else(|| io::Error::other("no certificate could be for this host"))?;
        Ok((tls, name))
    }
}

fn client(trust: Trust) -> Result<Client, String> {
    Client::new(ClientSettings { trust, certificate: None, min_version: Version::Tls12, server_name: None })
}

impl Connection for Way {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Way {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Secured(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Way {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A server that says nothing for so long is asked whether it is there, and given up as long after that.
const SILENT: Duration = Duration::from_secs(15);
