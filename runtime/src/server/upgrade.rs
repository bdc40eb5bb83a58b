//! Replacing the binary: starts the program that lies where this process was started from, and hands over to it.
//!
//! Until the new process is ready, this one serves and nothing has changed; if it never is, it is ended and this one
//! goes on.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{JoinHandle, spawn_blocking};

use super::handover::{Answer, Link, Sockets, VARIABLE};
use super::signals;
use crate::metrics::UpgradeFailure;
use crate::tls::Keys;

/// Why this process goes on.
#[derive(Debug, Error)]
pub(super) enum UpgradeError {
    /// There is no such program, or the process cannot start one.
    #[error("the new process cannot be started: {0}")]
    Start(#[from] io::Error),
    /// It ended, as on a wrong configuration.
    #[error("the new process has ended before it was ready ({0}): {1}")]
    Ended(ExitStatus, String),
    /// It was ended, because it took longer than this.
    #[error("the new process was not ready within {0:?}")]
    Timeout(Duration),
}

impl UpgradeError {
    /// As it is counted.
    pub(super) fn reason(&self) -> UpgradeFailure {
        match self {
            Self::Start(_) => UpgradeFailure::Start,
            Self::Ended(..) => UpgradeFailure::Ended,
            Self::Timeout(_) => UpgradeFailure::Timeout,
        }
    }
}

/// An upgrade under way.
#[derive(Debug)]
pub(super) struct Upgrade {
    link: Arc<Link>,
    starting: JoinHandle<Result<Child, UpgradeError>>,
}

/// A new process that is ready to serve and waits for being told to.
#[derive(Debug)]
pub(super) struct Successor {
    child: Child,
    link: Arc<Link>,
}

impl Upgrade {
    /// Starts a new process that has `patience` to become ready.
    pub(super) fn begin(sockets: Arc<Sockets>, keys: Arc<Keys>, patience: Duration) -> Result<Self, UpgradeError> {
        let (link, theirs) = Link::pair(patience)?;
        let link = Arc::new(link);
        let ours = link.clone();
        let starting = spawn_blocking(move || {
            let child = signals::spawn(program()?.stdin(Stdio::from(theirs)).env(VARIABLE, "stdin"))?;
            tracing::info!(pid = child.id(), "a new process starts, to take over");
            introduce(child, (&ours, &sockets, &keys), patience)
        });
        Ok(Self { link, starting })
    }

    /// Waits until the new process is ready. Cancel safe.
    ///
    /// # Errors
    /// When it will not be; then it has ended.
    pub(super) async fn finished(&mut self) -> Result<Successor, UpgradeError> {
        let child = (&mut self.starting).await.map_err(io::Error::other)??;
        Ok(Successor { child, link: self.link.clone() })
    }

    /// Ends the new process.
    pub(super) async fn give_up(mut self) {
        self.link.cut();
        if let Ok(successor) = self.finished().await {
            successor.end();
        }
    }
}

impl Successor {
    /// Has it serve, and then reload if that was asked for meanwhile; gives its process id.
    ///
    /// # Errors
    /// When it has ended since it said that it is ready.
    pub(super) fn go(self, reload: bool) -> Result<u32, UpgradeError> {
        match self.link.go(reload) {
            Ok(()) => Ok(self.child.id()),
            Err(error) => Err(UpgradeError::Ended(self.end(), error.to_string())),
        }
    }

    fn end(mut self) -> ExitStatus {
        end(&mut self.child)
    }
}

/// The program and the arguments that this process was started with. The file may be another by now.
fn program() -> io::Result<Command> {
    let mut arguments = std::env::args_os();
    let program = match arguments.next() {
        Some(program) => program,
        None => std::env::current_exe()?.into(),
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Gives the new process the sockets and waits until it is ready; otherwise, until it has ended.
fn introduce(
    mut child: Child,
    (link, sockets, keys): (&Link, &Sockets, &Keys),
    patience: Duration,
) -> Result<Child, UpgradeError> {
    let answer = match link.offer(sockets, keys) {
        Ok(()) => link.answer(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Answer::Late,
        Err(_) => Answer::Gone,
    };
    let why = match answer {
        Answer::Ready => return Ok(child),
        Answer::Late => {
            end(&mut child);
            return Err(UpgradeError::Timeout(patience));
        }
        Answer::Failed(why) => {
            link.until_gone();
            why
        }
        Answer::Gone => "it has said nothing".to_owned(),
    };
    Err(UpgradeError::Ended(end(&mut child), why))
}

/// Ends a process that has not ended by itself, and says how it did.
fn end(child: &mut Child) -> ExitStatus {
    // Both fail only for a process that has been waited for.
    let _ = child.kill();
    child.wait().unwrap_or_default()
}
