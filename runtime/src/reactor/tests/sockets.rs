//! Sockets whose edges come at any time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Two ends of a connection, the second for a loop.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    (client, server)
}

/// The byte at a place of what one end sends.
fn byte(seed: u64, at: usize) -> u8 {
    (at.wrapping_mul(31).wrapping_add(at >> 8) as u64).wrapping_add(seed).to_le_bytes()[0]
}

/// Sends so much in parts of any size, and shuts down; meanwhile reads in parts of any size what must be the same.
fn pour(mut stream: TcpStream, total: usize, seed: u64) {
    let mut reading = stream.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let (mut random, mut at, mut room) = (StdRng::seed_from_u64(seed + 1), 0, vec![0; 9000]);
        loop {
            let size = random.random_range(1..=room.len());
            let count = reading.read(&mut room[..size]).unwrap();
            if count == 0 {
                break;
            }
            assert!(room[..count].iter().enumerate().all(|(index, got)| *got == byte(seed, at + index)));
            at += count;
        }
        at
    });
    let (mut random, mut at) = (StdRng::seed_from_u64(seed), 0);
    while at < total {
        let size = random.random_range(1..=20_000).min(total - at);
        let part: Vec<u8> = (at..at + size).map(|at| byte(seed, at)).collect();
        stream.write_all(&part).unwrap();
        at += size;
        if random.random_range(0..8) == 0 {
            thread::yield_now();
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reader.join().unwrap(), total);
}

#[test]
fn every_byte_arrives_however_the_edges_fall() {
    const TOTAL: usize = 600_000;
    let (clients, servers): (Vec<_>, Vec<_>) = (0..8).map(|_| pair()).unzip();
    let pouring = clients.into_iter().zip(0..).map(|(it, seed)| thread::spawn(move || pour(it, TOTAL, seed)));
    let pouring: Vec<_> = pouring.collect();
    on_a_loop(async move {
        let echo = |(server, seed)| {
            spawn(async move {
                let (mut socket, mut random) = (Socket::new(server), StdRng::seed_from_u64(seed));
                let (mut room, mut all) = (vec![0; 8192], 0);
                loop {
                    let size = random.random_range(1..=room.len());
                    let count = socket.read(&mut room[..size]).await.unwrap();
                    if count == 0 {
                        break;
                    }
                    all += count;
                    socket.write_all(&room[..count]).await.unwrap();
                    if random.random_range(0..4) == 0 {
                        yield_now().await;
                    }
                }
                socket.shutdown().await.unwrap();
                all
            })
        };
        let echoing: Vec<_> = servers.into_iter().zip(100..).map(echo).collect();
        for one in echoing {
            assert_eq!(one.await, TOTAL);
        }
        assert_eq!(Reactor::with(|reactor| reactor.ports.len()), Some(0));
    });
    pouring.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn a_socket_connects_to_who_listens_and_to_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    on_a_loop(async move {
        let mut socket = Socket::connect(address).await.unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"hello").unwrap();
        let mut room = [0; 8];
        assert_eq!(socket.read(&mut room).await.unwrap(), 5);
        drop((listener, accepted));
        let error = Socket::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_end_of_a_stream_is_told_with_its_bytes_unread() {
    let (mut client, server) = pair();
    client.write_all(b"unread").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    on_a_loop(async move {
        let mut socket = Socket::new(server);
        poll_fn(|context| socket.poll_end(context)).await.unwrap();
        let mut room = Vec::new();
        assert_eq!(socket.read_to_end(&mut room).await.unwrap(), 6);
    });
    drop(client);
}

#[test]
fn a_connection_that_is_reset_is_broken() {
    let (client, server) = pair();
    on_a_loop(async move {
        let socket = Socket::new(server);
        let task = spawn(async move { poll_fn(|context| socket.poll_end(context)).await });
        yield_now().await;
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(task.await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_socket_without_a_loop_is_waited_for_by_nobody() {
    let (_client, server) = pair();
    let socket = Socket::new(server);
    socket.read_now(&mut [0]).unwrap();
    let polled = socket.poll_end(&Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Err(_))));
}
