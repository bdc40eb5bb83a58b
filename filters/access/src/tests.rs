use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use tidegate_guest::testing;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_700_000_000;

fn access(config: serde_json::Value) -> Result<Access, String> {
    serde_json::from_value::<Access>(config).map_err(|error| error.to_string())?.configured()
}

fn open(config: serde_json::Value, headers: &[(&str, &str)]) -> Result<Admission<()>, Refusal> {
    testing::set_wall(std::time::Duration::from_secs(NOW));
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    access(config).unwrap().open(&Handshake { headers, ..Handshake::default() })
}

fn status(answer: Result<Admission<()>, Refusal>) -> u16 {
    answer.map_or_else(|refusal| refusal.status, |_| 101)
}

fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for index in 0..=group.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]));
        }
    }
    text
}

fn signed(header: serde_json::Value, claims: serde_json::Value, secret: &str) -> String {
    let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", encode(&mac.finalize().into_bytes()))
}

fn bearer(claims: serde_json::Value) -> String {
    format!("Bearer {}", signed(json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET))
}

fn challenge(answer: Result<Admission<()>, Refusal>) -> String {
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.status, 401);
    let (_, value) = refusal.headers.iter().find(|(name, _)| name == "www-authenticate").unwrap();
    String::from_utf8(value.clone()).unwrap()
}

#[test]
fn a_denied_header_value_is_forbidden_whatever_else_is_allowed() {
    let config = json!({"deny": [{"header": "X-Tenant", "values": ["evil"]}], "allow": [{"header": "x-tenant"}]});
    assert_eq!(status(open(config.clone(), &[("x-tenant", "evil")])), 403);
    assert_eq!(status(open(config.clone(), &[("x-tenant", "good")])), 101);
    assert_eq!(status(open(config, &[])), 403);
}

#[test]
fn one_matching_rule_allows() {
    let config = json!({"allow": [{"header": "x-key", "values": ["a", "b"]}, {"header": "x-admin"}]});
    assert_eq!(status(open(config.clone(), &[("x-key", "b")])), 101);
    assert_eq!(status(open(config.clone(), &[("x-key", "c"), ("x-admin", "")])), 101);
    assert_eq!(status(open(config, &[("x-key", "c")])), 403);
}

