//! Reading files that a person names.

use std::fs::OpenOptions;
use std::io::{Error, Read, Result};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// The bytes of a regular file, `most` of them at most. Nothing else is read: a pipe or a device may keep a reader waiting
/// for ever, or never end.
///
/// # Errors
/// When it cannot be read, is no regular file or holds more.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    // Without it, a pipe that nobody writes to could not even be opened.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        let is = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a pipe"
        } else {
            "a device"
        };
        return Err(Error::other(format!("it is {is}, and not a regular file")));
    }
    let mut bytes = Vec::new();
    // A file may grow while it is read.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_or_too_large_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, large) = (directory.path().join("pipe"), directory.path().join("large"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::fs::write(&large, [7; 11]).unwrap();
        let error = |path: &Path| read(path, 10).unwrap_err().to_string();
        assert_eq!(error(&pipe), "it is a pipe, and not a regular file");
        assert_eq!(error(directory.path()), "it is a directory, and not a regular file");
        assert_eq!(error(Path::new("/dev/zero")), "it is a device, and not a regular file");
        assert_eq!(error(&large), "it has more than 10 bytes");
        assert_eq!(read(&large, 11).unwrap(), [7; 11]);
    }
}
