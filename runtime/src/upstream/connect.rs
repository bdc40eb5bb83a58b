//! A connection to one of the addresses of an endpoint, or to its unix socket.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use super::address::Place;
use super::resolve::{Resolver, Unresolved};
use super::shortage::is_shortage;
use crate::reactor::{Socket, sleep};
use crate::transport::Liveness;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Refused {
    Unresolved(Unresolved),
    Socket(io::Error),
}

/// Connects to a place. The addresses of a name are tried one after the other, each a moment after the one before it or
/// when that one has failed, and the first to take the connection has it (RFC 8305 section 5). That an endpoint has vanished
/// is noticed by `liveness`; of one on this machine the system tells.
pub(super) async fn connect(
    place: &Place,
    addresses: &Resolver,
    liveness: &Liveness,
    resolved: impl FnOnce(),
) -> Result<Socket, Refused> {
    let socket = match place {
        Place::Unix(file) => {
            resolved();
            return connect_unix(file).await.map_err(Refused::Socket);
        }
        Place::Socket(socket) => {
            resolved();
            Socket::connect(*socket).await.map_err(Refused::Socket)?
        }
        Place::Name(name, port) => connect_named(name, *port, addresses, resolved).await?,
    };
    let system = SockRef::from(&socket);
    system.set_tcp_nodelay(true).and_then(|()| liveness.apply(&system)).map_err(Refused::Socket)?;
    Ok(socket)
}

/// Connects to a unix socket. Where as many wait there as may, the system says so at once; over TCP it would wait.
async fn connect_unix(file: &Path) -> io::Result<Socket> {
    let mut pause = FIRST_PAUSE;
    loop {
        match Socket::connect_unix(file).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            connected => return connected,
        }
    }
}

async fn connect_named(
    name: &str,
    port: u16,
    addresses: &Resolver,
    resolved: impl FnOnce(),
) -> Result<Socket, Refused> {
    let known = addresses.resolve(name).await.map_err(Refused::Unresolved)?;
    resolved();
    if let [only] = *known {
        return Socket::connect(SocketAddr::new(only, port)).await.map_err(Refused::Socket);
    }
    race(&known, |address| Box::pin(Socket::connect(SocketAddr::new(address, port))))
        .await
        .inspect(|(_, overtaken)| overtaken.iter().for_each(|address| addresses.demote(name, *address)))
        .map(|(stream, _)| stream)
        .map_err(Refused::Socket)
}

type Connecting<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// Gives what one of the addresses gave, and those that were tried before it in vain, but not for want of something of this
/// machine. When all fail, the last error.
async fn race<T>(
    addresses: &[IpAddr],
    mut connect: impl FnMut(IpAddr) -> Connecting<T>,
) -> io::Result<(T, Vec<IpAddr>)> {
    let mut waiting = addresses.iter().copied();
    let mut racing: Vec<(IpAddr, Option<Connecting<T>>)> = Vec::with_capacity(addresses.len());
    let (mut last_error, mut blameless) = (None, Vec::new());
    let mut next = sleep(Duration::ZERO);
    poll_fn(|context| {
        loop {
            let mut failed = racing.is_empty();
            let mut won = None;
            for (place, (address, connecting)) in racing.iter_mut().enumerate() {
                let Some(attempt) = connecting else { continue };
                match attempt.as_mut().poll(context) {
                    Poll::Ready(Ok(connected)) => {
                        won = Some((place, connected));
                        break;
                    }
                    Poll::Ready(Err(error)) => {
                        blameless.extend(is_shortage(&error).then_some(*address));
                        last_error = Some(error);
                        *connecting = None;
                        failed = true;
                    }
                    Poll::Pending => {}
                }
            }
            if let Some((place, connected)) = won {
                let before = racing.iter().take(place).map(|(address, _)| *address);
                let overtaken = before.filter(|address| !blameless.contains(address)).collect();
                return Poll::Ready(Ok((connected, overtaken)));
            }
            if !failed && Pin::new(&mut next).poll(context).is_pending() {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(address) => {
                    racing.push((address, Some(connect(address))));
                    next.reset(Instant::now() + STAGGER);
                }
                None if racing.iter().all(|(_, connecting)| connecting.is_none()) => {
                    let none = || io::Error::from(io::ErrorKind::AddrNotAvailable);
                    return Poll::Ready(Err(last_error.take().unwrap_or_else(none)));
                }
                // Nobody else is to begin; only those under way can wake us.
                None if !failed => return Poll::Pending,
                None => {}
            }
        }
    })
    .await
}

/// Until a server that takes connections as fast as most do has taken one.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);
/// RFC 8305 section 8 recommends it: longer than the way to most servers, shorter than anybody's patience.
const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u8) -> Vec<IpAddr> {
        (1..=count).map(|last| IpAddr::from([10, 0, 0, last])).collect()
    }

    /// What an address does: connects, or refuses, or finds no descriptor, after so many milliseconds; or is silent.
    #[derive(Clone, Copy)]
    enum Does {
        Take(u64),
        Refuse(u64),
        Lack(u64),
        Swallow,
    }

    /// The address that won, those demoted, and when, in milliseconds.
    async fn raced(script: &[Does]) -> (Option<u8>, Vec<IpAddr>, u128) {
        let start = Instant::now();
        let last = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => 0,
        };
        let connect = |address| -> Connecting<u8> {
            let number = last(address);
            let does = script[usize::from(number) - 1];
            Box::pin(async move {
                match does {
                    Does::Take(ms) => {
                        sleep(Duration::from_millis(ms)).await;
                        Ok(number)
                    }
                    Does::Refuse(ms) => {
                        sleep(Duration::from_millis(ms)).await;
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                    Does::Lack(ms) => {
                        sleep(Duration::from_millis(ms)).await;
                        Err(rustix::io::Errno::MFILE.into())
                    }
                    Does::Swallow => std::future::pending().await,
                }
            })
        };
        let won = race(&addresses(script.len().try_into().unwrap()), connect).await;
        let elapsed = start.elapsed().as_millis();
        match won {
            Ok((won, overtaken)) => (Some(won), overtaken, elapsed),
            Err(_) => (None, Vec::new(), elapsed),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_swallows_connections_costs_a_moment_and_comes_last_from_then_on() {
        use Does::{Lack, Refuse, Swallow, Take};
        let first = addresses(1);
        assert_eq!(raced(&[Take(10), Take(0)]).await, (Some(1), vec![], 10));
        assert_eq!(raced(&[Swallow, Take(10)]).await, (Some(2), first.clone(), 260));
        assert_eq!(raced(&[Refuse(5), Take(10)]).await, (Some(2), first.clone(), 15));
        assert_eq!(raced(&[Lack(5), Take(10)]).await, (Some(2), vec![], 15));
        // The slower one that began earlier may still win.
        assert_eq!(raced(&[Take(300), Take(100)]).await, (Some(1), vec![], 300));
        assert_eq!(raced(&[Swallow, Swallow, Swallow, Take(0)]).await, (Some(4), addresses(3), 750));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_refuse_so_does_the_race() {
        use Does::Refuse;
        assert_eq!(raced(&[Refuse(5), Refuse(300), Refuse(5)]).await, (None, vec![], 305));
        assert!(race::<()>(&[], |_| Box::pin(std::future::pending())).await.is_err());
    }
}
