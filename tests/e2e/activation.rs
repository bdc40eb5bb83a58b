//! Sockets that a service manager has opened, and an admin API on a unix socket.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Finished, Frame, Peer, Proxy, Request, Signal, Started, tidegate};
use tokio::process::Command;

async fn echo(mut client: Peer, mut upstream: Peer) {
    client.send(Frame::text("hello")).await;
    upstream.expect(Frame::text("hello")).await;
}

async fn by_unix(socket: &Path, backend: &Backend) {
    let mut client = Peer::connect_unix(socket).await;
    let request = Request::upgrade("/");
    let (reply, upstream) = tokio::join!(client.exchange(&request), backend.accept());
    assert_eq!(reply.status, 101, "{reply:?}");
    echo(client, upstream).await;
}

#[tokio::test]
async fn sockets_that_a_service_manager_has_opened_go_to_the_listeners_of_their_addresses() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::bind().await);
    let file = folder.path().join("tidegate.sock");
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&file).unwrap());
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, stray_address) = (tcp.local_addr().unwrap(), stray.local_addr().unwrap());
    let text = format!(
        "{}[[listeners]]\nlisten = \"{address}\"\n[[listeners]]\nlisten = \"unix:{}\"\n[[listeners]]\nlisten = \"127.0.0.1:0\"\n",
        route(&[&backend.address()], ""),
        file.display()
    );
    let stray_inode = rustix::fs::fstat(&stray).unwrap().st_ino;
    let mut proxy = Proxy::activated(3, &[tcp.as_fd(), unix.as_fd(), stray.as_fd()], &text).await;
    drop((tcp, unix, stray));
    assert_eq!(proxy.address, address);
    for _ in 0..6 {
        let (client, upstream) = backend.open(address, "/").await;
        echo(client, upstream).await;
        by_unix(&file, &backend).await;
    }
    proxy.wait_for_log(&["that no listener has; it is closed", &stray_address.to_string()]).await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap();
    let is_stray = |link: &Path| link.to_string_lossy() == format!("socket:[{stray_inode}]");
    // Others may close theirs meanwhile.
    assert!(!open.flatten().filter_map(|it| std::fs::read_link(it.path()).ok()).any(|link| is_stray(&link)));
    proxy.signal(Signal::TERM);
    proxy.exit_code().await;
    // It is the service manager's.
    assert!(file.exists());
}

#[tokio::test]
async fn the_admin_api_may_be_a_unix_socket_that_commands_reach() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.sock");
    let text = format!(
        "[log]\nformat = \"json\"\n[[listeners]]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"unix:{}\"\nmode = \"0600\"\n{}",
        file.display(),
        route(&["127.0.0.1:1"], "")
    );
    std::fs::write(folder.path().join("tidegate.toml"), text).unwrap();
    let mut command = Command::new(tidegate());
    command.args(["run", "--config", "tidegate.toml"]).current_dir(folder.path());
    let mut proxy = Started::new(command);
    proxy.log.find("that the proxy is ready", |line| line.to_string().contains("\"ready\"")).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let address = format!("unix:{}", file.display());
    let said = Finished::run(folder.path(), &["reload", "--admin", &address]).await;
    assert!(said.code == Some(0) && said.stdout.contains("generation 1 is in force"), "{said:?}");
    let said = Finished::run(folder.path(), &["drain", "--admin", &address]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(proxy.exit_code().await, Some(0));
    assert!(!file.exists());
    let said = Finished::run(folder.path(), &["reload", "--admin", &address]).await;
    assert!(said.code == Some(1) && said.stderr.contains(&format!("nothing answers at {address}")), "{said:?}");
}
