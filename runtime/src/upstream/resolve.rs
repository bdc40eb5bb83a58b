//! Names of endpoints to addresses.
//!
//! A worker asks the [`Resolver`], which answers from what is known, or has the control runtime find out: what looks
//! names up runs there ([`Lookups`]), once for each name however many handshakes wait for it, and never on a worker.
//! Addresses are kept as long as their TTL says, within bounds; that there are none is kept for a short time, too. When
//! nobody answers for a name, its last addresses go on being used.

mod hosts;
mod lookups;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use lookups::Lookups;

/// The addresses of names, for all workers. Cloning it shares them.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    names: Mutex<HashMap<Box<str>, Known>>,
    questions: mpsc::Sender<Question>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    answer: Option<(Answer, Instant)>,
    /// The last addresses there were, and when they were found.
    last: Option<(Addresses, Instant)>,
    /// There while somebody finds out.
    pending: Option<watch::Receiver<Option<Answer>>>,
}

/// In the order in which they are to be tried.
type Addresses = Arc<[IpAddr]>;
type Answer = Result<Addresses, Unresolved>;

/// A name to look up, and those who wait for it.
#[derive(Debug)]
struct Question {
    name: Box<str>,
    answer: watch::Sender<Option<Answer>>,
}

/// What looking a name up has brought.
#[derive(Clone, Debug)]
enum Found {
    /// Addresses, for so long.
    Addresses(Vec<IpAddr>, Duration),
    /// There are none, and that for so long.
    Nothing(String, Duration),
    /// Nobody could say.
    Failed(String),
    /// Nobody could be asked, for want of something of this machine.
    Unasked(String),
}

/// A name has no address that we know of.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{name}` does not resolve: {reason}")]
pub struct Unresolved {
    name: Box<str>,
    reason: Box<str>,
    is_shortage: bool,
}

impl Resolver {
    /// A resolver by the system's configuration, and what looks names up for it.
    pub fn new() -> (Self, Lookups) {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let resolver = Self(Arc::new(Shared { names: Mutex::default(), questions }));
        let lookups = Lookups::new(Arc::clone(&resolver.0), asked);
        (resolver, lookups)
    }

    /// The addresses of a name, at least one.
    ///
    /// Bounding the time is the caller's business; dropping the future leaves the question to others.
    pub(super) async fn resolve(&self, name: &str) -> Answer {
        let mut pending = {
            let mut names = self.0.names();
            let known = names.entry(name.into()).or_default();
            if let Some((answer, until)) = &known.answer
                && Instant::now() < *until
            {
                return answer.clone();
            }
            match &known.pending {
                Some(pending) => pending.clone(),
                None => {
                    let (answer, pending) = watch::channel(None);
                    if self.0.questions.try_send(Question { name: name.into(), answer }).is_err() {
                        let reason = "the resolver has too much to do, or has ended";
                        return Err(Unresolved { is_shortage: true, ..Unresolved::new(name, reason) });
                    }
                    known.pending = Some(pending.clone());
                    pending
                }
            }
        };
        match pending.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone()) {
            Some(answer) => answer,
            None => Err(Unresolved::new(name, "the resolver has ended")),
        }
    }

    /// Has an address that took no connection, or was slow to, come last until the name is resolved anew.
    pub(super) fn demote(&self, name: &str, address: IpAddr) {
        if let Some(Known { answer: Some((Ok(addresses), _)), .. }) = self.0.names().get_mut(name) {
            let (mut order, last): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|known| **known != address);
            order.extend(last);
            *addresses = order.into();
        }
    }
}

impl Shared {
    /// Keeps what was found of a name, and tells those who wait.
    fn settle(&self, question: Question, found: Found) {
        let now = Instant::now();
        let mut names = self.names();
        // Names that no endpoint has any more.
        names.retain(|_, known| {
            known.pending.is_some() || known.answer.as_ref().is_none_or(|(_, until)| now < *until + FORGET)
        });
        let known = names.entry(question.name.clone()).or_default();
        known.pending = None;
        let is_shortage = matches!(found, Found::Unasked(_));
        let (answer, lasts) = match found {
            Found::Addresses(addresses, ttl) => {
                let addresses: Addresses = interleaved(addresses).into();
                known.last = Some((addresses.clone(), now));
                (Ok(addresses), ttl.clamp(SHORTEST, LONGEST))
            }
            Found::Nothing(reason, ttl) => {
                known.last = None;
                (Err(Unresolved::new(&question.name, &reason)), ttl.clamp(SHORTEST, LONGEST_NOTHING))
            }
            Found::Failed(reason) | Found::Unasked(reason) => match &known.last {
                Some((addresses, found_at)) if now < *found_at + STALE => {
                    tracing::debug!(
                        name = question.name,
                        reason,
                        "a name does not resolve; its last addresses are used"
                    );
                    (Ok(addresses.clone()), LONGEST_FAILED)
                }
                _ => (Err(Unresolved { is_shortage, ..Unresolved::new(&question.name, &reason) }), SHORTEST),
            },
        };
        known.answer = Some((answer.clone(), now + lasts));
        drop(names);
        question.answer.send_replace(Some(answer));
    }

    fn names(&self) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unresolved {
    fn new(name: &str, reason: &str) -> Self {
        Self { name: name.into(), reason: reason.into(), is_shortage: false }
    }

    /// Whether nobody could be asked, for want of something of this machine.
    pub(super) fn is_shortage(&self) -> bool {
        self.is_shortage
    }
}

/// Addresses of both families by turns, IPv6 first (RFC 8305 section 4).
fn interleaved(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut turns = Vec::with_capacity(six.len() + four.len());
    while six.len() + four.len() > 0 {
        turns.extend(six.next());
        turns.extend(four.next());
    }
    turns
}

/// As many names may wait to be looked up.
const QUESTIONS: usize = 1024;
/// Shorter TTLs would have each handshake wait.
const SHORTEST: Duration = Duration::from_secs(1);
/// Longer ones would miss that an endpoint has moved; a resolver close by answers from its own memory.
const LONGEST: Duration = Duration::from_secs(60);
/// That there is no address is often about to change.
const LONGEST_NOTHING: Duration = Duration::from_secs(10);
/// Until a resolver that did not answer is asked again.
const LONGEST_FAILED: Duration = Duration::from_secs(5);
/// How long addresses are used of which nobody can say whether they hold.
const STALE: Duration = Duration::from_secs(3600);
/// How long what is not asked for is kept.
const FORGET: Duration = STALE;

#[cfg(test)]
mod tests;
