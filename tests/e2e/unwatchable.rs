//! Directories that cannot be watched: what lies there is looked at now and then, all else is watched as ever, and the operator is
//! told.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_tests::config::route;
use tidegate_tests::{Proxy, Request, refused_address};

const RELOADS: &str = "tidegate_reloads_total";
const APPLIED: &[(&str, &str)] = &[("outcome", "applied")];
const POLLED: &str = "tidegate_polled_directories";

/// A route that is refused without this token, which lies in a file.
fn guarded(token: &Path, rest: &str) -> String {
    let tokens = format!("tokens = [{{ token = {{ secret = {{ file = {token:?} }} }}, user = \"a\" }}]");
    route(&[&refused_address()], &format!("filters = [{{ component = \"access\", config = {{ {tokens} }} }}]\n{rest}"))
}

/// What a handshake with a token is answered; 502 where it is the right one, since there is no back end.
async fn status(proxy: &Proxy, token: &str) -> u16 {
    let request = Request::upgrade("/").with("authorization", &format!("Bearer {token}"));
    proxy.answer(&request).await.status
}

/// A folder with a token in it, whose files can be read but which itself cannot, as watching it takes.
struct Closed(TempDir);

impl Closed {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::write(folder.token(), "first").unwrap();
        folder.permit(0o311);
        folder
    }

    fn token(&self) -> PathBuf {
        self.0.path().join("token")
    }

    fn permit(&self, mode: u32) {
        fs::set_permissions(self.0.path(), Permissions::from_mode(mode)).unwrap();
    }

    fn replace(&self, token: &str) {
        let draft = self.0.path().join("draft");
        fs::write(&draft, token).unwrap();
        fs::rename(draft, self.token()).unwrap();
    }
}

impl Drop for Closed {
    /// So that it can be removed.
    fn drop(&mut self) {
        let _ = fs::set_permissions(self.0.path(), Permissions::from_mode(0o755));
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_watched_is_polled_and_told_and_all_else_is_watched() {
    let closed = Closed::new();
    let proxy = Proxy::unprivileged(&guarded(&closed.token(), "")).await;
    let line = proxy.wait_for_log(&["cannot be watched", "Permission denied"]).await;
    assert_eq!(line["level"], "WARN");
    proxy.until(POLLED, &[], 1).await;
    let ready = proxy.admin("GET", "/readyz").await;
    assert_eq!(ready.status, 200);
    let folder = closed.0.path().display().to_string();
    assert!(ready.body.starts_with("ready\n") && ready.body.contains(&folder), "{ready:?}");

    proxy.rewrite(&guarded(&closed.token(), "max_connections = 7"));
    proxy.until(RELOADS, APPLIED, 1).await;
    closed.replace("second");
    proxy.until(RELOADS, APPLIED, 2).await;
    assert_eq!((status(&proxy, "first").await, status(&proxy, "second").await), (401, 502));

    closed.permit(0o755);
    proxy.wait_for_log(&["INFO", "all directories are watched again"]).await;
    proxy.until(POLLED, &[], 0).await;
    assert_eq!(proxy.admin("GET", "/readyz").await.body, "ready\n");
    closed.replace("third");
    proxy.until(RELOADS, APPLIED, 3).await;
    assert_eq!(status(&proxy, "third").await, 502);
    proxy.wait_for_lines(1, "directories cannot be watched; what lies there is looked at every 5 s").await;
}

#[tokio::test]
async fn a_rejected_configuration_that_names_a_directory_that_cannot_be_watched_leaves_no_trace() {
    let (open, closed) = (tempfile::tempdir().unwrap(), Closed::new());
    let token = open.path().join("token");
    fs::write(&token, "first").unwrap();
    let proxy = Proxy::unprivileged(&guarded(&token, "")).await;
    proxy.rewrite(&guarded(&closed.token(), "max_connections = 0"));
    proxy.wait_for_log(&["configuration rejected", "max_connections"]).await;
    proxy.until(POLLED, &[], 1).await;
    proxy.rewrite(&guarded(&token, "max_connections = 7"));
    proxy.until(RELOADS, APPLIED, 1).await;
    proxy.until(POLLED, &[], 0).await;
    fs::write(&token, "second").unwrap();
    proxy.until(RELOADS, APPLIED, 2).await;
    assert_eq!(status(&proxy, "second").await, 502);
}

#[tokio::test]
async fn a_file_that_is_named_by_a_detour_is_watched_like_its_neighbour() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "first").unwrap();
    let (own, around) = (folder.path().join("a").display().to_string(), folder.path().join("b/../token"));
    fs::create_dir(folder.path().join("b")).unwrap();
    let config = |limit: u32| {
        let include = format!("include = [{own:?}]\n");
        format!("{include}{}", guarded(&around, &format!("max_connections = {limit}")))
    };
    fs::write(&own, "").unwrap();
    let proxy = Proxy::start(&config(7)).await;
    fs::write(&token, "second").unwrap();
    proxy.until(RELOADS, APPLIED, 1).await;
    fs::write(&own, "drain_time = \"3s\"").unwrap();
    proxy.until(RELOADS, APPLIED, 2).await;
    assert_eq!(status(&proxy, "second").await, 502);
}
