//! A filter that does what its configuration and the messages themselves tell it.
//!
//! A text message that begins with one of the verbs of `instructed` is an instruction; every other message is
//! forwarded, with the filter's tag appended if it has one.

use std::time::Duration;

use serde::Deserialize;
use tidegate_guest::{
    Admission, CloseFrame, Filter, Handshake, HeaderEdit, Interest, Kinds, Message, Outgoing, Refusal, Selection, Side,
    Verdict, export_filter, log,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Script {
    from_client: Wanted,
    from_upstream: Wanted,
    /// `text`, `binary` or, by default, both.
    kinds: String,
    /// Appended to every text message that is seen whole and is no instruction.
    tag: String,
    /// Messages of this size are dropped: a verdict that needs no payload.
    drop_size: Option<u32>,
    /// Every empty message is answered with so many bytes.
    answer_size: Option<usize>,
    /// Refuses every handshake with this status.
    refuse: Option<u16>,
    /// Sends every handshake there.
    redirect: Option<String>,
    /// Admits only handshakes that carry this attribute.
    demand: Option<(String, String)>,
    /// Each `set`, `append` or `remove`, then name and value.
    upstream_headers: Vec<(String, String, String)>,
    client_headers: Vec<(String, String, String)>,
    attributes: Vec<(String, String)>,
    lease_seconds: Option<u32>,
    /// Refuses the configuration in these words.
    reject: Option<String>,
    /// Fails over the configuration with these last words.
    panic: Option<String>,
}

/// How much of a message: `whole` (the default), `none`, `off`, or a number of bytes.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    #[default]
    Whole,
    None,
    Off,
    Head(u32),
}

impl Script {
    fn selection(&self, wanted: Wanted) -> Selection {
        let kinds = match self.kinds.as_str() {
            "text" => Kinds::TEXT,
            "binary" => Kinds::BINARY,
            _ => Kinds::all(),
        };
        match wanted {
            Wanted::Whole => Selection::whole(kinds),
            Wanted::None => Selection::fact(kinds),
            Wanted::Head(bytes) => Selection::head(kinds, bytes),
            Wanted::Off => Selection::nothing(),
        }
    }

    fn tags(&self, origin: Side) -> bool {
        let wanted = match origin {
            Side::Client => self.from_client,
            Side::Upstream => self.from_upstream,
        };
        !self.tag.is_empty() && matches!(wanted, Wanted::Whole)
    }
}

impl Filter for Script {
    type Session = ();

    #[expect(clippy::panic, reason = "the configuration asks for it")]
    fn configured(self) -> Result<Self, String> {
        if let Some(words) = &self.panic {
            panic!("{words}");
        }
        match &self.reject {
            Some(words) => Err(words.clone()),
            None => Ok(self),
        }
    }

    fn interest(&self) -> Interest {
        Interest { from_client: self.selection(self.from_client), from_upstream: self.selection(self.from_upstream) }
    }

    fn open(&self, handshake: &Handshake) -> Result<Admission<()>, Refusal> {
        if let Some(location) = &self.redirect {
            return Err(Refusal::redirect(location));
        }
        if let Some(status) = self.refuse {
            return Err(Refusal::new(status).header("x-refused-by", "script").text("not today"));
        }
        if let Some((name, value)) = &self.demand
            && handshake.attribute(name) != Some(value)
        {
            return Err(Refusal::new(403).text("an attribute is missing"));
        }
        Ok(Admission {
            session: (),
            upstream_headers: self.upstream_headers.iter().filter_map(edit).collect(),
            client_headers: self.client_headers.iter().filter_map(edit).collect(),
            attributes: self.attributes.clone(),
            lease_seconds: self.lease_seconds,
        })
    }

    fn on_message(&self, _: &mut (), message: Message<'_>) -> Verdict {
        if self.drop_size == Some(message.size()) {
            return Verdict::Drop;
        }
        if let (Some(size), 0) = (self.answer_size, message.size()) {
            return Verdict::send([Outgoing::binary(message.origin(), vec![0; size])]);
        }
        let Some(text) = message.text() else { return Verdict::Forward };
        match instructed(text, message.origin()) {
            Some(verdict) => verdict,
            None if self.tags(message.origin()) => Verdict::replace(format!("{text}{}", self.tag)),
            None => Verdict::Forward,
        }
    }

    fn on_close(&self, (): &mut (), by: Option<Side>, close: Option<&CloseFrame>) {
        log::info(&format!("script saw the end: {by:?} {:?}", close.map(|close| close.code)));
    }
}

export_filter!(Script);

/// The verdict that a message asks for.
fn instructed(text: &str, origin: Side) -> Option<Verdict> {
    let (verb, rest) = text.split_once(':').unwrap_or((text, ""));
    let verdict = match verb {
        "drop" => Verdict::Drop,
        "trap" => std::process::abort(),
        "replace" => Verdict::replace(rest),
        "reply" => Verdict::send([Outgoing::text(origin, rest)]),
        "onward" => {
            Verdict::send(rest.split(',').map(|part| Outgoing::text(origin.opposite(), part)).collect::<Vec<_>>())
        }
        "both" => Verdict::send([Outgoing::text(Side::Client, rest), Outgoing::text(Side::Upstream, rest)]),
        "nothing" => Verdict::send([]),
        "binary" => Verdict::send([Outgoing::binary(origin.opposite(), rest)]),
        "delay" => Verdict::delay(Duration::from_millis(rest.parse().ok()?)),
        "close" => {
            let (code, reason) = rest.split_once(':').unwrap_or((rest, ""));
            Verdict::close(code.parse().ok()?, reason)
        }
        _ => return None,
    };
    Some(verdict)
}

fn edit((verb, name, value): &(String, String, String)) -> Option<HeaderEdit> {
    match verb.as_str() {
        "set" => Some(HeaderEdit::set(name, value.as_bytes())),
        "append" => Some(HeaderEdit::append(name, value.as_bytes())),
        "remove" => Some(HeaderEdit::remove(name)),
        _ => None,
    }
}
