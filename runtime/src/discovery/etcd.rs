//! Endpoints in etcd, version 3, by its JSON gateway: everything under a prefix, and then what changes from that revision on.
//!
//! Each key under the prefix is an endpoint. It follows the API of etcd 3.4 and later (`/v3/kv/range`, `/v3/watch`,
//! `/v3/auth/authenticate`), in which keys and values are in base64 and numbers are text.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::entry::Entry;
use super::report::{Lost, Report};
use super::server::{Asking, MOST, Registry, Server};
use crate::token::Secret;

/// Where endpoints are in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// Its members.
    pub server: Server,
    /// What the keys begin with; not empty.
    pub prefix: String,
    /// Who asks, and the password; `None`: nobody is asked who it is.
    pub login: Option<(String, Secret)>,
}

#[derive(Debug, Deserialize)]
struct Authenticated {
    token: String,
}

#[derive(Debug, Deserialize)]
struct Range {
    header: Header,
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Debug, Deserialize)]
struct Header {
    revision: String,
}

#[derive(Debug, Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
struct Watched {
    result: Option<Changes>,
    error: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Changes {
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    cancel_reason: String,
    /// There where the changes since the revision are not known any more.
    compact_revision: Option<String>,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
struct Event {
    /// Absent for a key that was put.
    #[serde(default)]
    r#type: String,
    kv: Pair,
}

/// What is under the prefix, by key.
type Found = BTreeMap<String, Entry>;

impl Registry for Etcd {
    fn server(&self) -> &Server {
        &self.server
    }

    /// Reads what is there, and then what changes.
    async fn follow(&self, asking: &Asking, report: &Report, is_reached: &mut bool) -> Result<Infallible, Lost> {
        let headers = self.headers(asking).await?;
        loop {
            let Range { header: Header { revision }, kvs } = self.range(asking, &headers).await?;
            let mut found = Found::new();
            for pair in kvs {
                put(&mut found, &pair)?;
            }
            *is_reached = true;
            report.found(found.values().cloned().collect()).await;
            // Where the changes since then are forgotten: once more all that there is.
            self.watch(asking, &headers, &revision, &mut found, report).await?;
        }
    }
}

impl Etcd {
    /// What goes with each question.
    async fn headers(&self, asking: &Asking) -> Result<HeaderMap, Lost> {
        let mut headers = HeaderMap::new();
        // A watch at a member that has lost the others ends.
        headers.insert(HeaderName::from_static("grpc-metadata-hasleader"), HeaderValue::from_static("true"));
        if let Some((name, password)) = &self.login {
            let login = json!({ "name": name, "password": String::from_utf8_lossy(password.bytes()) });
            let Authenticated { token } = ask(asking, "/v3/auth/authenticate", &HeaderMap::new(), &login).await?;
            let mut token = HeaderValue::try_from(token).map_err(Lost::because)?;
            token.set_sensitive(true);
            headers.insert(AUTHORIZATION, token);
        }
        Ok(headers)
    }

    async fn range(&self, asking: &Asking, headers: &HeaderMap) -> Result<Range, Lost> {
        let (key, range_end) = self.bounds();
        ask(asking, "/v3/kv/range", headers, &json!({ "key": key, "range_end": range_end })).await
    }

    /// Reports what changes after a revision, until the watch ends because that is not known any more.
    async fn watch(
        &self,
        asking: &Asking,
        headers: &HeaderMap,
        revision: &str,
        found: &mut Found,
        report: &Report,
    ) -> Result<(), Lost> {
        let revision: u64 = revision.parse().map_err(Lost::because)?;
        let (key, range_end) = self.bounds();
        let wanted =
            json!({ "create_request": { "key": key, "range_end": range_end, "start_revision": revision + 1 } });
        let body = asking.listen(Method::POST, "/v3/watch", headers, bytes(&wanted), PATIENCE).await?;
        let mut lines = Lines { body, read: BytesMut::new() };
        loop {
            let Watched { result, error } = lines.next().await?;
            if let Some(error) = error {
                return Err(Lost::because(format_args!("the watch has ended: {error}")));
            }
            let Some(changes) = result else { continue };
            if changes.compact_revision.is_some() {
                return Ok(());
            }
            if changes.canceled {
                return Err(Lost::because(format_args!("the watch was canceled: {}", changes.cancel_reason)));
            }
            if changes.events.is_empty() {
                continue;
            }
            for Event { r#type, kv } in &changes.events {
                match r#type.as_str() {
                    "DELETE" => drop(found.remove(&name(&kv.key)?)),
                    _ => put(found, kv)?,
                }
            }
            report.found(found.values().cloned().collect()).await;
        }
    }

    /// The first key, and the first that is none any more, as etcd takes them.
    fn bounds(&self) -> (String, String) {
        let mut end = self.prefix.clone().into_bytes();
        // No byte of UTF-8 is the last one there is.
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        (STANDARD.encode(&self.prefix), STANDARD.encode(end))
    }
}

fn put(found: &mut Found, pair: &Pair) -> Result<(), Lost> {
    let (key, value) = (name(&pair.key)?, STANDARD.decode(&pair.value).map_err(Lost::because)?);
    found.insert(key.clone(), Entry::read(key, &value));
    Ok(())
}

/// A key, as text.
fn name(encoded: &str) -> Result<String, Lost> {
    let name = STANDARD.decode(encoded).map_err(Lost::because)?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

async fn ask<T: DeserializeOwned>(
    asking: &Asking,
    target: &str,
    headers: &HeaderMap,
    question: &serde_json::Value,
) -> Result<T, Lost> {
    let answer = asking.ask(Method::POST, target, headers, bytes(question), PATIENCE).await?;
    serde_json::from_slice(answer.body()).map_err(|error| Lost::because(format_args!("{target}: {error}")))
}

fn bytes(question: &serde_json::Value) -> Bytes {
    question.to_string().into()
}

/// The lines of an answer that goes on and on, each a value in JSON.
struct Lines {
    body: Incoming,
    read: BytesMut,
}

impl Lines {
    async fn next<T: DeserializeOwned>(&mut self) -> Result<T, Lost> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.read.get(searched..).unwrap_or_default()) {
                let line = self.read.split_to(searched + end + 1);
                return serde_json::from_slice(&line).map_err(Lost::because);
            }
            searched = self.read.len();
            if searched > MOST {
                return Err(Lost::because(format_args!("it says more than {MOST} bytes at once")));
            }
            let frame = self.body.frame().await.ok_or_else(|| Lost::because("it has closed the connection"))?;
            let frame = frame.map_err(Lost::because)?;
            self.read.extend_from_slice(frame.data_ref().map_or(&[], |data| &**data));
        }
    }
}

/// An etcd that is well answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
