//! Connections over HTTP/2 to endpoints, a few for each, with many WebSockets on each of them (RFC 8441).
//!
//! They belong to a worker. The first handshake for an endpoint opens one and waits for the endpoint's settings; who comes
//! meanwhile waits with it. Where the endpoint does not say that it knows WebSockets over HTTP/2, or speaks no HTTP/2 at all,
//! it is asked over HTTP/1.1, and for a while nothing else is tried.

mod connection;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use self::connection::{Asked, Connection, Opened};
use super::address::Address;
use super::dial::{DialError, Timeouts, Upgraded, dial, upgrade};
use super::resolve::Resolver;
use crate::http::UpstreamRequest;
use crate::reactor::timeout;
use crate::tls;
use crate::transport::Http2Limits;

/// The connections of a worker.
#[derive(Default)]
pub struct Http2Connections {
    /// By the name of the upstream and the url of the endpoint.
    endpoints: RefCell<HashMap<(String, String), Rc<Known>>>,
}

/// An endpoint that is asked, and how.
#[derive(Clone, Copy)]
pub struct Endpoint<'a> {
    /// The name of its upstream.
    pub upstream: &'a str,
    /// Where it is.
    pub address: &'a Address,
    /// Who resolves its name.
    pub resolver: &'a Resolver,
    /// How TLS is spoken to it.
    pub tls: Option<&'a tls::Client>,
    /// What holds for connections to it that are opened.
    pub limits: Http2Limits,
}

/// What is known of an endpoint.
#[derive(Default)]
struct Known {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held by whoever opens a connection.
    opening: Mutex<()>,
    /// Until then it is asked over HTTP/1.1.
    without: Cell<Option<Instant>>,
}

impl Http2Connections {
    /// Asks an endpoint for a WebSocket, over a connection that there is, or over a new one.
    ///
    /// # Errors
    /// Those of [`dial`].
    pub async fn dial(
        &self,
        endpoint: Endpoint<'_>,
        request: &UpstreamRequest,
        timeouts: &Timeouts,
    ) -> Result<Upgraded, DialError> {
        let known = self.known(endpoint);
        for _ in 0..ATTEMPTS {
            let connection = match known.connect(endpoint, timeouts).await? {
                Opened::Http2(connection) => connection,
                Opened::Http1(transport) => return upgrade(transport, endpoint.address, request, timeouts).await,
                Opened::Neither => break,
            };
            match connection.ask(endpoint.address, request, timeouts).await {
                Err(Asked::InVain) => {}
                Err(Asked::Failed(error)) => return Err(error),
                Ok(upgraded) => return Ok(upgraded),
            }
        }
        dial(endpoint.address, request, timeouts, endpoint.resolver, endpoint.tls).await
    }

    fn known(&self, endpoint: Endpoint<'_>) -> Rc<Known> {
        let mut endpoints = self.endpoints.borrow_mut();
        // Whom nobody has asked for long has neither.
        if endpoints.len() >= MANY {
            endpoints.retain(|_, known| Rc::strong_count(known) > 1 || known.has_something());
        }
        let key = (endpoint.upstream.to_owned(), endpoint.address.url().to_owned());
        endpoints.entry(key).or_default().clone()
    }
}

impl fmt::Debug for Http2Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Http2Connections").finish_non_exhaustive()
    }
}

impl Known {
    /// A connection with room for a stream.
    async fn connect(&self, endpoint: Endpoint<'_>, timeouts: &Timeouts) -> Result<Opened, DialError> {
        if let Some(opened) = self.present() {
            return Ok(opened);
        }
        let opening = pin!(self.opening.lock());
        let _opening = match timeouts.connect {
            Some(limit) => timeout(limit, opening).await.map_err(|_| DialError::ConnectTimeout)?,
            None => opening.await,
        };
        if let Some(opened) = self.present() {
            return Ok(opened);
        }
        let opened = connection::open(endpoint, timeouts).await?;
        match &opened {
            Opened::Http2(connection) => self.connections.borrow_mut().push(connection.clone()),
            Opened::Http1(_) | Opened::Neither => self.without.set(Some(Instant::now() + FORGET)),
        }
        Ok(opened)
    }

    /// What is there already.
    fn present(&self) -> Option<Opened> {
        if self.is_without() {
            return Some(Opened::Neither);
        }
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| !connection.is_over());
        connections.iter().find(|connection| connection.has_room()).cloned().map(Opened::Http2)
    }

    fn is_without(&self) -> bool {
        self.without.get().is_some_and(|until| Instant::now() < until)
    }

    fn has_something(&self) -> bool {
        self.is_without() || self.connections.borrow().iter().any(|connection| !connection.is_over())
    }
}

/// How often a connection is tried that turns out to be at its end, before the endpoint is asked over HTTP/1.1.
const ATTEMPTS: usize = 3;
/// How long it is believed of an endpoint that it does without.
const FORGET: Duration = Duration::from_secs(60);
/// From so many endpoints on it is looked which are of no use any more.
const MANY: usize = 256;
