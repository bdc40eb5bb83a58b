//! Changed files: whichever way a file is replaced, what it says in the end comes into force, and nothing before that.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::config::route;
use tidegate_tests::{Backend, Frame, Proxy, Request, Signal, guests, refused_address, within};

const RELOADS: &str = "tidegate_reloads_total";
const APPLIED: &[(&str, &str)] = &[("outcome", "applied")];

/// A component that refuses handshakes in words that tell its version, a digit.
fn version(digit: char) -> Vec<u8> {
    let mut bytes = guests::bytes("script");
    let words = b"not today";
    let at = bytes.windows(words.len()).position(|window| window == words).expect("the words of the guest");
    bytes[at..at + words.len()].copy_from_slice(format!("version {digit}").as_bytes());
    bytes
}

/// A configuration with that component.
fn refusing(component: &Path, status: u16) -> String {
    let filter = format!("filters = [{{ component = \"refuser\", config = {{ refuse = {status} }} }}]");
    let component = format!("[components.refuser]\npath = {component:?}\ndeadline = \"1s\"");
    route(&[&refused_address()], &format!("{filter}\n{component}"))
}

/// The version in force, as new clients see it.
async fn in_force(proxy: &Proxy) -> String {
    proxy.answer(&Request::upgrade("/")).await.body
}

/// A folder with a component file in version 1, and a proxy with that component.
struct Bed {
    folder: TempDir,
    proxy: Proxy,
}

impl Bed {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("refuser.wasm");
        fs::write(&component, version('1')).unwrap();
        let proxy = Proxy::start(&refusing(&component, 403)).await;
        assert_eq!(in_force(&proxy).await, "version 1");
        Self { folder, proxy }
    }

    fn component(&self) -> PathBuf {
        self.folder.path().join("refuser.wasm")
    }

    /// Puts the component in its place in one step.
    fn replace(&self, bytes: &[u8]) {
        let draft = self.folder.path().join("draft");
        fs::write(&draft, bytes).unwrap();
        fs::rename(draft, self.component()).unwrap();
    }

    async fn until_applied(&self, reloads: u64) {
        self.proxy.until(RELOADS, APPLIED, reloads).await;
    }
}

#[tokio::test]
async fn a_component_file_that_is_renamed_into_place_comes_into_force() {
    let bed = Bed::start().await;
    bed.replace(&version('2'));
    bed.until_applied(1).await;
    assert_eq!(in_force(&bed.proxy).await, "version 2");
    bed.replace(&version('3'));
    bed.until_applied(2).await;
    assert_eq!(in_force(&bed.proxy).await, "version 3");
}

#[tokio::test]
async fn half_of_a_component_file_is_refused_and_the_whole_comes_into_force() {
    let bed = Bed::start().await;
    let whole = version('2');
    let half = whole.len() / 2;
    fs::write(bed.component(), &whole[..half]).unwrap();
    bed.proxy.wait_for_log(&["configuration rejected", "refuser"]).await;
    assert_eq!(in_force(&bed.proxy).await, "version 1");
    let mut file = fs::OpenOptions::new().append(true).open(bed.component()).unwrap();
    std::io::Write::write_all(&mut file, &whole[half..]).unwrap();
    bed.until_applied(1).await;
    assert_eq!(in_force(&bed.proxy).await, "version 2");
}

#[tokio::test]
async fn half_of_a_configuration_is_refused_and_the_whole_comes_into_force() {
    let bed = Bed::start().await;
    let path = bed.proxy.directory().join("tidegate.toml");
    let whole = fs::read_to_string(&path).unwrap().replace("403", "404");
    fs::write(&path, &whole[..whole.find("404").unwrap()]).unwrap();
    bed.proxy.wait_for_log(&["configuration rejected"]).await;
    assert_eq!(bed.proxy.answer(&Request::upgrade("/")).await.status, 403);
    fs::write(&path, &whole).unwrap();
    bed.until_applied(1).await;
    assert_eq!(bed.proxy.answer(&Request::upgrade("/")).await.status, 404);
}

#[tokio::test]
async fn a_component_file_that_is_removed_is_missed_only_by_the_log_and_comes_back() {
    let bed = Bed::start().await;
    fs::remove_file(bed.component()).unwrap();
    bed.proxy.wait_for_log(&["configuration rejected", "refuser.wasm"]).await;
    assert_eq!(in_force(&bed.proxy).await, "version 1");
    fs::write(bed.component(), version('2')).unwrap();
    bed.until_applied(1).await;
    assert_eq!(in_force(&bed.proxy).await, "version 2");
}

