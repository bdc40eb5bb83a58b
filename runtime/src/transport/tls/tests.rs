use std::future::poll_fn;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::reactor;
use crate::transport::Transport;

/// What a server and a client that believes it go by.
fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
    let server = server.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

fn sockets() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let socket = |stream: TcpStream| {
        stream.set_nonblocking(true).unwrap();
        Socket::new(stream)
    };
    (socket(near), socket(far))
}

fn name() -> ServerName<'static> {
    "a.example".try_into().unwrap()
}

/// Client and server, which have agreed.
async fn connected(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> (Tls, Tls) {
    let (near, far) = sockets();
    let mut client = Tls::connect(near, client, name()).unwrap();
    let mut server = Tls::accept(far, server).unwrap();
    let (one, other) = tokio::join!(
        poll_fn(|context| client.poll_handshake(context)),
        poll_fn(|context| server.poll_handshake(context))
    );
    one.unwrap();
    other.unwrap();
    (client, server)
}

fn transport(tls: Tls) -> Transport {
    Transport::Tls(Box::new(tls))
}

#[test]
fn whatever_is_sent_arrives_in_either_version_with_any_room_to_read_to() {
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for seed in 0..4 {
            reactor::run(async move {
                let (server, client) = configs(version);
                let (client, server) = connected(server, client).await;
                assert_eq!(client.agreed().protocol_version(), Some(spoken));
                let mut random = StdRng::seed_from_u64(seed);
                let mut sent = vec![0; 1_500_000];
                random.fill(&mut sent[..]);
                let expected = sent.clone();
                let mut pieces = StdRng::seed_from_u64(seed + 100);
                let writing = async move {
                    let mut transport = transport(client);
                    let mut rest = &sent[..];
                    while !rest.is_empty() {
                        let most = pieces.random_range(1..=200_000).min(rest.len());
                        let count = transport.write(&rest[..most]).await.unwrap();
                        rest = &rest[count..];
                    }
                    transport.shutdown().await.unwrap();
                    transport
                };
                let reading = async move {
                    let mut transport = transport(server);
                    let mut came = Vec::new();
                    loop {
                        let mut room = vec![0; random.random_range(1..=100_000)];
                        match transport.read(&mut room).await.unwrap() {
                            0 => return (came, transport),
                            count => came.extend_from_slice(&room[..count]),
                        }
                    }
                };
                let (_client, (came, _server)) = tokio::join!(writing, reading);
                assert!(came == expected, "{} of {}", came.len(), expected.len());
            })
            .unwrap();
        }
    }
}

#[test]
fn an_idle_connection_holds_no_buffer_and_a_session_is_resumed_by_its_ticket() {
    reactor::run(async {
        let (server, client) = configs(&TLS13);
        let mut server = (*server).clone();
        server.ticketer = Arc::new(crate::tls::Tickets::new(Arc::new(crate::tls::Keys::new().unwrap()), b""));
        let server = Arc::new(server);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (client, server) = connected(server.clone(), client.clone()).await;
            assert_eq!(server.agreed().handshake_kind(), Some(kind));
            let (mut client, mut server) = (transport(client), transport(server));
            server.write_all(b"from the server").await.unwrap();
            client.write_all(b"from the client").await.unwrap();
            let mut came = [0; 15];
            client.read_exact(&mut came).await.unwrap();
            assert_eq!(&came, b"from the server");
            server.read_exact(&mut came).await.unwrap();
            assert_eq!(&came, b"from the client");
            for transport in [&client, &server] {
                let Transport::Tls(tls) = transport else { unreachable!() };
                assert_eq!((tls.received.capacity(), tls.opened.room(), tls.sealed.room()), (0, 0, 0));
            }
        }
    })
    .unwrap();
}

#[test]
fn a_word_of_the_end_is_an_end_and_what_came_before_it_is_read() {
    reactor::run(async {
        let (server, client) = configs(&TLS13);
        let (client, server) = connected(server, client).await;
        let (mut client, mut server) = (transport(client), transport(server));
        client.write_all(b"last").await.unwrap();
        client.shutdown().await.unwrap();
        let mut came = Vec::new();
        server.read_to_end(&mut came).await.unwrap();
        assert_eq!(came, b"last");
        // The other half still goes.
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        came.clear();
        client.read_to_end(&mut came).await.unwrap();
        assert_eq!(came, b"answer");
    })
    .unwrap();
}

#[test]
fn what_is_no_tls_ends_a_handshake_with_an_alert_and_a_peer_that_leaves_with_a_word_of_its_own() {
    reactor::run(async {
        let (server, _) = configs(&TLS13);
        let (near, far) = sockets();
        let mut near = Transport::from(near);
        near.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
        let mut tls = Tls::accept(far, server.clone()).unwrap();
        let error = poll_fn(|context| tls.poll_handshake(context)).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Refused(rustls::Error::InvalidMessage(_))), "{error:?}");
        drop(tls);
        let mut told = Vec::new();
        near.read_to_end(&mut told).await.unwrap();
        // A record with a fatal alert (RFC 8446 section 6).
        assert_eq!(told.first(), Some(&21));

        let (near, far) = sockets();
        drop(near);
        let mut tls = Tls::accept(far, server).unwrap();
        let error = poll_fn(|context| tls.poll_handshake(context)).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Left), "{error:?}");
    })
    .unwrap();
}

#[test]
fn a_handshake_that_never_becomes_whole_is_bounded() {
    reactor::run(async {
        let (server, _) = configs(&TLS13);
        let (near, far) = sockets();
        let mut near = Transport::from(near);
        let endless = async move {
            // A client hello of 16 MiB, in records of 16 KiB.
            let mut record = vec![22, 3, 1, 0x40, 0];
            record.resize(5 + 0x4000, 0);
            record[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
            while near.write_all(&record).await.is_ok() {
                record[5..9].fill(0);
            }
        };
        let mut tls = Tls::accept(far, server).unwrap();
        let refusing = async move {
            let error = poll_fn(|context| tls.poll_handshake(context)).await.unwrap_err();
            assert!(matches!(error, HandshakeError::Refused(_)), "{error:?}");
            assert!(tls.received.capacity() <= 2 * MOST_HELD);
        };
        tokio::join!(endless, refusing);
    })
    .unwrap();
}

#[test]
fn a_message_of_the_handshake_that_has_come_in_part_keeps_nobody_from_sending() {
    reactor::run(async {
        let (server, _) = configs(&TLS13);
        let (near, far) = sockets();
        let mut near = Transport::from(near);
        // The half of a client hello, in a record of its own.
        near.write_all(&[22, 3, 1, 0, 8, 1, 0, 0, 100, 3, 3, 1, 2]).await.unwrap();
        let mut tls = Tls::accept(far, server).unwrap();
        for _ in 0..3 {
            let polled = poll_fn(|context| Poll::Ready(tls.poll_handshake(context).is_pending())).await;
            assert!(polled);
            near.write_all(&[22, 3, 1, 0, 1, 7]).await.unwrap();
            let sent = poll_fn(|context| Poll::Ready(tls.poll_send(context, b"too early"))).await;
            assert!(matches!(sent, Poll::Ready(Err(_))), "{sent:?}");
            reactor::yield_now().await;
        }
    })
    .unwrap();
}
