//! Which clients may come, by their networks.

use std::net::IpAddr;

use super::networks::Networks;

/// The networks that clients may come from. By default all may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Those that may; `None`: all.
    pub allow: Option<Networks>,
    /// Those that may not, also where `allow` has them.
    pub deny: Networks,
}

impl Access {
    /// Whether a client may come; `None`: one that has no address.
    pub fn admits(&self, client: impl Into<Option<IpAddr>>) -> bool {
        let client = client.into();
        self.allow.as_ref().is_none_or(|allow| allow.contains(client)) && !self.deny.contains(client)
    }

    /// Whether it asks nothing of anybody.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn who_is_denied_stays_out_whoever_is_allowed() {
        let (ten, one) = (networks(&["10.0.0.0/8", "2001:db8::/32"]), networks(&["10.1.0.0/16"]));
        for (allow, deny, client, admits) in [
            (None, None, "192.0.2.1", true),
            (Some(&ten), None, "10.2.0.1", true),
            (Some(&ten), None, "2001:db8::1", true),
            (Some(&ten), None, "192.0.2.1", false),
            (Some(&ten), Some(&one), "10.1.0.1", false),
            (Some(&ten), Some(&one), "::ffff:10.1.0.1", false),
            (Some(&ten), Some(&one), "10.2.0.1", true),
            (None, Some(&one), "10.1.0.1", false),
            (None, Some(&one), "192.0.2.1", true),
        ] {
            let access = Access { allow: allow.cloned(), deny: deny.cloned().unwrap_or_default() };
            assert_eq!(access.admits(client.parse::<IpAddr>().unwrap()), admits, "{allow:?} {deny:?} {client}");
        }
    }
}