#[tokio::test]
async fn a_folder_that_is_removed_is_missed_only_by_the_log_and_comes_back() {
    let bed = Bed::start().await;
    fs::remove_dir_all(bed.folder.path()).unwrap();
    bed.proxy.wait_for_log(&["configuration rejected", "refuser.wasm"]).await;
    assert_eq!(in_force(&bed.proxy).await, "version 1");
    fs::create_dir(bed.folder.path()).unwrap();
    bed.replace(&version('2'));
    bed.until_applied(1).await;
    assert_eq!(in_force(&bed.proxy).await, "version 2");
    bed.replace(&version('3'));
    bed.until_applied(2).await;
    assert_eq!(in_force(&bed.proxy).await, "version 3");
}

#[tokio::test]
async fn a_configuration_that_is_removed_is_missed_only_by_the_log_and_comes_back() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    fs::remove_file(proxy.directory().join("tidegate.toml")).unwrap();
    proxy.wait_for_log(&["configuration rejected", "tidegate.toml"]).await;
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
    proxy.rewrite(&route(&[&backend.address()], "max_connections = 7"));
    proxy.until(RELOADS, APPLIED, 1).await;
}

#[tokio::test]
async fn a_component_that_comes_after_the_configuration_that_names_it_is_waited_for() {
    let bed = Bed::start().await;
    let later = bed.proxy.directory().join("later/refuser.wasm");
    bed.proxy.rewrite(&refusing(&later, 403));
    bed.proxy.wait_for_log(&["configuration rejected", "later/refuser.wasm"]).await;
    assert_eq!(in_force(&bed.proxy).await, "version 1");
    fs::create_dir(later.parent().unwrap()).unwrap();
    bed.replace(&version('2'));
    fs::rename(bed.component(), &later).unwrap();
    bed.until_applied(1).await;
    assert_eq!(in_force(&bed.proxy).await, "version 2");
}

/// Files as Kubernetes mounts a ConfigMap: links to a folder behind a link, which alone is replaced.
struct Volume {
    root: PathBuf,
}

impl Volume {
    /// Puts files into a folder of their own and makes `..data` lead there in one step; the folder before is removed.
    fn publish(&self, folder: &str, files: &[(&str, &[u8])]) {
        let before = fs::read_link(self.root.join("..data"));
        fs::create_dir(self.root.join(folder)).unwrap();
        for (name, bytes) in files {
            fs::write(self.root.join(folder).join(name), bytes).unwrap();
        }
        symlink(folder, self.root.join("..data_tmp")).unwrap();
        fs::rename(self.root.join("..data_tmp"), self.root.join("..data")).unwrap();
        if let Ok(before) = before {
            fs::remove_dir_all(self.root.join(before)).unwrap();
        }
    }

    /// Makes a file of the root a link into `..data`.
    fn link(&self, name: &str) {
        symlink(Path::new("..data").join(name), self.root.join("link")).unwrap();
        fs::rename(self.root.join("link"), self.root.join(name)).unwrap();
    }
}

#[tokio::test]
async fn configuration_and_component_follow_the_link_that_kubernetes_swaps() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    let volume = Volume { root: proxy.directory().to_owned() };
    proxy.rewrite(&refusing(Path::new("refuser.wasm"), 403));
    proxy.wait_for_log(&["configuration rejected", "refuser.wasm"]).await;
    let config = fs::read_to_string(proxy.directory().join("tidegate.toml")).unwrap();
    let files = |config: &str, digit| [("tidegate.toml", config.as_bytes().to_vec()), ("refuser.wasm", version(digit))];
    let publish = |folder: &str, files: [(&str, Vec<u8>); 2]| {
        volume.publish(folder, &[(files[0].0, &files[0].1), (files[1].0, &files[1].1)]);
    };

    publish("..2026_1", files(&config, '1'));
    volume.link("tidegate.toml");
    volume.link("refuser.wasm");
    proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(in_force(&proxy).await, "version 1");

    publish("..2026_2", files(&config.replace("403", "404"), '1'));
    proxy.until(RELOADS, APPLIED, 2).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 404);

    publish("..2026_3", files(&config.replace("403", "404"), '3'));
    proxy.until(RELOADS, APPLIED, 3).await;
    assert_eq!(in_force(&proxy).await, "version 3");
}

#[tokio::test]
async fn a_burst_of_writes_is_few_reloads_and_ends_with_the_last() {
    const WRITES: u64 = 100;
    let bed = Bed::start().await;
    for write in 1..WRITES {
        bed.replace(&version(if write % 2 == 0 { '2' } else { '3' }));
    }
    bed.replace(&version('4'));
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    within("the last version", async {
        while in_force(&bed.proxy).await != "version 4" {
            ticks.tick().await;
        }
    })
    .await;
    let reloads = bed.proxy.metrics().await.count(RELOADS, APPLIED);
    assert!(reloads < WRITES / 4, "{reloads} reloads for {WRITES} writes");
}

