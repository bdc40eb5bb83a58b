//! Endpoints in the Domain Name System: the addresses of a name, or the targets of its SRV records (RFC 2782), asked again when their
//! TTL is over.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::{sleep, timeout};

use super::entry::{Entry, MOST_WEIGHT, Record};
use super::report::{Lost, Report};

/// Which name, and what is made of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// What is asked for.
    pub question: Question,
    /// Who is asked; `None`: the name servers of the system.
    pub resolver: Option<SocketAddr>,
    /// Whether TLS is spoken to the endpoints.
    pub is_secure: bool,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// All addresses of a name, each with this port.
    Addresses(String, u16),
    /// The targets of the service records of a name, with their ports, priorities and weights.
    Services(String),
}

/// What was found, and for how long it holds.
struct Found {
    records: Vec<Record>,
    ttl: Duration,
}

/// Asks again and again.
pub(super) async fn follow(dns: &Dns, report: &Report) -> Lost {
    match dns.follow(report).await {
        Err(lost) => lost,
    }
}

impl Dns {
    async fn follow(&self, report: &Report) -> Result<Infallible, Lost> {
        loop {
            // Anew each time: the name servers of the system may be others by then.
            let resolver = self.resolver()?;
            let asked = timeout(PATIENCE, self.ask(&resolver)).await;
            let Found { records, ttl } = asked.map_err(|_| Lost::because("no name server answers in time"))??;
            report.found(records.into_iter().map(|record| Entry::of(record.url.clone(), record)).collect()).await;
            sleep(ttl.clamp(SHORTEST, LONGEST)).await;
        }
    }

    fn resolver(&self) -> Result<TokioResolver, Lost> {
        let mut builder = match self.resolver {
            None => TokioResolver::builder_tokio().map_err(Lost::because)?,
            Some(at) => {
                let mut server = NameServerConfig::udp_and_tcp(at.ip());
                server.connections.iter_mut().for_each(|way| way.port = at.port());
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let wanted = builder.options_mut();
        wanted.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        wanted.cache_size = 0;
        (wanted.timeout, wanted.attempts) = (ATTEMPT, 2);
        if self.resolver.is_some() {
            wanted.use_hosts_file = ResolveHosts::Never;
        }
        builder.build().map_err(Lost::because)
    }

    async fn ask(&self, resolver: &TokioResolver) -> Result<Found, Lost> {
        match &self.question {
            Question::Addresses(name, port) => {
                let Some((addresses, ttl)) = addresses(resolver, name).await? else { return Ok(Found::nothing()) };
                let records = addresses.into_iter().map(|address| self.record(address, *port)).collect();
                Ok(Found { records, ttl })
            }
            Question::Services(name) => self.ask_services(resolver, name).await,
        }
    }

    async fn ask_services(&self, resolver: &TokioResolver, name: &str) -> Result<Found, Lost> {
        let lookup = match resolver.lookup(name, RecordType::SRV).await {
            Ok(lookup) => lookup,
            Err(error) => return nothing(error).map(|()| Found::nothing()),
        };
        let mut ttl = LONGEST;
        let mut services = Vec::new();
        for record in lookup.answers() {
            if let RData::SRV(service) = &record.data {
                ttl = ttl.min(Duration::from_secs(record.ttl.into()));
                services.push(service.clone());
            }
        }
        // Whose target is the root is decidedly not there.
        services.retain(|service| !service.target.is_root());
        let first = services.iter().map(|service| service.priority).min().unwrap_or_default();
        let mut records = Vec::new();
        for service in services {
            let target = service.target.to_utf8();
            let target = target.trim_end_matches('.');
            // Those of a later priority get what the others cannot take.
            let is_first = service.priority == first;
            let weight = if is_first { u32::from(service.weight).clamp(1, MOST_WEIGHT) } else { 0 };
            let metadata = [("priority", service.priority.to_string()), ("target", target.to_owned())];
            let metadata = metadata.map(|(name, value)| (name.to_owned(), value)).into();
            if self.is_secure {
                // Its certificate is for the name.
                let url = format!("wss://{target}:{}", service.port);
                records.push(Record { weight, metadata, ..Record::at(url) });
                continue;
            }
            let Some((addresses, valid)) = addresses(resolver, target).await? else { continue };
            ttl = ttl.min(valid);
            let record =
                |address| Record { weight, metadata: Clone::clone(&metadata), ..self.record(address, service.port) };
            records.extend(addresses.into_iter().map(record));
        }
        Ok(Found { records, ttl })
    }

    fn record(&self, address: IpAddr, port: u16) -> Record {
        let scheme = if self.is_secure { "wss" } else { "ws" };
        Record::at(format!("{scheme}://{}", SocketAddr::new(address, port)))
    }
}

impl Found {
    /// There is such a name no more, or never was.
    fn nothing() -> Self {
        Self { records: Vec::new(), ttl: NOTHING }
    }
}

/// The addresses of a name in ascending order, and how long they hold; `None`: it has none.
async fn addresses(resolver: &TokioResolver, name: &str) -> Result<Option<(BTreeSet<IpAddr>, Duration)>, Lost> {
    match resolver.lookup_ip(name).await {
        Ok(found) => {
            let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
            Ok(Some((found.iter().collect(), Duration::from_secs(ttl.into()))))
        }
        Err(error) => nothing(error).map(|()| None),
    }
}

/// Whether an error says that there is nothing.
fn nothing(error: NetError) -> Result<(), Lost> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if is_sure(&none.response_code) => Ok(()),
        NetError::Timeout => Err(Lost::because("no name server answers")),
        error => Err(Lost::because(error)),
    }
}

/// A server that fails knows nothing.
fn is_sure(code: &hickory_resolver::proto::op::ResponseCode) -> bool {
    use hickory_resolver::proto::op::ResponseCode;
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// Shorter TTLs would ask without a pause.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longer ones would miss that an endpoint has come; a resolver close by answers from its own memory.
const LONGEST: Duration = Duration::from_secs(60);
/// That there is nothing is often about to change.
const NOTHING: Duration = Duration::from_secs(5);
/// A name server that is well answers within milliseconds; one that forwards the question may take longer.
const ATTEMPT: Duration = Duration::from_secs(2);
/// All attempts, at all name servers, for all targets of a service.
const PATIENCE: Duration = Duration::from_secs(6);
