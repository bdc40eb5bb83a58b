//! Checking what components answer: the WIT can say that a status is a number, not that it is within 300 to 599. An
//! answer that breaks such a rule is a failure of the component, never something the rest of the proxy has to survive.

use http::{HeaderName, HeaderValue};

use super::limits::Limits;
use super::types::{CloseFrame, HeaderEdit, Need, PartVerdict, Reaction, Refusal, Selection, Verdict};
use super::wire;
use super::wishes::is_reserved;
use crate::http::field_names;

/// Why an answer is none.
pub(super) type Why = String;

/// Checks a verdict on a message that was selected in this way.
#[inline]
pub(super) fn verdict(verdict: wire::Verdict, selection: Selection) -> Result<Verdict, Why> {
    let verdict = Verdict::from(verdict);
    match &verdict {
        Verdict::Forward | Verdict::Delay(_) | Verdict::Drop => {}
        Verdict::Replace(_) => check_whole(selection, "replaced")?,
        Verdict::Send(_) => check_whole(selection, "sent others for")?,
        Verdict::Close(close) => check_close(close)?,
    }
    Ok(verdict)
}

/// Checks a verdict on a part of a message that was selected in this way.
pub(super) fn part(verdict: wire::PartVerdict, selection: Selection) -> Result<PartVerdict, Why> {
    let verdict = PartVerdict::from(verdict);
    match &verdict {
        PartVerdict::Replace(_) if selection.need != Need::Rewrite => {
            Err("it replaced a part of a message that it had not asked to rewrite".to_owned())
        }
        PartVerdict::Close(close) => check_close(close).map(|()| verdict),
        PartVerdict::Forward | PartVerdict::Replace(_) => Ok(verdict),
    }
}

/// Checks what a filter does when a time has come.
pub(super) fn reaction(reaction: wire::Reaction) -> Result<Reaction, Why> {
    let reaction = Reaction::from(reaction);
    if let Reaction::Close(close) = &reaction {
        check_close(close)?;
    }
    Ok(reaction)
}

/// Checks a refusal of a handshake.
pub(super) fn refusal(refusal: wire::Refusal) -> Result<Refusal, Why> {
    let wire::Refusal { status, headers, body } = refusal;
    if !(300..=599).contains(&status) {
        return Err(format!("it refused with status {status}, which is not within 300 to 599"));
    }
    let headers = headers.into_iter().map(|(name, value)| field(&name, value)).collect::<Result<_, _>>()?;
    Ok(Refusal { status, headers, body })
}

/// Checks how much an answer to a handshake carries: it is kept, sent and logged, so there has to be an end to it.
pub(super) fn attachments(attachments: wire::Attachments, limits: &Limits) -> Result<(), Why> {
    let wire::Attachments { count, size } = attachments;
    if count > limits.max_attachments {
        let most = limits.max_attachments;
        return Err(format!(
            "it attached {count} header edits, attributes or fields, and its max_attachments is {most}"
        ));
    }
    if size > limits.max_attachment_size {
        let most = limits.max_attachment_size;
        return Err(format!("it attached {size} bytes to a handshake, and its max_attachment_size is {most}"));
    }
    Ok(())
}

/// Checks the attributes of a handshake.
pub(super) fn attributes(attributes: &[(String, String)]) -> Result<(), Why> {
    match attributes.iter().find(|(name, _)| is_reserved(name)) {
        Some((name, _)) => Err(format!("it attached `{}`, which only the runtime does", name.escape_debug())),
        None => Ok(()),
    }
}

/// Checks edits of header fields.
pub(super) fn edits(edits: Vec<wire::HeaderEdit>) -> Result<Vec<HeaderEdit>, Why> {
    let check = |edit: wire::HeaderEdit| {
        Ok(match edit.into() {
            HeaderEdit::Set(name, value) => {
                let (name, value) = field(&name, value)?;
                HeaderEdit::Set(name, value)
            }
            HeaderEdit::Append(name, value) => {
                let (name, value) = field(&name, value)?;
                HeaderEdit::Append(name, value)
            }
            HeaderEdit::Remove(name) => HeaderEdit::Remove(field_name(&name)?),
        })
    };
    edits.into_iter().map(check).collect()
}

fn check_whole(selection: Selection, did: &str) -> Result<(), Why> {
    match selection.need {
        Need::Whole => Ok(()),
        _ => Err(format!("it {did} a message that it had not asked to see whole")),
    }
}

fn check_close(close: &CloseFrame) -> Result<(), Why> {
    if !CloseFrame::is_sendable(close.code) {
        return Err(format!("it closed with code {}, which must not stand in a frame", close.code));
    }
    if close.reason.len() > CloseFrame::MAX_REASON {
        return Err(format!("it closed with a reason of {} bytes, and 123 fit into a frame", close.reason.len()));
    }
    Ok(())
}

fn field(name: &str, value: Vec<u8>) -> Result<(String, Vec<u8>), Why> {
    let name = field_name(name)?;
    if HeaderValue::from_bytes(&value).is_err() {
        return Err(format!("it gave header `{name}` a value with control characters"));
    }
    Ok((name, value))
}

/// A name in lower case that may be edited.
fn field_name(name: &str) -> Result<String, Why> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(format!("`{}` is no header name", name.escape_debug()));
    };
    let name = name.as_str();
    if field_names::is_owned(name) {
        return Err(format!("it touched header `{name}`, which belongs to the runtime"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_the_runtime_owns_cannot_be_edited() {
        for name in [
            "Connection",
            "upgrade",
            "HOST",
            "Sec-WebSocket-Key",
            "sec_websocket_key",
            "transfer-encoding",
            "content-length",
            "Expect",
            "proxy-authorization",
            "Proxy-Authenticate",
            "http2-settings",
        ] {
            let why = edits(vec![wire::HeaderEdit::Remove(name.to_owned())]).unwrap_err();
            assert!(why.contains("belongs to the runtime"), "{name}: {why}");
        }
    }

    #[test]
    fn edits_come_out_in_lower_case_and_in_order() {
        let set = wire::HeaderEdit::Set(("X-User".to_owned(), b"ann".to_vec()));
        let remove = wire::HeaderEdit::Remove("Cookie".to_owned());
        let expected = [HeaderEdit::Set("x-user".to_owned(), b"ann".to_vec()), HeaderEdit::Remove("cookie".to_owned())];
        assert_eq!(edits(vec![set, remove]).unwrap(), expected);
    }

    #[test]
    fn a_header_value_cannot_smuggle_another_line() {
        let append = wire::HeaderEdit::Append(("x-user".to_owned(), b"ann\r\nx-admin: yes".to_vec()));
        assert!(edits(vec![append]).is_err());
        assert!(edits(vec![wire::HeaderEdit::Remove("x user".to_owned())]).is_err());
    }

    #[test]
    fn a_refusal_redirects_or_is_an_error() {
        let with = |status| refusal(wire::Refusal { status, headers: Vec::new(), body: Vec::new() });
        assert!(with(300).is_ok() && with(400).is_ok() && with(599).is_ok());
        assert!(with(299).is_err() && with(101).is_err() && with(600).is_err());
    }
}
