//! The PROXY protocol: what a proxy says of a client's connection before anything of it, in version 1 (a line of text) or 2
//! (binary, with more than addresses).
//!
//! It follows "The PROXY protocol" of HAProxy, whose reading and writing are `proxy-header`'s. Nothing here reads a socket.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader, SslInfo, Tlv};
use thiserror::Error;

/// What is said of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The two ends of the client's connection; `None`: the proxy speaks for itself, or does not tell (`LOCAL`, `UNKNOWN`, a
    /// unix socket).
    pub ends: Option<Ends>,
    /// How the client speaks TLS (`PP2_TYPE_SSL`); `None`: it does not, or that is not told.
    pub tls: Option<Tls>,
    /// The host that the client asked for, of TLS mostly (`PP2_TYPE_AUTHORITY`).
    pub authority: Option<String>,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it has connected to.
    pub destination: SocketAddr,
}

/// How a client speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.3` and the like; empty where it is not told.
    pub version: Cow<'static, str>,
    /// Whether it has shown a certificate that is valid.
    pub is_verified: bool,
    /// The common name of its certificate, where it is valid.
    pub common_name: Option<String>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidHeader {
    /// They begin in another way, or break the rules further on.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Malformed,
    /// It is about datagrams.
    #[error("the header of the PROXY protocol is about datagrams")]
    Datagrams,
    /// It is longer than [`MOST`].
    #[error("the header of the PROXY protocol is over 8 KiB")]
    TooLong,
}

impl Header {
    /// Reads the header that `bytes` begin with, and how long it is; `None` when a part of it has not come.
    ///
    /// # Errors
    /// When it is none, or longer than [`MOST`].
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, InvalidHeader> {
        // What cannot become one is not waited for.
        if !may_become(bytes) {
            return Err(InvalidHeader::Malformed);
        }
        let announced = announced(bytes);
        if announced.is_some_and(|length| length > MOST) {
            return Err(InvalidHeader::TooLong);
        }
        // One of version 2 that is all there lacks nothing but what it should have had.
        let may_grow = announced.is_none_or(|length| length > bytes.len());
        match ProxyHeader::parse(bytes, ParseConfig::default()) {
            Ok((_, length)) if bytes.starts_with(b"P") && length > MOST_OF_LINE => Err(InvalidHeader::Malformed),
            Ok((header, length)) => Self::of(&header).map(|header| Some((header, length))),
            Err(proxy_header::Error::BufferTooShort) if may_grow => Ok(None),
            Err(_) => Err(InvalidHeader::Malformed),
        }
    }

    fn of(header: &ProxyHeader<'_>) -> Result<Self, InvalidHeader> {
        let ends = match header.proxied_address() {
            None => None,
            Some(ProxiedAddress { protocol: Protocol::Datagram, .. }) => return Err(InvalidHeader::Datagrams),
            Some(ProxiedAddress { source, destination, .. }) => {
                Some(Ends { source: *source, destination: *destination })
            }
        };
        let mut read = Self { ends, ..Self::default() };
        for field in header.tlvs() {
            match field.map_err(|_| InvalidHeader::Malformed)? {
                Tlv::Authority(authority) => read.authority = Some(authority.into_owned()),
                Tlv::Ssl(told) if told.client_ssl() => read.tls = Some(Tls::of(&told)?),
                _ => {}
            }
        }
        Ok(read)
    }

    /// As version 2 writes it. What does not fit into it is left out, the authority first.
    pub fn write(&self) -> Vec<u8> {
        let address = self.ends.map(|ends| {
            let Ends { source, destination } = ends.of_one_family();
            ProxiedAddress::stream(source, destination)
        });
        let tls = self.tls.as_ref().map(|tls| Tlv::Ssl(tls.info()));
        let authority = self.authority.as_deref().filter(|authority| authority.len() <= LONGEST_NAME);
        let fields = tls.into_iter().chain(authority.map(|authority| Tlv::Authority(authority.into())));
        let mut wire = Vec::with_capacity(ROOM);
        // Nothing in it is too long, and both ends are of one family.
        if ProxyHeader::with_tlvs(address, fields).encode_v2(&mut wire).is_err() {
            wire.clear();
        }
        wire
    }
}

