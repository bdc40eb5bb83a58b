use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm};
use serde_json::json;

use super::super::bearer::Bearer;
use super::super::keys::{InvalidKeys, KeySet};
use super::*;

/// A key that signs, with what is published of it.
struct Signer {
    key: EncodingKey,
    algorithm: Algorithm,
    id: &'static str,
}

impl Signer {
    fn new(kind: &'static SignatureAlgorithm, algorithm: Algorithm, id: &'static str) -> Self {
        let key = EncodingKey::from_ec_der(&KeyPair::generate_for(kind).unwrap().serialize_der());
        Self { key, algorithm, id }
    }

    fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn set(signers: &[&Signer]) -> Arc<Keys> {
    let keys: Vec<_> = signers.iter().map(|signer| signer.public()).collect();
    Arc::new(Keys::fixed(KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()))
}

fn terms() -> Terms {
    Terms {
        issuer: Some("https://issuer".to_owned()),
        audience: vec!["chat".to_owned(), "games".to_owned()],
        algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        leeway: Duration::from_secs(30),
        required_claims: BTreeMap::new(),
        claims: vec!["role".to_owned()],
    }
}

/// Rules without keys, with something changed in their terms.
pub(in crate::token) fn rules(change: impl FnOnce(&mut Terms)) -> Arc<Rules> {
    let mut terms = terms();
    change(&mut terms);
    Arc::new(Rules::new(terms, None, None))
}

fn claims(over: &Value) -> Value {
    let mut claims =
        json!({ "iss": "https://issuer", "aud": "chat", "sub": "alice", "exp": get_current_timestamp() + 60 });
    for (name, value) in over.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

#[test]
fn a_token_holds_that_a_published_key_has_signed_and_says_what_is_asked() {
    let signers = [
        Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "one"),
        Signer::new(&PKCS_ECDSA_P384_SHA384, Algorithm::ES384, "two"),
    ];
    let terms = Terms { algorithms: vec![Algorithm::ES256, Algorithm::ES384], ..terms() };
    let rules = Rules::new(terms, Some(set(&signers.each_ref())), None);
    for signer in &signers {
        let verified =
            rules.verify(&signer.sign(&claims(&json!({ "role": ["admin"], "aud": ["x", "games"] })))).unwrap();
        assert_eq!(verified.subject.as_deref(), Some("alice"));
        let attributes = [("token.sub", "alice"), ("token.role", "[\"admin\"]")];
        assert_eq!(verified.attributes, attributes.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}

#[test]
fn a_token_lacks_what_the_refusal_says() {
    let (known, other) = (
        Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "one"),
        Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "other"),
    );
    let large = Signer::new(&PKCS_ECDSA_P384_SHA384, Algorithm::ES384, "large");
    let pretender = Signer { id: "one", ..Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "") };
    let rules = Rules::new(terms(), Some(set(&[&known, &large])), None);
    let now = get_current_timestamp();
    for (over, refused) in [
        (json!({ "iss": "https://other" }), Refused::Issuer),
        (json!({ "iss": null }), Refused::Claim("iss".to_owned())),
        (json!({ "aud": "other" }), Refused::Audience),
        (json!({ "aud": null }), Refused::Claim("aud".to_owned())),
        (json!({ "exp": null }), Refused::Claim("exp".to_owned())),
        (json!({ "exp": now - 31 }), Refused::Expired),
        (json!({ "nbf": now + 60 }), Refused::Early),
        (json!({ "sub": 7 }), Refused::Claim("sub".to_owned())),
    ] {
        assert_eq!(rules.verify(&known.sign(&claims(&over))), Err(refused), "{over}");
    }
    let good = claims(&json!({}));
    for (token, refused) in [
        (other.sign(&good), Refused::UnknownKey),
        (pretender.sign(&good), Refused::Signature),
        (large.sign(&good), Refused::Algorithm),
        ("a.b.c".to_owned(), Refused::Malformed),
        (String::new(), Refused::Malformed),
        (format!("{}{}", known.sign(&good), "x".repeat(MAX_TOKEN)), Refused::Malformed),
    ] {
        assert_eq!(rules.verify(&token), Err(refused));
    }
    let late = claims(&json!({ "exp": now - 10 }));
    assert!(rules.verify(&known.sign(&late)).unwrap().until > Instant::now(), "it has leeway");
}

