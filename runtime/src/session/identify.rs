//! The stage of the token, on routes that ask for one.

use std::pin::pin;

use http::header;

use super::arrive::{Entered, Goal};
use super::record::Record;
use super::refusal::Refusal;
use crate::component::Handshake;
use crate::handshake::{Refused, Stream};
use crate::http::fields;
use crate::token::{Admitted, Requirement};

impl Entered<'_> {
    /// Sees that the request has a token that holds, if the route asks for one. From here on only the token's bearer is known:
    /// where the token stood for nobody but the proxy, it is taken out.
    pub(super) async fn identify(mut self, stream: &mut Stream, record: &mut Record<'_>) -> Result<Self, Refusal> {
        let route = self.routed.route.clone();
        let Some(requirement) = &route.token else { return Ok(self) };
        let token = requirement.find(&self.routed.head.headers, self.routed.head.uri.query());
        let token = token.map_err(Refusal::Token)?;
        let admitted = admit(requirement, &token, stream).await?;
        self.strip(requirement)?;
        let Admitted { bearer, until, attributes } = admitted;
        let handshake = &mut self.routed.handshake;
        record.attributes.extend_from_slice(&attributes);
        handshake.attributes.extend(attributes);
        handshake.bearer = Some(bearer);
        self.until = Some(until);
        Ok(self)
    }

    /// Takes the token out of what goes on.
    fn strip(&mut self, requirement: &Requirement) -> Result<(), Refusal> {
        let Self { routed, goal, .. } = self;
        if let Some(query) = &routed.handshake.query {
            let stripped = requirement.stripped_query(query);
            if stripped.as_ref() != Some(query) {
                let target = routed.target.clone().with_query(stripped.as_deref());
                let unsendable = |_| Refusal::Request(Refused::Malformed("the target is no path"));
                routed.target = target.map_err(unsendable)?;
                routed.handshake.query = stripped;
            }
        }
        let Goal::Connection(_, opening) = goal else { return Ok(()) };
        let offered = opening.protocols.as_ref().and_then(|list| requirement.stripped_protocols(list.to_str().ok()?));
        if let Some(offered) = offered {
            strip_protocols(&mut routed.handshake, offered.rest.as_ref().and_then(|rest| rest.to_str().ok()));
            opening.protocols = offered.rest;
            opening.only_protocol = offered.answer;
        }
        Ok(())
    }
}

/// Verifies a token; one whose key is not known once more, when the keys of the issuer were fetched again.
async fn admit(requirement: &Requirement, token: &str, stream: &mut Stream) -> Result<Admitted, Refusal> {
    let refused = match requirement.admit(token) {
        Ok(admitted) => return Ok(admitted),
        Err(refused) => refused,
    };
    let Some(keys) = requirement.rules.keys().filter(|_| refused.is_about_keys()) else {
        return Err(Refusal::Token(refused));
    };
    let renewed = pin!(keys.renewed());
    if !stream.during(renewed).await.map_err(|_| Refusal::ClientGone)? {
        return Err(Refusal::Token(refused));
    }
    requirement.admit(token).map_err(Refusal::Token)
}

/// What components see of the subprotocols.
fn strip_protocols(handshake: &mut Handshake, rest: Option<&str>) {
    let name = header::SEC_WEBSOCKET_PROTOCOL;
    let others = handshake.headers.iter().filter(|(known, _)| *known != name.as_str());
    let kept: Vec<(&str, &[u8])> = others.chain(rest.map(|rest| (name.as_str(), rest.as_bytes()))).collect();
    handshake.headers = kept.into_iter().collect();
    handshake.protocols = rest.into_iter().flat_map(fields::elements).map(str::to_owned).collect();
}
