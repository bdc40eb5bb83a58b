//! How a peer that has vanished is noticed: one whose machine or network is gone, so that no FIN and no RST ever comes.
//! All of it is the kernel's work; a socket costs nothing more for it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// What a socket does when nothing comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// After so much silence the kernel asks whether the peer is there (RFC 9293 section 3.8.4); `None`: never. A peer
    /// that does not answer is given up after as much again, or after `user_timeout`, if there is one.
    pub keepalive: Option<Duration>,
    /// How long what was sent may stay unacknowledged, or the peer's window closed (RFC 5482); `None`: as long as the
    /// system lets it.
    pub user_timeout: Option<Duration>,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { keepalive: Some(Duration::from_secs(60)), user_timeout: Some(Duration::from_secs(300)) }
    }
}

impl Liveness {
    /// Sets it for a socket. Those that a listening socket accepts inherit it.
    ///
    /// # Errors
    /// When the socket is none of TCP.
    pub fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        match self.keepalive {
            None => socket.set_keepalive(false)?,
            Some(silence) => {
                let probe = TcpKeepalive::new()
                    .with_time(silence.clamp(SECOND, MOST))
                    .with_interval((silence / PROBES).clamp(SECOND, MOST))
                    .with_retries(PROBES);
                socket.set_tcp_keepalive(&probe)?;
            }
        }
        socket.set_tcp_user_timeout(self.user_timeout)
    }
}

/// Questions before a peer is given up.
const PROBES: u32 = 4;
/// The kernel counts in whole ones.
const SECOND: Duration = Duration::from_secs(1);
/// The kernel takes no longer ones.
const MOST: Duration = Duration::from_secs(32_767);

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_socket_asks_after_silence_and_those_that_it_accepts_do_so_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let liveness = Liveness { keepalive: Some(Duration::from_secs(8)), user_timeout: Some(Duration::from_secs(9)) };
        liveness.apply(&SockRef::from(&listener)).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(8));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(2));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(9)));
    }

    #[test]
    fn off_is_off_and_any_duration_is_one_that_the_kernel_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = SockRef::from(&listener);
        for keepalive in [1, 500, 1_000, 60_000, 365 * 86_400_000].map(Duration::from_millis) {
            let liveness = Liveness { keepalive: Some(keepalive), user_timeout: None };
            liveness.apply(&socket).unwrap();
            assert!(socket.keepalive().unwrap());
        }
        Liveness { keepalive: None, user_timeout: None }.apply(&socket).unwrap();
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
}
