//! What is kept on disk: for the next process, and for others that share it.
//!
//! ```text
//! accounts/acme.example-1a2b3c4d.json       the account's key, and where the authority has it
//! certificates/chat.example-5e6f7a8b.pem    the key and the chain, in one file so that they always belong together
//! certificates/chat.example-5e6f7a8b.lock   held by whoever orders
//! challenges/TOKEN.json                     what others than who orders have to answer, too
//! ```
//!
//! Folders have the mode 0700, files 0600. A file is replaced as a whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::terms::Terms;

/// The files of one certificate.
#[derive(Clone, Debug)]
pub(super) struct Store {
    account: PathBuf,
    certificate: PathBuf,
    challenges: PathBuf,
}

/// The right to order, given back when it is dropped, or its process ends.
#[derive(Debug)]
pub(super) struct Lease(#[expect(dead_code, reason = "the lock is the file's")] File);

/// What somebody has to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) token: String,
    pub(super) domain: String,
    pub(super) key_authorization: String,
    /// Over TLS, or else over HTTP.
    pub(super) over_tls: bool,
}

impl Store {
    pub(super) fn of(terms: &Terms) -> Self {
        let directory = &terms.directory;
        Self {
            account: directory.join("accounts").join(terms.account_name()),
            certificate: directory.join("certificates").join(terms.file_name() + ".pem"),
            challenges: directory.join("challenges"),
        }
    }

    /// Where the certificate is.
    pub(super) fn path(&self) -> &Path {
        &self.certificate
    }

    /// The key and the chain; `None` where there are none yet.
    pub(super) fn certificate(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.certificate)
    }

    /// The keys and chains of other names and authorities that are kept beside it.
    pub(super) fn other_certificates(&self) -> Vec<Vec<u8>> {
        let entries = self.certificate.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        let paths = entries.into_iter().flatten().take(MOST_CERTIFICATES).filter_map(|entry| Some(entry.ok()?.path()));
        let others = paths.filter(|path| path.extension().is_some_and(|it| it == "pem") && *path != self.certificate);
        // What cannot be read is nothing to go by.
        others.filter_map(|path| read(&path).ok()?).collect()
    }

    pub(super) fn keep_certificate(&self, key: &str, chain: &str) -> io::Result<()> {
        replace(&self.certificate, format!("{}\n{}\n", key.trim_end(), chain.trim_end()).as_bytes())
    }

    /// The account; `None` where there is none yet.
    pub(super) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        read(&self.account)
    }

    pub(super) fn keep_account(&self, account: &[u8]) -> io::Result<()> {
        replace(&self.account, account)
    }

    /// Forgets an account that the authority does not have.
    pub(super) fn forget_account(&self) -> io::Result<()> {
        is_gone(std::fs::remove_file(&self.account))
    }

    /// Takes the right to order; `None` while another process has it.
    pub(super) fn lease(&self) -> io::Result<Option<Lease>> {
        let path = self.certificate.with_extension("pem.lock");
        make_folder_of(&path)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lease(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What others have to answer, too.
    pub(super) fn challenges(&self) -> io::Result<Vec<Kept>> {
        let entries = match std::fs::read_dir(&self.challenges) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let read =
            |entry: io::Result<std::fs::DirEntry>| serde_json::from_slice(&read(&entry.ok()?.path()).ok()??).ok();
        Ok(entries.take(MOST_CHALLENGES).filter_map(read).collect())
    }

    pub(super) fn keep_challenge(&self, kept: &Kept) -> io::Result<()> {
        let path = self.challenge(&kept.token)?;
        replace(&path, &serde_json::to_vec(kept)?)
    }

    pub(super) fn forget_challenge(&self, token: &str) -> io::Result<()> {
        is_gone(std::fs::remove_file(self.challenge(token)?))
    }

    /// A token is of the authority's making, and becomes a part of a path here.
    fn challenge(&self, token: &str) -> io::Result<PathBuf> {
        let is_in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(is_in_alphabet) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the authority's token is none (RFC 8555 section 8.1)",
            ));
        }
        Ok(self.challenges.join(format!("{token}.json")))
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, &error)),
    }
}

/// Puts a file in the place of another, whole.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || {
        let folder = make_folder_of(path)?;
        // Its mode is 0600.
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        io::Result::Ok(())
    };
    write().map_err(|error| named(path, &error))
}

fn make_folder_of(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| named(folder, &error))?;
    Ok(folder)
}

fn is_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// 128 bits in base64 have 22.
const LONGEST_TOKEN: usize = 200;
/// Names that were ordered once, and locks: more are not looked at.
const MOST_CERTIFICATES: usize = 1000;
/// More are never under way at once; a folder with more is not ours.
const MOST_CHALLENGES: usize = 1000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use http::Uri;

    use super::super::terms::Ways;
    use super::*;

    fn store(directory: &Path) -> Store {
        Store::of(&Terms {
            domains: vec!["chat.example".to_owned()],
            contact: None,
            server: Uri::from_static("https://acme.example/directory"),
            server_ca: None,
            directory: directory.join("state"),
            ways: Ways { tls: true, http: true },
        })
    }

    #[test]
    fn what_is_kept_is_for_its_owner_alone_and_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        assert_eq!((store.certificate().unwrap(), store.account().unwrap()), (None, None));
        store.keep_certificate("KEY\n", "CHAIN\n").unwrap();
        store.keep_account(b"{}").unwrap();
        assert_eq!(store.certificate().unwrap().unwrap(), b"KEY\nCHAIN\n");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.path()), mode(&store.account)), (0o600, 0o600));
        assert_eq!((mode(store.path().parent().unwrap()), mode(&directory.path().join("state"))), (0o700, 0o700));
        store.forget_account().unwrap();
        store.forget_account().unwrap();
        assert_eq!(store.account().unwrap(), None);
    }

    #[test]
    fn certificates_of_other_names_are_found_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut other) = (store(directory.path()), store(directory.path()));
        other.certificate = other.certificate.with_file_name("other.example-00000000.pem");
        let _lease = other.lease().unwrap();
        assert_eq!(store.other_certificates(), Vec::<Vec<u8>>::new());
        store.keep_certificate("OWN", "CHAIN").unwrap();
        other.keep_certificate("KEY", "CHAIN").unwrap();
        assert_eq!(store.other_certificates(), [b"KEY\nCHAIN\n"]);
    }

    #[test]
    fn one_at_a_time_has_the_right_to_order() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (store(directory.path()), store(directory.path()));
        let lease = one.lease().unwrap();
        assert!(lease.is_some());
        assert!(other.lease().unwrap().is_none());
        drop(lease);
        assert!(other.lease().unwrap().is_some());
    }

    #[test]
    fn challenges_are_found_by_others_until_they_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (store(directory.path()), store(directory.path()));
        let [token, domain, key_authorization] = ["a-B_1", "chat.example", "a-B_1.x"].map(str::to_owned);
        let kept = Kept { token, domain, key_authorization, over_tls: true };
        one.keep_challenge(&kept).unwrap();
        assert_eq!(other.challenges().unwrap(), [kept]);
        one.forget_challenge("a-B_1").unwrap();
        assert_eq!(other.challenges().unwrap(), []);
    }

    #[test]
    fn a_token_that_would_lead_elsewhere_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for token in ["", "../a", "a/b", "a.b", &"a".repeat(201)] {
            let [token, domain, key_authorization] = [token, "", ""].map(str::to_owned);
            let kept = Kept { token, domain, key_authorization, over_tls: false };
            assert!(store(directory.path()).keep_challenge(&kept).is_err(), "{kept:?}");
        }
    }
}
