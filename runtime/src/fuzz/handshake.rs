//! Both sides of the opening handshake, and the extensions that they negotiate.
//!
//! What comes at once takes a shortcut and what comes in pieces is read by hyper, so both are told the same here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use http_body_util::BodyExt;

use super::run;
use super::script::Script;
use crate::handshake::{
    Client, Forwarding, HeadLimits, Networks, Refused, Requests, Scheme, Target, describe, validate,
};
use crate::http::{
    Accepted, Host, Path, Paths, UpstreamRequest, UpstreamTarget, extensions as negotiation, field_names,
};
use crate::upstream::{Address, DialError, Timeouts, Upgraded, upgrade};
use crate::ws::Extensions;

/// Reads the requests of a client, behind a byte that says how many bytes come at a time, and answers them up to the
/// first opening handshake.
///
/// # Panics
/// When the pieces change something, a field that ends at this hop is forwarded, or what followed the handshake is not
/// given back as it came.
pub fn request(data: &[u8]) {
    let Some((piece, text)) = data.split_first() else { return };
    // Later ones are not read when the body of an earlier one has not come by the time that it is answered.
    assert_eq!(requests(text, *piece).first(), requests(text, 0).first(), "the pieces change what is read");
}

/// A request: where it went, its fields, and what became of it.
type Asked = (Uri, HeaderMap, Result<(), Refused>);

fn requests(text: &[u8], piece: u8) -> Vec<Asked> {
    let mut asked = Vec::new();
    run(async {
        let mut requests =
            Requests::new(Script::new(text, piece), &HeadLimits { max_header_bytes: 4096, ..HeadLimits::default() });
        while let Ok(Some(parts)) = requests.next().await {
            let client = Client {
                peer: Some(SocketAddr::from((PROXY, 1))),
                address: networks().client(IpAddr::from(PROXY), &parts.headers),
                scheme: Scheme::Ws,
                connection_id: String::new(),
            };
            let opening = Target::of(&parts, Paths::Canonical).and_then(|target| {
                let told = describe(&parts, &target, &client);
                assert!(told.path == target.path.shown() && told.headers.iter().count() == parts.headers.len());
                assert_one_form(&target.path);
                validate(&parts)
            });
            let judged = opening.as_ref().map(|_| ()).map_err(|refused| *refused);
            asked.push((parts.uri.clone(), parts.headers.clone(), judged));
            let opening = match opening {
                Ok(opening) => opening,
                Err(refused) if requests.answer(refused.response()).await.is_ok() => continue,
                Err(_) => return,
            };
            let forwarding = Forwarding { trusted: networks(), ..Forwarding::default() };
            let target = UpstreamTarget::new(PathAndQuery::from_static("/"), 0);
            let (request, _) = forwarding.request(parts, target, Some(&opening), &client, &[]);
            assert_end_to_end(&request.headers);
            let accepted = Accepted {
                headers: HeaderMap::new(),
                protocol: None,
                extensions: request.extensions,
                agreed: Extensions::default(),
            };
            if let Ok((stream, leftover)) = requests.switch(opening.switching(opening.answer(accepted, &[]))).await {
                assert!(text.ends_with(&[&leftover, stream.unsaid()].concat()));
            }
            return;
        }
    });
    asked
}

/// Reads an upstream's answer, behind a byte that says how many bytes come at a time and a line with the extensions that
/// were offered. The accepted key of RFC 6455 section 1.3 stands for the right one.
///
/// # Panics
/// When the pieces change something, what was not offered is accepted, a field that ends at this hop is kept, or what
/// followed the answer is not given back as it came.
pub fn answer(data: &[u8]) {
    let Some((piece, rest)) = data.split_first() else { return };
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return };
    let (offer, text) = rest.split_at(end);
    let Ok(offer) = HeaderValue::from_bytes(offer) else { return };
    let text = text.get(1..).unwrap_or_default();
    assert_eq!(answered(&offer, text, *piece), answered(&offer, text, 0), "the pieces change what is read");
}

