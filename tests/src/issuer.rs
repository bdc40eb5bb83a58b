//! An issuer of tokens: keys, what is signed with them, and a server that publishes them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::{Peer, Role, within};

/// A key that tokens are signed with.
pub struct Signer {
    key: EncodingKey,
    id: String,
}

/// A server that publishes keys, for as long as the test runs.
#[derive(Debug)]
pub struct Issuer {
    address: SocketAddr,
    published: Arc<Mutex<Option<String>>>,
    asked: watch::Receiver<u64>,
}

impl Signer {
    /// A new key of this name.
    pub fn new(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self { key: EncodingKey::from_ec_der(&pair.serialize_der()), id: id.to_owned() }
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
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &all, &self.key).expect("a token")
    }

    fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::ES256).expect("a public key");
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
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("a local address");
        let published = Arc::new(Mutex::new(Some(key_set(signers))));
        let (counter, asked) = watch::channel(0);
        let answers = published.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut peer = Peer::new(stream, Role::Upstream);
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
        Self { address, published, asked }
    }

    /// Where the keys are.
    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
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
