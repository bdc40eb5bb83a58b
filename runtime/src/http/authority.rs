//! Hosts and ports, as urls, origins and rules name them.

use std::net::Ipv6Addr;

/// A host name or address in the form in which hosts are compared: in lower case, an IPv6 address in brackets and as short
/// as it can be. `None` for what is no host: names are ASCII and do not end with a dot.
pub fn canonical_host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
    }
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (text.len() <= 253 && text.split('.').all(label_fits)).then(|| text.to_ascii_lowercase())
}

/// Splits an authority without user information into its host and its port; `None` for a port that is none, or 0.
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.parse() {
            Ok(number) if number > 0 && !port.starts_with('+') => Some((host, Some(number))),
            _ => None,
        },
        _ => Some((authority, None)),
    }
}

/// The origin of a host (RFC 6454 section 6.2): without the port that is usual for the scheme, which is in lower case.
pub fn origin(scheme: &str, host: &str, port: Option<u16>) -> String {
    format!("{scheme}://{}", origin_authority(scheme, host, port))
}

/// What of an origin stands behind its scheme.
pub fn origin_authority(scheme: &str, host: &str, port: Option<u16>) -> String {
    match (scheme, port) {
        (_, None) | ("https" | "wss", Some(443)) | ("http" | "ws", Some(80)) => host.to_owned(),
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_in_lower_case_and_an_address_in_its_shortest_form() {
        for (text, compared) in [("Chat.Example", "chat.example"), ("[0:0::1]", "[::1]"), ("127.0.0.1", "127.0.0.1")] {
            assert_eq!(canonical_host(text).as_deref(), Some(compared));
        }
        for text in ["", "a.", "a..b", "::1", "[::1", "[a]", "a:80", "a/b", "ä", "a b"] {
            assert_eq!(canonical_host(text), None, "{text}");
        }
    }

    #[test]
    fn a_port_is_a_number_above_zero() {
        assert_eq!(split_port("a"), Some(("a", None)));
        assert_eq!(split_port("a:80"), Some(("a", Some(80))));
        assert_eq!(split_port("[::1]:80"), Some(("[::1]", Some(80))));
        assert_eq!(split_port("[::1]"), Some(("[::1]", None)));
        for text in ["a:", "a:0", "a:+1", "a:65536", "a:x"] {
            assert_eq!(split_port(text), None, "{text}");
        }
    }
}
