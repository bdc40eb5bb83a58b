//! The addresses of a name that need no server: the hosts file (hosts(5)), and `localhost`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of a name in the text of a hosts file; empty when it has none.
pub(super) fn addresses(hosts: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut addresses = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() && is_localhost(name) {
        addresses.extend([IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }
    addresses
}

/// RFC 6761 section 6.3.
fn is_localhost(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|label| label.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_aliases_have_the_addresses_of_all_their_lines() {
        let hosts =
            "# a comment\n10.0.0.1 back.internal back # trailing other\n10.0.0.2\tBACK\n::1 back.internal\nnonsense\n";
        let of = |name| addresses(hosts, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("back"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(of("Back.Internal."), ["10.0.0.1", "::1"]);
        assert_eq!(of("other"), [""; 0]);
    }

    #[test]
    fn localhost_is_this_machine_whatever_the_file_says_or_lacks() {
        assert_eq!(addresses("", "localhost").len(), 2);
        assert_eq!(addresses("", "app.LOCALHOST.").len(), 2);
        assert_eq!(addresses("127.0.0.1 localhost", "localhost"), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        assert!(addresses("", "localhost.example").is_empty());
    }
}
