//! Starting and stopping the proxies that are compared: one worker each, on its core, on loopback ports of our choice,
//! everything they write in a temporary directory.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

use super::rows::{CHURN, Row, STREAMS, Security};
use super::templates;
use crate::clock::{SECOND, now};
use crate::multiplexer::Multiplexer;
use crate::process::{Pinned, ProcessTree};
use crate::scenario::Target;
use crate::wire::{Identity, Tls};

/// A column of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Variant {
    /// Its head.
    pub name: String,
    /// What it stands for in the bars.
    pub part: Part,
    /// How it is started.
    #[serde(skip)]
    pub launch: Launch,
}

/// What a variant stands for in the bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A proxy that lets messages pass as they are.
    Peer,
    /// A proxy with a Wasm module that reads every byte.
    FilteredPeer,
    /// Tidegate without a filter.
    Relay,
    /// Tidegate with one filter.
    Filtered,
    /// Tidegate with a predicate, a balancer and one filter; for what opening a connection costs.
    Policy,
    /// Tidegate with a filter that replaces every message; for what compression costs.
    Replacing,
    /// Tidegate in another way, without bars.
    Other,
}

impl Variant {
    /// Whether it is left out of most rows, and so is no column of the table.
    pub fn is_for_few_rows(&self) -> bool {
        matches!(self.part, Part::Policy | Part::Replacing)
    }

    /// Whether it is measured on this row.
    pub fn stands_in(&self, row: &Row) -> bool {
        // Envoy and configurations of one's own are not made to speak TLS here.
        let speaks_tls = matches!(self.launch, Launch::Nginx { .. } | Launch::Haproxy { .. } | Launch::Tidegate { .. });
        let speaks_http2 = matches!(self.launch, Launch::Envoy { module: None, .. } | Launch::Tidegate { .. });
        let speaks = match row.security {
            Security::Clear => true,
            Security::Tls | Security::Resumed => speaks_tls,
            Security::Multiplexed => speaks_http2,
        };
        if !speaks {
            return false;
        }
        match self.part {
            Part::Policy => row.name == CHURN,
            Part::Replacing => row.is_compressed(),
            _ => true,
        }
    }
}

/// How a proxy is started.
#[derive(Clone, Debug)]
pub enum Launch {
    /// nginx with one worker process.
    Nginx {
        /// The executable.
        binary: PathBuf,
    },
    /// haproxy with one thread.
    Haproxy {
        /// The executable.
        binary: PathBuf,
    },
    /// Envoy with one worker thread.
    Envoy {
        /// The executable.
        binary: PathBuf,
        /// A module that runs on every chunk.
        module: Option<EnvoyModule>,
    },
    /// Tidegate with one worker and one route.
    Tidegate {
        /// The executable.
        binary: PathBuf,
        /// What the route names.
        route: TidegateRoute,
    },
    /// Tidegate with one worker and a configuration of one's own.
    TidegateConfig {
        /// The executable.
        binary: PathBuf,
        /// The text of the configuration with {listen}, {admin} and {upstream} in it.
        template: String,
    },
}

/// Code that an Envoy runs.
#[derive(Clone, Debug)]
pub enum EnvoyModule {
    /// A proxy-wasm module, in the chain of HTTP filters.
    Wasm(PathBuf),
    /// A dynamic module, native code, as a filter of the connection to the client: it sees frames as they are on the wire.
    Native(PathBuf),
}

/// The components of Tidegate's one route, as they stand in the configuration; filters also as paths.
#[derive(Clone, Debug, Default)]
pub struct TidegateRoute {
    /// Predicates.
    pub when: Vec<String>,
    /// Filters.
    pub filters: Vec<String>,
}

/// A proxy that runs, ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    tls: Option<Tls>,
    /// What speaks HTTP/2 with it for the load.
    multiplexer: Option<Multiplexer>,
}

impl Proxy {
    /// Starts it on `core` in front of `upstream` and waits until it accepts connections.
    pub fn start(
        variant: &Variant,
        upstream: SocketAddr,
        core: usize,
        directory: &Path,
        security: Security,
    ) -> anyhow::Result<Self> {
        let is_secure = matches!(security, Security::Tls | Security::Resumed);
        let is_multiplexed = security == Security::Multiplexed;
        let identity = is_secure.then(|| Identity::make(directory)).transpose()?;
        let tls = identity.as_ref().map(|identity| identity.tls(security == Security::Resumed)).transpose()?;
        let identity = identity.as_ref();
        let (listen, admin) = (free_address()?, free_address()?);
        let directory = directory.join(listen.port().to_string());
        fs::create_dir_all(&directory)?;
        let place = |name: &str, text: String| -> io::Result<PathBuf> {
            let path = directory.join(name);
            fs::write(&path, text).map(|()| path)
        };
        let mut command = match &variant.launch {
            Launch::Nginx { binary } => {
                let mut command = Command::new(binary);
                command.arg("-p").arg(&directory).arg("-e").arg(directory.join("error.log"));
                command.arg("-c").arg(place("nginx.conf", templates::nginx(&directory, listen, upstream, identity))?);
                command
            }
            Launch::Haproxy { binary } => {
                let mut command = Command::new(binary);
                command.arg("-db").arg("-f").arg(place("haproxy.cfg", templates::haproxy(listen, upstream, identity))?);
                command
            }
            Launch::Envoy { binary, module } => {
                let mut command = Command::new(binary);
                let config = place("envoy.yaml", templates::envoy(listen, upstream, module.as_ref(), is_multiplexed))?;
                command.arg("-c").arg(config).args(["--concurrency", "1", "--disable-hot-restart", "-l", "error"]);
                command
            }
            Launch::Tidegate { binary, route } => tidegate(
                binary,
                &place(
                    "tidegate.toml",
                    templates::tidegate(listen, admin, upstream, route, identity, is_multiplexed)?,
                )?,
            ),
            Launch::TidegateConfig { binary, template } => {
                let text = template
                    .replace("{listen}", &listen.to_string())
                    .replace("{admin}", &admin.to_string())
                    .replace("{upstream}", &upstream.to_string());
                tidegate(binary, &place("tidegate.toml", text)?)
            }
        };
        let log = directory.join("output.log");
        command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(fs::File::options().append(true).open(&log)?);
        let child = {
            // The child inherits the affinity of the thread that starts it.
            let _pinned = Pinned::to(core)?;
            command.spawn().with_context(|| format!("{command:?}"))?
        };
        let mut proxy = Self { child, address: listen, tls, multiplexer: None };
        proxy.wait_until_it_listens().with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        if is_multiplexed {
            proxy.multiplexer = Some(Multiplexer::start(listen, STREAMS)?);
        }
        Ok(proxy)
    }

    /// The target of its load, with its process to watch.
    pub fn target(&self) -> Target {
        let process = Some(ProcessTree::new(self.child.id()));
        Target {
            process,
            tls: self.tls.clone(),
            ..Target::new(self.multiplexer.as_ref().map_or(self.address, |it| it.address), "/")
        }
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let deadline = now() + 30 * SECOND;
        while now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("it ended with {status}");
            }
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("it does not listen on {} after 30 seconds", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // A master process must get the chance to end its workers, so it is asked first.
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let deadline = now() + 3 * SECOND;
        while now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tidegate(binary: &Path, config: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg("run").arg("--config").arg(config).args(["--workers", "1"]);
    command
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()
}
