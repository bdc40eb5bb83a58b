//! Clients that misuse HTTP/2: what it costs them, and that it costs nobody else anything.

use std::time::Duration;

use bytes::Bytes;
use h2::client::Builder;
use tidegate_tests::config::route;
use tidegate_tests::{Backend, Frame, Http2, Opened, Peer, Proxy, websocket, within};

async fn start(backend: &Backend, rest: &str, listener: &str) -> Proxy {
    let listener = format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\nhttp2 = \"prior-knowledge\"\n{listener}\n");
    Proxy::start(&format!("{}{listener}", route(&[&backend.address()], rest))).await
}

/// A connection on which any bytes are written.
struct Raw(Peer);

/// A frame as it came.
#[derive(Debug)]
struct Came {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 32;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing (RFC 7541 section 6.2.2), all shorter than 127 bytes.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const CONNECT: &[(&str, &str)] = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":authority", "proxy.test"),
    (":path", "/"),
    ("sec-websocket-version", "13"),
];

fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(CONNECT))
}

fn open_with(stream: u32, further: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(&[CONNECT, further].concat()))
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

impl Raw {
    /// Connects, and says what a client says first.
    async fn connect(proxy: &Proxy, settings: &[u8]) -> Self {
        let mut peer = Peer::connect(proxy.address).await;
        peer.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        peer.write(frame(SETTINGS, 0, 0, settings)).await;
        Self(peer)
    }

    async fn read(&mut self) -> Came {
        let head = self.0.read_exactly(9).await;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Came { kind: head[3], flags: head[4], stream, payload: self.0.read_exactly(length).await }
    }

    async fn read_until(&mut self, is_it: impl Fn(&Came) -> bool) -> Came {
        loop {
            let came = self.read().await;
            if is_it(&came) {
                return came;
            }
            assert_ne!(came.kind, GOAWAY, "{came:?}");
        }
    }

    /// The error of the GOAWAY that comes, behind which the connection ends.
    async fn goaway(&mut self) -> u32 {
        let came = self.read_until(|came| came.kind == GOAWAY).await;
        let error = u32::from_be_bytes(came.payload[4..8].try_into().unwrap());
        self.0.drain().await;
        error
    }

    async fn answered(&mut self, stream: u32) {
        self.read_until(|came| came.kind == HEADERS && came.stream == stream).await;
    }

    async fn pong(&mut self) {
        self.0.write(frame(PING, 0, 0, b"are you?")).await;
        self.read_until(|came| came.kind == PING && came.flags == ACK && came.payload == b"are you?").await;
    }
}

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn a_frame_that_breaks_the_connection_gets_a_goaway_with_its_error() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "", "").await;
    let cases: &[(&str, Vec<u8>, u32)] = &[
        ("DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("DATA on an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL_ERROR),
        ("HEADERS on stream 0", open(0), PROTOCOL_ERROR),
        ("HEADERS on a stream of the server's", open(2), PROTOCOL_ERROR),
        ("a stream below the last", [open(3), open(1)].concat(), PROTOCOL_ERROR),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, b""), PROTOCOL_ERROR),
        // A generic error may stand for a specific one (RFC 9113 section 5.4).
        ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"12345"), PROTOCOL_ERROR),
        ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &setting(3, 1)), PROTOCOL_ERROR),
        ("ENABLE_PUSH 2", frame(SETTINGS, 0, 0, &setting(2, 2)), PROTOCOL_ERROR),
        ("INITIAL_WINDOW_SIZE 2^31", frame(SETTINGS, 0, 0, &setting(4, 1 << 31)), PROTOCOL_ERROR),
        ("MAX_FRAME_SIZE 100", frame(SETTINGS, 0, 0, &setting(5, 100)), PROTOCOL_ERROR),
        ("PING on a stream", frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
        ("PING of 7 bytes", frame(PING, 0, 0, b"1234567"), PROTOCOL_ERROR),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("WINDOW_UPDATE of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), PROTOCOL_ERROR),
        // An error of a stream may be taken for one of the connection (RFC 9113 section 5.4).
        (
            "WINDOW_UPDATE of nothing on a stream",
            [open(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "DATA behind the end",
            [open(1), frame(DATA, END_STREAM, 1, b""), frame(DATA, 0, 1, b"x")].concat(),
            PROTOCOL_ERROR,
        ),
        ("a name in upper case", open_with(1, &[("X-Upper", "1")]), PROTOCOL_ERROR),
        ("an unknown pseudo field", open_with(1, &[(":unknown", "1")]), PROTOCOL_ERROR),
        ("a window above 2^31", frame(WINDOW_UPDATE, 0, 0, &u32::MAX.to_be_bytes()), FLOW_CONTROL_ERROR),
        ("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), PROTOCOL_ERROR),
        ("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), PROTOCOL_ERROR),
        ("RST_STREAM of 3 bytes", [open(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), PROTOCOL_ERROR),
        ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, b""), PROTOCOL_ERROR),
        (
            "another frame within a head",
            [frame(HEADERS, 0, 1, &fields(CONNECT)), frame(PING, 0, 0, b"12345678")].concat(),
            PROTOCOL_ERROR,
        ),
        (
            "a head that goes on on another stream",
            [frame(HEADERS, 0, 1, &fields(CONNECT)), frame(CONTINUATION, END_HEADERS, 3, b"")].concat(),
            PROTOCOL_ERROR,
        ),
        ("an index of no field", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x03]), PROTOCOL_ERROR),
        ("padding beyond the frame", frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 1, 2]), PROTOCOL_ERROR),
        ("a frame of 16,385 bytes", frame(DATA, 0, 1, &[0; 16_385]), FRAME_SIZE_ERROR),
        (
            "DATA beyond both windows",
            [open(1), frame(DATA, 0, 1, &[0; 16_384]).repeat(500)].concat(),
            FLOW_CONTROL_ERROR,
        ),
    ];
    for (what, bytes, error) in cases {
        let mut raw = Raw::connect(&proxy, &[]).await;
        raw.0.write_while_open(bytes).await;
        assert_eq!(raw.goaway().await, *error, "{what}");
    }
    let ended = [("end", "violation")];
    proxy.until("tidegate_http2_connections_total", &ended, cases.len() as u64).await;
}