#[test]
fn a_published_key_is_never_taken_for_a_secret_and_no_signature_for_one() {
    let known = Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "one");
    let with_secret = Terms { algorithms: vec![Algorithm::ES256, Algorithm::HS256], ..terms() };
    let secret = Secret::new(*b"0123456789abcdef0123456789abcdef");
    let rules = Rules::new(with_secret, Some(set(&[&known])), Some(&secret));
    let by_secret = |secret: &[u8]| {
        encode(&Header::new(Algorithm::HS256), &claims(&json!({})), &EncodingKey::from_secret(secret)).unwrap()
    };
    assert!(rules.verify(&by_secret(secret.bytes())).is_ok());
    assert!(rules.verify(&known.sign(&claims(&json!({})))).is_ok());
    let public = serde_json::to_string(&known.public()).unwrap();
    assert_eq!(rules.verify(&by_secret(public.as_bytes())), Err(Refused::Signature));
    // {"alg":"none"}
    let body = by_secret(b"x").split('.').nth(1).unwrap().to_owned();
    assert_eq!(rules.verify(&format!("eyJhbGciOiJub25lIn0.{body}.")), Err(Refused::Malformed));
    let without = Rules::new(terms(), Some(set(&[&known])), None);
    assert_eq!(without.verify(&by_secret(secret.bytes())), Err(Refused::Algorithm));
}

#[test]
fn a_required_claim_says_it_or_has_it_in_a_list() {
    let known = Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "one");
    let required = |name: &str, values: Value| Terms {
        required_claims: BTreeMap::from([(name.to_owned(), values.as_array().unwrap().clone())]),
        ..terms()
    };
    for (name, wanted, said, holds) in [
        ("role", json!(["admin"]), json!("admin"), true),
        ("role", json!(["admin"]), json!("administrator"), false),
        ("role", json!(["admin", "owner"]), json!(["guest", "owner"]), true),
        ("role", json!(["admin"]), json!("guest admin"), false),
        ("scope", json!(["chat"]), json!("profile chat"), true),
        ("scope", json!(["chat"]), json!("chats"), false),
        ("level", json!([3]), json!(3), true),
        ("level", json!([3]), json!("3"), false),
        ("verified", json!([true]), json!(true), true),
        ("verified", json!([true]), Value::Null, false),
    ] {
        let rules = Rules::new(required(name, wanted), Some(set(&[&known])), None);
        let verified = rules.verify(&known.sign(&claims(&json!({ name: said.clone() }))));
        let expected = if holds { None } else { Some(Refused::Unmet(name.to_owned())) };
        assert_eq!(verified.err(), expected, "{name} {said}");
    }
}

#[test]
fn another_token_renews_only_for_the_same_subject() {
    let known = Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "one");
    let rules = Arc::new(Rules::new(terms(), Some(set(&[&known])), None));
    let bearer = |subject: Option<&str>| Bearer { rules: rules.clone(), subject: subject.map(str::to_owned) };
    let fresh = known.sign(&claims(&json!({ "exp": get_current_timestamp() + 3600 })));
    assert!(bearer(Some("alice")).renew(&fresh).unwrap() > Instant::now() + Duration::from_secs(3000));
    assert_eq!(bearer(Some("bob")).renew(&fresh), Err(Refused::Subject));
    let nameless = known.sign(&claims(&json!({ "sub": null })));
    assert_eq!(bearer(None).renew(&nameless), Err(Refused::Subject));
    assert_eq!(bearer(Some("alice")).renew("x"), Err(Refused::Malformed));
}

#[test]
fn a_set_of_keys_has_one_for_signatures_and_not_too_many() {
    let known = Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "one").public();
    let read = |keys: Value| KeySet::read(json!({ "keys": keys }).to_string().as_bytes()).err();
    let oct = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "one" });
    let mut sealing = known.clone();
    sealing["use"] = "enc".into();
    assert_eq!(read(json!([{ "kty": "new" }, oct, known])), None);
    assert_eq!(read(json!([oct])), Some(InvalidKeys::Empty));
    assert_eq!(read(json!([sealing])), Some(InvalidKeys::Empty));
    assert_eq!(read(json!([])), Some(InvalidKeys::Empty));
    assert_eq!(read(Value::Array(vec![known; 65])), Some(InvalidKeys::TooMany));
    for text in ["", "[]", "{}", "{\"keys\": 7}"] {
        assert_eq!(KeySet::read(text.as_bytes()).err(), Some(InvalidKeys::NoSet), "{text}");
    }
}

#[test]
fn without_keys_nothing_can_be_said_of_a_token() {
    let known = Signer::new(&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, "one");
    let rules = Rules::new(terms(), Some(Arc::new(Keys::unknown())), None);
    assert_eq!(rules.verify(&known.sign(&claims(&json!({})))), Err(Refused::NoKeys));
}

/// RFC 8037 appendix A.4; what is signed there are no claims.
#[test]
fn a_signature_of_ed25519_is_the_one_of_the_rfc() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let keys = KeySet::read(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let rules = Rules::new(terms(), Some(Arc::new(Keys::fixed(keys))), None);
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6d\
                  WbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(rules.verify(signed), Err(Refused::Malformed));
    assert_eq!(rules.verify(&signed.replace(".hgy", ".hgz")), Err(Refused::UnknownKey));
}
