//! The proxy as its users run it: the binary in a process of its own.
//!
//! Everything a test learns comes over a socket, a log line or an exit code. The process dies with the [`Proxy`].

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::command::{limited, tidegate};
use crate::lines::field;
use crate::{DEADLINE, Lines, Peer, Reply, Request, Samples, within};

pub use rustix::process::Signal;

/// A running proxy with one listener.
#[derive(Debug)]
pub struct Proxy {
    /// Where it takes WebSockets.
    pub address: SocketAddr,
    /// Its admin API.
    pub admin: SocketAddr,
    log: Lines,
    access: Lines,
    child: Child,
    /// Those that it started, and itself.
    group: Option<Group>,
    directory: TempDir,
}

impl Proxy {
    /// Starts a proxy with one worker. The admin API, the log and, unless `config` does, the listener are configured by
    /// the harness; `config` holds the rest.
    pub async fn start(config: &str) -> Self {
        Self::with_workers(1, config).await
    }

    /// Starts a proxy.
    ///
    /// # Panics
    /// When it does not say that it is ready, with all that it said instead.
    pub async fn with_workers(workers: usize, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(tidegate());
        command.args(["run", "--workers", &workers.to_string(), "--config"]).arg(directory.path().join(CONFIG));
        Self::launch(command, directory, config).await
    }

    /// Starts a proxy that may have this many files open.
    pub async fn with_open_files(limit: usize, workers: usize, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = limited(limit);
        command.args(["run", "--workers", &workers.to_string(), "--config"]).arg(directory.path().join(CONFIG));
        Self::launch(command, directory, config).await
    }

    /// Starts a proxy on a system that believes the authorities in a file and no others.
    pub async fn believing(authorities: &Path, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(tidegate());
        command.args(["run", "--workers", "1", "--config"]).arg(directory.path().join(CONFIG));
        command.env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
        Self::launch(command, directory, config).await
    }

    /// Starts a proxy whose standard output is redirected, as a shell says it: `> /dev/full`.
    pub async fn redirected(redirection: &str, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")]).arg(tidegate());
        command.args(["run", "--workers", "1", "--config"]).arg(directory.path().join(CONFIG));
        Self::launch(command, directory, config).await
    }

    /// Starts a proxy as a service manager does that has opened these sockets for it.
    pub async fn activated(workers: usize, sockets: &[BorrowedFd<'_>], config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // Those that a process it starts has, too.
        let copies: Vec<_> = sockets.iter().map(|socket| rustix::io::dup(socket).expect("a duplicate")).collect();
        let moved = copies.iter().zip(3..).map(|(copy, to)| format!(" {to}<&{0} {0}<&-", copy.as_raw_fd()));
        let moved: String = moved.collect();
        let count = sockets.len();
        let script = format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$0\" \"$@\"{moved}");
        let mut command = Command::new("bash");
        command.args(["-c", &script]).arg(tidegate());
        command.args(["run", "--workers", &workers.to_string(), "--config"]).arg(directory.path().join(CONFIG));
        Self::launch(command, directory, config).await
    }

    /// Starts a proxy that permissions of files hold for, also where root runs the tests.
    pub async fn unprivileged(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(tidegate());
        if rustix::process::geteuid().is_root() {
            let without =
                ["--inh-caps=-dac_override,-dac_read_search", "--bounding-set=-dac_override,-dac_read_search"];
            command = Command::new("setpriv");
            command.args(without).arg(tidegate());
        }
        command.args(["run", "--workers", "1", "--config"]).arg(directory.path().join(CONFIG));
        Self::launch(command, directory, config).await
    }

