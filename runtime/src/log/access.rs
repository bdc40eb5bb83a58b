//! One connection's line.
//!
//! Whatever a peer could have chosen is cut and escaped, so that no line holds a control character, a line break or a
//! character that reorders text, and one connection is one line. The query is left out on purpose: tokens live there.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::Format;
use crate::metrics::{ConnectOutcome, Initiator};
use crate::peer::Shown;

/// What the access log says about a connection, or a plain request. Empty texts, `None` and absent attributes are left out of the line.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// The connection's id, as components and the admin API know it.
    pub connection: &'a str,
    /// The id of its request, if a proxy in front has given it; else it is the connection's.
    pub request_id: &'a str,
    /// The trace that its request is part of.
    pub trace_id: Option<u128>,
    /// The version of HTTP that the client speaks, as `HTTP/1.1`; empty where no request has come from a client.
    pub protocol: &'a str,
    /// The route's name; empty when none was found.
    pub route: &'a str,
    /// The client's address: the TCP peer's, or the one a trusted proxy forwarded; `None`: it has none, behind a unix socket.
    pub client: Option<SocketAddr>,
    /// The method of a plain request; empty for a handshake.
    pub method: &'a str,
    /// The request's `Host`.
    pub host: &'a str,
    /// The request's path, without its query.
    pub path: &'a str,
    /// The upstream's name; empty before one was chosen.
    pub upstream: &'a str,
    /// The endpoint's url; empty before one was leased.
    pub endpoint: &'a str,
    /// Whether the connection has only just opened, and will leave another line when it ends.
    pub opens: bool,
    /// How the handshake or the plain request ended.
    pub outcome: &'static str,
    /// The status answered to the client; `None` when it left before its answer.
    pub status: Option<u16>,
    /// How the connection ended, once it had been open.
    pub ended: Option<Ended>,
    /// Why: the reason in the close frame, or the proxy's own words for what it refused or ended.
    pub reason: &'a str,
    /// The filter that refused the handshake; empty when none did.
    pub filter: &'a str,
    /// The endpoints that were tried in vain, in order.
    pub tried: &'a [Tried],
    /// From accept to end, the handshake included.
    pub duration: Duration,
    /// What the client sent.
    pub from_client: Traffic,
    /// What the upstream sent.
    pub from_upstream: Traffic,
    /// The channel group id that was forwarded or generated.
    pub channel: Option<&'a str>,
    /// What filters attached, in order.
    pub attributes: &'a [(String, String)],
}

/// How an open connection ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Who ended it.
    pub by: Initiator,
    /// The close code; 1005 for a frame without one and 1006 for none (RFC 6455 section 7.1.5).
    pub code: u16,
}

/// An endpoint that took no connection.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Its url.
    pub endpoint: String,
    /// How the attempt ended.
    pub outcome: ConnectOutcome,
    /// What the system, or the endpoint's answer, said about it.
    pub error: String,
}

/// Data messages and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Whole messages.
    pub messages: u64,
    /// As they came on the wire.
    pub bytes: u64,
}

impl AccessRecord<'_> {
    /// The line, with its line feed.
    pub(super) fn line(&self, format: Format) -> String {
        let mut line = Line::start(format);
        if self.opens {
            line.text("event", "open");
        }
        line.text("connection", self.connection);
        line.text("request_id", self.request_id);
        if let Some(trace_id) = self.trace_id {
            line.display("trace_id", format_args!("{trace_id:032x}"));
        }
        line.text("route", self.route);
        line.display("client", Shown(self.client));
        line.text("protocol", self.protocol);
        line.text("method", self.method);
        line.text("host", self.host);
        line.text("path", self.path);
        line.text("upstream", self.upstream);
        line.text("endpoint", self.endpoint);
        line.text("outcome", self.outcome);
        if let Some(status) = self.status {
            line.number("status", status.into());
        }
        if let Some(Ended { by, code }) = self.ended {
            line.text("by", by.label());
            line.number("code", code.into());
        }
        line.text("filter", self.filter);
        line.text("reason", self.reason);
        line.tried(self.tried.get(..MAX_TRIED).unwrap_or(self.tried));
        line.number("duration_ms", u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX));
        let has_messages = self.method.is_empty();
        if has_messages {
            line.number("client_messages", self.from_client.messages);
        }
        line.number("client_bytes", self.from_client.bytes);
        if has_messages {
            line.number("upstream_messages", self.from_upstream.messages);
        }
        line.number("upstream_bytes", self.from_upstream.bytes);
        line.text("channel", self.channel.unwrap_or_default());
        line.attributes(self.attributes.get(..MAX_ATTRIBUTES).unwrap_or(self.attributes));
        line.finish()
    }
}

/// A line under construction. In both formats a field is its separator, its name and its value.
struct Line {
    format: Format,
    text: String,
}

