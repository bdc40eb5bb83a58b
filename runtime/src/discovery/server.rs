//! A registry that is asked over HTTP, at one of its addresses or the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::pki_types::ServerName;

use super::report::Lost;
use crate::inquiry::Inquirer;
use crate::tls::{Certificate, Client, ClientSettings, Issuers, Trust, Version};

/// Where a registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its addresses, `http` or `https`, without a path; at least one.
    pub urls: Vec<Uri>,
    /// How TLS is spoken with it; `None`: as is usual.
    pub tls: Option<Tls>,
}

/// The bytes of a file.
pub type Pem = Arc<[u8]>;

/// How TLS is spoken with a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that are believed; `None`: those of the system.
    pub ca: Option<Pem>,
    /// What is shown to who asks for a certificate: a chain and its key.
    pub certificate: Option<(Pem, Pem)>,
    /// The name that the registry's certificate has to be for; `None`: the host of its address.
    pub server_name: Option<ServerName<'static>>,
    /// What is spoken at least.
    pub min_version: Version,
    /// Whether anybody is believed.
    pub is_insecure: bool,
}

/// Asks at one of the addresses.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    inquirer: Inquirer,
    at: Uri,
}

impl Server {
    /// Who asks at its addresses, one after the other: where the first does not answer, the next may.
    ///
    /// # Errors
    /// When its TLS cannot be spoken.
    pub(super) fn askings(&self) -> Result<impl Iterator<Item = Asking> + use<>, Lost> {
        let inquirer = match &self.tls {
            None => Inquirer::new(),
            Some(tls) => Inquirer::speaking(tls.client().map_err(Lost::because)?),
        };
        let mut urls = self.urls.clone();
        // Where many ask, all of them are to be asked.
        let first = rand::random_range(0..urls.len().max(1));
        urls.rotate_left(first);
        Ok(urls.into_iter().map(move |at| Asking { inquirer: inquirer.clone(), at }))
    }
}

/// What the addresses of a registry have answered, none of which could be asked for long.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<String>);

impl Refusals {
    pub(super) fn add(&mut self, asking: &Asking, lost: &Lost) {
        self.0.push(format!("{}: {lost}", asking.at));
    }

    /// All of it.
    pub(super) fn lost(self) -> Lost {
        Lost::because(self.0.join("; "))
    }
}

impl Tls {
    /// How it is spoken.
    ///
    /// # Errors
    /// What is wrong with the files, as a sentence.
    pub(crate) fn client(&self) -> Result<Client, String> {
        let trust = match (&self.ca, self.is_insecure) {
            (_, true) => Trust::Anybody,
            (Some(ca), false) => Trust::Issuers(Issuers::read(ca).map_err(|error| error.to_string())?),
            (None, false) => Trust::System,
        };
        let certificate = self.certificate.as_ref().map(|(chain, key)| Certificate::read(chain, key, None));
        let certificate = certificate.transpose().map_err(|error| error.to_string())?;
        let (min_version, server_name) = (self.min_version, self.server_name.clone());
        Client::new(ClientSettings { trust, certificate, min_version, server_name })
    }
}

impl Asking {
    /// Asks, and has the whole answer, of at most `most` bytes, within the time. Any status but 200 is an error, with what its body
    /// says.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &str,
        headers: &HeaderMap,
        body: Bytes,
        patience: Duration,
    ) -> Result<Response<Bytes>, Lost> {
        let request = self.request(method, target, headers, body)?;
        let answer = self.inquirer.ask(request, MOST, patience).await.map_err(Lost::because)?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(refused(status, answer.body())),
        }
    }

    /// Asks, and has an answer that goes on and on once its head has come.
    pub(super) async fn listen(
        &self,
        method: Method,
        target: &str,
        headers: &HeaderMap,
        body: Bytes,
        patience: Duration,
    ) -> Result<Incoming, Lost> {
        let request = self.request(method, target, headers, body)?;
        let answer = self.inquirer.listen(request, patience).await.map_err(Lost::because)?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(refused(status, b"")),
        }
    }

    fn request(
        &self,
        method: Method,
        target: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Lost> {
        let mut url = self.at.clone().into_parts();
        url.path_and_query = Some(target.parse().map_err(Lost::because)?);
        let url = Uri::from_parts(url).map_err(Lost::because)?;
        let mut request = Request::builder().method(method).uri(url);
        if let Some(own) = request.headers_mut() {
            own.extend(headers.clone());
            if !body.is_empty() {
                own.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            }
        }
        request.body(Full::new(body)).map_err(Lost::because)
    }
}

/// A refusal, with the beginning of what it says.
fn refused(status: StatusCode, body: &[u8]) -> Lost {
    let said: String =
        String::from_utf8_lossy(body).trim().chars().filter(|one| !one.is_control()).take(SHOWN).collect();
    if said.is_empty() {
        Lost::because(format_args!("it answers {status}"))
    } else {
        Lost::because(format_args!("it answers {status}: {said}"))
    }
}

/// As many endpoints as an upstream may have, with all that may be said of them.
pub(super) const MOST: usize = 64 << 20;
/// Of what a registry says when it refuses, in characters.
const SHOWN: usize = 200;
