//! A balancer that sends a client where its cookie says, and gives it one where it has none that can be followed. New
//! clients go to the endpoint with the smallest `order` in its metadata.

use serde::Deserialize;
use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, HeaderEdit, export_balancer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sticky {
    cookie: String,
    #[serde(skip)]
    endpoints: Endpoints,
}

impl Balancer for Sticky {
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        self.endpoints.update(changed, gone);
    }

    fn pick(&mut self, handshake: &Handshake, tried: &[u32]) -> Option<Choice> {
        let untried = || self.endpoints.iter().filter(|endpoint| tried.binary_search(&endpoint.id).is_err());
        let wanted = handshake.cookie(&self.cookie);
        if let Some(endpoint) = untried().find(|endpoint| endpoint.zone.as_deref() == wanted && wanted.is_some()) {
            return Some(Choice::of(endpoint.id));
        }
        let first = untried().min_by_key(|endpoint| endpoint.metadata_named("order").unwrap_or_default())?;
        let zone = first.zone.as_deref().unwrap_or_default();
        let cookie = format!("{}={zone}; Path=/; HttpOnly", self.cookie);
        Some(Choice::of(first.id).client_header(HeaderEdit::append("set-cookie", cookie)))
    }
}

export_balancer!(Sticky);
