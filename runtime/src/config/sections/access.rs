//! Which networks clients may come from: keys that listeners and routes share.

use crate::config::{
    address::network,
    reader::{Absent, Key, Read, Table, Value},
};
use crate::handshake::{Access, Networks};

pub(super) const ALLOW: Key = Key {
    name: "allow",
    takes: "list of networks",
    absent: Absent::Means("any network"),
    example: "[\"10.0.0.0/8\", \"2001:db8::/32\"]",
    meaning: "The networks that clients may come from; others get 403. The client is whom `trusted_proxies` say; \
              `unix:` stands for those that come by a unix socket, which are in no other network.",
};

pub(super) const DENY: Key = Key {
    name: "deny",
    takes: "list of networks",
    absent: Absent::Default("[]"),
    example: "[\"10.1.0.0/16\"]",
    meaning: "The networks that clients may not come from, also where `allow` has them; they get 403.",
};

/// Reads which networks clients may come from.
pub(super) fn access(table: &Table<'_>) -> Read<Access> {
    let allow = table.optional(&ALLOW, |value| match networks(value)? {
        nobody if nobody == Networks::default() => {
            Err(value.refuse("nobody could come", "leave `allow` out for any network"))
        }
        networks => Ok(networks),
    });
    let deny = table.read(&DENY, networks);
    Ok(Access { allow: allow?, deny: deny? })
}

/// Reads a list of networks.
pub(super) fn networks(value: &Value<'_>) -> Read<Networks> {
    const ADVICE: &str = "write networks such as [\"10.0.0.0/8\"]";
    let networks = value.each("a list of networks", ADVICE, |value| value.parsed("a network", ADVICE, network))?;
    Ok(Networks::of(networks))
}
