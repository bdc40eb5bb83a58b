//! A balancer that never gives a usable answer.

use std::hint::black_box;

use serde::Deserialize;
use tidegate_guest::{Balancer, Endpoint, Handshake, export_balancer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostile {
    #[serde(rename = "do")]
    deed: Deed,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Trap,
    Loop,
    UnknownEndpoint,
    Nobody,
}

impl Balancer for Hostile {
    fn update(&mut self, _: Vec<Endpoint>) {}

    #[expect(clippy::panic, reason = "this is what the guest is for")]
    fn pick(&mut self, _: &Handshake, _: &[u32]) -> Option<u32> {
        match self.deed {
            Deed::Trap => panic!("boom"),
            Deed::Loop => {
                let mut turns = 0_u64;
                loop {
                    turns = black_box(turns.wrapping_add(1));
                }
            }
            Deed::UnknownEndpoint => Some(u32::MAX),
            Deed::Nobody => None,
        }
    }
}

export_balancer!(Hostile);
