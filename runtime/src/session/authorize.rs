//! The stage of the other server that is asked, on routes that have one.

use http::Method;
use http::header::HeaderName;

use super::arrive::Entered;
use super::refusal::Refusal;
use crate::authorize::{Question, Verdict};
use crate::component::HeaderEdit;
use crate::handshake::Stream;
use crate::http::field_names::folded;

impl Entered<'_> {
    /// Sees that the other server admits the request, if the route asks one. From here on the fields that it has told of the client
    /// are those of its answer, and no others.
    pub(super) async fn authorize(mut self, stream: &mut Stream) -> Result<Self, Refusal> {
        let route = self.routed.route.clone();
        let Some(authorizer) = &route.authorizer else { return Ok(self) };
        let handshake = &self.routed.handshake;
        let uri = match &handshake.query {
            None => handshake.path.clone(),
            Some(query) => [&handshake.path, "?", query].concat(),
        };
        // A handshake is the same whatever carries it, and a policy written for one version has to hold for the others. No other
        // CONNECT comes as far as this.
        let method = match self.routed.head.method {
            Method::CONNECT => Method::GET.as_str(),
            _ => &handshake.method,
        };
        let question = Question {
            method,
            scheme: self.routed.client.scheme.http(),
            authority: &handshake.authority,
            uri: &uri,
            client: self.routed.client.address,
            headers: &self.routed.head.headers,
        };
        // Boxed, because most routes ask nobody and all have room for it.
        let mut asking = Box::pin(authorizer.ask(question, self.routed.worker.index()));
        let verdict = stream.during(asking.as_mut()).await.map_err(|_| Refusal::ClientGone)?;
        drop(asking);
        let copied = match verdict.map_err(Refusal::Unauthorized)? {
            Verdict::Admitted(copied) => copied,
            Verdict::Refused(answer) => return Err(Refusal::NotAuthorized(Box::new(answer))),
        };
        let names = &authorizer.terms().copy;
        let is_told = |name: &str| names.iter().any(|told| folded(told.as_str()) == folded(name));
        let fields = &mut self.routed.handshake.headers;
        let others = fields.iter().filter(|(name, _)| !is_told(name));
        let fresh = copied.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        *fields = others.chain(fresh).collect::<Vec<_>>().into_iter().collect();
        self.authorized.extend(names.iter().map(|name| HeaderEdit::Remove(name.to_string())));
        let append = |name: &HeaderName, value: &[u8]| HeaderEdit::Append(name.to_string(), value.to_vec());
        self.authorized.extend(copied.iter().map(|(name, value)| append(name, value.as_bytes())));
        Ok(self)
    }
}
