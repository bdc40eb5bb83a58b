//! The command line and what goes wrong around it: another server, a full disk, a reader that has gone, a call that makes no
//! sense.

use std::path::Path;
use std::process::Stdio;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Finished, Proxy, guests, refused_address, tidegate, within};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

async fn run(arguments: &[&str]) -> Finished {
    Finished::run(Path::new("/"), arguments).await
}

/// A server that is not Tidegate and gives everybody the same answer.
async fn foreign(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nServer: other\r\nContent-Length: {length}\r\n\r\n{body}");
            // The request fits into one read.
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn another_server_is_not_taken_for_the_admin_api() {
    for (arguments, status, body) in [
        (&["candidate", "list"][..], "200 OK", "[]"),
        (&["candidate", "promote", "main", "next"], "404 Not Found", ""),
        (&["candidate", "roll-back", "main", "next"], "404 Not Found", "{}"),
        (&["component", "restore", "shout"], "404 Not Found", ""),
        (&["component", "restore", "shout"], "200 OK", "{\"lifted\": 1}"),
        (&["log-level"], "200 OK", "{\"level\": \"info\"}"),
        (&["reload"], "200 OK", "{\"outcome\": \"applied\", \"generation\": 1}"),
        (&["drain"], "400 Bad Request", ""),
        (&["drain", "--route", "main"], "404 Not Found", "{\"outcome\": \"unknown\", \"route\": \"main\"}"),
    ] {
        let address = foreign(status, body).await;
        let finished = run(&[arguments, &["--admin", &address]].concat()).await;
        let told = format!("tidegate: {address} answers, but is not Tidegate's admin API\n");
        let expected = (Some(1), "", told.as_str());
        assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr.as_str()), expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_name_or_a_configuration_that_cannot_be_is_a_wrong_call() {
    for arguments in [
        &["component", "restore", "x y"][..],
        &["component", "restore", ""],
        &["candidate", "promote", "x y", "next"],
        &["candidate", "roll-back", "main", "a/b"],
        &["drain", "--route", "x y"],
        &["component", "inspect", "rate-limit", "--config", "{"],
    ] {
        let finished = run(arguments).await;
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.is_empty() && finished.stdout.is_empty(), "{arguments:?}: {finished:?}");
    }
}

#[tokio::test]
async fn inspect_refuses_a_configuration_that_the_component_does_not_take() {
    let without = run(&["component", "inspect", "rate-limit"]).await;
    assert_eq!(without.code, Some(0), "{without:?}");
    for (component, bad, words) in [
        ("rate-limit", r#"{"messages_per_second": "many"}"#, "expected a number"),
        ("conditions", r#"{"all": [{"header": "a", "op": "resembles", "value": "b"}]}"#, "\"resembles\""),
    ] {
        let finished = run(&["component", "inspect", component, "--config", bad]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(
            finished.stdout.contains("kind:") && finished.stderr.contains("refuses its configuration"),
            "{finished:?}"
        );
        let terminal =
            Finished::on_terminal(Path::new("/"), &["component", "inspect", component, "--config", bad]).await;
        assert!(terminal.code == Some(2) && terminal.text().contains(words), "{terminal:?}");
    }
    let good = r#"{"messages_per_second": 5}"#;
    let taken = run(&["component", "inspect", "rate-limit", "--config", good]).await;
    assert!(taken.code == Some(0) && taken.stdout.contains("interest:  from client"), "{taken:?}");
}

#[tokio::test]
async fn a_decision_that_stands_already_is_told_to_change_nothing() {
    let candidate = "filters = [{ component = \"script\", candidate = { component = \"other\", canary = \"1%\" } }]\n";
    let other = guest("script").replace("[components.script]", "[components.other]");
    let proxy = Proxy::start(&route(&[&refused_address()], &format!("{candidate}{}{other}", guest("script")))).await;
    let admin = proxy.admin.to_string();
    for (verb, first, again) in [
        ("promote", "has taken the place of script", "other is promoted already on route main; nothing has changed"),
        ("roll-back", "has all connections", "other is rolled back already on route main; nothing has changed"),
    ] {
        for said in [first, again] {
            let finished = run(&["candidate", verb, "main", "other", "--admin", &admin]).await;
            assert!(finished.code == Some(0) && finished.stdout.contains(said), "{said}: {finished:?}");
        }
        let reply = proxy.admin("POST", &format!("/api/v1/routes/main/candidates/other/{verb}")).await;
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, &body["changed"]), (200, &false.into()), "{reply:?}");
    }
}

/// Commands that print something, and their exit codes.
async fn printing(directory: &Path, admin: &str) -> Vec<(Vec<String>, i32)> {
    let file = |name: &str, text: String| {
        std::fs::write(directory.join(name), text).unwrap();
        directory.join(name).display().to_string()
    };
    let good = format!("{}[[listeners]]\nlisten = \"127.0.0.1:0\"\n", route(&[&refused_address()], ""));
    let (good, bad) = (file("good.toml", good.clone()), file("bad.toml", format!("{good}nonsense = 1\n")));
    let script = guests::path("script").display().to_string();
    let commands: [(&[&str], i32); 11] = [
        (&["--help"], 0),
        (&["drain", "--help"], 0),
        (&["--version"], 0),
        (&["check", "--config", &good], 0),
        (&["check", "--json", "--config", &good], 0),
        (&["check", "--json", "--config", &bad], 2),
        (&["component", "inspect", &script], 0),
        (&["demo", "--print-config"], 0),
        (&["candidate", "list", "--admin", admin], 0),
        (&["log-level", "--admin", admin], 0),
        (&["reload", "--admin", admin], 0),
    ];
    commands.map(|(command, code)| (command.iter().map(|it| (*it).to_owned()).collect(), code)).to_vec()
}

/// Runs it with this as its standard output; gives the exit code and what it complained about.
async fn run_into(output: Stdio, arguments: &[String]) -> (Option<i32>, String) {
    let mut command = Command::new(tidegate());
    command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    let finished = within("a command to end", child.wait_with_output()).await.unwrap();
    (finished.status.code(), String::from_utf8(finished.stderr).unwrap())
}

#[tokio::test]
async fn a_command_whose_output_cannot_be_written_fails_and_says_so_in_a_line() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    let directory = tempfile::tempdir().unwrap();
    for (arguments, code) in printing(directory.path(), &proxy.admin.to_string()).await {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let (ended, complaint) = run_into(full.into(), &arguments).await;
        let told = "tidegate: the output cannot be written: No space left on device (os error 28)\n";
        assert_eq!((ended, complaint.as_str()), (Some(code.max(1)), told), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_command_whose_reader_has_gone_ends_as_if_it_had_not() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    let directory = tempfile::tempdir().unwrap();
    for (arguments, code) in printing(directory.path(), &proxy.admin.to_string()).await {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run_into(writer.into(), &arguments).await, (Some(code), String::new()), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_demo_that_cannot_be_introduced_does_not_run() {
    let arguments = ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"].map(str::to_owned);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, complaint) = run_into(full.into(), &arguments).await;
    assert!(code == Some(1) && complaint.contains("No space left on device"), "{complaint}");
}

#[tokio::test]
async fn a_demo_over_tls_has_its_page_and_its_sockets_behind_a_certificate_of_its_own() {
    let mut command = Command::new(tidegate());
    command.args(["demo", "--tls", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).kill_on_drop(true);
    let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(demo.stdout.take().unwrap()).lines();
    let line = within("an introduction", said.next_line()).await.unwrap().unwrap();
    let url = line.split(' ').find(|word| word.starts_with("https://")).unwrap().to_owned();

    let curl = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--insecure", "--silent", "--verbose", "--include", "--http1.1"]).args(arguments);
        curl.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    };
    let page = within("the page", curl(&[&url]).wait_with_output()).await.unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<title>"), "{page}");

    let socket = format!("{url}echo");
    let fields = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY];
    let fields = fields.iter().flat_map(|field| ["--header", field]);
    let mut asking = curl(&fields.chain([&*socket]).collect::<Vec<_>>());
    // It says at once what it hears.
    let mut heard = BufReader::new(asking.stderr.take().unwrap()).lines();
    let answer = within("an answer", async {
        loop {
            let line = heard.next_line().await.unwrap().unwrap();
            if let Some(answer) = line.strip_prefix("< HTTP/1.1 ") {
                return answer.to_owned();
            }
        }
    });
    assert!(answer.await.starts_with("101 "));
}

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
