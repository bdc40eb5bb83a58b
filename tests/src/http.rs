//! As much HTTP/1.1 as the tests speak: requests built line by line, heads and answers read back.

use std::net::SocketAddr;

use crate::Peer;

/// The key of RFC 6455 section 1.3, whose accept value everybody knows.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request to write.
#[derive(Clone, Debug)]
pub struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    /// A request with a `Host` and nothing else.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            line: format!("{method} {target} HTTP/1.1"),
            headers: vec![("Host".into(), "proxy.test".into())],
            body: String::new(),
        }
    }

    /// A correct opening handshake.
    pub fn upgrade(target: &str) -> Self {
        Self::new("GET", target)
            .with("Upgrade", "websocket")
            .with("Connection", "Upgrade")
            .with("Sec-WebSocket-Version", "13")
            .with("Sec-WebSocket-Key", KEY)
    }

    /// The same with one more header field.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same without a header field.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(present, _)| !present.eq_ignore_ascii_case(name));
        self
    }

    /// The same with another value for a header field.
    pub fn replacing(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    /// The same with another method.
    pub fn method(mut self, method: &str) -> Self {
        let rest = self
            .line
            .split_once(' ')
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default();
        self.line = format!("{method} {rest}");
        self
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> String {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text
    }
}

/// The head of a request or an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The request line or the status line.
    pub line: String,
    /// Header fields as they came, with names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Takes a head off the front of `bytes`; `None` while it is not all there.
    pub fn decode(bytes: &mut Vec<u8>) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { line, headers })
    }

    /// The first field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(present, _)| present == name)
            .map(|(_, value)| value.as_str())
    }

    /// All fields of that name, joined as RFC 9110 section 5.3 allows.
    pub fn joined(&self, name: &str) -> String {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(present, _)| present == name)
            .map(|(_, value)| value.as_str())
            .collect();
        values.join(", ")
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// An answer with its body.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The head.
    pub head: Head,
    /// The body, without its transfer coding.
    pub body: String,
}

impl Reply {
    /// The first header field of that name; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.head.header(name).unwrap_or_default()
    }

    /// Takes an answer off the front of `bytes`; `None` while it is not all there. `ended` says that no more will come.
    pub fn decode(bytes: &mut Vec<u8>, ended: bool) -> Option<Self> {
        let mut rest = bytes.clone();
        let head = Head::decode(&mut rest)?;
        let status: u16 = head.line.split(' ').nth(1)?.parse().ok()?;
        let body = if matches!(status, 101 | 204 | 304) {
            Vec::new()
        } else if head.joined("transfer-encoding").contains("chunked") {
            decode_chunks(&mut rest)?
        } else if let Some(length) = head.header("content-length") {
            let length = length.parse().expect("a content length");
            if rest.len() < length {
                return None;
            }
            rest.drain(..length).collect()
        } else if ended {
            std::mem::take(&mut rest)
        } else {
            return None;
        };
        *bytes = rest;
        Some(Self {
            status,
            head,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// Sends one request on a connection of its own.
pub async fn request(address: SocketAddr, request: &Request) -> Reply {
    Peer::handshake(address, &request.clone().with("Connection", "close"))
        .await
        .1
}

fn decode_chunks(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let mut rest = bytes.as_slice();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        rest = &rest[end + 2..];
        let chunk = rest.get(..size + 2)?;
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[size + 2..];
        if size == 0 {
            *bytes = rest.to_vec();
            return Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_all_of_it_is_there() {
        for (text, body) in [
            ("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno", "no"),
            (
                "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n3;x=y\r\n, n\r\n0\r\n\r\n",
                "no, n",
            ),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", ""),
        ] {
            let part = text.as_bytes()[..text.len() - 1].to_vec();
            assert!(Reply::decode(&mut part.clone(), false).is_none(), "{text}");
            let mut bytes = [text.as_bytes(), b"more"].concat();
            assert_eq!(
                Reply::decode(&mut bytes, false).map(|reply| reply.body).as_deref(),
                Some(body)
            );
            assert_eq!(bytes, b"more");
        }
    }
}
