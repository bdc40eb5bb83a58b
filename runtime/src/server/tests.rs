//! Workers that end when nobody has told them to, and one that cannot hear.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};

use super::worker::Order;
use super::*;

const CONFIG: &str = r#"
upstreams.back.endpoints = [{ url = "ws://127.0.0.1:1" }]
[[routes]]
name = "main"
path = "/ws"
upstream = "back"
[[listeners]]
listen = "127.0.0.1:0"
"#;

/// A server of two workers in this process.
struct Running {
    state: Arc<State>,
    address: SocketAddr,
    ended: JoinHandle<Result<(), RunError>>,
}

impl Running {
    fn start() -> Self {
        let origin = ReadSources::Text("test.toml", CONFIG.to_owned());
        let read = origin.read().unwrap();
        let (files, metrics) = (OpenFiles::of_process(), Metrics::new(2));
        let limit = files.limit_of(&read.config, 2).unwrap();
        let logs = (metrics, AccessLog::off());
        let signals = EarlySignals::heed().unwrap();
        let server = Server::assemble(signals, (origin, read), 2, (files, limit), Inherited::default(), logs).unwrap();
        let (state, address) = (server.state.clone(), server.addresses()[0].socket().unwrap());
        let ended = thread::spawn(|| server.run());
        let running = Self { state, address, ended };
        running.until(|state| state.phase() == Phase::Ready && state.missing.is_none());
        running
    }

    fn until(&self, reached: impl Fn(&State) -> bool) {
        while !reached(&self.state) {
            assert!(!self.ended.is_finished(), "the server has ended");
            thread::yield_now();
        }
    }

    fn has_counted(&self, sample: &str) -> bool {
        self.state.metrics.encode().lines().any(|line| line == sample)
    }

    /// Has a worker do something, when it can.
    fn tell(&self, worker: usize, what: impl FnOnce() + Send + 'static) {
        let mut order = Order::Do(Box::new(what));
        while let Err(refused) = self.state.team.order(worker, order) {
            order = refused;
            thread::yield_now();
        }
    }

    /// That each of many clients, of whom the kernel gives each worker its share, gets an answer.
    fn everybody_is_answered(&self) {
        let mut clients: Vec<_> = (0..64).map(|_| TcpStream::connect(self.address).unwrap()).collect();
        for client in &mut clients {
            client.write_all(b"GET /elsewhere HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer:?}");
        }
    }

    fn drain(self) -> Result<(), RunError> {
        self.state.ask_drain(self.state.usual_drain());
        self.ended.join().unwrap()
    }
}

#[test]
fn a_worker_that_panics_is_replaced_and_nobody_waits_in_vain() {
    let running = Running::start();
    running.everybody_is_answered();
    running.tell(1, || panic!("a fault outside of any connection"));
    running.until(|state| state.missing.is_none() && running.has_counted("tidegate_worker_restarts_total 1"));
    running.everybody_is_answered();
    running.drain().unwrap();
}

#[test]
fn a_worker_that_ends_again_and_again_ends_the_process_with_an_error() {
    let running = Running::start();
    for _ in 0.. {
        if running.ended.is_finished() {
            break;
        }
        let _ = running.state.team.order(1, Order::Do(Box::new(|| panic!("a fault outside of any connection"))));
        thread::yield_now();
    }
    let error = running.ended.join().unwrap().unwrap_err();
    assert!(matches!(error, RunError::Worker(WorkerError::Hopeless { index: 1, .. })), "{error}");
}

#[test]
fn a_worker_whose_queue_is_full_ends_when_it_is_told_to() {
    let running = Running::start();
    let (go, wait) = std_mpsc::channel::<()>();
    running.tell(0, move || assert!(wait.recv().is_err()));
    while running.state.team.order(0, Order::Do(Box::new(|| {}))).is_ok() {}
    running.state.end();
    drop(go);
    // Both have ended by themselves, so that there is nobody to wait for.
    running.drain().unwrap();
}
