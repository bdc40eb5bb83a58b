//! The piping of frames between a client and an upstream.
//!
//! Both directions of a connection live in one task on one worker. A direction carries bytes from transport to transport
//! through a buffer that the worker's connections share, and looks at nothing but frame headers, unless a filter
//! selected the messages it carries; then these are unmasked, assembled, filtered, and all that one read brought is
//! written with one write. A relay is not an endpoint: it answers no ping and assembles nothing that no filter wants.
//!
//! What is decided and what is moved are apart. A `Conversation` is all that two peers have with each other: it is given
//! bytes, orders and the time, and gives bytes, and reads and writes nothing. In it a `Walk` finds frames and messages in
//! what came, a `Chain` of filters decides about them, an `Emission` makes bytes of that, and the `Outlet` of a peer keeps
//! what has to wait for its place, its time or its receiver. A `Drive` moves bytes between a conversation and the
//! transports.

mod assemblies;
mod carry;
mod chain;
mod change;
mod clock;
mod control_rate;
mod conversation;
mod deflate;
mod direction;
mod drive;
mod emit;
mod ending;
mod filter;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod handle;
mod inflate;
mod item;
mod outlet;
mod peer;
mod ringing;
mod scratch;
#[cfg(any(fuzzing, test))]
mod scripted;
mod settings;
mod shadow;
mod traffic;
mod turn;
mod walk;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::time::Instant;

pub use assemblies::{Assemblies, Assembly};
pub use change::{Change, Scope};
pub use ending::Outcome;
pub use handle::Handle;
pub use scratch::Scratch;
#[cfg(any(fuzzing, test))]
pub use scripted::Scripted;
pub use settings::{Limits, Timers};
pub use traffic::Traffic;

use chain::Chain;
use clock::Due;
use conversation::Conversation;
use drive::{Drive, Leg};
use turn::Turn;

use crate::component::Session;
use crate::metrics::{RouteMetrics, WorkerIndex};
use crate::peer::Side;
use crate::reactor::give_way;
use crate::rollout::Shadow;
use crate::transport::Transport;
use crate::ws::Extensions;

/// Everything a connection needs beyond its two transports.
pub struct Plan {
    /// The sessions of the route's filters, in the order of the configuration.
    pub filters: Vec<Session>,
    /// The candidates that shadow some of them, each with its filter's place in the order.
    pub shadows: Vec<(usize, Shadow)>,
    /// When the token is over that the client came in by.
    pub until: Option<Instant>,
    /// The extensions that the handshakes agreed on.
    pub extensions: Extensions,
    /// The route's timers.
    pub timers: Arc<Timers>,
    /// The route's limits.
    pub limits: Arc<Limits>,
    /// The route's metrics.
    pub metrics: Arc<RouteMetrics>,
    /// The worker that this runs on.
    pub worker: WorkerIndex,
    /// The worker's buffers.
    pub scratch: Rc<RefCell<Scratch>>,
    /// The hold of others on the connection.
    pub handle: Rc<Handle>,
}

/// An open connection.
pub struct Pipe {
    client: Transport,
    upstream: Transport,
    conversation: Conversation,
    scratch: Rc<RefCell<Scratch>>,
}

impl Future for Pipe {
    type Output = Box<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Box<Outcome>> {
        self.conversation.shared.turn = Turn::begin();
        ready!(self.advance(context));
        self.conversation.finish().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Pipe {
    /// Joins two upgraded transports, each with what was read behind its handshake.
    ///
    /// It is boxed, because the futures that it passes through would each keep room for it.
    pub fn new(client: (Transport, Bytes), upstream: (Transport, Bytes), mut plan: Plan) -> Box<Self> {
        let (filters, shadows) = (std::mem::take(&mut plan.filters), std::mem::take(&mut plan.shadows));
        Self::joined(client, upstream, plan, Chain::new(filters, shadows))
    }

    /// The same with functions as filters, in the order in which client messages pass them.
    #[cfg(any(fuzzing, test))]
    pub fn scripted(
        client: (Transport, Bytes),
        upstream: (Transport, Bytes),
        plan: Plan,
        filters: Vec<Scripted>,
    ) -> Box<Self> {
        Self::joined(client, upstream, plan, Chain::scripted(filters))
    }

    fn joined(client: (Transport, Bytes), upstream: (Transport, Bytes), plan: Plan, chain: Chain) -> Box<Self> {
        let scratch = plan.scratch.clone();
        let conversation = Conversation::new(&client.1, &upstream.1, plan, chain);
        Box::new(Self { client: client.0, upstream: upstream.0, conversation, scratch })
    }

    /// Carries frames until the connection has ended. Dropping the future ends it at once, without a close frame;
    /// what was counted stays counted.
    pub fn run(self: Box<Self>) -> impl Future<Output = Box<Outcome>> {
        self
    }

    /// Ready when the connection has ended.
    fn advance(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            while let Some(order) = self.conversation.shared.handle.switch.poll(context) {
                self.conversation.obey(order);
            }
            let Self { client, upstream, conversation, scratch } = self;
            let mut scratch = Scratch::lend(scratch);
            let from_client = Drive::new(Side::Client, conversation, client, upstream, &mut scratch).poll(context);
            let from_upstream = Drive::new(Side::Upstream, conversation, client, upstream, &mut scratch).poll(context);
            drop(scratch);
            let is_quiet = from_client.is_pending() && from_upstream.is_pending();
            self.conversation.go_on(from_client, from_upstream);
            self.flush(context);
            self.conversation.account(&self.scratch.borrow().assemblies, context.waker());
            self.conversation.keep_time();
            if self.conversation.is_over() && self.poll_farewell(context).is_ready() {
                return Poll::Ready(());
            }
            if self.conversation.shared.turn.is_over() {
                give_way(context);
                return Poll::Pending;
            }
            if !is_quiet || self.conversation.may_go_on() {
                continue;
            }
            let wakes_at = self.conversation.wakes_at();
            match self.conversation.shared.clock.poll(context, wakes_at) {
                None => return Poll::Pending,
                Some(Due::CloseTimeout) => {
                    self.conversation.give_up();
                    self.flush(context);
                    // As far as it can be said at once.
                    let _ = self.poll_farewell(context);
                    return Poll::Ready(());
                }
                Some(due) => self.conversation.due(due),
            }
        }
    }

    /// Writes what waits on both sides. An error shows when the directions meet it, or does not matter any more.
    fn flush(&mut self, context: &mut Context<'_>) {
        let Conversation { client, upstream, .. } = &mut self.conversation;
        let _ = Leg { transport: &mut self.client, peer: client }.poll_flush(context);
        let _ = Leg { transport: &mut self.upstream, peer: upstream }.poll_flush(context);
    }

    /// Lets both transports say what they have to say at their end. One that cannot any more has ended.
    fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let said = [self.client.poll_farewell(context), self.upstream.poll_farewell(context)];
        if said.iter().all(Poll::is_ready) { Poll::Ready(()) } else { Poll::Pending }
    }
}
