//! Header names in the spelling of the RFCs that define them.
//!
//! Case means nothing in a name (RFC 9110 section 5.1), and yet there are peers that compare it: they look for
//! `Sec-WebSocket-Accept` as RFC 6455 spells it. Inside the proxy names are in lower case.

/// Spells a name: every word with a capital, and those that are spelled otherwise as they are. Its length stays.
pub(super) fn spell(name: &mut [u8]) {
    for word in name.split_mut(|byte| *byte == b'-') {
        let known = words(word.len()).iter().find(|known| known.as_bytes().eq_ignore_ascii_case(word));
        match (known, word.split_first_mut()) {
            (Some(known), _) => word.copy_from_slice(known.as_bytes()),
            (None, Some((first, rest))) => {
                first.make_ascii_uppercase();
                rest.make_ascii_lowercase();
            }
            (None, None) => {}
        }
    }
}

/// Spells the names in a head, from its first line to the empty one (RFC 9112 section 2.1).
pub fn spell_head(head: &mut [u8]) {
    for line in head.split_mut(|byte| *byte == b'\n').skip(1) {
        let name = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        if let Some(name) = line.get_mut(..name) {
            spell(name);
        }
    }
}

/// Words of so many letters with other capitals than the first letter's, as registered fields have them.
const fn words(length: usize) -> &'static [&'static str] {
    match length {
        2 => &["TE", "IM", "ID", "IP", "UA", "CH", "CT"],
        3 => &["WWW", "MD5", "DNT", "CSP", "GPC", "XSS", "DPR", "ECT", "RTT", "NEL", "DAV", "SSL"],
        4 => &["ETag", "MIME"],
        5 => &["HTTP2"],
        9 => &["WebSocket", "SourceMap"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_their_rfcs_do() {
        for name in [
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol",
            "Sec-WebSocket-Extensions",
            "Host",
            "Upgrade",
            "Connection",
            "Origin",
            "Cookie",
            "Set-Cookie",
            "WWW-Authenticate",
            "ETag",
            "TE",
            "Content-MD5",
            "X-Forwarded-For",
            "X-Real-IP",
            "DNT",
            "Sec-CH-UA-Mobile",
            "Content-Length",
            "User-Agent",
            "X-Group-ID",
            "Retry-After",
        ] {
            for mut given in [name.to_ascii_lowercase(), name.to_ascii_uppercase()].map(String::into_bytes) {
                spell(&mut given);
                assert_eq!(String::from_utf8(given).unwrap(), name);
            }
        }
    }

    #[test]
    fn odd_names_keep_their_length_and_their_letters() {
        for name in ["", "-", "--x", "x-", "x_y-z", "~"] {
            let mut spelled = name.as_bytes().to_vec();
            spell(&mut spelled);
            assert!(spelled.eq_ignore_ascii_case(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn in_a_head_only_names_are_spelled() {
        let mut head = b"HTTP/1.1 200 ok: fine\r\nx-a: te: b-c\r\nsec-websocket-accept: x\r\n\r\n".to_vec();
        spell_head(&mut head);
        let expected = "HTTP/1.1 200 ok: fine\r\nX-A: te: b-c\r\nSec-WebSocket-Accept: x\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), expected);
    }
}
