//! The request for an upstream, as the client's leg makes it.

use http::header::{HeaderMap, HeaderValue};

use super::extensions;
use super::fields;
use super::host::Host;
use super::target::UpstreamTarget;

/// What an upstream is asked, the same for each attempt. Cloning it copies no text.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    /// What is sent before everything else, also before TLS; `None`: nothing.
    pub introduction: Option<Box<[u8]>>,
    /// The client's target.
    pub target: UpstreamTarget,
    /// End-to-end fields. `Host` and those of the handshake are added for each attempt.
    pub headers: HeaderMap,
    /// The `Host` that the client sent; `None` when it was empty.
    pub client_host: Option<HeaderValue>,
    /// Which `Host` the upstream gets.
    pub host: Host,
    /// The subprotocols to offer: the client's list.
    pub protocols: Option<HeaderValue>,
    /// The extensions to offer: the client's list, or what is left of it.
    pub extensions: Option<HeaderValue>,
}

impl UpstreamRequest {
    /// Offers nothing but permessage-deflate: for a connection whose messages somebody has to read.
    pub fn offer_only_deflate(&mut self) {
        let Some(offer) = self.extensions.take() else { return };
        let Ok(text) = offer.to_str() else { return };
        let is_deflate =
            |element: &&str| extensions::parse(element).is_ok_and(|found| found.iter().all(|one| one.is_deflate()));
        let kept: Vec<&str> = fields::elements(text).filter(is_deflate).collect();
        if !kept.is_empty() {
            self.extensions = HeaderValue::from_str(&kept.join(", ")).ok();
        }
    }
}
