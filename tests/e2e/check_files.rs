//! `tidegate check` on the files and servers that a configuration names: whatever is wrong with one is told with the place
//! that names it, all of them at once.

use std::path::PathBuf;

use tempfile::TempDir;
use tidegate_tests::{Authority, Finished, Issuer, Signer, key_set, refused_address};

/// An authority, and a folder with whatever somebody could name by mistake.
struct Folder {
    authority: Authority,
    other: Authority,
    directory: TempDir,
}

impl Folder {
    fn new() -> Self {
        let (authority, other, directory) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
        let folder = Self { authority, other, directory };
        let (one, two) =
            (folder.authority.issue("one", &["one.example"]), folder.authority.issue("two", &["two.example"]));
        for (name, from) in [
            ("one.pem", one.chain),
            ("one.key", one.key),
            ("two.key", two.key),
            ("old.pem", folder.authority.issue_until("old", &["old.example"], 2020).chain),
            ("old.key", folder.authority.file().with_file_name("old.key")),
            ("ca.pem", folder.authority.file()),
            ("revoked.pem", folder.authority.revoke(&["two"])),
            ("ended.pem", folder.authority.revoke_until(&["two"], 2026)),
            ("foreign.pem", folder.other.revoke(&["two"])),
        ] {
            std::fs::copy(from, folder.path(name)).unwrap();
        }
        let torn = std::fs::read_to_string(folder.path("one.pem")).unwrap().replacen("MII", "AAA", 1);
        for (name, text) in [
            ("torn.pem", torn.as_str()),
            ("torn-list.pem", "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
            ("empty", ""),
            ("none.json", "{ \"keys\": [] }"),
            ("keys.json", &key_set(&[&Signer::new("one")])),
        ] {
            std::fs::write(folder.path(name), text).unwrap();
        }
        std::fs::create_dir(folder.path("folder")).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn check(&self, config: &str) -> Finished {
        std::fs::write(self.path("tidegate.toml"), config).unwrap();
        Finished::run(self.directory.path(), &["check", "--config", "tidegate.toml"]).await
    }

    /// Demands this code, and that each of these is told of and nothing else: place without its column, and what is wrong.
    async fn tells(&self, config: &str, code: i32, told: &[String]) {
        let finished = self.check(config).await;
        assert_eq!(finished.code, Some(code), "{config}\n{finished:?}");
        let lines: Vec<_> = finished.stderr.lines().collect();
        assert_eq!(lines.len(), told.len(), "{config}\n{lines:#?}\n{told:#?}");
        for (line, told) in lines.iter().zip(told) {
            let (file, rest) = line.split_once("tidegate.toml:").unwrap();
            let (row, rest) = rest.split_once(':').unwrap();
            let (column, rest) = rest.split_once(':').unwrap();
            let without_column = format!("{file}tidegate.toml:{row}:{rest}");
            assert!(without_column.starts_with(told.as_str()), "{config}\n{told}\nis not\n{line}");
            assert!(line.contains("; "), "{line} says not what to do");
            // There stands a value, or the name of a table.
            let row = config.lines().nth(row.parse::<usize>().unwrap() - 1).unwrap();
            let before = &row[..column.parse::<usize>().unwrap() - 1];
            assert!(before.ends_with("= ") || before == "[" || before.is_empty(), "{line}: {before:?}");
        }
    }
}

/// A configuration without mistakes but for what a test puts in: the line after a listener's, the endpoint, the lines of its
/// upstream's TLS, the lines of tokens.
fn config(listener: &str, endpoint: &str, upstream: &str, tokens: &str) -> String {
    format!(
        "[[listeners]]\nlisten = \"127.0.0.1:0\"\ntls = {{ {listener} }}\n[upstreams.back]\nendpoints = [{{ url = \
         \"{endpoint}\" }}]\n[upstreams.back.tls]\n{upstream}\n[[routes]]\nname = \"main\"\nupstream = \"back\"\ntoken = {{ \
         name = \"users\" }}\n[tokens.users]\n{tokens}\n"
    )
}

const SHOWN: &str = "certificates = [{ chain = \"one.pem\", key = \"one.key\" }]";
const SECURE: &str = "wss://127.0.0.1:9";
const KEYS: &str = "jwks = \"keys.json\"";

#[tokio::test]
async fn every_file_of_a_listener_that_is_wrong_is_told_with_its_place() {
    const ABSENT: &str = "No such file or directory (os error 2); name a file";
    let folder = Folder::new();
    for (chain, key, place, complaint) in [
        ("absent.pem", "one.key", "3: listeners[0].tls.certificates[0].chain: absent.pem:", ABSENT),
        ("one.pem", "absent.key", "3: listeners[0].tls.certificates[0].key: absent.key:", ABSENT),
        ("folder", "one.key", "3: listeners[0].tls.certificates[0].chain: folder:", "it is a directory"),
        ("one.key", "one.key", "3: listeners[0].tls.certificates[0].chain: one.key", "holds no certificate;"),
        ("empty", "one.key", "3: listeners[0].tls.certificates[0].chain: empty", "holds no certificate;"),
        ("torn.pem", "one.key", "3: listeners[0].tls.certificates[0].chain: torn.pem", "holds a certificate that"),
        ("one.pem", "one.pem", "3: listeners[0].tls.certificates[0].key: one.pem", "holds no private key"),
        ("one.pem", "two.key", "3: listeners[0].tls.certificates[0].key: two.key", "holds a key that does not fit"),
    ] {
        let certificate = format!("certificates = [{{ chain = \"{chain}\", key = \"{key}\" }}]");
        let told = format!("tidegate.toml:{place} {complaint}");
        folder.tells(&config(&certificate, SECURE, "", KEYS), 2, &[told]).await;
    }
    for (auth, place, complaint) in [
        ("ca = \"absent.pem\"", "3: listeners[0].tls.client_auth.ca: absent.pem:", ABSENT),
        ("ca = \"one.key\"", "3: listeners[0].tls.client_auth.ca: one.key", "holds no certificate of an authority;"),
        ("ca = \"torn.pem\"", "3: listeners[0].tls.client_auth.ca: torn.pem", "holds a certificate that cannot"),
        ("ca = \"ca.pem\", crl = \"absent\"", "3: listeners[0].tls.client_auth.crl: absent:", ABSENT),
        (
            "ca = \"ca.pem\", crl = \"ca.pem\"",
            "3: listeners[0].tls.client_auth.crl: ca.pem",
            "holds no revocation list",
        ),
        (
            "ca = \"ca.pem\", crl = \"torn-list.pem\"",
            "3: listeners[0].tls.client_auth.crl: torn-list.pem",
            "holds a revocation list of a kind that is not known;",
        ),
    ] {
        let told = format!("tidegate.toml:{place} {complaint}");
        folder.tells(&config(&format!("{SHOWN}, client_auth = {{ {auth} }}"), SECURE, "", KEYS), 2, &[told]).await;
    }
}

#[tokio::test]
async fn every_file_of_upstreams_and_tokens_that_is_wrong_is_told_with_its_place() {
    let folder = Folder::new();
    for (upstream, told) in [
        ("ca = \"absent.pem\"", "7: upstreams.back.tls.ca: absent.pem: No such file"),
        ("ca = \"one.key\"", "7: upstreams.back.tls.ca: one.key holds no certificate of an authority;"),
        (
            "certificate = { chain = \"one.pem\", key = \"two.key\" }",
            "7: upstreams.back.tls.certificate.key: two.key holds a key that does not fit",
        ),
    ] {
        folder.tells(&config(SHOWN, SECURE, upstream, KEYS), 2, &[format!("tidegate.toml:{told}")]).await;
    }
    for (tokens, told) in [
        ("jwks = \"absent.json\"", "absent.json: No such file"),
        ("jwks = \"folder\"", "folder: it is a directory"),
        ("jwks = \"one.pem\"", "one.pem is no JSON Web Key Set; write"),
        ("jwks = \"none.json\"", "none.json has no key that signatures could be verified with; write"),
        ("jwks = \"\"", "the path is empty; write text such as \"https://login.example.com/jwks.json\""),
        ("jwks = \"htps://a.example/\"", "\"htps://a.example/\" is no url of http or https; write"),
        ("jwks = \"https://a.example:99999/\"", "\"https://a.example:99999/\" has no port that there is; write"),
        ("jwks = \"https://a.example:/\"", "\"https://a.example:/\" has no port that there is; write"),
    ] {
        let told = format!("tidegate.toml:13: tokens.users.jwks: {told}");
        folder.tells(&config(SHOWN, SECURE, "", tokens), 2, &[told]).await;
    }
}

#[tokio::test]
async fn every_file_of_the_admin_api_that_is_wrong_is_told_with_its_place() {
    let folder = Folder::new();
    let admin = |tls: &str| config(SHOWN, SECURE, "", KEYS) + "[admin]\ntls = { " + tls + " }\n";
    for (tls, told) in [
        (
            "certificates = [{ chain = \"one.pem\", key = \"two.key\" }]",
            "certificates[0].key: two.key holds a key that",
        ),
        (
            "client_auth = { ca = \"empty\" }, CERTIFICATES",
            "client_auth.ca: empty holds no certificate of an authority",
        ),
        (
            "acme = { domains = [\"a.example\"], accept_terms = true }",
            "acme: a certificate that renews itself is ordered",
        ),
        ("certificates = []", "certificates: there is no certificate to show"),
    ] {
        let told = format!("tidegate.toml:15: admin.tls.{told}");
        folder.tells(&admin(&tls.replace("CERTIFICATES", SHOWN)), 2, &[told]).await;
    }
    let old = "certificates = [{ chain = \"old.pem\", key = \"old.key\" }]";
    let told = "warning: tidegate.toml:15: admin.tls.certificates[0].chain: old.pem: the certificate for old.example has expired";
    folder.tells(&admin(old), 0, &[told.to_owned()]).await;
    let shown = format!("{SHOWN}, client_auth = {{ ca = \"ca.pem\" }}");
    let beyond = |tls: &str| admin(tls).replace("[admin]\n", "[admin]\nlisten = \"0.0.0.0:0\"\n");
    folder.tells(&beyond(&shown), 0, &[]).await;
    for tls in [SHOWN, &shown.replace("\"ca.pem\"", "\"ca.pem\", mode = \"optional\"")] {
        let told = "tidegate.toml:15: admin.listen: everybody who reaches 0.0.0.0:0 could do everything";
        folder.tells(&beyond(tls), 2, &[told.to_owned()]).await;
    }
}

#[tokio::test]
async fn all_files_that_are_wrong_are_told_at_once_beside_components() {
    let folder = Folder::new();
    let text = config(
        "certificates = [{ chain = \"absent.pem\", key = \"one.key\" }, { chain = \"one.pem\", key = \"two.key\" }]",
        SECURE,
        "ca = \"empty\"",
        "jwks = \"none.json\"\n[components.mine]\npath = \"absent.wasm\"\n[routes.authorize]\nurl = \"https://auth.example/\"\n\
         ca = \"empty\"",
    );
    let told = [
        "3: listeners[0].tls.certificates[0].chain: absent.pem: No such file",
        "3: listeners[0].tls.certificates[1].key: two.key holds a key that does not fit",
        "7: upstreams.back.tls.ca: empty holds no certificate of an authority",
        "13: tokens.users.jwks: none.json has no key",
        "14: components.mine: absent.wasm: No such file",
        "18: routes[0].authorize.ca: empty holds no certificate of an authority",
    ];
    folder.tells(&text, 2, &told.map(|told| format!("tidegate.toml:{told}"))).await;
}

#[tokio::test]
async fn what_is_most_likely_not_meant_is_warned_of() {
    let folder = Folder::new();
    let auth = |crl: &str| format!("{SHOWN}, client_auth = {{ ca = \"ca.pem\", crl = \"{crl}\" }}");
    let old = SHOWN.replace("one", "old");
    for (listener, endpoint, upstream, told) in [
        (auth("revoked.pem"), SECURE, "", None),
        (old, SECURE, "", Some("3: listeners[0].tls.certificates[0].chain: old.pem: the certificate for old.example")),
        (auth("ended.pem"), SECURE, "", Some("3: listeners[0].tls.client_auth.crl: ended.pem: the revocation list of")),
        (
            auth("foreign.pem"),
            SECURE,
            "",
            Some("3: listeners[0].tls.client_auth.crl: foreign.pem: the revocation list of CN=Authority"),
        ),
        (
            SHOWN.to_owned(),
            "ws://127.0.0.1:9",
            "ca = \"ca.pem\"",
            Some("6: upstreams.back.tls: upstream `back` speaks TLS with nobody"),
        ),
    ] {
        let told: Vec<_> = told.iter().map(|told| format!("warning: tidegate.toml:{told}")).collect();
        folder.tells(&config(&listener, endpoint, upstream, KEYS), 0, &told).await;
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_publish_keys_is_warned_of() {
    let (folder, signer) = (Folder::new(), Signer::new("one"));
    let issuer = Issuer::start(&[&signer]).await;
    let tokens = format!("jwks = \"{}\"", issuer.url());
    folder.tells(&config(SHOWN, SECURE, "", &tokens), 0, &[]).await;
    issuer.publish(&[]);
    let told =
        "warning: tidegate.toml:13: tokens.users.jwks: the keys cannot be fetched from here now: the answer is 500";
    folder.tells(&config(SHOWN, SECURE, "", &tokens), 0, &[told.to_owned()]).await;
    let nobody = format!("jwks = \"http://{}/\"", refused_address());
    let told = "warning: tidegate.toml:13: tokens.users.jwks: the keys cannot be fetched from here now: ";
    folder.tells(&config(SHOWN, SECURE, "", &nobody), 0, &[told.to_owned()]).await;
}