#[test]
fn a_listed_token_names_its_user() {
    let config = json!({"tokens": [{"token": "s3cret", "user": "ann"}, {"token": "other", "user": "bob"}]});
    let admission = open(config.clone(), &[("authorization", "bearer s3cret")]).unwrap();
    assert_eq!(admission, Admission::of(()).attribute("user", "ann"));
    assert_eq!(challenge(open(config.clone(), &[])), "Bearer");
    let wrong = challenge(open(config, &[("authorization", "Bearer s3cre")]));
    assert_eq!(wrong, r#"Bearer error="invalid_token", error_description="unknown token""#);
}

#[test]
fn a_browser_may_bring_its_token_in_a_cookie_or_the_query() {
    let tokens = json!([{"token": "s3cret", "user": "ann"}]);
    let cookie = json!({"tokens": tokens, "credential": "cookie:session"});
    assert_eq!(status(open(cookie, &[("cookie", "a=b; session=s3cret")])), 101);
    let query = access(json!({"tokens": tokens, "credential": "query:token"})).unwrap();
    let handshake = Handshake { query: Some("token=s3cret".into()), ..Handshake::default() };
    assert_eq!(status(query.open(&handshake)), 101);
}

#[test]
fn a_token_in_the_query_is_decoded_and_keeps_its_plus() {
    let config = json!({"tokens": [{"token": "abc+/def==", "user": "ann"}], "credential": "query:key"});
    let access = access(config).unwrap();
    for (query, expected) in [
        ("key=abc%2B%2Fdef%3D%3D", 101),
        ("key=abc+/def==", 101),
        ("k%65y=abc%2b/def=%3D", 101),
        ("key=abc%20/def==", 401),
        ("key=abc%252B/def==", 401),
        ("key=", 401),
        ("key=abc+/def==&key=other", 400),
        ("key=abc+/def==&key=abc%2B/def==", 101),
    ] {
        let handshake = Handshake { query: Some(query.into()), ..Handshake::default() };
        assert_eq!(status(access.open(&handshake)), expected, "{query}");
    }
}

#[test]
fn a_second_token_of_which_the_upstream_might_believe_the_other_is_refused() {
    let tokens = json!([{"token": "s3cret", "user": "ann"}]);
    let twice = [("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")];
    assert_eq!(status(open(json!({"tokens": tokens}), &twice)), 400);
    let basic = [("authorization", "Basic eA=="), ("authorization", "Bearer s3cret")];
    assert_eq!(status(open(json!({"tokens": tokens}), &basic)), 400);
    let cookie = json!({"tokens": tokens, "credential": "cookie:session"});
    assert_eq!(status(open(cookie.clone(), &[("cookie", "session=s3cret; session=other")])), 400);
    assert_eq!(status(open(cookie, &[("cookie", "session=s3cret; session=s3cret")])), 101);
}

#[test]
fn an_allowed_value_does_not_carry_another_line_with_it() {
    let allow = json!({"allow": [{"header": "x-tenant", "values": ["gold"]}]});
    assert_eq!(status(open(allow.clone(), &[("x-tenant", "gold"), ("x-tenant", "gold")])), 101);
    assert_eq!(status(open(allow, &[("x-tenant", "gold"), ("x-tenant", "root")])), 403);
    let deny = json!({"deny": [{"header": "x-tenant", "values": ["root"]}]});
    assert_eq!(status(open(deny, &[("x-tenant", "gold"), ("x-tenant", "root")])), 403);
}

#[test]
fn a_spelling_that_the_upstream_may_take_for_a_field_is_denied_with_it_and_allows_nothing() {
    let deny = json!({ "deny": [{ "header": "x-bad" }] });
    let allow = json!({ "allow": [{ "header": "x-key", "values": ["a"] }] });
    for name in ["x-bad", "x_bad", "x.bad"] {
        assert_eq!(status(open(deny.clone(), &[(name, "1")])), 403, "{name}");
    }
    assert!(open(deny, &[("xbad", "1")]).is_ok());
    assert!(open(allow.clone(), &[("x-key", "a"), ("x_key", "a")]).is_ok());
    for headers in [&[("x_key", "a")][..], &[("x-key", "a"), ("x_key", "b")]] {
        assert_eq!(status(open(allow.clone(), headers)), 403, "{headers:?}");
    }
}

#[test]
fn a_connection_lasts_no_longer_than_its_token() {
    let claims = json!({"sub": "ann", "exp": NOW + 90, "tenant": "gold", "level": 3, "tags": ["x"]});
    let config = json!({"jwt": {"secret": SECRET, "attributes": ["tenant", "level", "tags", "none"]}});
    let admission = open(config, &[("authorization", &bearer(claims))]).unwrap();
    let expected = Admission::of(()).attribute("user", "ann").attribute("tenant", "gold").attribute("level", "3");
    assert_eq!(admission, expected.lease_seconds(90));
}

#[test]
fn a_token_that_another_implementation_has_signed_verifies() {
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\
        .eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ\
        .SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
    let config = json!({"secret": "your-256-bit-secret", "allow_without_expiry": true, "attributes": ["name"]});
    let jwt: Jwt = serde_json::from_value(config).unwrap();
    let admission = jwt.verify(token, NOW).unwrap().admission();
    assert_eq!(admission, Admission::of(()).attribute("user", "1234567890").attribute("name", "John Doe"));
}

#[test]
fn a_token_that_is_not_valid_is_a_401_that_says_why() {
    let refused = |authorization: String| {
        let config = json!({"jwt": {"secret": SECRET, "issuer": "gate", "audience": "chat"}});
        let challenge = challenge(open(config, &[("authorization", &authorization)]));
        let why = challenge.strip_prefix("Bearer error=\"invalid_token\", error_description=\"").unwrap().to_owned();
        why.trim_end_matches('"').to_owned()
    };
    let claims = json!({"iss": "gate", "aud": ["web", "chat"], "exp": NOW + 1});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        bearer(claims)
    };
    assert_eq!(refused("Bearer abc".into()), "malformed token");
    assert_eq!(refused(with("exp", json!(NOW))), "token expired");
    assert_eq!(refused(with("exp", json!("soon"))), "malformed token");
    assert_eq!(refused(with("nbf", json!(NOW + 1))), "token not yet valid");
    assert_eq!(refused(with("iss", json!("else"))), "wrong issuer");
    assert_eq!(refused(with("aud", json!(["web"]))), "wrong audience");
    assert_eq!(refused(bearer(json!({"iss": "gate", "aud": "chat"}))), "token without expiry");
    let forged = signed(json!({"alg": "HS256"}), claims.clone(), "another secret of thirty-two bytes");
    assert_eq!(refused(format!("Bearer {forged}")), "bad signature");
    let unsigned = format!("{}.{}.", encode(br#"{"alg":"none"}"#), encode(claims.to_string().as_bytes()));
    assert_eq!(refused(format!("Bearer {unsigned}")), "bad signature");
    let other = signed(json!({"alg": "HS512"}), claims.clone(), SECRET);
    assert_eq!(refused(format!("Bearer {other}")), "unsupported token");
}

#[test]
fn a_valid_token_without_the_claims_is_a_403() {
    let opened = |claims: serde_json::Value| {
        let config = json!({"jwt": {"secret": SECRET, "claims": {"role": ["admin", "staff"], "active": true}}});
        status(open(config, &[("authorization", &bearer(claims))]))
    };
    assert_eq!(opened(json!({"exp": NOW + 1, "role": "staff", "active": true})), 101);
    assert_eq!(opened(json!({"exp": NOW + 1, "role": ["guest", "admin"], "active": true})), 101);
    assert_eq!(opened(json!({"exp": NOW + 1, "role": "guest", "active": true})), 403);
    assert_eq!(opened(json!({"exp": NOW + 1, "role": "staff"})), 403);
    assert_eq!(opened(json!({"exp": NOW + 1, "role": {"admin": true}, "active": true})), 403);
}

#[test]
fn a_date_may_have_a_fraction() {
    let jwt: Jwt = serde_json::from_value(json!({"secret": SECRET})).unwrap();
    let token = signed(json!({"alg": "HS256"}), json!({"exp": 1_700_000_005.5}), SECRET);
    assert_eq!(jwt.verify(&token, NOW).unwrap().admission().lease_seconds, Some(5));
}

#[test]
fn leeway_stretches_a_token_at_both_ends() {
    let jwt: Jwt = serde_json::from_value(json!({"secret": SECRET, "leeway_seconds": 10})).unwrap();
    let token = signed(json!({"alg": "HS256"}), json!({"nbf": NOW + 10, "exp": NOW - 9}), SECRET);
    assert_eq!(jwt.verify(&token, NOW).unwrap().admission().lease_seconds, Some(1));
}

#[test]
fn a_configuration_that_checks_nothing_or_cannot_is_refused() {
    let error = |config| access(config).err().unwrap();
    assert!(error(json!({})).starts_with("nothing to check"));
    assert!(error(json!({"allow": [{"header": ""}]})).starts_with("allow[0]: `header` is empty"));
    assert!(error(json!({"deny": [{"header": "x", "values": []}]})).starts_with("deny[0]: `values` is empty"));
    assert!(error(json!({"jwt": {"secret": "short"}})).starts_with("jwt: `secret` is too short"));
    let fraction = json!({"jwt": {"secret": SECRET, "claims": {"level": [1, 1.5]}}});
    assert!(error(fraction).starts_with("jwt: claims.level: write a text"));
    assert!(error(json!({"tokens": [{"token": "", "user": "x"}]})).contains("a secret is empty"));
    assert!(error(json!({"jwt": {"secret": SECRET}, "credential": "body"})).contains("write \"authorization\""));
    assert!(error(json!({"alow": []})).contains("unknown field `alow`"));
}