impl Ends {
    /// Both in IPv6 where one of them really is (RFC 4291 section 2.5.5.2).
    fn of_one_family(self) -> Self {
        let narrow = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let narrowed = Self { source: narrow(self.source), destination: narrow(self.destination) };
        if narrowed.source.is_ipv4() == narrowed.destination.is_ipv4() {
            return narrowed;
        }
        let wide = |address: SocketAddr| match address.ip() {
            IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        };
        Self { source: wide(self.source), destination: wide(self.destination) }
    }
}

impl Tls {
    fn of(told: &SslInfo<'_>) -> Result<Self, InvalidHeader> {
        let is_verified = (told.client_cert_conn() || told.client_cert_sess()) && told.verify() == 0;
        let mut read = Self { is_verified, ..Self::default() };
        for field in told.tlvs() {
            match field.map_err(|_| InvalidHeader::Malformed)? {
                Tlv::SslVersion(version) => read.version = version.into_owned().into(),
                Tlv::SslCn(name) if is_verified => read.common_name = Some(name.into_owned()),
                _ => {}
            }
        }
        Ok(read)
    }

    fn info(&self) -> SslInfo<'static> {
        let mut info = SslInfo::new(true, self.is_verified, self.is_verified, u32::from(!self.is_verified));
        if !self.version.is_empty() && self.version.len() <= LONGEST_NAME {
            info.append_tlv(Tlv::SslVersion(self.version.as_ref().into()));
        }
        if let Some(name) = self.common_name.as_deref().filter(|name| name.len() <= LONGEST_NAME) {
            info.append_tlv(Tlv::SslCn(name.into()));
        }
        info
    }
}

/// The length that a header of version 2 says it has.
fn announced(bytes: &[u8]) -> Option<usize> {
    let bytes = bytes.strip_prefix(SIGNATURE)?;
    Some(SIGNATURE.len() + 4 + usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])))
}

/// Whether bytes can be the first of a header: the words of a line end where they have to, which `proxy-header` skips.
fn may_become(bytes: &[u8]) -> bool {
    let begins = |beginning: &[u8]| bytes.iter().zip(beginning).all(|(one, other)| one == other);
    let unknown = bytes.strip_prefix(b"PROXY UNKNOWN");
    let is_ended = unknown.and_then(|rest| rest.first()).is_none_or(|next| matches!(next, b' ' | b'\r'));
    begins(SIGNATURE) || begins(b"PROXY ") && is_ended
}

