//! Tokens, and the routes that ask for them.

use std::time::Duration;

use serde_json::json;

use super::{LEAST, accept, refuse};
use crate::config::KeysAt;
use crate::token::Algorithm;

fn with(token: &str, route: &str) -> String {
    format!("{LEAST}{route}\n[tokens.users]\n{token}\n")
}

#[test]
fn tokens_are_read_with_their_defaults() {
    let text = with("jwks = \"https://issuer.test/jwks\"", "token = { name = \"users\" }");
    let config = accept(&text);
    let (tokens, route) = (&config.tokens["users"], config.routes[0].token.as_ref().unwrap());
    assert!(matches!(&tokens.jwks, Some(KeysAt::Url(url, _)) if *url == "https://issuer.test/jwks"));
    assert_eq!(tokens.terms.algorithms, [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]);
    assert_eq!((tokens.terms.leeway, tokens.terms.audience.len()), (Duration::from_secs(30), 0));
    assert_eq!((route.name.as_str(), route.from[0].to_string().as_str()), ("users", "header:authorization"));

    let text = with(
        "jwks = \"keys.json\"\naudience = [\"a\", \"b\"]\nrequired_claims = { role = [\"x\", \"y\"], age = 18, ok = true }",
        "",
    );
    let tokens = &accept(&text).tokens["users"];
    assert!(matches!(&tokens.jwks, Some(KeysAt::File(file)) if file.path.ends_with("etc/tidegate/keys.json")));
    assert_eq!(json!(tokens.terms.required_claims), json!({ "role": ["x", "y"], "age": [18], "ok": [true] }));
}

#[test]
fn what_is_wrong_with_tokens_is_told_with_its_cure() {
    const JWKS: &str = "jwks = \"https://issuer.test/\"";
    for (token, route, told) in [
        ("", "", "tokens.users: there is no key that tokens could be verified with"),
        ("secret = \"hush\"", "", "tokens.users.secret: expected a secret, found text; write { secret = { env"),
        (
            "jwks = \"https://me:hush@issuer.test/\"",
            "",
            "tokens.users.jwks: \"https://…@issuer.test/\" has no host alone",
        ),
        ("jwks = \"ftp://issuer.test/\"", "", "tokens.users.jwks: \"ftp://issuer.test/\" is no url of http or https"),
        ("jwks = \"https://issuer.test/\"\nalgorithms = [\"none\"]", "", "\"none\" is no algorithm that is known"),
        (
            "jwks = \"https://issuer.test/\"\nalgorithms = [\"HS256\"]",
            "",
            "tokens.users.algorithms: HS256 needs a secret",
        ),
        ("jwks = \"https://issuer.test/\"\nleeway = \"1h\"", "", "write whole seconds, at most \"10m\""),
        (
            "jwks = \"https://issuer.test/\"\nclaims = [\"a\\\"b\"]",
            "",
            "tokens.users.claims[0]: this is no name of a claim",
        ),
        ("jwks = \"https://issuer.test/\"\nrequired_claims = { a = [] }", "", "no token could say this"),
        (
            JWKS,
            "token = { name = \"user\" }",
            "routes[0].token.name: there are no tokens \"user\"; did you mean `users`?",
        ),
        (JWKS, "token = { name = \"users\", from = [\"body\"] }", "\"body\": this is no place for a token"),
        (JWKS, "token = { name = \"users\", from = [] }", "no token could be found"),
    ] {
        let problems = refuse(&with(token, route)).to_string();
        assert!(problems.contains(told), "{told}: {problems}");
    }
}
