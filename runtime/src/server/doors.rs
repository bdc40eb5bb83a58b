//! Opening the listeners of a configuration, all of them or none.

use std::sync::Arc;

use super::course::Listening;
use super::handover::Inherited;
use crate::config::{Config, Listener, Problems};
use crate::listener::{Address, BindError, Bound, Claim, Settings};

/// A listener that cannot be opened.
#[derive(Debug)]
pub(super) struct Shut<'a> {
    pub(super) listener: &'a Listener,
    pub(super) error: BindError,
}

/// Binds what the configuration wants, in its order, except where `kept` has sockets that will do. `own` is what this process
/// has already, or the one that it replaces. Nobody can connect to a new socket before it listens.
pub(super) fn open<'a>(
    config: &'a Config,
    workers: usize,
    own: &[Claim],
    mut kept: impl FnMut(&Claim) -> Option<Result<Arc<Bound>, BindError>>,
) -> Result<Vec<Arc<Bound>>, Shut<'a>> {
    let mut opened = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let wanted = config.claim(&listener.listen);
        let bound = kept(&wanted)
            .unwrap_or_else(|| Bound::new(wanted, workers, own).map(Arc::new))
            .map_err(|error| Shut { listener, error })?;
        bound.set(&listener.liveness, &listener.rights).map_err(|error| Shut { listener, error })?;
        opened.push(bound);
    }
    Ok(opened)
}

/// Listeners with what they go by, both in the order of the configuration.
pub(super) fn listening(bound: Vec<Arc<Bound>>, settings: &[Arc<Settings>]) -> Vec<Listening> {
    bound.into_iter().zip(settings).map(|(bound, settings)| Listening { settings: settings.clone(), bound }).collect()
}

/// Tells that an address cannot be listened on, with the place that names it.
pub(super) fn shut(config: &Config, address: &Address, error: &BindError) -> Problems {
    let listeners = config.listeners.iter().map(|listener| (listener.listen.clone(), &listener.place));
    let mut named = listeners.chain(config.admin.iter().map(|admin| (admin.listen.clone(), &admin.place)));
    let place = named.find(|(listen, _)| listen == address).map(|(_, place)| place.clone());
    let mut problems = config.problems();
    problems.add(&place.unwrap_or_default(), format!("cannot listen on {address}: {error}"), error.advice());
    problems
}

/// What another process has handed over and the configuration does not have.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    /// Who has come to them is served as who comes to the listener of the same port.
    pub(super) listeners: Vec<Listening>,
    admin: Option<Bound>,
}

impl Leftover {
    pub(super) fn of(inherited: Inherited, config: &Config, settings: &[Arc<Settings>]) -> Self {
        let mut inherited = inherited;
        if let Some(unfit) = inherited.unfit.take() {
            // Who comes to those waits for whoever else has them.
            for unfit in unfit {
                tracing::warn!(%unfit, "a descriptor that the service manager has passed is of no use");
            }
            for bound in &inherited.listeners {
                let address = bound.address();
                tracing::warn!(%address, "the service manager has opened a socket that no listener has; it is closed");
            }
            return Self::default();
        }
        let (listeners, admin) = inherited.into_leftover();
        let listening = |bound: Bound| {
            let port = |address: &Address| address.socket().map(|address| address.port());
            let own = port(&bound.address());
            let is_next = |listener: &Listener| own.is_some() && port(&listener.listen) == own;
            let next = config.listeners.iter().position(is_next).unwrap_or_default();
            Some(Listening { settings: settings.get(next)?.clone(), bound: Arc::new(bound) })
        };
        Self { listeners: listeners.into_iter().filter_map(listening).collect(), admin }
    }

    /// Has the files of unix sockets be this process's to remove.
    pub(super) fn own(&self) {
        self.listeners.iter().for_each(|listening| listening.bound.own());
        self.admin.iter().for_each(Bound::own);
    }

    /// Has nobody reach the other process's admin API any more.
    pub(super) fn retire_admin(&mut self) {
        if let Some(bound) = self.admin.take() {
            bound.retire();
        }
    }
}
