//! How many connections the limit of open files allows: each takes two descriptors, its client's socket and its
//! upstream's, and some have to be left for everything else. A connection that is accepted must find one for its
//! upstream; without this, clients would be told that an upstream cannot be reached.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};
use thiserror::Error;

use crate::config::Config;

/// What the limit of open files has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenFiles {
    limit: usize,
    /// In use before there is a worker, a listener or a connection.
    base: usize,
}

/// The limit of open files is too low to serve at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the limit of open files is {limit}, and with {workers} workers at least {least} are needed: raise it \
     (`ulimit -n`, or LimitNOFILE= of the service)"
)]
pub struct TooFewFiles {
    /// The limit.
    pub limit: usize,
    /// The worker threads.
    pub workers: usize,
    /// What would do.
    pub least: usize,
}

impl OpenFiles {
    /// Raises the soft limit to the hard one, and looks at what is in use already.
    pub(super) fn of_process() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        // Where raising is forbidden, the limit stays as it was, and is read again.
        let _ = setrlimit(Resource::Nofile, limit);
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let open = fs::read_dir("/proc/self/fd").map_or(STANDARD, Iterator::count);
        Self { limit, base: open }
    }

    /// The limit itself.
    pub(super) fn limit(self) -> usize {
        self.limit
    }

    /// How many connections there may be beside these workers and listeners.
    ///
    /// # Errors
    /// When it is so few that something is wrong.
    pub(super) fn connections(self, workers: usize, listeners: usize) -> Result<usize, TooFewFiles> {
        let own = self.base + OF_PROCESS + workers * (OF_WORKER + listeners);
        let least = own + LEAST_RESERVE + 2 * LEAST_CONNECTIONS;
        if self.limit < least {
            return Err(TooFewFiles { limit: self.limit, workers, least });
        }
        Ok(((self.limit - own - self.reserve()) / 2).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS))
    }

    /// How many connections the process holds at most under a configuration.
    ///
    /// # Errors
    /// Those of [`connections`](Self::connections).
    pub(super) fn limit_of(self, config: &Config, workers: usize) -> Result<usize, TooFewFiles> {
        let room = self.connections(workers, config.listeners.len())?;
        Ok(config.max_connections.map_or(room, |wanted| wanted.get().min(room)))
    }

    /// How many connections may be refused with patience at a time; each has a descriptor meanwhile.
    pub(super) fn refusals(self) -> usize {
        self.reserve() / 4
    }

    /// What is not for clients: the admin API, files that are read in a reload, an upgrade, further addresses that a
    /// dial tries, and connections that are being refused.
    fn reserve(self) -> usize {
        (self.limit / 16).clamp(LEAST_RESERVE, MOST_RESERVE)
    }
}

/// Where the system does not tell: standard input, output and error.
const STANDARD: usize = 3;
/// The control thread's epoll instance and signals, watched files, the admin API's listener.
const OF_PROCESS: usize = 16;
/// Two epoll instances, each known twice, their wakers, and the descriptor that is kept for a shortage.
const OF_WORKER: usize = 7;
const LEAST_RESERVE: usize = 16;
const MOST_RESERVE: usize = 256;
/// Fewer serve nobody.
const LEAST_CONNECTIONS: usize = 8;
/// More than the ports of an address allow towards one endpoint.
const MOST_CONNECTIONS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(limit: usize) -> OpenFiles {
        OpenFiles { limit, base: 8 }
    }

    #[test]
    fn each_connection_has_two_descriptors_and_the_rest_of_the_process_its_own() {
        for (limit, workers, expected) in
            [(64, 1, 8), (256, 2, 100), (1024, 2, 460), (1024, 8, 436), (65_536, 2, 32_620)]
        {
            let connections = of(limit).connections(workers, 1).unwrap();
            assert_eq!(connections, expected, "{limit} files, {workers} workers");
            assert!(8 + OF_PROCESS + workers * (OF_WORKER + 1) + 2 * connections + LEAST_RESERVE <= limit);
        }
        assert_eq!(of(usize::MAX).connections(2, 1), Ok(MOST_CONNECTIONS));
    }

    #[test]
    fn a_limit_that_leaves_next_to_nothing_is_too_low() {
        let error = of(40).connections(4, 1).unwrap_err();
        assert_eq!(error, TooFewFiles { limit: 40, workers: 4, least: 88 });
        assert_eq!(of(88).connections(4, 1), Ok(8));
        assert!(of(87).connections(4, 1).is_err());
    }
}
