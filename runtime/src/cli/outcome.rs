//! How a command ends: what it says, where, and with which exit code.

use std::io::{self, Write};
use std::process::ExitCode;

/// What a command has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// For standard output.
    said: String,
    /// For standard error.
    complaint: String,
    code: u8,
}

impl Outcome {
    /// It has done what it was asked to.
    pub(super) fn done(said: impl Into<String>) -> Self {
        Self { said: said.into(), complaint: String::new(), code: 0 }
    }

    /// It could not, because of something outside of the command line.
    pub(super) fn failed(why: &str) -> Self {
        Self { said: String::new(), complaint: format!("tidegate: {why}"), code: FAILURE }
    }

    /// It was asked for what cannot be: a wrong call.
    pub(super) fn wrong(why: &str) -> Self {
        Self { code: WRONG, ..Self::failed(why) }
    }

    /// The configuration is wrong, which `problems` says.
    pub(super) fn misconfigured(problems: impl Into<String>) -> Self {
        Self { said: String::new(), complaint: problems.into(), code: WRONG }
    }

    /// Says this on standard output, too.
    pub(super) fn saying(self, said: impl Into<String>) -> Self {
        Self { said: said.into(), ..self }
    }

    /// Says this on standard error, too.
    pub(super) fn complaining(self, complaint: impl Into<String>) -> Self {
        Self { complaint: complaint.into(), ..self }
    }

    /// Says it.
    pub(super) fn tell(self) -> ExitCode {
        if !self.complaint.is_empty() {
            complain(&self.complaint);
        }
        let printed = if self.said.is_empty() { Ok(()) } else { print(&format!("{}\n", self.said)) };
        ended(printed, self.code)
    }
}

/// Prints to standard output. Who has closed it has read enough.
///
/// # Errors
/// When it cannot be written otherwise, as on a full disk.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    unless_closed(output.write_all(text.as_bytes()).and_then(|()| output.flush()))
}

/// Passes over that nobody reads on.
pub(super) fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// The exit code of a command that has printed what it had to say, or could not.
pub(super) fn ended(printed: io::Result<()>, code: u8) -> ExitCode {
    match printed {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            complain(&format!("tidegate: the output cannot be written: {error}"));
            ExitCode::from(code.max(FAILURE))
        }
    }
}

/// There is nowhere to say that this cannot be written.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The exit code of a failure while running.
const FAILURE: u8 = 1;
/// The exit code of a wrong call or a wrong configuration.
pub(super) const WRONG: u8 = 2;
