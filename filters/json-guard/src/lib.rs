//! The standard filter `json-guard`: only well-formed JSON of the wanted shape passes.

mod pointer;
mod scan;

use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, MessageKind, Origins, Outgoing, Refusal, Selection,
    Verdict, export_filter,
};

use crate::pointer::Pointer;
use crate::scan::{DEEPEST, Fault};

/// The configuration; README.md has the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JsonGuard {
    from: Origins,
    max_size: Option<u64>,
    max_depth: u32,
    required: Vec<String>,
    binary: Binary,
    action: Action,
    #[serde(skip)]
    pointers: Vec<Pointer>,
}

/// What happens to binary messages.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Binary {
    Check,
    Pass,
    Refuse,
}

/// What happens to a message that does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Close,
    Drop,
    Reply,
}

impl Default for JsonGuard {
    fn default() -> Self {
        Self {
            from: Origins::Client,
            max_size: None,
            max_depth: 64,
            required: Vec::new(),
            binary: Binary::Check,
            action: Action::Close,
            pointers: Vec::new(),
        }
    }
}

impl Filter for JsonGuard {
    type Session = ();

    fn configured(mut self) -> Result<Self, String> {
        if self.max_size == Some(0) {
            return Err("`max_size` is 0; leave it out for no limit".into());
        }
        if !(1..=DEEPEST).contains(&self.max_depth) {
            return Err(format!("`max_depth` is {}; write 1 to {DEEPEST}", self.max_depth));
        }
        self.pointers = self.required.iter().map(|text| Pointer::parse(text)).collect::<Result<_, _>>()?;
        Ok(self)
    }

    fn interest(&self) -> Interest {
        self.from.interest(Selection::whole(match self.binary {
            Binary::Pass => Kinds::TEXT,
            Binary::Check | Binary::Refuse => Kinds::all(),
        }))
    }

    fn open(&self, _: &Handshake) -> Result<Admission<()>, Refusal> {
        Ok(Admission::of(()))
    }

    fn on_message(&self, (): &mut (), message: Message<'_>) -> Verdict {
        match self.check(message) {
            Ok(()) => Verdict::Forward,
            Err(reason) => self.object(message, &reason),
        }
    }
}

/// Why a message does not pass, and the close code that says so: 1007 for what is no JSON, 1008 for what is not wanted.
struct Reason {
    code: u16,
    words: String,
}

impl JsonGuard {
    fn check(&self, message: Message<'_>) -> Result<(), Reason> {
        let unwanted = |words| Err(Reason { code: 1008, words });
        if message.kind() == MessageKind::Binary && self.binary == Binary::Refuse {
            return unwanted("binary messages are not accepted".into());
        }
        if let Some(limit) = self.max_size
            && u64::from(message.size()) > limit
        {
            return unwanted(format!("message of {} bytes; the limit is {limit}", message.size()));
        }
        // The runtime has checked that a text message is UTF-8; a binary one may be anything.
        if message.kind() == MessageKind::Binary && str::from_utf8(message.payload()).is_err() {
            return Err(Reason { code: 1007, words: "invalid JSON: not UTF-8".into() });
        }
        match scan::scan(message.payload(), self.max_depth, &self.pointers) {
            Ok(()) => Ok(()),
            Err(Fault::Syntax { offset }) => {
                Err(Reason { code: 1007, words: format!("invalid JSON at byte {offset}") })
            }
            Err(Fault::TooDeep) => unwanted(format!("JSON nested deeper than {}", self.max_depth)),
            Err(Fault::Missing(pointer)) => {
                let required = pointer.and_then(|index| self.required.get(index)).map_or("", String::as_str);
                unwanted(format!("JSON without the member {required}"))
            }
        }
    }