/// The most bytes that a header may have, addresses and all: those that carry a client's certificate have some 2 KiB.
pub const MOST: usize = 8 << 10;
/// The most that a header of version 1 has, its end of line too.
const MOST_OF_LINE: usize = 107;
/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// No name of a host is longer (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 255;
/// Room for most headers.
const ROOM: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const V2_V4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\xd4\x31\x01\xbb";

    fn ends(source: &str, destination: &str) -> Option<Ends> {
        Some(Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    #[test]
    fn both_versions_tell_the_two_ends() {
        for (bytes, told) in [
            (&b"PROXY TCP4 192.0.2.1 198.51.100.1 54321 443\r\n"[..], ends("192.0.2.1:54321", "198.51.100.1:443")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", ends("[2001:db8::1]:1", "[2001:db8::2]:65535")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN 2001:db8::1 2001:db8::2 1 2\r\n", None),
            (V2_V4, ends("192.0.2.1:54321", "198.51.100.1:443")),
            (&v2(0x20, 0x00, b""), None),
            (&v2(0x20, 0x11, b"\xc0\x00\x02\x01\xc6\x33\x64\x01\xd4\x31\x01\xbb"), None),
            (&v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
            let (header, length) = Header::parse(&followed).unwrap().unwrap();
            assert_eq!((header.ends, length), (told, bytes.len()), "{}", bytes.escape_ascii());
            for end in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..end]), Ok(None), "{}", bytes[..end].escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_not_waited_for() {
        let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        let ended = [&endless[..], b"\r\n"].concat();
        let long = v2(0x21, 0x11, &[0; MOST]);
        for (bytes, error) in [
            (&b"G"[..], InvalidHeader::Malformed),
            (b"GET / HTTP/1.1\r\n", InvalidHeader::Malformed),
            (b"\x16\x03\x01", InvalidHeader::Malformed),
            (b"\r\n\r\nG", InvalidHeader::Malformed),
            (b"PROXY\xa0UNKNOWN\r\n", InvalidHeader::Malformed),
            (b"PROXY_TCP4 192.0.2.1 192.0.2.2 1 2\r\n", InvalidHeader::Malformed),
            (b"PROXY UNKNOWNS\r\n", InvalidHeader::Malformed),
            (b"PROXY TCP4 192.0.2.1 2001:db8::1 1 2\r\n", InvalidHeader::Malformed),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 99999\r\n", InvalidHeader::Malformed),
            (b"PROXY UNIX 192.0.2.1 192.0.2.2 1 2\r\n", InvalidHeader::Malformed),
            (&endless, InvalidHeader::Malformed),
            (&ended, InvalidHeader::Malformed),
            (&v2(0x31, 0x11, &[0; 12]), InvalidHeader::Malformed),
            (&v2(0x21, 0x11, &[0; 11]), InvalidHeader::Malformed),
            (&v2(0x21, 0x11, &[&[0; 12][..], &[2, 0, 9, b'a']].concat()), InvalidHeader::Malformed),
            (&v2(0x21, 0x12, &[0; 12]), InvalidHeader::Datagrams),
            (&long[..16], InvalidHeader::TooLong),
        ] {
            assert_eq!(Header::parse(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let tls = |version: &'static str, is_verified, name: Option<&str>| {
            Some(Tls { version: version.into(), is_verified, common_name: name.map(str::to_owned) })
        };
        for header in [
            Header::default(),
            Header { ends: ends("192.0.2.1:1", "192.0.2.2:2"), ..Header::default() },
            Header { ends: ends("[2001:db8::1]:1", "[2001:db8::2]:2"), tls: tls("", false, None), authority: None },
            Header {
                ends: ends("192.0.2.1:1", "192.0.2.2:2"),
                tls: tls("TLSv1.3", true, Some("alice")),
                authority: Some("chat.example.com".to_owned()),
            },
        ] {
            let wire = header.write();
            assert_eq!(Header::parse(&wire), Ok(Some((header, wire.len()))));
        }
        assert_eq!(Header { ends: ends("192.0.2.1:54321", "198.51.100.1:443"), ..Header::default() }.write(), V2_V4);
    }

    #[test]
    fn ends_of_two_families_are_written_in_the_wider_one() {
        let header = Header { ends: ends("192.0.2.1:1", "[2001:db8::2]:2"), ..Header::default() };
        let wire = header.write();
        let (read, _) = Header::parse(&wire).unwrap().unwrap();
        assert_eq!(read.ends, ends("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2"));
        // As a listener of both families sees them.
        let header = Header { ends: ends("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2"), ..Header::default() };
        let (read, _) = Header::parse(&header.write()).unwrap().unwrap();
        assert_eq!(read.ends, ends("192.0.2.1:1", "192.0.2.2:2"));
    }

    #[test]
    fn a_certificate_that_was_not_verified_names_nobody() {
        let tls = Tls { version: "TLSv1.2".into(), is_verified: true, common_name: Some("alice".to_owned()) };
        let mut wire = Header { tls: Some(tls), ..Header::default() }.write();
        let verify = wire.len() - (3 + 7) - (3 + 5) - 1;
        assert_eq!(wire[verify], 0);
        wire[verify] = 1;
        let (read, _) = Header::parse(&wire).unwrap().unwrap();
        assert_eq!(read.tls, Some(Tls { version: "TLSv1.2".into(), ..Tls::default() }));
    }
}
