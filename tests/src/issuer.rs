//! An issuer of tokens: keys, what is signed with them, and a server that publishes them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::{Issued, Peer, Role, within};

/// A key that tokens are signed with.
pub struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    id: String,
}

/// A server that publishes keys, for as long as the test runs.
#[derive(Debug)]
pub struct Issuer {
    address: SocketAddr,
    scheme: &'static str,
    published: Arc<Mutex<Option<String>>>,
    asked: watch::Receiver<u64>,
}

impl Signer {
    /// A new key of this name, for ES256.
    pub fn new(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self::of(Algorithm::ES256, EncodingKey::from_ec_der(&pair.serialize_der()), id)
    }

    /// A new one for RS256.
    pub fn rsa(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key").serialize_der();
        // What stands in it behind a head of PKCS #8 that is always the same (RFC 5208).
        Self::of(Algorithm::RS256, EncodingKey::from_rsa_der(&pair[26..]), id)
    }

    /// A new one for EdDSA.
    pub fn ed25519(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key").serialize_der();
        // The key alone, in the first version of PKCS #8 (RFC 8410 section 7).
        let head = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
        Self::of(Algorithm::EdDSA, EncodingKey::from_ed_der(&[&head, &pair[16..48]].concat()), id)
    }

    /// A key for HS256 that the other side has, too.
    pub fn shared(secret: &[u8]) -> Self {
        Self::of(Algorithm::HS256, EncodingKey::from_secret(secret), "shared")
    }

    fn of(algorithm: Algorithm, key: EncodingKey, id: &str) -> Self {
        Self { key, algorithm, id: id.to_owned() }
    }

    /// A token of `alice` that holds for a minute, with these claims in place of others; `null` leaves one out.
    pub fn token(&self, claims: &Value) -> String {
        self.token_for(Duration::from_secs(60), claims)
    }

    /// One that holds so long.
    pub fn token_for(&self, time: Duration, claims: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let mut all = json!({ "iss": "tests", "aud": "chat", "sub": "alice", "exp": (now + time).as_secs() });
        let all_claims = all.as_object_mut().expect("an object");
        for (name, value) in claims.as_object().expect("an object") {
            match value {
                Value::Null => drop(all_claims.remove(name)),
                value => drop(all_claims.insert(name.clone(), value.clone())),
            }
        }
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        encode(&header, &all, &self.key).expect("a token")
    }

    fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.id.clone());
        jwk
    }
}

/// The JSON Web Key Set of these keys.
pub fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.public()).collect();
    json!({ "keys": keys }).to_string()
}

impl Issuer {
    /// One that publishes these keys.
    pub async fn start(signers: &[&Signer]) -> Self {
        Self::begin(signers, None).await
    }

    /// One that does so over TLS.
    pub async fn secured(signers: &[&Signer], issued: &Issued) -> Self {
        Self::begin(signers, Some(issued.acceptor())).await
    }

    async fn begin(signers: &[&Signer], acceptor: Option<TlsAcceptor>) -> Self {
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("a local address");
        let published = Arc::new(Mutex::new(Some(key_set(signers))));
        let (counter, asked) = watch::channel(0);
        let answers = published.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut peer = match &acceptor {
                    None => Peer::new(stream, Role::Upstream),
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => Peer::secured(stream.into(), Role::Upstream),
                        Err(_) => continue,
                    },
                };
                peer.read_request().await;
                let answer = match &*answers.lock().expect("a lock") {
                    Some(keys) => {
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{keys}", keys.len())
                    }
                    None => "HTTP/1.1 500 Down\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                peer.write_while_open(&answer).await;
                counter.send_modify(|count| *count += 1);
            }
        });
        Self { address, scheme, published, asked }
    }

    /// Where the keys are.
    pub fn url(&self) -> String {
        format!("{}://{}/jwks.json", self.scheme, self.address)
    }

    /// Publishes these keys from now on; none: answers with an error.
    pub fn publish(&self, signers: &[&Signer]) {
        let keys = (!signers.is_empty()).then(|| key_set(signers));
        *self.published.lock().expect("a lock") = keys;
    }

    /// How often it has been asked.
    pub fn asked(&self) -> u64 {
        *self.asked.borrow()
    }

    /// Waits until it has been asked so often.
    pub async fn until_asked(&self, count: u64) {
        let mut asked = self.asked.clone();
        within("the keys to be asked for", asked.wait_for(|asked| *asked >= count)).await.expect("an issuer");
    }
}
