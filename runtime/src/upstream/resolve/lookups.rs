//! What looks names up: the hosts file first, then the name servers of `resolv.conf`. Both are read anew when a name is
//! looked up, so that they may change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Found, Question, Shared, hosts};
use crate::upstream::shortage::is_shortage;

/// Answers the questions of a [`Resolver`](super::Resolver), for as long as it is [served](Self::serve).
#[derive(Debug)]
pub struct Lookups {
    resolver: Arc<Shared>,
    asked: mpsc::Receiver<Question>,
    system: Arc<System>,
}

impl Lookups {
    pub(super) fn new(resolver: Arc<Shared>, asked: mpsc::Receiver<Question>) -> Self {
        let system = System::new("/etc/hosts", "/etc/resolv.conf");
        Self { resolver, asked, system: Arc::new(system) }
    }

    #[cfg(test)]
    pub(super) fn of(self, system: System) -> Self {
        Self { system: Arc::new(system), ..self }
    }

    /// Looks names up as they are asked for. It belongs on a runtime that no connection waits for.
    pub async fn serve(mut self) {
        let mut under_way = JoinSet::new();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        while let Some(question) = self.asked.recv().await {
            while under_way.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (resolver, system) = (Arc::clone(&self.resolver), Arc::clone(&self.system));
            under_way.spawn(async move {
                let found = timeout(LOOKUP, system.look_up(&question.name)).await;
                resolver.settle(question, found.unwrap_or_else(|_| Found::Failed("no name server answers".to_owned())));
                drop(place);
            });
        }
    }
}

/// The system's sources of addresses.
#[derive(Debug)]
pub(super) struct System {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// The port of the name servers.
    port: u16,
    /// Made of the text of `resolv.conf`.
    dns: Mutex<Option<(Vec<u8>, TokioResolver)>>,
}

impl System {
    fn new(hosts: impl AsRef<Path>, resolv_conf: impl AsRef<Path>) -> Self {
        let (hosts, resolv_conf) = (hosts.as_ref().to_owned(), resolv_conf.as_ref().to_owned());
        Self { hosts, resolv_conf, port: DNS_PORT, dns: Mutex::default() }
    }

    /// Files and name servers of a test.
    #[cfg(test)]
    pub(super) fn with_port(hosts: &Path, resolv_conf: &Path, port: u16) -> Self {
        Self { port, ..Self::new(hosts, resolv_conf) }
    }

    async fn look_up(&self, name: &str) -> Found {
        let hosts = std::fs::read_to_string(&self.hosts).unwrap_or_default();
        let addresses = hosts::addresses(&hosts, name);
        if !addresses.is_empty() {
            return Found::Addresses(addresses, HOSTS);
        }
        let dns = match self.dns() {
            Ok(dns) => dns,
            Err(error) => {
                let failed = if is_shortage(&error) { Found::Unasked } else { Found::Failed };
                return failed(format!("{} names no name server: {error}", self.resolv_conf.display()));
            }
        };
        match dns.lookup_ip(name).await {
            Ok(found) => {
                let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
                Found::Addresses(found.iter().collect(), Duration::from_secs(ttl.into()))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let ttl = none.negative_ttl.map_or(Duration::MAX, |ttl| Duration::from_secs(ttl.into()));
                Found::Nothing(format!("there is no address of it ({})", none.response_code), ttl)
            }
            Err(NetError::Timeout) => Found::Failed("no name server answers".to_owned()),
            Err(NetError::Io(error)) if is_shortage(&error) => Found::Unasked(error.to_string()),
            Err(error) => Found::Failed(error.to_string()),
        }
    }

    /// The resolver for what `resolv.conf` says now.
    fn dns(&self) -> io::Result<TokioResolver> {
        let text = std::fs::read(&self.resolv_conf)?;
        let mut dns = self.dns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, resolver)) = &*dns
            && *read == text
        {
            return Ok(resolver.clone());
        }
        let (config, options) = parse_resolv_conf(&text).map_err(io::Error::other)?;
        let resolver = self.resolver(config, options).map_err(io::Error::other)?;
        *dns = Some((text, resolver.clone()));
        Ok(resolver)
    }

    fn resolver(&self, config: ResolverConfig, options: ResolverOpts) -> Result<TokioResolver, NetError> {
        let (domain, search, mut servers) = config.into_parts();
        servers.iter_mut().flat_map(|server| &mut server.connections).for_each(|way| way.port = self.port);
        let config = ResolverConfig::from_parts(domain, search, servers);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let wanted = builder.options_mut();
        *wanted = options;
        wanted.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // The file is read here, and what was found is kept by the resolver.
        wanted.use_hosts_file = ResolveHosts::Never;
        wanted.cache_size = 0;
        builder.build()
    }
}

const DNS_PORT: u16 = 53;
/// As many names are looked up at once.
const AT_ONCE: usize = 64;
/// No name server is waited for longer, whatever `resolv.conf` says.
const LOOKUP: Duration = Duration::from_secs(10);
/// How long what the hosts file says is kept.
const HOSTS: Duration = Duration::from_secs(5);
