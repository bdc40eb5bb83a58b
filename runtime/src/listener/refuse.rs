//! Answering connections that are not let in.
//!
//! An answer that is followed by a reset is lost, and a socket that is closed with bytes unread sends one. So what the
//! client has sent is read and thrown away, before the answer and for a moment after it. Only so many are treated with
//! that much patience at a time; who comes beyond them is answered and closed at once.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::Socket as SystemSocket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::metrics::{ConnectionRefusal, Metrics};
use crate::reactor::{Socket, timeout};
use crate::session::{Permit, Permits};

/// What is kept about refused connections, for the whole process.
#[derive(Debug)]
pub struct Refusals {
    metrics: Arc<Metrics>,
    patient: Permits,
    /// When the operator was told last, and how many were refused since, by reason.
    notices: Mutex<[Notice; ConnectionRefusal::COUNT]>,
}

#[derive(Debug, Default)]
struct Notice {
    at: Option<Instant>,
    since: u64,
}

impl Refusals {
    /// At most `patient` connections are refused with patience at a time.
    pub fn new(metrics: Arc<Metrics>, patient: usize) -> Arc<Self> {
        Arc::new(Self { metrics, patient: Permits::new(patient), notices: Mutex::default() })
    }

    /// Counts refusals, and tells the operator once a minute. None at all means that connections wait, because even
    /// refusing them takes what there is none of.
    pub fn count(&self, reason: ConnectionRefusal, count: u64) {
        self.metrics.connections_refused(reason, count);
        let now = Instant::now();
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notice) = notices.get_mut(reason as usize) else { return };
        notice.since += count;
        if notice.at.is_some_and(|at| now < at + TOLD_AGAIN) {
            return;
        }
        notice.at = Some(now);
        let refused = std::mem::take(&mut notice.since);
        let reason = reason.label();
        tracing::warn!(reason, refused, "connections are refused before their request is read");
    }

    /// A place among those that are refused with patience; `None` when there is none.
    pub fn patience(&self) -> Option<Permit> {
        self.patient.take()
    }
}

/// Answers when the request comes, or soon, and then gives the client a moment to read it. `patience` is the place that this
/// takes among those that are treated so.
pub async fn refuse(mut stream: Socket, reason: ConnectionRefusal, patience: Permit) {
    // An answer without a question takes some clients by surprise.
    let _ = timeout(REQUEST, stream.readable()).await;
    let mut room = [0; 1024];
    let mut left = MOST_DISCARDED;
    while let Ok(Some(count @ 1..)) = stream.read_now(&mut room) {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
    // All of it fits into the buffer of a fresh socket.
    if stream.write_all(answer(reason)).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    let discard = async {
        while let Ok(count @ 1..) = stream.read(&mut room).await {
            left = left.saturating_sub(count);
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(LINGER, discard).await;
    drop(patience);
}

/// Answers and closes, without waiting for anything.
pub fn refuse_at_once(stream: impl Into<OwnedFd>, reason: ConnectionRefusal) {
    let mut stream = SystemSocket::from(stream.into());
    let mut room = [0; 1024];
    for _ in 0..MOST_DISCARDED / room.len() {
        if !matches!(stream.read(&mut room), Ok(1..)) {
            break;
        }
    }
    // Who does not get it sees the connection end.
    let _ = stream.write(answer(reason));
    let _ = stream.shutdown(Shutdown::Write);
}

/// What a client is told.
fn answer(reason: ConnectionRefusal) -> &'static [u8] {
    match reason {
        ConnectionRefusal::MaxConnections
        | ConnectionRefusal::ListenerMaxConnections
        | ConnectionRefusal::OpenFiles => NO_PLACE,
        // Who is no proxy, or says nothing of a client, would not know what to make of it.
        ConnectionRefusal::UntrustedProxy | ConnectionRefusal::ProxyProtocol => b"",
        ConnectionRefusal::NetworkRefused => NOT_HERE,
        ConnectionRefusal::MaxConnectionsPerClient | ConnectionRefusal::HandshakesPerSecondPerClient => TOO_MANY,
    }
}

/// Whole, so that it costs nothing to make. A second is when a client may well find a place: connections come and go.
const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 47\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\
    \r\n\
    this proxy has no place for another connection\n";

/// The same, of a client whose network may not come.
const NOT_HERE: &[u8] = b"HTTP/1.1 403 Forbidden\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 34\r\n\
    Connection: close\r\n\
    \r\n\
    your network may not connect here\n";

/// The same, of a client that has, or asks for, more than its share (RFC 6585 section 4).
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 44\r\n\
    Retry-After: 1\r\n\
    Connection: close\r\n\
    \r\n\
    too many connections come from your network\n";

/// A request follows its connection at once; one that was lost on the way is not waited for.
const REQUEST: Duration = Duration::from_millis(250);
/// Long enough for the answer to cross any network, and for the client to close.
const LINGER: Duration = Duration::from_secs(1);
/// As much as the head of a request may have.
const MOST_DISCARDED: usize = 64 << 10;
const TOLD_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream as StdStream};

    use super::*;
    use crate::reactor;

    #[test]
    fn the_answer_says_how_long_it_is() {
        for answer in [NO_PLACE, NOT_HERE, TOO_MANY] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{text}");
        }
    }

    fn pair() -> (StdStream, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, server)
    }

    fn permit() -> Permit {
        Permits::new(1).take().unwrap()
    }

    /// What a client reads that sends this first.
    fn refused(sent: usize) -> String {
        let (mut client, server) = pair();
        let reading = std::thread::spawn(move || {
            client.write_all(&vec![b'x'; sent]).unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            text
        });
        reactor::run(refuse(Socket::new(server), ConnectionRefusal::MaxConnections, permit())).unwrap();
        reading.join().unwrap()
    }

    #[test]
    fn a_client_reads_the_answer_however_much_it_sends() {
        assert_eq!(refused(16 << 10).as_bytes(), NO_PLACE);
    }

    #[test]
    fn a_client_that_says_nothing_is_answered_too() {
        assert_eq!(refused(0).as_bytes(), NO_PLACE);
    }

    #[test]
    fn a_request_that_has_come_is_answered_without_patience() {
        let (mut client, server) = pair();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        while server.peek(&mut [0; 18]).unwrap_or(0) < 18 {}
        refuse_at_once(server, ConnectionRefusal::OpenFiles);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text.as_bytes(), NO_PLACE);
    }
}
