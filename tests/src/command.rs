//! The program, and what it says and does when it is run to its end.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::within;

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code.
    pub code: Option<i32>,
    /// All that it printed, unless that went to a terminal.
    pub stdout: String,
    /// All that it complained about; what a terminal showed.
    pub stderr: String,
}

impl Finished {
    /// Runs `tidegate` with these arguments in `directory` to its end.
    pub async fn run(directory: &Path, arguments: &[&str]) -> Self {
        Self::of(Command::new(tidegate()), directory, arguments).await
    }

    async fn of(mut command: Command, directory: &Path, arguments: &[&str]) -> Self {
        let command = command.args(arguments).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = within("a command to end", command).await.expect("run tidegate");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs `tidegate` in `directory` to its end as somebody at a terminal does: with all that it says on a terminal.
    pub async fn on_terminal(directory: &Path, arguments: &[&str]) -> Self {
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        let mut command = Command::new(tidegate());
        command.args(arguments).current_dir(directory).stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(terminal.slave.try_clone().expect("a duplicate")).stderr(terminal.slave);
        let mut child = command.spawn().expect("run tidegate");
        // The last of the process's ends of the terminal are its own, so that reading ends when it does.
        drop(command);
        let mut screen = std::fs::File::from(terminal.master);
        let reader = std::thread::spawn(move || {
            let mut shown = Vec::new();
            // A terminal that everybody has left is an error to read from.
            let _ = std::io::Read::read_to_end(&mut screen, &mut shown);
            String::from_utf8_lossy(&shown).replace("\r\n", "\n")
        });
        let status = within("a command to end", child.wait()).await.expect("run tidegate");
        let stderr = reader.join().expect("what the terminal shows");
        Self { code: status.code(), stdout: String::new(), stderr }
    }

    /// Runs it with at most `limit` open files.
    pub async fn run_with_open_files(limit: usize, directory: &Path, arguments: &[&str]) -> Self {
        Self::of(limited(limit), directory, arguments).await
    }

    /// Everything it wrote.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// The program, which may have this many files open.
pub(crate) fn limited(limit: usize) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"]).arg(tidegate());
    command
}

/// The binary under test, which cargo builds into the folder that holds `deps/`, where this test lies.
pub fn tidegate() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(Path::parent).expect("a target folder");
    let binary = folder.join("tidegate");
    assert!(binary.exists(), "{} is not built: run `cargo test --workspace`", binary.display());
    binary
}
