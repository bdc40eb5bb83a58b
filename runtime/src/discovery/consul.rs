//! Endpoints in Consul: the instances of a service that pass their checks, asked by blocking queries.
//!
//! It follows Consul's HTTP API (`/v1/health/service/NAME` with `index` and `wait`), of version 1.8 and later. The port is the service's, the address too or,
//! where it has none, that of its node; its weight is the one that passing instances have.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::entry::{Entry, Record};
use super::report::{Lost, Report};
use super::server::{Asking, Registry, Server};
use crate::http::escaped;
use crate::token::Secret;

/// Which service, and where Consul is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consul {
    /// Its agents or servers.
    pub server: Server,
    /// The name of the service.
    pub service: String,
    /// Only instances with this tag; `None`: with any.
    pub tag: Option<String>,
    /// Where the service is; `None`: where the agent is.
    pub datacenter: Option<String>,
    /// Who asks; `None`: anybody.
    pub token: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    node: Node,
    service: Service,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default)]
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    weights: Option<Weights>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
}

impl Registry for Consul {
    fn server(&self) -> &Server {
        &self.server
    }

    /// Asks again and again, each time until something is another.
    async fn follow(&self, asking: &Asking, report: &Report, is_reached: &mut bool) -> Result<Infallible, Lost> {
        let headers = self.headers()?;
        // The first answer comes at once.
        let mut index = None;
        loop {
            let next = Instant::now() + SHORTEST;
            let target = self.target(index);
            let answer = asking.ask(Method::GET, &target, &headers, Bytes::new(), PATIENCE).await?;
            *is_reached = true;
            let before = index.replace(told_index(&answer)?);
            // One that goes back is counted anew, and may skip nothing.
            if before.is_some_and(|before| index < Some(before)) {
                index = None;
                continue;
            }
            if before != index {
                report.found(entries(answer.body())?).await;
            }
            sleep_until(next).await;
        }
    }
}

impl Consul {
    fn headers(&self) -> Result<HeaderMap, Lost> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let mut token = HeaderValue::from_bytes(token.bytes()).map_err(Lost::because)?;
            token.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-consul-token"), token);
        }
        Ok(headers)
    }

    fn target(&self, index: Option<u64>) -> String {
        let mut target = format!("/v1/health/service/{}?passing=true&wait={}s", escaped(&self.service), WAIT.as_secs());
        let given = [("tag", &self.tag), ("dc", &self.datacenter)];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            // Writing to a string cannot fail.
            let _ = write!(target, "&{name}={}", escaped(value));
        }
        if let Some(index) = index {
            let _ = write!(target, "&index={index}");
        }
        target
    }
}

fn told_index(answer: &Response<Bytes>) -> Result<u64, Lost> {
    let told = answer.headers().get("x-consul-index").and_then(|index| index.to_str().ok());
    let index: Option<u64> = told.and_then(|index| index.parse().ok());
    // Zero would be answered at once, for ever.
    index.map(|index| index.max(1)).ok_or_else(|| Lost::because("its answer has no index"))
}

fn entries(body: &[u8]) -> Result<Vec<Entry>, Lost> {
    let instances: Vec<Instance> = serde_json::from_slice(body).map_err(Lost::because)?;
    Ok(instances.into_iter().map(entry).collect())
}

/// An instance. Of its metadata `scheme`, `path`, `zone` and `warmup` are heeded, and all of it is told to balancers.
fn entry(Instance { node, service }: Instance) -> Entry {
    let host = if service.address.is_empty() { node.address } else { service.address };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let metadata = service.meta.unwrap_or_default();
    let said = |name: &str| metadata.get(name).cloned();
    let scheme = said("scheme").unwrap_or_else(|| "ws".to_owned());
    let record = Record {
        weight: service.weights.map_or(1, |weights| weights.passing),
        warmup: said("warmup").map(Into::into),
        zone: said("zone"),
        ..Record::at(format!("{scheme}://{host}:{}{}", service.port, said("path").unwrap_or_default()))
    };
    Entry::of(format!("{}/{}", node.node, service.id), Record { metadata, ..record })
}

/// How long Consul keeps a question for which nothing is another.
const WAIT: Duration = Duration::from_secs(60);
/// Consul adds up to a sixteenth of [`WAIT`].
const PATIENCE: Duration = Duration::from_secs(75);
/// Between questions, whatever the answers are.
const SHORTEST: Duration = Duration::from_millis(100);
