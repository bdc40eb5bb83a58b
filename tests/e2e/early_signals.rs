//! Signals that come before the process serves.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Echo, Proxy, Request, Samples, Signal, Started, refused_address, request, tidegate, within};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::interval;

/// One whose start takes a while: a component has to be compiled.
fn slow(endpoint: &str) -> String {
    format!(
        "workers = 1\ndrain_time = 0\n{}",
        route(&[endpoint], &format!("filters = [\"script\"]\n{}", guest("script")))
    )
}

#[tokio::test]
async fn sighup_during_the_start_is_a_reload_once_the_process_serves() {
    let proxy = Proxy::signalled(&slow(&refused_address()), &[Signal::HUP]).await;
    proxy.wait_for_log(&["nothing has changed", "SIGHUP"]).await;
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn sigusr2_during_the_start_is_an_upgrade_once_the_process_serves() {
    let echo = Echo::start().await;
    let mut proxy = Proxy::signalled(&slow(echo.address()), &[Signal::HUP, Signal::USR2]).await;
    proxy.wait_for_log(&["a new process has taken over"]).await;
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 101);
}

#[tokio::test]
async fn sigterm_during_the_start_ends_the_process_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("{}[[listeners]]\nlisten = \"127.0.0.1:0\"\n", slow(&refused_address()));
    std::fs::write(directory.path().join("tidegate.toml"), config).unwrap();
    let mut command = Command::new(tidegate());
    command.args(["run", "--config", "tidegate.toml"]).current_dir(directory.path());
    let mut started = Started::new(command);
    started.signal(Signal::TERM);
    assert_eq!(started.exit_code().await, None);
}

#[tokio::test]
async fn the_new_process_of_an_upgrade_takes_signals_from_its_first_moment_on() {
    let echo = Echo::start().await;
    let mut proxy = Proxy::upgradable(&slow(echo.address())).await;
    proxy.signal(Signal::USR2);
    let line = proxy.wait_for_log(&["a new process starts"]).await;
    let successor = u32::try_from(line["pid"].as_u64().unwrap()).unwrap();
    let has_taken_over = proxy.wait_for_log(&["a new process has taken over"]);
    let again = async {
        loop {
            Proxy::signal_to(successor, Signal::HUP);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = has_taken_over => {}
        () = again => {}
    }
    proxy.wait_for_log(&["nothing has changed", "SIGHUP"]).await;
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 101);
}

#[tokio::test]
async fn the_demo_takes_them_too() {
    let mut command = Command::new(tidegate());
    command.args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let started = Started::signalled(command, &[Signal::HUP], "Tidegate runs").await;
    let line = started.output.find("the admin API", |line| line.to_string().contains("/api/v1/routes")).await;
    let (_, address) = line.as_str().unwrap().split_once("curl -s ").unwrap();
    let admin = address.strip_suffix("/api/v1/routes").unwrap().parse::<SocketAddr>().unwrap();
    let mut ticks = interval(Duration::from_millis(5));
    let reloaded = async {
        loop {
            ticks.tick().await;
            // It says that it runs a moment before the admin API listens.
            if TcpStream::connect(admin).await.is_err() {
                continue;
            }
            let asked = Request::new("GET", "/metrics").replacing("Host", &format!("{admin}"));
            let metrics = Samples::parse(&request(admin, &asked).await.body);
            if metrics.count("tidegate_reloads_total", &[("outcome", "unchanged")]) > 0 {
                break;
            }
        }
    };
    within("a reload", reloaded).await;
}
