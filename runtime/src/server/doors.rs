//! Opening the listeners of a configuration, all of them or none.

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;

use super::course::Listening;
use crate::config::{Config, Listener};
use crate::handshake::HeadLimits;
use crate::listener::{BindError, Bound, Settings};

/// A listener that cannot be opened.
#[derive(Debug)]
pub(super) struct Shut<'a> {
    pub(super) listener: &'a Listener,
    pub(super) error: BindError,
}

/// Binds what the configuration wants, except where `kept` has sockets that will do. `own` are the addresses that this
/// process has already, or the one that it replaces. Nobody can connect to a new socket before it listens.
pub(super) fn open<'a>(
    config: &'a Config,
    workers: usize,
    own: &[SocketAddr],
    mut kept: impl FnMut(SocketAddr, bool) -> Option<Result<Arc<Bound>, BindError>>,
) -> Result<Vec<Listening>, Shut<'a>> {
    let mut opened = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let (address, only_v6) = (listener.listen, config.takes_only_v6(listener.listen));
        let bound = kept(address, only_v6)
            .unwrap_or_else(|| Bound::new(address, only_v6, workers, own).map(Arc::new))
            .map_err(|error| Shut { listener, error })?;
        // What they accept inherits it.
        let watched = bound.sockets().iter().try_for_each(|socket| listener.liveness.apply(&SockRef::from(socket)));
        watched.map_err(|error| Shut { listener, error: error.into() })?;
        opened.push(Listening { settings: Arc::new(settings(listener)), bound });
    }
    Ok(opened)
}

fn settings(listener: &Listener) -> Settings {
    Settings {
        head: HeadLimits {
            max_header_bytes: listener.max_header_bytes,
            max_header_fields: listener.max_header_fields,
            paths: listener.paths,
        },
        handshake_timeout: listener.handshake_timeout,
    }
}