    /// Sets how many files it may have open from now on.
    pub fn limit_open_files(&self, limit: u64) {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        // The process has it from this one.
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum }).expect("set a limit");
    }

    /// Starts a proxy that may start another in its place, from a file of its own that [`Proxy::install`] replaces. It is
    /// told its configuration by a relative path, which says how many workers it has. All of them die with it.
    pub async fn upgradable(config: &str) -> Self {
        let (command, directory) = Self::upgradable_command();
        let mut proxy = Self::launch(command, directory, config).await;
        proxy.group = Some(Group(proxy.pid()));
        proxy
    }

    /// Starts an upgradable proxy that gets these signals from its first moment on, again and again, until it is ready.
    pub async fn signalled(config: &str, signals: &[Signal]) -> Self {
        let (mut command, directory) = Self::upgradable_command();
        std::fs::write(directory.path().join(CONFIG), complete(config)).expect("write the configuration");
        command.current_dir(directory.path());
        let started = Started::signalled(command, signals, "\"message\":\"ready\"").await;
        let group = Some(Group(started.pid()));
        Self { group, ..Self::of(started, directory).await }
    }

    fn upgradable_command() -> (Command, TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join(PROGRAM);
        std::os::unix::fs::symlink(tidegate(), &program).expect("a link to the program");
        let mut command = Command::new(program);
        command.args(["run", "--config", CONFIG]).process_group(0);
        (command, directory)
    }

    async fn launch(mut command: Command, directory: TempDir, config: &str) -> Self {
        std::fs::write(directory.path().join(CONFIG), complete(config)).expect("write the configuration");
        command.current_dir(directory.path());
        Self::of(Started::new(command), directory).await
    }

    async fn of(Started { child, log, output: access }: Started, directory: TempDir) -> Self {
        log.find("that the proxy is ready", |line| field(line, "message") == "ready").await;
        let address = address(&log, "listening").await;
        let admin = self::address(&log, "admin listening").await;
        Self { address, admin, log, access, child, group: None, directory }
    }

    /// Has it start another process in its place, and gives the id of that one once it serves.
    pub async fn upgrade(&self) -> u32 {
        self.upgrade_of(self.pid()).await
    }

    /// The same of a process that has taken its place.
    pub async fn upgrade_of(&self, pid: u32) -> u32 {
        let before = self.log().len();
        send(pid, Signal::USR2);
        let fresh = |line: &Value| field(line, "message") == UPGRADED && !self.log()[..before].contains(line);
        let line = self.log.find("an upgrade", fresh).await;
        let successor = &line["pid"];
        self.log.find("ready", |line| field(line, "message") == "ready" && line["pid"] == *successor).await;
        successor.as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id")
    }

    /// Replaces the program by a shell script.
    pub fn install(&self, script: &str) {
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("write the script");
        std::fs::set_permissions(&draft, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a program");
        std::fs::rename(&draft, self.directory.path().join(PROGRAM)).expect("replace the program");
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running proxy")
    }

    /// Opens a WebSocket.
    pub async fn open(&self, target: &str) -> Peer {
        Peer::open(self.address, target).await
    }

    /// Sends one request on a connection of its own and reads the answer.
    pub async fn answer(&self, request: &Request) -> Reply {
        Peer::handshake(self.address, request).await.1
    }

    /// Asks the admin API.
    pub async fn admin(&self, method: &str, target: &str) -> Reply {
        let request = Request::new(method, target).replacing("Host", &self.admin.to_string());
        crate::request(self.admin, &request).await
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Samples {
        let reply = self.admin("GET", "/metrics").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        Samples::parse(&reply.body)
    }

    /// Waits until a metric has a value: counts follow what a peer sees by a moment.
    ///
    /// # Panics
    /// When it does not reach it, or has gone past it, with the last value.
    pub async fn until(&self, name: &str, labels: &[(&str, &str)], value: u64) -> Samples {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let mut last = 0;
        let reached = async {
            loop {
                ticks.tick().await;
                let samples = self.metrics().await;
                last = samples.count(name, labels);
                if last == value {
                    return samples;
                }
            }
        };
        match tokio::time::timeout(DEADLINE, reached).await {
            Ok(samples) => samples,
            Err(_) => panic!("{name}{labels:?} is {last}, not {value}"),
        }
    }

    /// Waits for a log line that contains all of `parts`.
    pub async fn wait_for_log(&self, parts: &[&str]) -> Value {
        let contains = |line: &Value| {
            let text = line.to_string();
            parts.iter().all(|part| text.contains(part))
        };
        self.log.find(&format!("{parts:?}"), contains).await
    }

    /// Waits until this many lines of the log say so.
    pub async fn wait_for_lines(&self, count: usize, message: &str) {
        self.log.many(count, |line| field(line, "message") == message).await;
    }

    /// The log so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.so_far()
    }

    /// Waits for the first `count` lines of the access log.
    pub async fn access_lines(&self, count: usize) -> Vec<Value> {
        self.access.at_least(count).await
    }

    /// Waits for the only line of the access log.
    pub async fn access_line(&self) -> Value {
        self.access_lines(1).await.remove(0)
    }

    /// Waits for a line of the access log that `wanted` accepts.
    pub async fn wait_for_access(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.access.find("the wanted line of the access log", wanted).await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Sends a signal to a process that it has started.
    pub fn signal_to(pid: u32, signal: Signal) {
        send(pid, signal);
    }

    /// Writes another configuration, as [`Proxy::start`] takes it, in one step.
    pub fn rewrite(&self, config: &str) {
        let draft = self.directory.path().join("draft");
        std::fs::write(&draft, complete(config)).expect("write the configuration");
        std::fs::rename(&draft, self.directory.path().join(CONFIG)).expect("replace the configuration");
    }

    /// Writes a file beside the configuration in one step.
    pub fn place(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let draft = self.directory.path().join("draft-of-file");
        std::fs::write(&draft, bytes).expect("write a file");
        std::fs::rename(&draft, self.directory.path().join(name)).expect("replace a file");
    }

    /// Puts a pipe that nobody writes to in the place of a file beside the configuration, or of the configuration itself.
    pub fn place_pipe(&self, name: &str) {
        let draft = self.directory.path().join("draft-of-pipe");
        let made = std::process::Command::new("mkfifo").arg(&draft).status().expect("run mkfifo");
        assert!(made.success(), "no pipe: {made}");
        std::fs::rename(&draft, self.directory.path().join(name)).expect("replace a file");
    }

    /// Waits for the process to end, and gives its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        within("the proxy to end", self.child.wait()).await.expect("wait").code()
    }

    /// The folder the configuration lies in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Reloads by the admin API and returns its answer. Reloads under way are waited for.
    pub async fn reload(&self) -> Reply {
        self.admin("POST", "/api/v1/reload").await
    }

    /// The resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory in bytes that there has been so far.
    pub fn peak_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a process status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line of memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a size") * 1024
    }
}

