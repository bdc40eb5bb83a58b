//! The echo server of a comparison, in a process of its own: with thousands of connections, generator and echo server
//! together would need more files than a process may open.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// An echo server that runs, ended when dropped.
#[derive(Debug)]
pub struct Upstream {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Upstream {
    /// Starts one by the program at work, on the core that the calling thread is pinned to.
    pub fn start(socket_buffer: Option<usize>) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("the path of this program")?);
        command.args(["echo", "--listen", "127.0.0.1:0"]);
        if let Some(bytes) = socket_buffer {
            command.arg("--socket-buffer").arg(bytes.to_string());
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting an echo server")?;
        let mut line = String::new();
        let stdout = child.stdout.take();
        let read = stdout.map_or(Ok(0), |stdout| BufReader::new(stdout).read_line(&mut line));
        // From here on, dropping ends the process whatever it said.
        let mut upstream = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        read.context("reading what the echo server says")?;
        let said: serde_json::Value = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
        upstream.address = said["listening"].as_str().unwrap_or_default().parse().with_context(|| line.clone())?;
        Ok(upstream)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
