//! The standard filter `log-messages`: a line in the log for each message, or for a sample of them.

use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, MessageKind, Origins, Refusal, Selection, Side, Verdict,
    export_filter, log, random,
};

/// The configuration; README.md has the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogMessages {
    from: Origins,
    level: Level,
    bytes: u32,
    sample: f64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Warn,
    Info,
    Debug,
}

impl Default for LogMessages {
    fn default() -> Self {
        Self { from: Origins::Both, level: Level::Info, bytes: 0, sample: 1.0 }
    }
}

impl Filter for LogMessages {
    type Session = ();

    fn configured(self) -> Result<Self, String> {
        if self.bytes > MAX_BYTES {
            return Err(format!("`bytes` is {}; a line has room for {MAX_BYTES} at most", self.bytes));
        }
        if !(self.sample > 0.0 && self.sample <= 1.0) {
            return Err("`sample` is no share; write a number above 0 and up to 1".into());
        }
        Ok(self)
    }

    fn interest(&self) -> Interest {
        self.from.interest(match self.bytes {
            0 => Selection::fact(Kinds::all()),
            bytes => Selection::head(Kinds::all(), bytes),
        })
    }

    fn open(&self, _: &Handshake) -> Result<Admission<()>, Refusal> {
        Ok(Admission::of(()))
    }

    fn on_message(&self, (): &mut (), message: Message<'_>) -> Verdict {
        if self.sample >= 1.0 || random::chance(self.sample) {
            let level = match self.level {
                Level::Warn => log::Level::Warn,
                Level::Info => log::Level::Info,
                Level::Debug => log::Level::Debug,
            };
            log::write(level, &self.line(message));
        }
        Verdict::Forward
    }
}

/// Written in hexadecimal, that many bytes fill half of the longest line that the proxy logs.
const MAX_BYTES: u32 = 1024;

impl LogMessages {
    fn line(&self, message: Message<'_>) -> String {
        let origin = match message.origin() {
            Side::Client => "client",
            Side::Upstream => "upstream",
        };
        let kind = match message.kind() {
            MessageKind::Text => "text",
            MessageKind::Binary => "binary",
        };
        let mut line = format!("from={origin} kind={kind} size={}", message.size());
        if self.bytes > 0 {
            line.push_str(" payload=");
            push_payload(&mut line, message);
            if message.payload().len() < message.size() as usize {
                line.push_str("...");
            }
        }
        line
    }
}

fn push_payload(line: &mut String, message: Message<'_>) {
    match message.text() {
        Some(text) => {
            line.push('"');
            // Else a text could end the quotes and go on as fields of its own.
            line.extend(text.escape_debug());
            line.push('"');
        }
        None => {
            for byte in message.payload() {
                for digit in [byte >> 4, byte & 15] {
                    line.extend(char::from_digit(u32::from(digit), 16));
                }
            }
        }
    }
}

export_filter!(LogMessages);

#[cfg(test)]
mod tests {
    use tidegate_guest::testing;

    use super::*;

    fn logged(filter: LogMessages, message: Message<'_>) -> Vec<String> {
        testing::take_log();
        let filter = filter.configured().unwrap();
        assert_eq!(filter.on_message(&mut (), message), Verdict::Forward);
        testing::take_log().into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_line_has_the_direction_the_kind_and_the_size() {
        let message = Message::new(Side::Client, MessageKind::Text, b"").of_size(90_000);
        assert_eq!(logged(LogMessages::default(), message), ["from=client kind=text size=90000"]);
    }

    #[test]
    fn payloads_are_not_asked_for_unless_they_are_logged() {
        let facts = LogMessages::default().interest();
        assert_eq!(facts, Interest::both(Selection::fact(Kinds::all())));
        let heads = LogMessages { bytes: 16, from: Origins::Upstream, ..Default::default() }.interest();
        assert_eq!(heads, Interest::from_upstream(Selection::head(Kinds::all(), 16)));
    }

    #[test]
    fn a_text_cannot_forge_fields() {
        let filter = LogMessages { bytes: 64, ..LogMessages::default() };
        let text = Message::text_from(Side::Client, "a\" from=upstream \n");
        assert_eq!(logged(filter, text), [r#"from=client kind=text size=18 payload="a\" from=upstream \n""#]);
    }

    #[test]
    fn the_head_is_quoted_as_text_or_in_hexadecimal() {
        let filter = || LogMessages { bytes: 4, ..Default::default() };
        let text = Message::new(Side::Client, MessageKind::Text, b"ahoy").of_size(9);
        assert_eq!(logged(filter(), text), ["from=client kind=text size=9 payload=\"ahoy\"..."]);
        let binary = Message::binary_from(Side::Upstream, &[0, 0xa1, 255]);
        assert_eq!(logged(filter(), binary), ["from=upstream kind=binary size=3 payload=00a1ff"]);
    }

    #[test]
    fn a_sample_logs_about_its_share() {
        testing::seed(1);
        testing::take_log();
        let filter = LogMessages { sample: 0.1, ..Default::default() };
        for _ in 0..10_000 {
            filter.on_message(&mut (), Message::text_from(Side::Client, "x"));
        }
        assert!((900..1_100).contains(&testing::take_log().len()));
    }

    #[test]
    fn a_sample_that_is_no_share_is_refused() {
        for sample in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(LogMessages { sample, ..Default::default() }.configured().is_err());
        }
    }
}
