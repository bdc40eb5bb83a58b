//! The standard filter `renew-token`: a message of the client with a fresh token keeps the connection that came in by one.

use serde::Deserialize;
use serde_json::Value;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, Refusal, Selection, Verdict, connection, export_filter, log,
};

/// The configuration; README.md has the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewToken {
    pointer: String,
    #[serde(default)]
    on_refused: OnRefused,
}

/// What happens when a token is not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnRefused {
    /// Nothing: the connection ends with the token that it came in by.
    #[default]
    Drop,
    Close,
}

impl Filter for RenewToken {
    type Session = ();

    fn configured(self) -> Result<Self, String> {
        match self.pointer.starts_with('/') {
            true => Ok(self),
            false => Err("pointer: expected a JSON pointer (RFC 6901), such as \"/token\"".into()),
        }
    }

    fn interest(&self) -> Interest {
        Interest::from_client(Selection::whole(Kinds::TEXT))
    }

    fn open(&self, _: &Handshake) -> Result<Admission<()>, Refusal> {
        Ok(Admission::of(()))
    }

    fn on_message(&self, (): &mut (), message: Message<'_>) -> Verdict {
        let Some(token) = message.text().and_then(|text| self.token(text)) else { return Verdict::Forward };
        match connection::renew_token(&token) {
            Ok(()) => Verdict::Drop,
            Err(why) => {
                log::info(&format!("a token is not taken: {why}"));
                match self.on_refused {
                    OnRefused::Drop => Verdict::Drop,
                    OnRefused::Close => Verdict::close(1008, "the token is not taken"),
                }
            }
        }
    }
}

impl RenewToken {
    /// The token in a message. What is no JSON, or has no text at the pointer, is a message like any other.
    fn token(&self, text: &str) -> Option<String> {
        // Most messages are none of these, and need not be parsed to know it.
        let name = self.pointer.rsplit('/').next().filter(|name| !name.contains(['~', '"', '\\']));
        if name.is_some_and(|name| !text.contains(name) && !text.contains('\\')) {
            return None;
        }
        let message: Value = serde_json::from_str(text).ok()?;
        message.pointer(&self.pointer)?.as_str().map(str::to_owned)
    }
}

export_filter!(RenewToken);

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(config: &str) -> Result<RenewToken, String> {
        serde_json::from_str::<RenewToken>(config).map_err(|error| error.to_string())?.configured()
    }

    #[test]
    fn a_token_is_a_text_at_the_pointer_of_a_json_message() {
        let filter = filter(r#"{ "pointer": "/auth/token" }"#).ok().unwrap();
        for (text, token) in [
            (r#"{ "auth": { "token": "a.b.c" } }"#, Some("a.b.c")),
            (r#"{ "auth": { "tok\u0065n": "a.b.c" } }"#, Some("a.b.c")),
            (r#"{ "auth": { "token": 7 } }"#, None),
            (r#"{ "token": "a.b.c" }"#, None),
            (r#"{ "auth": { "token": "a.b.c" }"#, None),
            ("hello", None),
        ] {
            assert_eq!(filter.token(text).as_deref(), token, "{text}");
        }
    }

    #[test]
    fn a_pointer_that_is_none_is_refused() {
        assert!(filter(r#"{ "pointer": "token" }"#).err().unwrap().starts_with("pointer: expected a JSON pointer"));
        assert!(filter("{}").is_err());
        assert_eq!(filter(r#"{ "pointer": "/t", "on_refused": "close" }"#).ok().unwrap().on_refused, OnRefused::Close);
    }
}
