//! Shadowing: a candidate sees what its filter has seen and decided, and its own verdicts are compared and dropped.

use std::rc::Rc;
use std::time::Duration;

use super::Candidate;
use super::trial::describe;
use crate::component::{
    Admission, CloseFrame, Handshake, HeaderEdit, Interest, Message, Opened, Pool, Selection, Session, Verdict,
    Verdicts,
};
use crate::metrics::{ShadowOutcome, WorkerIndex};
use crate::peer::Side;

/// A candidate beside the filter that serves a connection.
#[derive(Debug)]
pub struct Shadow {
    candidate: Candidate,
    worker: WorkerIndex,
    session: Session,
}

/// What a filter attached to a handshake that it admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    upstream_headers: Vec<HeaderEdit>,
    client_headers: Vec<HeaderEdit>,
    attributes: Vec<(String, String)>,
    lease: Option<Duration>,
}

impl From<&Admission> for Attached {
    fn from(admission: &Admission) -> Self {
        Self {
            upstream_headers: admission.upstream_headers.clone(),
            client_headers: admission.client_headers.clone(),
            attributes: admission.attributes.clone(),
            lease: admission.lease,
        }
    }
}

impl Shadow {
    /// Has a candidate shadow a connection that its filter has admitted with `attached`; `None` when it fails or would
    /// not have admitted it, or when no instance is left over for it.
    pub fn open(candidate: &Candidate, pool: &Pool, handshake: &Rc<Handshake>, attached: &Attached) -> Option<Self> {
        let (worker, trial) = (pool.worker(), candidate.trial());
        let connection = &handshake.connection_id;
        let disagrees = |filter: &str, candidate: &dyn Fn() -> String| {
            trial.shadowed(worker, ShadowOutcome::Diverged, 1);
            trial.keep(connection, None, || [filter.to_owned(), candidate()]);
        };
        let Some(opened) = pool.open_shadow(candidate.filter(), handshake) else {
            trial.shadowed(worker, ShadowOutcome::Skipped, 1);
            return None;
        };
        match opened {
            Ok(Opened::Admitted(admission)) => {
                let own = Attached::from(&admission);
                if own == *attached {
                    trial.shadowed(worker, ShadowOutcome::Agreed, 1);
                } else {
                    disagrees(&attached.describe(), &|| own.describe());
                }
                Some(Self { candidate: candidate.clone(), worker, session: admission.session })
            }
            Ok(Opened::Refused(refusal)) => {
                disagrees(&attached.describe(), &|| format!("refuse with {}", refusal.status));
                None
            }
            Err(_) => {
                trial.shadowed(worker, ShadowOutcome::Failed, 1);
                None
            }
        }
    }

    /// The candidate.
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// What it wants of this connection's messages. Parts of messages it is not shown.
    pub fn interest(&self) -> Interest {
        let without_parts = |selection: Selection| match selection.need.is_of_parts() {
            true => Selection::default(),
            false => selection,
        };
        let interest = self.session.interest();
        Interest {
            from_client: without_parts(interest.from_client),
            from_upstream: without_parts(interest.from_upstream),
        }
    }

    /// Shows it messages of one sender, in order, each with what its filter has decided; whether it goes on.
    pub fn see<'m>(&mut self, messages: impl Iterator<Item = (Message<'m>, &'m Verdict)> + Clone) -> bool {
        if self.session.is_ousted() {
            self.candidate.trial().shadowed(self.worker, ShadowOutcome::Skipped, 1);
            return false;
        }
        let interest = self.interest();
        let selects = |message: &Message<'_>| interest.from(message.origin).kinds.contains(message.kind);
        let selected = messages.clone().map(|(message, _)| message).filter(selects);
        let mut verdicts = Verdicts::default();
        let is_alive = self.session.on_messages(selected, &mut verdicts).is_ok();
        self.session.forget_agenda();
        let mut given = verdicts.drain();
        let mut counts = [0; ShadowOutcome::COUNT];
        let (connection, trial) = (&self.session.handshake().connection_id, self.candidate.trial());
        for (message, filters) in messages {
            let verdict = if selects(&message) { given.next() } else { Some(Verdict::Forward) };
            let outcome = match &verdict {
                None => ShadowOutcome::Failed,
                Some(verdict) if verdict == filters => ShadowOutcome::Agreed,
                Some(verdict) => {
                    trial.keep(connection, Some(&message), || [describe(filters), describe(verdict)]);
                    ShadowOutcome::Diverged
                }
            };
            if let Some(count) = counts.get_mut(outcome as usize) {
                *count += 1;
            }
        }
        for (outcome, count) in ShadowOutcome::ALL.iter().zip(counts).filter(|(_, count)| *count > 0) {
            trial.shadowed(self.worker, *outcome, count);
        }
        is_alive
    }

    /// Tells it that the connection has ended.
    pub fn on_close(self, by: Option<Side>, close: Option<&CloseFrame>) {
        self.session.on_close(by, close);
    }
}

impl Attached {
    /// What a sample says of it: no values, because tokens stand in headers, and a part of the names, because it is kept.
    fn describe(&self) -> String {
        let Self { upstream_headers, client_headers, attributes, lease } = self;
        let mut parts = vec!["admit".to_owned()];
        for (what, edits) in [("upstream headers", upstream_headers), ("client headers", client_headers)] {
            if !edits.is_empty() {
                parts.push(format!("{what} {}", named(edits.iter().map(name))));
            }
        }
        if !attributes.is_empty() {
            parts.push(format!("attributes {}", named(attributes.iter().map(|(name, _)| name))));
        }
        if let Some(lease) = lease {
            parts.push(format!("lease {} s", lease.as_secs()));
        }
        parts.join(", ")
    }
}

fn name(edit: &HeaderEdit) -> &String {
    match edit {
        HeaderEdit::Set(name, _) | HeaderEdit::Append(name, _) | HeaderEdit::Remove(name) => name,
    }
}

/// The first of some names, each cut, and how many more there are.
fn named<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let more = names.len().saturating_sub(SAMPLED_NAMES);
    let mut named: Vec<String> =
        names.take(SAMPLED_NAMES).map(|name| name.chars().take(SAMPLED_CHARACTERS).collect()).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(" ")
}

/// Of the headers, or the attributes, in a sample.
const SAMPLED_NAMES: usize = 16;
/// Of each name.
const SAMPLED_CHARACTERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_a_handshake_is_small_however_much_was_attached() {
        let attached = |count: usize, size: usize| {
            let name = |number| format!("x-{number}-{}", "n".repeat(size));
            Attached {
                upstream_headers: (0..count).map(|number| HeaderEdit::Remove(name(number))).collect(),
                client_headers: (0..count).map(|number| HeaderEdit::Set(name(number), b"v".to_vec())).collect(),
                attributes: (0..count).map(|number| (name(number), "v".to_owned())).collect(),
                lease: Some(Duration::from_secs(60)),
            }
        };
        let few = "admit, upstream headers x-0-n x-1-n, client headers x-0-n x-1-n, attributes x-0-n x-1-n, lease 60 s";
        assert_eq!(attached(2, 1).describe(), few);
        let many = attached(1000, 10_000).describe();
        assert!(many.len() < 4 << 10, "{} bytes", many.len());
        assert!(many.contains("and 984 more, client headers x-0-nnn"), "{many}");
    }
}
