//! The hash ring of Apache ShenYu, point for point, for those who move from it and want every client to stay where
//! it is.
//!
//! Five points an endpoint, weights ignored: the shares are as uneven as there.

use std::cmp::Reverse;

/// The points of all endpoints, by hash. Where two fall together, the larger id has it.
#[derive(Debug, Default)]
pub(crate) struct Ring(Vec<(u32, Reverse<u32>)>);

/// Points on the ring for each endpoint.
const POINTS: u32 = 5;

impl Ring {
    /// Places endpoints that are not on it, each an id and a url.
    pub(crate) fn insert<'a>(&mut self, endpoints: impl Iterator<Item = (u32, &'a str)>) {
        let before = self.0.len();
        self.0.extend(
            endpoints.flat_map(|(id, url)| (0..POINTS).map(move |point| (point_hash(url, point), Reverse(id)))),
        );
        if self.0.len() > before {
            self.0.sort();
        }
    }

    /// Takes endpoints off, by their ids in ascending order.
    pub(crate) fn remove(&mut self, ids: &[u32]) {
        if !ids.is_empty() {
            self.0.retain(|(_, Reverse(id))| ids.binary_search(id).is_err());
        }
    }

    /// The endpoints from the key's place on, once around the ring: an endpoint may come up several times.
    pub(crate) fn walk<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = u32> + use<'a> {
        let place = hash(key);
        let (before, from) = self.0.split_at(self.0.partition_point(|(point, _)| *point < place));
        from.iter().chain(before).map(|(_, Reverse(id))| *id)
    }
}

fn point_hash(url: &str, point: u32) -> u32 {
    // ShenYu knows an endpoint as host and port.
    let url = url.split_once("://").map_or(url, |(_, rest)| rest);
    let url = url.strip_suffix('/').unwrap_or(url);
    hash(format!("SHENYU-{url}-HASH-{point}").as_bytes())
}

/// The first four bytes of the MD5 digest, the least significant first.
fn hash(bytes: &[u8]) -> u32 {
    let [first, second, third, fourth, ..] = md5::compute(bytes).0;
    u32::from_le_bytes([first, second, third, fourth])
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: [(&str, u32); 8] = [
        ("127.0.0.1", 8003),
        ("10.0.0.1", 8003),
        ("10.0.0.2", 8001),
        ("192.168.1.1", 8003),
        ("192.168.1.2", 8001),
        ("203.0.113.7", 8003),
        ("::1", 8001),
        ("10.0.0.7", 8002),
    ];

    /// Endpoints with their ports as ids.
    fn ring(scheme: &str, ports: &[u32], end: &str) -> Ring {
        let urls: Vec<_> = ports.iter().map(|port| (*port, format!("{scheme}127.0.0.1:{port}{end}"))).collect();
        let mut ring = Ring::default();
        ring.insert(urls.iter().map(|(port, url)| (*port, url.as_str())));
        ring
    }

    #[test]
    fn clients_go_where_shenyu_sends_them() {
        for ring in [
            ring("", &[8001, 8002, 8003], ""),
            ring("ws://", &[8003, 8001, 8002], ""),
            ring("wss://", &[8001, 8002, 8003], "/"),
        ] {
            for (address, expected) in VECTORS {
                assert_eq!(ring.walk(address.as_bytes()).next(), Some(expected), "{address}");
            }
        }
    }

    #[test]
    fn an_endpoint_that_leaves_moves_only_its_own_clients() {
        let (before, after) = (ring("ws://", &[8001, 8002, 8003], ""), ring("ws://", &[8001, 8003], ""));
        for address in (0..1_000).map(|host| format!("10.1.{}.{}", host / 250, host % 250)) {
            let owner = before.walk(address.as_bytes()).next();
            if owner != Some(8002) {
                assert_eq!(after.walk(address.as_bytes()).next(), owner, "{address}");
            }
        }
    }

    #[test]
    fn a_walk_goes_once_around() {
        assert_eq!(ring("ws://", &[8001, 8002, 8003], "").walk(b"10.0.0.1").count(), 15);
        assert_eq!(ring("ws://", &[], "").walk(b"10.0.0.1").count(), 0);
    }
}
