//! Plain requests over connections that are kept: each asks for a page, reads it, and asks for the next.

use std::io::{self, Read, Write};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use super::{Checked, ScenarioError, Target, microseconds_each};
use crate::clock::{SECOND, now, seconds};
use crate::handshake::Head;
use crate::page;
use crate::tools::{Latency, histogram};

/// Plain requests.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Requests {
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// Seconds before it counts.
    pub warm_up: f64,
    /// Seconds that count.
    pub seconds: f64,
}

/// What they cost.
#[derive(Clone, Debug, Serialize)]
pub struct RequestsReport {
    /// The scenario.
    pub load: Requests,
    /// Requests in a second.
    pub requests_per_second: f64,
    /// CPU time of the watched process for one request.
    pub cpu_us_per_request: Option<f64>,
    /// Of an answer, in microseconds.
    pub latency_us: Latency,
    /// Faults and totals.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Runs it.
pub fn run(target: &Target, load: Requests) -> Result<RequestsReport, ScenarioError> {
    let mut clients = Clients::connect(target, load.connections)?;
    let started = now();
    clients.run(started + seconds(load.warm_up))?;
    let (cpu, answered, started) = (target.cpu()?, clients.answered, now());
    clients.latency.reset();
    clients.run(started + seconds(load.seconds))?;
    let (cpu, elapsed) = (target.cpu()? - cpu, now() - started);
    let measured = clients.answered - answered;
    Ok(RequestsReport {
        load,
        requests_per_second: measured as f64 * SECOND as f64 / elapsed as f64,
        cpu_us_per_request: microseconds_each(target, cpu, measured),
        latency_us: Latency::of(&clients.latency),
        checked: clients.checked,
    })
}

struct Clients {
    poll: Poll,
    clients: Vec<Client>,
    host: String,
    scratch: Vec<u8>,
    answered: u64,
    latency: Histogram<u64>,
    checked: Checked,
}

struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    /// The page that it waits for, and since when.
    asked: Option<(u64, u64)>,
    is_over: bool,
}

impl Clients {
    fn connect(target: &Target, count: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut clients = Vec::new();
        for key in 0..count {
            let mut stream = TcpStream::connect(target.address)?;
            poll.registry().register(&mut stream, Token(key), Interest::READABLE | Interest::WRITABLE)?;
            clients.push(Client { stream, unread: Vec::new(), asked: None, is_over: false });
        }
        let host = target.request.host.clone();
        let (scratch, latency) = (vec![0; 64 << 10], histogram());
        Ok(Self { poll, clients, host, scratch, answered: 0, latency, checked: Checked::default() })
    }

    fn run(&mut self, until: u64) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        while now() < until {
            let wait = std::time::Duration::from_nanos(until.saturating_sub(now()));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.progress(event.token().0);
            }
        }
        Ok(())
    }

    fn progress(&mut self, key: usize) {
        let Self { clients, host, scratch, answered, latency, checked, .. } = self;
        let client = &mut clients[key];
        if client.is_over {
            return;
        }
        if let Err(reason) = client.progress(host, scratch, &mut |asked_at| {
            *answered += 1;
            latency.saturating_record(now().saturating_sub(asked_at));
        }) {
            client.is_over = true;
            match reason {
                Broken::Changed => checked.faults.changed += 1,
                Broken::Other(_) => checked.faults.broken += 1,
            }
            *checked.reasons.entry(reason.to_string()).or_default() += 1;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("another page came than was asked for")]
    Changed,
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Other(error.kind().to_string())
    }
}

impl Client {
    fn progress(&mut self, host: &str, scratch: &mut [u8], answered: &mut dyn FnMut(u64)) -> Result<(), Broken> {
        if self.asked.is_none() {
            self.ask(0, host)?;
        }
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(Broken::Other("ended".to_owned())),
                Ok(count) => self.unread.extend_from_slice(&scratch[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            let Some((number, asked_at)) = self.asked else { continue };
            let Some(head) = Head::find(&self.unread) else { continue };
            let (length, status) = (head.length, head.status());
            if status != Some(200) {
                return Err(Broken::Other(format!("answered with {status:?}")));
            }
            let Some(page) = self.unread.get(length..length + page::SIZE) else { continue };
            if !page::is(page, number) || self.unread.len() > length + page::SIZE {
                return Err(Broken::Changed);
            }
            self.unread.clear();
            answered(asked_at);
            self.ask(number + 1, host)?;
        }
    }

    /// A request is far smaller than what a socket takes.
    fn ask(&mut self, number: u64, host: &str) -> Result<(), Broken> {
        let request = format!(
            "GET {}{number} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tidegate-load\r\nAccept: */*\r\n\
             Accept-Encoding: gzip\r\n\r\n",
            page::PATH
        );
        match self.stream.write(request.as_bytes()) {
            Ok(count) if count == request.len() => {
                self.asked = Some((number, now()));
                Ok(())
            }
            Ok(_) => Err(Broken::Other("a request was not taken whole".to_owned())),
            // Not connected yet.
            Err(error) if number == 0 && error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if number == 0 && error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