#[tokio::test]
async fn without_the_watch_it_takes_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("refuser.wasm");
    fs::write(&component, version('1')).unwrap();
    let config = format!("watch = false\n{}", refusing(&component, 403));
    let proxy = Proxy::start(&config).await;
    let reply = proxy.admin("POST", "/api/v1/reload?dry_run=true").await;
    assert!(reply.body.contains("unchanged"), "{reply:?}");
    fs::write(&component, version('2')).unwrap();
    // By the time that this is answered, a watch would have told of the file before.
    let reply = proxy.admin("POST", "/api/v1/reload?dry_run=true").await;
    assert!(reply.body.contains("applicable"), "{reply:?}");
    assert_eq!(in_force(&proxy).await, "version 1");
    proxy.signal(Signal::HUP);
    proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(in_force(&proxy).await, "version 2");
}

#[tokio::test]
async fn a_new_file_that_is_included_comes_into_force_and_its_mistakes_are_told_with_its_name() {
    let config = format!("include = [\"conf.d/*.toml\"]\n{}", route(&[&refused_address()], "path = \"/main\""));
    let proxy = Proxy::start(&config).await;
    let folder = proxy.directory().join("conf.d");
    fs::create_dir(&folder).unwrap();
    let more = "[[routes]]\nname = \"more\"\npath = \"/more\"\nupstream = \"back\"\n";
    fs::write(folder.join("more.toml"), more).unwrap();
    proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(proxy.answer(&Request::upgrade("/more")).await.status, 502);
    fs::write(folder.join("more.toml"), more.replace("upstream", "upstrem")).unwrap();
    proxy.wait_for_log(&["configuration rejected", "more.toml:4:1: routes[1].upstrem"]).await;
    fs::remove_file(folder.join("more.toml")).unwrap();
    proxy.until(RELOADS, APPLIED, 2).await;
    assert_eq!(proxy.answer(&Request::upgrade("/more")).await.status, 404);
}

#[tokio::test]
async fn a_secret_in_a_file_comes_into_force_when_it_changes() {
    let backend = Backend::bind().await;
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("token");
    fs::write(&file, "first\n").unwrap();
    let filter = format!(
        "filters = [{{ component = \"access\", config = {{ tokens = [{{ token = {{ secret = {{ file = {file:?} }} }}, \
         user = \"a\" }}] }} }}]"
    );
    let proxy = Proxy::start(&route(&[&backend.address()], &filter)).await;
    let answer = |token: &str| {
        let request = Request::upgrade("/").with("authorization", &format!("Bearer {token}"));
        let proxy = &proxy;
        async move { proxy.answer(&request).await.status }
    };
    assert_eq!(answer("second").await, 401);
    let draft = secret.path().join("draft");
    fs::write(&draft, "second").unwrap();
    fs::rename(draft, &file).unwrap();
    proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(answer("first").await, 401);
    let log = format!("{:?}", proxy.log());
    assert!(!log.contains("second") && !log.contains("first"), "{log}");
}

#[tokio::test]
async fn who_asks_for_a_reload_does_not_wait_until_files_are_left_alone() {
    let backend = Backend::bind().await;
    let config = |limit: u64| {
        let filter = format!("filters = [\"script\"]\nmax_connections = {limit}");
        format!("{}[components.script]\npath = \"script.wasm\"\n", route(&[&backend.address()], &filter))
    };
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let scribble = || proxy.place("script.wasm", guests::bytes("script"));
    scribble();
    let mut applied = 0;
    let ask = async {
        for limit in 1..=5 {
            // The watch waits for the end of what is written.
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxy.rewrite(&config(limit));
            let reply = proxy.reload().await;
            assert_eq!(reply.status, 200, "{reply:?}");
            applied += u64::from(reply.body.contains("\"outcome\": \"applied\""));
        }
    };
    let write = async {
        loop {
            scribble();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = ask => {}
        () = write => {}
    }
    // Once, the watch may have waited for long enough just then.
    assert!(applied >= 4, "{applied}: {:?}", proxy.log());
}

#[tokio::test]
async fn who_asks_after_the_watch_was_faster_is_told_what_came_into_force_and_by_whom() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    proxy.rewrite(&route(&[&backend.address()], "max_connections = 7"));
    proxy.until("tidegate_config_generation", &[], 2).await;
    let reply = proxy.reload().await;
    let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&answer["outcome"], &answer["generation"]), (&"unchanged".into(), &2.into()), "{reply:?}");
    let in_force = &answer["in_force"];
    assert_eq!(in_force["cause"], "changed file", "{reply:?}");
    assert_eq!(in_force["changes"]["routes"][0]["because"], serde_json::json!(["settings"]), "{reply:?}");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((now - 60..=now).contains(&in_force["since_unix_seconds"].as_u64().unwrap()), "{reply:?}");
}
