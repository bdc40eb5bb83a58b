//! What looks names up: the hosts file first, which is read anew each time so that it may change, then whatever else
//! the system knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Found, Question, Shared, hosts};

/// Answers the questions of a [`Resolver`](super::Resolver), for as long as it is [served](Self::serve).
#[derive(Debug)]
pub struct Lookups {
    resolver: Arc<Shared>,
    asked: mpsc::Receiver<Question>,
    system: Arc<System>,
}

impl Lookups {
    pub(super) fn new(resolver: Arc<Shared>, asked: mpsc::Receiver<Question>) -> Self {
        let system = System::new("/etc/hosts");
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
}

impl System {
    pub(super) fn new(hosts: impl AsRef<Path>) -> Self {
        Self { hosts: hosts.as_ref().to_owned() }
    }

    async fn look_up(&self, name: &str) -> Found {
        let hosts = std::fs::read_to_string(&self.hosts).unwrap_or_default();
        let addresses = hosts::addresses(&hosts, name);
        if !addresses.is_empty() {
            return Found::Addresses(addresses, HOSTS);
        }
        match lookup_host((name, 0)).await {
            Ok(found) => {
                let mut addresses = Vec::new();
                for address in found.map(|socket| socket.ip()) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                if addresses.is_empty() {
                    return Found::Nothing("there is no address of it".to_owned(), HOSTS);
                }
                Found::Addresses(addresses, HOSTS)
            }
            Err(error) => Found::Failed(error.to_string()),
        }
    }
}

/// As many names are looked up at once.
const AT_ONCE: usize = 64;
/// No name server is waited for longer.
const LOOKUP: Duration = Duration::from_secs(10);
/// How long is kept what comes without a time to live.
const HOSTS: Duration = Duration::from_secs(5);