impl Line {
    fn start(format: Format) -> Self {
        let mut text = String::with_capacity(TYPICAL_LINE);
        let opening = match format {
            Format::Text => "",
            Format::Json => "{\"timestamp\":\"",
        };
        text.push_str(opening);
        // Neither the clock nor a String refuses to be written.
        let _ = SystemTime.format_time(&mut Writer::new(&mut text));
        text.push_str(match format {
            Format::Text => " access",
            Format::Json => "\",\"target\":\"tidegate::access\"",
        });
        Self { format, text }
    }

    fn name(&mut self, name: &str) {
        match self.format {
            Format::Text => self.text.extend([" ", name, "="]),
            Format::Json => self.text.extend([",\"", name, "\":"]),
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        let _ = write!(self.text, "{value}");
    }

    /// A value that needs no escape in either format.
    fn display(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = match self.format {
            Format::Text => write!(self.text, "{value}"),
            Format::Json => write!(self.text, "\"{value}\""),
        };
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.name(name);
            self.value(value);
        }
    }

    /// In the text format one value for all of them.
    fn tried(&mut self, tried: &[Tried]) {
        if tried.is_empty() {
            return;
        }
        self.name("tried");
        match self.format {
            Format::Text => {
                let told = tried.iter().map(|Tried { endpoint, outcome, error }| {
                    let outcome = outcome.label();
                    format!("{} {outcome} ({})", cut(endpoint, MAX_TRIED_VALUE), cut(error, MAX_TRIED_VALUE))
                });
                escape(&mut self.text, &told.collect::<Vec<_>>().join(", "));
            }
            Format::Json => {
                let mut separator = '[';
                for Tried { endpoint, outcome, error } in tried {
                    self.text.push(separator);
                    self.text.push_str("{\"endpoint\":");
                    quote(&mut self.text, endpoint);
                    self.text.extend([",\"outcome\":\"", outcome.label(), "\",\"error\":"]);
                    quote(&mut self.text, error);
                    self.text.push('}');
                    separator = ',';
                }
                self.text.push(']');
            }
        }
    }

    fn attributes(&mut self, attributes: &[(String, String)]) {
        if attributes.is_empty() {
            return;
        }
        match self.format {
            Format::Text => {
                for (name, value) in attributes {
                    self.text.push(' ');
                    self.value(name);
                    self.text.push('=');
                    self.value(value);
                }
            }
            Format::Json => {
                self.text.push_str(",\"attributes\":{");
                for (index, (name, value)) in attributes.iter().enumerate() {
                    if index > 0 {
                        self.text.push(',');
                    }
                    quote(&mut self.text, name);
                    self.text.push(':');
                    quote(&mut self.text, value);
                }
                self.text.push('}');
            }
        }
    }

    /// In the text format plain words stand bare, everything else in quotes.
    fn value(&mut self, value: &str) {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        if self.format == Format::Text && !value.is_empty() && value.len() <= MAX_VALUE && value.bytes().all(is_plain) {
            self.text.push_str(value);
        } else {
            quote(&mut self.text, value);
        }
    }

    fn finish(mut self) -> String {
        self.text.push_str(match self.format {
            Format::Text => "\n",
            Format::Json => "}\n",
        });
        self.text
    }
}

/// Appends a value as a JSON string, cut to what a line holds of one.
fn quote(line: &mut String, value: &str) {
    escape(line, &cut(value, MAX_VALUE));
}

/// The start of a text that is too long.
fn cut(value: &str, most: usize) -> Cow<'_, str> {
    match value.get(..value.floor_char_boundary(most)) {
        Some(kept) if kept.len() < value.len() => Cow::Owned(format!("{kept}…")),
        _ => Cow::Borrowed(value),
    }
}

/// Appends a JSON string (RFC 8259 section 7) that also escapes what JSON allows but a terminal acts upon.
fn escape(line: &mut String, kept: &str) {
    line.push('"');
    let plain = kept.bytes().take_while(|byte| matches!(byte, b' '..=b'~' if !matches!(byte, b'"' | b'\\'))).count();
    let (plain, kept) = kept.split_at(plain);
    line.push_str(plain);
    for character in kept.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if character.is_control() || is_invisible(character) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            _ => line.push(character),
        }
    }
    line.push('"');
}

/// Line separators, zero-width characters, direction overrides and tags: text that does not look like what it is.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The most bytes of one value that a line holds.
const MAX_VALUE: usize = 512;
/// The most endpoints that a line names, and bytes of what it says of each.
const MAX_TRIED: usize = 8;
const MAX_TRIED_VALUE: usize = 128;
/// The most attributes that a line holds.
const MAX_ATTRIBUTES: usize = 32;
const TYPICAL_LINE: usize = 512;