#[tokio::test]
async fn a_frame_that_breaks_its_stream_gets_a_reset_with_its_error_and_the_connection_goes_on() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "", "").await;
    let without = |name: &str| {
        let rest: Vec<_> = CONNECT.iter().filter(|(other, _)| *other != name).copied().collect();
        frame(HEADERS, END_HEADERS, 1, &fields(&rest))
    };
    let cases: &[(&str, Vec<u8>, u32)] = &[
        ("a pseudo field that comes late", open_with(1, &[("x", "1"), (":path", "/")]), PROTOCOL_ERROR),
        ("a pseudo field that comes twice", open_with(1, &[(":method", "GET")]), PROTOCOL_ERROR),
        ("Connection", open_with(1, &[("connection", "x")]), PROTOCOL_ERROR),
        ("Upgrade", open_with(1, &[("upgrade", "websocket")]), PROTOCOL_ERROR),
        ("Transfer-Encoding", open_with(1, &[("transfer-encoding", "chunked")]), PROTOCOL_ERROR),
        ("TE that is not trailers", open_with(1, &[("te", "gzip")]), PROTOCOL_ERROR),
        ("no method", without(":method"), PROTOCOL_ERROR),
        ("no scheme", without(":scheme"), PROTOCOL_ERROR),
        ("no path", without(":path"), PROTOCOL_ERROR),
        (
            "a stream that depends on itself",
            frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &[&[0, 0, 0, 1, 0][..], &fields(CONNECT)].concat()),
            PROTOCOL_ERROR,
        ),
        (
            "a window above 2^31",
            [open(1), frame(WINDOW_UPDATE, 0, 1, &i32::MAX.to_be_bytes())].concat(),
            FLOW_CONTROL_ERROR,
        ),
        (
            "DATA beyond the window of the stream",
            [open(1), frame(DATA, 0, 1, &[0; 16_384]).repeat(5)].concat(),
            FLOW_CONTROL_ERROR,
        ),
    ];
    for (what, bytes, error) in cases {
        let mut raw = Raw::connect(&proxy, &[]).await;
        // Until the proxy has made it larger, the window of the connection is no larger than that of a stream.
        raw.pong().await;
        raw.0.write(bytes).await;
        let came = raw.read_until(|came| [RST_STREAM, GOAWAY].contains(&came.kind)).await;
        let error = error.to_be_bytes();
        assert_eq!((came.kind, came.stream, &came.payload[..]), (RST_STREAM, 1, &error[..]), "{what}");
        raw.pong().await;
    }
}

#[tokio::test]
async fn what_is_not_known_is_ignored() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "", "").await;
    let mut raw = Raw::connect(&proxy, &setting(0xff, 1)).await;
    raw.0.write(frame(0xee, 0xff, 7, b"unknown")).await;
    raw.0.write(frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 1])).await;
    raw.pong().await;
    let ((), _upstream) = tokio::join!(raw.0.write(open(11)), backend.accept());
    raw.answered(11).await;
}

