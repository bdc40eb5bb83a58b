//! The file of a unix socket: who may connect to it, and when it goes.
//!
//! A socket leaves its file behind when its process ends without a word, so that one to which nobody can connect is
//! replaced. A file that is no socket, or one that somebody listens on, is never touched. Which file is ours is told by
//! its inode: another process may have put its own in the place.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, SockAddr, Socket, Type};

use super::bind::BindError;

/// Who may connect to a unix socket: whoever may write its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The bits of its mode; `None`: 0660, or what an inherited one has.
    pub mode: Option<u32>,
    /// The number of its user; `None`: as it was made.
    pub owner: Option<u32>,
    /// The number of its group; `None`: as it was made.
    pub group: Option<u32>,
}

/// The file of a listening unix socket. It is removed with this, where that is this process's business.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Its device and its inode; `None`: there was none.
    identity: Option<(u64, u64)>,
    /// Whether somebody else has made it, and removes it.
    is_lent: bool,
    /// Whether no other process has it that goes on with it.
    is_ours: AtomicBool,
}

impl SocketFile {
    /// Makes a socket and its file. Nobody can connect before it listens.
    pub(super) fn bind(path: &Path) -> Result<(Socket, Self), BindError> {
        make_room(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken,
            io::ErrorKind::NotFound => BindError::NoDirectory,
            _ => error.into(),
        })?;
        let file = Self::inherited(path, false);
        file.own();
        Ok((socket, file))
    }

    /// That of a socket which another process has made. It stays that process's until it is [owned](Self::own); one that is
    /// lent always does.
    pub(super) fn inherited(path: &Path, is_lent: bool) -> Self {
        Self { path: path.to_owned(), identity: identity(path), is_lent, is_ours: AtomicBool::new(false) }
    }

    /// Whether the file is still the one that it was.
    pub(super) fn is_there(&self) -> bool {
        self.identity.is_some() && identity(&self.path) == self.identity
    }

    /// Whether somebody else removes it.
    pub(super) fn is_lent(&self) -> bool {
        self.is_lent
    }

    /// Gives the file its mode, its owner and its group. A mode that nobody has asked for is that of a file we made.
    pub(super) fn give(&self, rights: &Rights) -> Result<(), BindError> {
        let Rights { mode, owner, group } = *rights;
        let mode = mode.or_else(|| (!self.is_lent).then_some(MODE));
        let give = || {
            if owner.is_some() || group.is_some() {
                chown(&self.path, owner, group)?;
            }
            mode.map_or(Ok(()), |mode| fs::set_permissions(&self.path, Permissions::from_mode(mode)))
        };
        give().map_err(BindError::Rights)
    }

    /// Has this process remove it at the end.
    pub(super) fn own(&self) {
        self.is_ours.store(!self.is_lent, Ordering::Relaxed);
    }

    /// Leaves it to a process that goes on with it.
    pub(super) fn leave(&self) {
        self.is_ours.store(false, Ordering::Relaxed);
    }

    /// Removes it now, if it is ours, so that nobody connects any more.
    pub(super) fn remove(&self) {
        if self.is_ours.swap(false, Ordering::Relaxed) && self.is_there() {
            // Who has removed it in the meantime has done what was wanted.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes what a dead process has left behind; whatever else is there is refused.
fn make_room(path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NoSocket);
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Err(BindError::Taken),
        Err(error) => match error.kind() {
            // As many wait there as may.
            io::ErrorKind::WouldBlock => Err(BindError::Taken),
            io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(BindError::Unknown(error)),
        },
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// For the user and the group of the proxy.
const MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn room() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        (folder, path)
    }

    #[test]
    fn what_a_dead_process_has_left_is_replaced_and_what_a_live_one_has_is_not() {
        let (_folder, path) = room();
        drop(UnixListener::bind(&path).unwrap());
        let (socket, file) = SocketFile::bind(&path).unwrap();
        socket.listen(1).unwrap();
        assert!(matches!(SocketFile::bind(&path), Err(BindError::Taken)));
        assert!(file.is_there());
        drop((socket, file));
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let (folder, path) = room();
        fs::write(&path, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for path in [&path, &link] {
            assert!(matches!(SocketFile::bind(path), Err(BindError::NoSocket)));
        }
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_file_that_another_process_has_put_in_the_place_stays() {
        let (_folder, path) = room();
        let (_socket, file) = SocketFile::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // Kept open, so that it cannot get the inode of the one before.
        let _other = UnixListener::bind(&path).unwrap();
        assert!(!file.is_there());
        drop(file);
        assert!(path.exists());
    }

    #[test]
    fn who_may_connect_is_the_mode_of_the_file() {
        let (_folder, path) = room();
        let (_socket, file) = SocketFile::bind(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        file.give(&Rights::default()).unwrap();
        assert_eq!(mode(), 0o660);
        file.give(&Rights { mode: Some(0o606), ..Rights::default() }).unwrap();
        assert_eq!(mode(), 0o606);
    }
}