/// A process that may not be ready yet.
#[derive(Debug)]
pub struct Started {
    /// What it says on standard error.
    pub log: Lines,
    /// What it says on standard output.
    pub output: Lines,
    child: Child,
}

impl Started {
    /// Starts a command, which ends with this.
    pub fn new(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("start the proxy");
        let output = Lines::of(child.stdout.take().expect("stdout"));
        let log = Lines::of(child.stderr.take().expect("stderr"));
        Self { log, output, child }
    }

    /// Starts a command that gets these signals from its first moment on, again and again, until it has said `word`. They
    /// are blocked until it has them handled, because no program can do so in its very first moment.
    pub async fn signalled(command: Command, signals: &[Signal], word: &str) -> Self {
        let blocked: nix::sys::signal::SigSet = signals
            .iter()
            .map(|signal| nix::sys::signal::Signal::try_from(signal.as_raw()).expect("a signal"))
            .collect();
        let before = blocked.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).expect("block signals");
        let started = Self::new(command);
        before.thread_set_mask().expect("unblock signals");
        let again = async {
            loop {
                signals.iter().for_each(|signal| send(started.pid(), *signal));
                tokio::task::yield_now().await;
            }
        };
        let says = |line: &Value| line.to_string().contains(word);
        tokio::select! {
            _ = started.log.find(word, says) => {}
            _ = started.output.find(word, says) => {}
            () = again => {}
        }
        started
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits for the process to end, and gives its exit code; `None` when a signal has ended it.
    pub async fn exit_code(&mut self) -> Option<i32> {
        within("the process to end", self.child.wait()).await.expect("wait").code()
    }
}

/// What the harness says about where to listen and how to log; it follows the test's own text, so that the line numbers
/// of problems are those of that text.
const TABLES: [(&str, &str); 3] = [
    ("[log]", "format = \"json\""),
    ("[admin]", "listen = \"127.0.0.1:0\""),
    ("[[listeners]]", "listen = \"127.0.0.1:0\""),
];

/// The whole text of a configuration; one that has its own `[log]`, `[admin]` or listener keeps it.
///
/// Standard components get a longer deadline than the default, because a deadline is wall time and a machine that runs
/// tests may keep a worker from its core for longer than that.
pub(crate) fn complete(config: &str) -> String {
    let missing = TABLES.iter().filter(|(table, _)| !config.contains(table));
    let missing: String = missing.map(|(table, keys)| format!("{table}\n{keys}\n")).collect();
    let is_used = |name: &&&str| match **name {
        "round-robin" => !config.contains("balance = ") || config.contains("\"round-robin\""),
        name => config.contains(&format!("\"{name}\"")),
    };
    let deadlines: String =
        STANDARD.iter().filter(is_used).map(|name| format!("[components.{name}]\ndeadline = \"1s\"\n")).collect();
    format!("{config}\n{missing}{deadlines}")
}

/// The standard components that tests use.
const STANDARD: &[&str] =
    &["conditions", "round-robin", "random", "consistent-hash", "least-connections", "p2c", "rate-limit"];

const CONFIG: &str = "tidegate.toml";
const PROGRAM: &str = "tidegate";
const UPGRADED: &str = "a new process has taken over";

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("kill");
}

/// A process group that ends when this is dropped.
#[derive(Debug)]
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let group = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw);
        // It may have ended by itself.
        let _ = group.map(|group| rustix::process::kill_process_group(group, Signal::KILL));
    }
}

async fn address(log: &Lines, what: &str) -> SocketAddr {
    let line = log.find(what, |line| field(line, "message") == what).await;
    field(&line, "address").parse().unwrap_or_else(|_| panic!("no address: {line}"))
}
