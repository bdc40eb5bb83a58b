//! Ports that somebody listens on, without binding any.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The sockets that listen on this machine; `None` where the system does not tell: Linux does.
pub fn listening() -> Option<Vec<SocketAddr>> {
    let tables: Vec<_> =
        ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| std::fs::read_to_string(table).ok()).collect();
    let sockets = || tables.iter().flat_map(|table| table.lines().skip(1).filter_map(listener)).collect();
    (!tables.is_empty()).then(sockets)
}

/// The address of a line, if it is one of a socket that listens: `0: 0100007F:1F90 00000000:0000 0A ...`.
fn listener(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_ascii_whitespace();
    let (address, state) = (fields.nth(1)?, fields.nth(1)?);
    let (address, port) = address.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Each word as it lies in memory.
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?))
        }
        _ => return None,
    };
    (state == LISTEN).then(|| SocketAddr::new(address, port))
}

/// The paths at which unix sockets listen on this machine; none where the system does not tell: Linux does.
pub fn listening_paths() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().skip(1).filter_map(path).collect()
}

/// The path of a line, if it is one of a socket that listens: `0000000000000000: 00000002 00000000 00010000 0001 01 123 /run/a`.
fn path(line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(8, char::is_whitespace);
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let path = fields.nth(3).filter(|path| path.starts_with('/'))?;
    (flags & ACCEPTS != 0).then(|| path.into())
}

/// The flag of a socket that listens (`__SO_ACCEPTCON`).
const ACCEPTS: u32 = 1 << 16;

/// The number of the state in which a socket listens.
const LISTEN: &str = "0A";

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::TcpListener;

    use super::super::Claim;
    use super::*;

    #[test]
    fn a_socket_that_listens_is_known() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has IPv6.
            let Ok(socket) = TcpListener::bind(address) else { continue };
            let own = Claim::of(&socket).unwrap().address;
            assert!(listening().unwrap().contains(&own.socket().unwrap()), "{own}");
        }
    }

    #[test]
    fn a_path_at_which_a_socket_listens_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("a socket");
        let _listening = std::os::unix::net::UnixListener::bind(&own).unwrap();
        assert!(listening_paths().contains(&own));
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 123 /run/a";
        assert_eq!(path(line), Some("/run/a".into()));
        for other in ["00000000 0001 01 123 /run/a", "00010000 0001 01 123", "00010000 0001 01 123 @abstract"] {
            assert_eq!(path(&format!("0000000000000000: 00000002 00000000 {other}")), None, "{other}");
        }
    }

    #[test]
    fn only_sockets_that_listen_count() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1";
        assert_eq!(listener(line), Some("127.0.0.1:8080".parse().unwrap()));
        assert_eq!(listener(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("nonsense"), None);
    }
}
