//! A balancer that never gives a usable answer.

use std::hint::black_box;

use serde::Deserialize;
use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, HeaderEdit, export_balancer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostile {
    #[serde(rename = "do")]
    deed: Deed,
    #[serde(skip)]
    endpoints: Endpoints,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Trap,
    Loop,
    TrapWhenTold,
    UnknownEndpoint,
    OwnedHeader,
    TwoLinesInAHeader,
    ManyHeaders,
    LargeHeader,
    Nobody,
}

#[expect(clippy::panic, reason = "this is what the guest is for")]
impl Balancer for Hostile {
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        if let Deed::TrapWhenTold = self.deed {
            panic!("boom");
        }
        self.endpoints.update(changed, gone);
    }

    fn pick(&mut self, _: &Handshake, _: &[u32]) -> Option<Choice> {
        // Were it taken at its word, all would go to the first one.
        let first = || self.endpoints.first().map(|endpoint| Choice::of(endpoint.id));
        match self.deed {
            Deed::Trap | Deed::TrapWhenTold => panic!("boom"),
            Deed::Loop => {
                let mut turns = 0_u64;
                loop {
                    turns = black_box(turns.wrapping_add(1));
                }
            }
            Deed::UnknownEndpoint => Some(Choice::of(u32::MAX)),
            Deed::OwnedHeader => first().map(|it| it.client_header(HeaderEdit::set("sec-websocket-accept", "mine"))),
            Deed::TwoLinesInAHeader => first().map(|it| it.client_header(HeaderEdit::append("x-a", "b\r\nx-c: d"))),
            Deed::ManyHeaders => (0..257).try_fold(first()?, |choice, number| {
                Some(choice.client_header(HeaderEdit::append(format!("x-{number}"), "")))
            }),
            Deed::LargeHeader => first().map(|it| it.client_header(HeaderEdit::append("x-large", vec![b'x'; 65_536]))),
            Deed::Nobody => None,
        }
    }
}

export_balancer!(Hostile);