    fn object(&self, message: Message<'_>, reason: &Reason) -> Verdict {
        match self.action {
            Action::Close => Verdict::close(reason.code, reason.words.as_str()),
            Action::Drop => Verdict::Drop,
            Action::Reply => {
                let (code, words) = (reason.code, escaped(&reason.words));
                let answer = format!(r#"{{"error":{{"code":{code},"message":"{words}"}}}}"#);
                Verdict::send([Outgoing::text(message.origin(), answer)])
            }
        }
    }
}

/// What stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\0'..=' ' if character != ' ' => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => escaped.push(character),
        }
    }
    escaped
}

export_filter!(JsonGuard);

#[cfg(test)]
mod tests {
    use tidegate_guest::Side;

    use tidegate_guest::Content;

    use super::*;

    fn guard(guard: JsonGuard) -> JsonGuard {
        guard.configured().unwrap()
    }

    fn decide(filter: JsonGuard, text: &str) -> Verdict {
        guard(filter).on_message(&mut (), Message::text_from(Side::Client, text))
    }

    #[test]
    fn json_passes() {
        assert_eq!(decide(JsonGuard::default(), r#"{"type":"hello","tags":[1,2]}"#), Verdict::Forward);
    }

    #[test]
    fn what_is_no_json_closes_with_1007() {
        assert_eq!(decide(JsonGuard::default(), "{oops}"), Verdict::close(1007, "invalid JSON at byte 1"));
    }

    #[test]
    fn what_is_too_large_too_deep_or_incomplete_closes_with_1008() {
        let small = JsonGuard { max_size: Some(4), ..Default::default() };
        assert_eq!(decide(small, "[1,2]"), Verdict::close(1008, "message of 5 bytes; the limit is 4"));
        let flat = JsonGuard { max_depth: 1, ..Default::default() };
        assert_eq!(decide(flat, "[[]]"), Verdict::close(1008, "JSON nested deeper than 1"));
        let typed = JsonGuard { required: vec!["type".into(), "/user/id".into()], ..Default::default() };
        let verdict = decide(typed, r#"{"type":1,"user":{"name":"id"}}"#);
        assert_eq!(verdict, Verdict::close(1008, "JSON without the member /user/id"));
    }

    #[test]
    fn a_reply_is_json_and_goes_back_to_the_sender() {
        let replying = JsonGuard { action: Action::Reply, ..Default::default() };
        let answer = r#"{"error":{"code":1007,"message":"invalid JSON at byte 0"}}"#;
        assert_eq!(decide(replying, "oops"), Verdict::send([Outgoing::text(Side::Client, answer)]));
    }

    #[test]
    fn a_reply_about_a_strange_name_is_still_json() {
        let required = vec!["say \"hi\"\n\\".to_owned()];
        let Verdict::Send(sent) = decide(JsonGuard { required, action: Action::Reply, ..Default::default() }, "{}")
        else {
            panic!("no reply");
        };
        let Content::Text(answer) = &sent[0].message else { panic!("no text") };
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["error"]["message"], "JSON without the member say \"hi\"\n\\");
    }

    #[test]
    fn binary_messages_are_no_way_around_the_guard() {
        let binary = |binary, payload| {
            let filter = guard(JsonGuard { binary, action: Action::Drop, ..Default::default() });
            filter.on_message(&mut (), Message::binary_from(Side::Client, payload))
        };
        assert_eq!(binary(Binary::Check, b"[1]"), Verdict::Forward);
        assert_eq!(binary(Binary::Check, b"\"\xff\""), Verdict::Drop);
        assert_eq!(binary(Binary::Refuse, b"[1]"), Verdict::Drop);
        let passing = guard(JsonGuard { binary: Binary::Pass, ..Default::default() });
        assert_eq!(passing.interest(), Interest::from_client(Selection::whole(Kinds::TEXT)));
    }

    #[test]
    fn limits_that_let_nothing_pass_are_refused() {
        assert!(JsonGuard { max_size: Some(0), ..Default::default() }.configured().is_err());
        assert!(JsonGuard { max_depth: 0, ..Default::default() }.configured().is_err());
        assert!(JsonGuard { max_depth: DEEPEST + 1, ..Default::default() }.configured().is_err());
    }
}
