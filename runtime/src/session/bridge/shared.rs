//! The connections that plain requests share. They are streams like any other, but that nobody has asked for them: they take
//! their place on the route, filters open them, and they have their line in the log.

use std::cell::RefCell;
use std::fmt::{self, Debug};
use std::future::Future;
use std::mem::take;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Version, header};
use tokio::time::Instant;

use super::super::Entrance;
use super::super::arrive::{Destination, Entered, Goal, Routed};
use super::super::connect::Joined;
use super::super::record::Record;
use super::super::refusal::{Gate, Refusal};
use super::super::snapshot::{Route, Snapshot, Upstream};
use super::super::worker::Worker;
use crate::bridge::{Dial, Line, Pool, Terms, passage};
use crate::handshake::{self, Client, Opening, Refused, Scheme};
use crate::http::Paths;
use crate::log::Tried;
use crate::reactor::spawn;
use crate::transport::Transport;

/// A connection that did not come about, and what was tried.
pub(super) struct Unopened {
    pub(super) refusal: Refusal,
    pub(super) tried: Vec<Tried>,
    pub(super) upstream: String,
    pub(super) endpoint: String,
}

/// The connections of a worker that plain requests share.
#[derive(Default)]
pub(in super::super) struct Bridges(RefCell<Vec<Shared>>);

/// Those of a route to an upstream.
struct Shared {
    route: Arc<Route>,
    upstream: Arc<Upstream>,
    pool: Rc<Pool<Box<Unopened>>>,
}

impl Debug for Bridges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bridges").field(&self.0.borrow().len()).finish()
    }
}

impl Bridges {
    pub(super) fn of(
        &self,
        worker: &Worker,
        route: &Arc<Route>,
        upstream: &Arc<Upstream>,
        terms: &Arc<Terms>,
    ) -> Rc<Pool<Box<Unopened>>> {
        let mut known = self.0.borrow_mut();
        let is_it = |it: &&Shared| Arc::ptr_eq(&it.route, route) && Arc::ptr_eq(&it.upstream, upstream);
        if let Some(shared) = known.iter().find(is_it) {
            return shared.pool.clone();
        }
        let pool = Pool::new(terms.clone(), worker.workers());
        known.push(Shared { route: route.clone(), upstream: upstream.clone(), pool: pool.clone() });
        pool
    }

    /// Lets go of those of routes and upstreams that are not in force any more.
    pub(in super::super) fn renew(&self, snapshot: &Snapshot) {
        let is_in_force = |shared: &Shared| {
            snapshot.routes.routes().any(|route| Arc::ptr_eq(route, &shared.route))
                && snapshot.upstreams.values().any(|upstream| Arc::ptr_eq(upstream, &shared.upstream))
        };
        self.0.borrow_mut().retain(|shared| {
            let stays = is_in_force(shared);
            if !stays {
                shared.pool.close();
            }
            stays
        });
    }
}

/// How connections that are shared come about.
pub(super) fn dial(
    worker: Rc<Worker>,
    route: Arc<Route>,
    upstream: Arc<Upstream>,
    terms: Arc<Terms>,
) -> Dial<Box<Unopened>> {
    Rc::new(move || {
        let (worker, route, upstream, terms) = (worker.clone(), route.clone(), upstream.clone(), terms.clone());
        Box::pin(open(worker, route, upstream, terms)) as Pin<Box<dyn Future<Output = _>>>
    })
}

/// Opens a connection that is shared.
async fn open(
    worker: Rc<Worker>,
    route: Arc<Route>,
    upstream: Arc<Upstream>,
    terms: Arc<Terms>,
) -> Result<Line, Box<Unopened>> {
    let entrance = Entrance::inner(worker.clone());
    let mut record = Record::new(&entrance.worker, None, Instant::now());
    let joined = join(&entrance, &mut record, &route, &upstream, &terms).await;
    let joined = match joined {
        Ok(joined) => joined,
        Err(refusal) => {
            // Which the request tells that has wanted it.
            record.is_told.set(true);
            let tried = take(&mut record.tried);
            let (upstream, endpoint) = (take(&mut record.upstream), take(&mut record.endpoint));
            return Err(Box::new(Unopened { refusal, tried, upstream, endpoint }));
        }
    };
    let (inner, outer) = passage();
    let open = joined.open((Transport::boxed(inner), Bytes::new()), StatusCode::SWITCHING_PROTOCOLS, record);
    spawn(open.run()).detach();
    Ok(Line::new(outer, terms.max_message_size).await)
}

async fn join<'w>(
    entrance: &'w Entrance,
    record: &mut Record<'w>,
    route: &Arc<Route>,
    upstream: &Arc<Upstream>,
    terms: &Terms,
) -> Result<Joined<'w>, Refusal> {
    let worker = &entrance.worker;
    let head = Request::get(terms.path.as_str()).version(Version::HTTP_11).header(header::HOST, &terms.host).body(());
    let (head, ()) =
        head.map_err(|_| Refusal::Request(Refused::Malformed("the path of the route is no target")))?.into_parts();
    let client = Client { peer: None, address: None, scheme: Scheme::Ws, connection_id: record.connection.clone() };
    let target = handshake::Target::of(&head, Paths::default()).map_err(Refusal::Request)?;
    let mut handshake = handshake::describe(&head, &target, &client);
    handshake.route.clone_from(&route.name);
    (record.path, record.host) = (terms.path.clone(), target.host.clone().into_owned());
    record.route = Some(route.clone());
    let target = target.forwarded(terms.segments).map_err(Refusal::Request)?;
    // The rate is for clients, and each request has counted already.
    let entry = route.admission.enter_unknown().map_err(|denied| Refusal::denied(denied, Gate::Route))?;
    let routed = Routed {
        worker,
        head,
        client,
        followings: worker.followings(),
        told: None,
        route: route.clone(),
        destination: Destination::Upstream(upstream.clone()),
        target,
        handshake,
        generation: worker.snapshot().generation,
    };
    let goal = Goal::Connection(upstream.clone(), Opening::own());
    let entered = Entered { routed, goal, entry, until: None, authorized: Vec::new() };
    entered.admit(entrance, record)?.connect(Opening::own(), record).await
}