#[tokio::test]
async fn a_hundred_stalled_streams_with_five_thousand_small_frames_each_cost_no_more_than_their_windows() {
    const STREAMS: usize = 100;
    const FRAMES: usize = 5000;
    let backend = Backend::bind().await;
    let listener = "http2_max_streams = 101\nhttp2_stream_window = \"256KiB\"";
    let proxy = start(&backend, "handshake_timeout = \"1h\"", listener).await;
    let mut client = Http2::connect(proxy.address).await;
    let (Opened { mut peer, .. }, mut upstream) = tokio::join!(client.open("/"), backend.accept());
    let before = proxy.resident();
    let small = peer.encode(&Frame::text("20 bytes of payload."));
    let mut stalled = Vec::new();
    for _ in 0..STREAMS {
        // The upstream has the request and does not answer: nobody reads what the client sends on.
        let ((answer, mut send), waiting) = tokio::join!(client.begin(websocket("/stalled")), backend.request());
        for _ in 0..FRAMES {
            send.send_data(Bytes::copy_from_slice(&small), false).unwrap();
        }
        stalled.push((answer, send, waiting));
        client.ping().await;
    }
    // All of it has come, and the others go on.
    client.ping().await;
    peer.send(Frame::text("up")).await;
    upstream.expect(Frame::text("up")).await;
    let held = (STREAMS * FRAMES * small.len()) as u64;
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 4 * held, "{grown} bytes for {held}");
    // Nothing of it is lost.
    for (answer, _send, (mut upstream, head)) in stalled.into_iter().take(3) {
        upstream.accept(&head, &[]).await;
        assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
        for _ in 0..FRAMES {
            upstream.expect(Frame::text("20 bytes of payload.")).await;
        }
    }
}

#[tokio::test]
async fn a_client_that_opens_streams_to_reset_them_is_told_to_calm_down() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "", "").await;
    // At once, and each after the proxy has begun with it.
    let mut raw = Raw::connect(&proxy, &[]).await;
    let cancel = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let flood: Vec<u8> = (0..2000).flat_map(|count| [open(2 * count + 1), cancel(2 * count + 1)].concat()).collect();
    raw.0.write_while_open(&flood).await;
    assert_eq!(raw.goaway().await, ENHANCE_YOUR_CALM);
    let mut raw = Raw::connect(&proxy, &[]).await;
    let mut stream = 1;
    let error = loop {
        raw.0.write_while_open([open(stream), frame(PING, 0, 0, b"12345678"), cancel(stream)].concat()).await;
        let came = raw.read().await;
        if came.kind == GOAWAY {
            break u32::from_be_bytes(came.payload[4..8].try_into().unwrap());
        }
        stream += 2;
        assert!(stream < 4000, "nobody minds");
    };
    assert_eq!(error, ENHANCE_YOUR_CALM);
    proxy.until("tidegate_http2_connections_total", &[("end", "calmed")], 2).await;
}

#[tokio::test]
async fn a_head_without_an_end_is_cut_off() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "", "").await;
    let mut raw = Raw::connect(&proxy, &[]).await;
    let mut flood = frame(HEADERS, 0, 1, &fields(CONNECT));
    flood.extend(frame(CONTINUATION, 0, 1, &fields(&[("x", "1")])).repeat(10_000));
    raw.0.write_while_open(&flood).await;
    assert_eq!(raw.goaway().await, ENHANCE_YOUR_CALM);
    // One that stops within it has its time.
    let proxy = start(&backend, "", "http2_idle_timeout = \"100ms\"").await;
    let mut raw = Raw::connect(&proxy, &[]).await;
    raw.0.write(frame(HEADERS, 0, 1, &fields(CONNECT))).await;
    raw.0.drain().await;
}

#[tokio::test]
async fn floods_of_settings_and_pings_are_taken_no_faster_than_their_answers_are() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let before = proxy.resident();
    for flood in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &setting(3, 7))] {
        let mut raw = Raw::connect(&proxy, &[]).await;
        let flood = flood.repeat(4 << 20 >> 4);
        // The client reads nothing: its own flood is held up.
        raw.0.write_until_stuck(&flood, Duration::from_millis(200)).await;
        client.send(Frame::text("up")).await;
        upstream.expect(Frame::text("up")).await;
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

#[tokio::test]
async fn a_window_of_nothing_holds_the_upstream_up_and_no_other_stream() {
    let backend = Backend::bind().await.with_small_buffers();
    let proxy = start(&backend, "", "").await;
    let mut settings = Builder::new();
    let mut client = Http2::over(Peer::connect(proxy.address).await, settings.initial_window_size(0)).await;
    let before = proxy.resident();
    let mut upstreams = Vec::new();
    for _ in 0..20 {
        let (opened, mut upstream) = tokio::join!(client.open("/"), backend.accept());
        let endless = upstream.encode(&Frame::binary(vec![0; 4 << 20]));
        let written = upstream.write_until_stuck(&endless, Duration::from_millis(20)).await;
        assert!(written < 4 << 20, "{written}");
        upstreams.push((opened, upstream));
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown} bytes");
    let (mut other, mut upstream) = backend.open(proxy.address, "/").await;
    other.send(Frame::text("up")).await;
    upstream.expect(Frame::text("up")).await;
}