/// The status of an answer and its fields, with the lengths of their values: the key that was accepted, which is another
/// each time, may stand in any of them.
type Answered = (StatusCode, Vec<(HeaderName, usize)>);

fn answered(offer: &HeaderValue, text: &[u8], piece: u8) -> Option<Answered> {
    let address = Address::parse("ws://upstream.test/base").ok()?;
    let mut request = UpstreamRequest {
        introduction: None,
        target: UpstreamTarget::new(PathAndQuery::from_static("/ws?x=1"), 0),
        headers: HeaderMap::new(),
        client_host: None,
        host: Host::default(),
        protocols: Some(HeaderValue::from_static("chat, superchat")),
        extensions: Some(offer.clone()),
    };
    request.offer_only_deflate();
    let mut answered = None;
    run(async {
        match upgrade(Script::new(text, piece), &address, &request, &Timeouts::default()).await {
            Ok(Upgraded { socket, leftover, accepted }) => {
                assert!(text.ends_with(&[&leftover, socket.unsaid()].concat()));
                assert_end_to_end(&accepted.headers);
                assert!(accepted.protocol.is_none_or(|protocol| protocol == "chat" || protocol == "superchat"));
                let chosen = accepted.extensions.iter().filter_map(|chosen| chosen.to_str().ok());
                for extension in chosen.filter_map(|chosen| negotiation::parse(chosen).ok()).flatten() {
                    assert!(extension.is_deflate(), "{extension:?}");
                }
                answered = Some((StatusCode::SWITCHING_PROTOCOLS, lengths(&accepted.headers)));
            }
            Err(DialError::Answered(answer)) => {
                let mut headers = answer.head.headers.clone();
                answered = Some((answer.head.status, lengths(&headers)));
                // It belongs to the body, which goes on as it is.
                headers.remove(header::CONTENT_LENGTH);
                assert_end_to_end(&headers);
                let body = answer.body.collect().await;
                assert!(body.is_err() || body.is_ok_and(|body| body.to_bytes().len() <= text.len()));
            }
            // That it was cut and that it makes no sense may both be true.
            Err(_) => {}
        }
    });
    answered
}

fn lengths(headers: &HeaderMap) -> Vec<(HeaderName, usize)> {
    headers.iter().map(|(name, value)| (name.clone(), value.len())).collect()
}

/// Reads a line with extensions offered, and one with extensions answered.
///
/// # Panics
/// When what is read is not read again from what is written of it, or an answer is accepted that names what was not
/// offered.
pub fn extensions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (offer, answer) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(offered) = negotiation::parse(offer) {
        let written: Vec<_> = offered.iter().map(write).collect();
        assert_eq!(negotiation::parse(&written.join(",")), Ok(offered));
    }
    if negotiation::check(offer, answer).is_ok() {
        let offered = negotiation::parse(offer).unwrap_or_default();
        for extension in negotiation::parse(answer).unwrap_or_default() {
            assert!(offered.iter().any(|offer| offer.name.eq_ignore_ascii_case(extension.name)), "{extension:?}");
        }
    }
}

fn write(extension: &negotiation::Extension<'_>) -> String {
    let parameters = extension.parameters.iter().map(|(name, value)| match value {
        None => format!("; {name}"),
        Some(value) => format!("; {name}=\"{value}\""),
    });
    std::iter::once(extension.name.to_owned()).chain(parameters).collect()
}

fn assert_end_to_end(headers: &HeaderMap) {
    let mut owned = headers.keys().filter(|name| field_names::is_owned(name.as_str()) && *name != header::HOST);
    assert_eq!(owned.next(), None);
}

/// Whatever form of a path is sent, shown or compared, it finds the same route.
fn assert_one_form(path: &Path<'_>) {
    let compared = |form| Path::read(form, Paths::Canonical).map(|path| path.compared().to_owned());
    if path.forwarded().starts_with('/') {
        for form in [path.forwarded(), path.shown(), path.compared()] {
            assert_eq!(compared(form).as_deref(), Ok(path.compared()));
        }
    }
}

fn networks() -> Networks {
    "192.0.2.0/24".parse().into_iter().collect()
}

/// A peer in [`networks`].
const PROXY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
