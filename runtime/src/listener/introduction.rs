//! What a proxy in front says of a connection before its first byte, on listeners that ask for it.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};

use thiserror::Error;

use crate::proxy_protocol::{self, Header, InvalidHeader};
use crate::reactor::Socket;

/// Why a connection was not introduced.
#[derive(Debug, Error)]
pub enum NotIntroduced {
    /// Its other end left before.
    #[error("the proxy left before its header had come")]
    Left,
    /// It broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// It begins with something else.
    #[error(transparent)]
    Invalid(#[from] InvalidHeader),
}

/// Reads the header of the PROXY protocol, and leaves what follows it in the socket. Bounding the time is the caller's
/// business.
///
/// # Errors
/// When there is none.
pub async fn introduction(socket: &Socket) -> Result<Header, NotIntroduced> {
    let mut room = vec![0; ROOM];
    let (header, length) = poll_fn(|context| {
        loop {
            let seen = ready!(socket.poll_peek(context, &mut room))?;
            if seen == 0 {
                return Poll::Ready(Err(NotIntroduced::Left));
            }
            if let Some(found) = Header::parse(room.get(..seen).unwrap_or_default())? {
                return Poll::Ready(Ok(found));
            }
            if seen == room.len() {
                // A header says how long it is, and none is longer.
                room.resize(proxy_protocol::MOST, 0);
                continue;
            }
            if socket.poll_end(context).is_ready() {
                return Poll::Ready(Err(NotIntroduced::Left));
            }
            socket.await_more();
        }
    })
    .await?;
    let mut taken = 0;
    while let Some(rest @ [_, ..]) = room.get_mut(taken..length) {
        // It has come, so that it can be read.
        taken += socket.read_now(rest)?.filter(|count| *count > 0).ok_or(NotIntroduced::Left)?;
    }
    Ok(header)
}

/// Room for most headers.
const ROOM: usize = 512;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::reactor;

    /// What comes of these bytes, written one by one or all at once, with what is left in the socket then.
    fn introduced(bytes: &[u8], step: usize, ends: bool) -> (Result<Header, NotIntroduced>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        proxy.set_nodelay(true).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let bytes = bytes.to_vec();
        let writing = std::thread::spawn(move || {
            bytes.chunks(step).for_each(|chunk| proxy.write_all(chunk).unwrap());
            if ends {
                proxy.shutdown(Shutdown::Write).unwrap();
            }
            proxy
        });
        let done = reactor::run(async {
            let mut socket = Socket::new(accepted);
            let header = introduction(&socket).await;
            let mut rest = Vec::new();
            if header.is_ok() {
                let _ = socket.read_to_end(&mut rest).await;
            }
            (header, rest)
        });
        drop(writing.join().unwrap());
        done.unwrap()
    }

    #[test]
    fn what_follows_the_header_stays_in_the_socket() {
        let told = b"PROXY TCP4 192.0.2.1 198.51.100.1 54321 443\r\n";
        let all = [&told[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        for step in [1, 7, 46, all.len()] {
            let (header, rest) = introduced(&all, step, true);
            assert_eq!(header.unwrap().ends.unwrap().source, "192.0.2.1:54321".parse().unwrap());
            assert_eq!(rest, b"GET / HTTP/1.1\r\n\r\n", "in steps of {step}");
        }
    }

    #[test]
    fn a_header_may_have_eight_kibibytes() {
        let mut long = Header::default().write();
        let length = u16::try_from(proxy_protocol::MOST - long.len()).unwrap();
        let field = [&[4][..], &(length - 3).to_be_bytes(), &vec![0; usize::from(length) - 3]].concat();
        long[14..16].copy_from_slice(&length.to_be_bytes());
        long.extend(field);
        assert_eq!(long.len(), proxy_protocol::MOST);
        let (header, rest) = introduced(&[&long[..], b"x"].concat(), 1000, true);
        assert_eq!((header.unwrap(), rest), (Header::default(), b"x".to_vec()));
    }

    #[test]
    fn who_leaves_within_it_is_not_waited_for() {
        for beginning in [&b""[..], b"PROXY TCP4 192.0.2.1"] {
            let (header, _) = introduced(beginning, 100, true);
            assert!(matches!(header, Err(NotIntroduced::Left)), "{header:?}");
        }
    }

    #[test]
    fn who_says_something_else_is_not_waited_for() {
        let (header, _) = introduced(b"G", 1, false);
        assert!(matches!(header, Err(NotIntroduced::Invalid(_))), "{header:?}");
    }
}
