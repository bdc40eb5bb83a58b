//! The standard predicate `conditions`: whether a handshake's path, query, headers, cookies, host, client address and
//! method, and the present time, are as a route demands.
//!
//! Conditions are checked once, in `parse`; asking them (`condition`) has no errors and keeps no state. What a
//! client sends cannot make a question slow: no matching backtracks, and long values fit no regular expression.

mod condition;
mod network;
mod operator;
mod parameter;
mod parse;
mod path_pattern;
mod time;
mod wildcard;

use serde::Deserialize;
use tidegate_guest::{Handshake, Predicate, clock, export_predicate};

use crate::condition::Condition;
use crate::time::Time;

#[derive(Debug, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Conditions(Condition);

impl TryFrom<serde_json::Value> for Conditions {
    type Error = String;

    fn try_from(config: serde_json::Value) -> Result<Self, String> {
        parse::condition(&config).map(Self)
    }
}

impl Predicate for Conditions {
    fn matches(&self, handshake: &Handshake) -> bool {
        self.0.holds(handshake, &|| Time::from_unix(clock::wall()))
    }
}

export_predicate!(Conditions);
