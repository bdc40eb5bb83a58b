//! A registry that is asked over HTTP, at one of its addresses or the next.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::pki_types::ServerName;

use super::report::{Lost, Report};
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

/// A registry, as its source follows it.
pub(super) trait Registry {
    /// Where it is.
    fn server(&self) -> &Server;

    /// Follows it at one of its addresses until that cannot go on; notes when that has answered.
    fn follow(
        &self,
        asking: &Asking,
        report: &Report,
        is_reached: &mut bool,
    ) -> impl Future<Output = Result<Infallible, Lost>> + Send;
}

/// Follows a registry at the first of its addresses that answers.
pub(super) async fn follow(registry: &impl Registry, report: &Report) -> Lost {
    let server = registry.server();
    let inquirer = match server.tls.as_ref().map(Tls::client).transpose() {
        Ok(tls) => tls.map_or_else(Inquirer::new, Inquirer::speaking),
        Err(error) => return Lost::because(error),
    };
    let mut urls = server.urls.clone();
    // Where many ask, all of them are to be asked.
    let first = rand::random_range(0..urls.len().max(1));
    urls.rotate_left(first);
    let mut refusals = Vec::new();
    for at in urls {
        let asking = Asking { inquirer: inquirer.clone(), at };
        let mut is_reached = false;
        let Err(lost) = registry.follow(&asking, report, &mut is_reached).await;
        refusals.push(format!("{}: {lost}", asking.at));
        if is_reached {
            break;
        }
    }
    Lost::because(refusals.join("; "))
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
