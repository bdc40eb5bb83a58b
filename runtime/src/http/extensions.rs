//! `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), and what a permessage-deflate answer may say to an offer
//! (RFC 7692 section 7.1).
//!
//! The proxy negotiates nothing of its own: it passes the client's offer on and the upstream's answer back, and here
//! it checks that the answer is one the client can live with.

use std::collections::HashSet;

use thiserror::Error;

use super::fields::{elements, is_token};
use crate::ws::{DeflateParameters, Extensions, SlidingWindow, cost};

/// One element of an offer or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The registered name; compared without regard to case.
    pub name: &'a str,
    /// Parameters in order, unquoted.
    pub parameters: Vec<(&'a str, Option<&'a str>)>,
}

/// Why an offer or an answer cannot stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidExtensions {
    /// It does not follow the grammar of RFC 6455 section 9.1.
    #[error("sec-websocket-extensions is malformed")]
    Malformed,
    /// The answer names what the client did not offer.
    #[error("the upstream answered an extension that was not offered")]
    NotOffered,
    /// The answer names an extension twice.
    #[error("the upstream answered an extension twice")]
    Repeated,
    /// The answer's parameters fit no offer of permessage-deflate.
    #[error("the upstream answered permessage-deflate with parameters that fit no offer")]
    Parameters,
}

/// The name of the compression extension (RFC 7692).
pub const DEFLATE: &str = "permessage-deflate";

/// Reads an offer or an answer.
pub fn parse(list: &str) -> Result<Vec<Extension<'_>>, InvalidExtensions> {
    elements(list).map(|element| Extension::parse(element).ok_or(InvalidExtensions::Malformed)).collect()
}

impl<'a> Extension<'a> {
    /// Reads one element. A quoted value has to be a token too, so a separator inside quotes is never legal and the
    /// text can be split before the quotes are looked at.
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(|part| part.trim_matches([' ', '\t']));
        let name = parts.next().filter(|name| is_token(name))?;
        let parameters = parts.map(parameter).collect::<Option<_>>()?;
        Some(Self { name, parameters })
    }

    /// The name as names are compared.
    fn folded(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// Whether this is permessage-deflate.
    pub fn is_deflate(&self) -> bool {
        self.name.eq_ignore_ascii_case(DEFLATE)
    }

    /// The value of a parameter: `None` when it is absent, `Some(None)` when it stands without a value.
    fn parameter(&self, name: &str) -> Option<Option<&'a str>> {
        cost::spend(self.parameters.len());
        self.parameters.iter().find(|(parameter, _)| parameter.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Checks an upstream's answer against the offer that was sent to it, and says what it means.
pub fn check(offer: &str, answer: &str) -> Result<Extensions, InvalidExtensions> {
    let offered = parse(offer)?;
    let answered = parse(answer)?;
    let names: HashSet<_> = offered.iter().map(Extension::folded).collect();
    let mut seen = HashSet::new();
    for extension in &answered {
        let name = extension.folded();
        if !names.contains(&name) {
            return Err(InvalidExtensions::NotOffered);
        }
        if !seen.insert(name) {
            return Err(InvalidExtensions::Repeated);
        }
        let mut offers = offered.iter().filter(|offer| offer.is_deflate());
        if extension.is_deflate()
            && !(is_deflate_answer(extension) && offers.any(|offer| deflate_fits(offer, extension)))
        {
            return Err(InvalidExtensions::Parameters);
        }
    }
    let deflate = answered.iter().find(|extension| extension.is_deflate()).map(deflate_parameters);
    Ok(Extensions { agreed: !answered.is_empty(), deflate })
}

/// What a checked answer of permessage-deflate says (RFC 7692 sections 7.1.1 and 7.1.2).
fn deflate_parameters(answer: &Extension<'_>) -> DeflateParameters {
    let window = |no_takeover, max_bits| SlidingWindow {
        bits: answer.parameter(max_bits).flatten().and_then(window_bits).unwrap_or(SlidingWindow::LARGEST.bits),
        takeover: answer.parameter(no_takeover).is_none(),
    };
    DeflateParameters {
        client: window("client_no_context_takeover", "client_max_window_bits"),
        server: window("server_no_context_takeover", "server_max_window_bits"),
    }
}

fn parameter(part: &str) -> Option<(&str, Option<&str>)> {
    let Some((name, value)) = part.split_once('=') else {
        return is_token(part).then_some((part, None));
    };
    let (name, value) = (name.trim_end_matches([' ', '\t']), value.trim_start_matches([' ', '\t']));
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => value,
    };
    (is_token(name) && is_token(value)).then_some((name, Some(value)))
}

/// Whether parameters are those of a permessage-deflate answer, each at most once.
fn is_deflate_answer(answer: &Extension<'_>) -> bool {
    // There are only so many to be known, and more of them are refused without being compared.
    let mut seen = Vec::with_capacity(DEFLATE_PARAMETERS);
    answer.parameters.len() <= DEFLATE_PARAMETERS
        && answer.parameters.iter().all(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let is_known = match name.as_str() {
                "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
                "server_max_window_bits" | "client_max_window_bits" => value.and_then(window_bits).is_some(),
                _ => false,
            };
            let is_new = !seen.contains(&name);
            seen.push(name);
            is_known && is_new
        })
}

/// How many parameters RFC 7692 has.
const DEFLATE_PARAMETERS: usize = 4;

/// Whether an answer is legal for one offer of permessage-deflate (RFC 7692 sections 7.1.1 and 7.1.2).
fn deflate_fits(offer: &Extension<'_>, answer: &Extension<'_>) -> bool {
    let answered_bits = |name| answer.parameter(name).flatten().and_then(window_bits);

    let takeover = offer.parameter("server_no_context_takeover").is_none()
        || answer.parameter("server_no_context_takeover").is_some();
    let server_bits = match offer.parameter("server_max_window_bits") {
        None => true,
        Some(limit) => match (limit.and_then(window_bits), answered_bits("server_max_window_bits")) {
            (Some(limit), Some(bits)) => bits <= limit,
            _ => false,
        },
    };
    let client_bits = match (offer.parameter("client_max_window_bits"), answered_bits("client_max_window_bits")) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(None), Some(_)) => true,
        (Some(Some(limit)), Some(bits)) => window_bits(limit).is_some_and(|limit| bits <= limit),
    };
    takeover && server_bits && client_bits
}

/// 8 to 15, in decimal without a leading zero.
fn window_bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        _ if value.len() == 2 => value.parse().ok().filter(|bits| (10..=15).contains(bits)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::InvalidExtensions::*;
    use super::*;

    #[test]
    fn quoted_and_plain_values_mean_the_same() {
        let plain = parse("permessage-deflate; client_max_window_bits=10 ; x, foo").unwrap();
        let quoted = parse("permessage-deflate;client_max_window_bits=\"10\";x,foo").unwrap();
        assert_eq!(plain, quoted);
        assert_eq!(plain[0].parameters, [("client_max_window_bits", Some("10")), ("x", None)]);
    }

    #[test]
    fn what_breaks_the_grammar_is_malformed() {
        for list in [
            "a b",
            "a;",
            "a; =1",
            "a; b=",
            "a; b=\"1",
            "a; b=\"\"",
            "a; b=\"x,y\"",
            "\"a\"",
            "a; b=\"x y\"",
            "a; b=1=2",
        ] {
            assert_eq!(parse(list), Err(Malformed), "{list}");
        }
    }

    /// As many elements as a head of a mebibyte has.
    fn many(element: impl Fn(usize) -> String) -> Vec<String> {
        (0..50_000).map(element).collect()
    }

    #[test]
    fn what_an_answer_of_very_many_parameters_or_extensions_costs_grows_with_its_length() {
        let parameters = format!("permessage-deflate{}", many(|index| format!("; p{index}")).concat());
        let offers = vec!["permessage-deflate; client_max_window_bits"; 20_000].join(", ");
        let extensions = many(|index| format!("x{index}")).join(",");
        let repeated = format!("{extensions},X7");
        for (offer, answer, expected) in [
            (&offers, parameters.as_str(), Err(Parameters)),
            (&offers, "permessage-deflate; client_max_window_bits=9", Ok(())),
            (&extensions, &extensions, Ok(())),
            (&extensions, &repeated, Err(Repeated)),
        ] {
            let spent = cost::of(|| assert_eq!(check(offer, answer).map(drop), expected));
            let bytes = offer.len() + answer.len();
            assert!(spent <= 4 * bytes as u64, "{spent} for {bytes} bytes");
        }
    }

    #[test]
    fn an_answer_has_to_fit_the_offer() {
        let browser = "permessage-deflate; client_max_window_bits";
        let strict =
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; client_max_window_bits=12";
        let fallback = "permessage-deflate; server_max_window_bits=9, permessage-deflate";
        for (offer, answer, expected) in [
            (browser, "permessage-deflate", Ok(())),
            (browser, "Permessage-Deflate; server_no_context_takeover; client_no_context_takeover", Ok(())),
            (browser, "permessage-deflate; client_max_window_bits=9; server_max_window_bits=15", Ok(())),
            (browser, "permessage-deflate; client_max_window_bits", Err(Parameters)),
            (browser, "permessage-deflate; server_max_window_bits=16", Err(Parameters)),
            (browser, "permessage-deflate; server_max_window_bits=7", Err(Parameters)),
            (browser, "permessage-deflate; server_max_window_bits=08", Err(Parameters)),
            (browser, "permessage-deflate; server_max_window_bits=+9", Err(Parameters)),
            (browser, "permessage-deflate; server_no_context_takeover=1", Err(Parameters)),
            (browser, "permessage-deflate; unknown", Err(Parameters)),
            (browser, "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", Err(Parameters)),
            (browser, "permessage-deflate, permessage-deflate", Err(Repeated)),
            (browser, "x-other", Err(NotOffered)),
            (browser, "permessage-deflate;;", Err(Malformed)),
            ("permessage-deflate", "permessage-deflate; client_max_window_bits=10", Err(Parameters)),
            (strict, "permessage-deflate", Err(Parameters)),
            (strict, "permessage-deflate; server_no_context_takeover; server_max_window_bits=10", Ok(())),
            (strict, "permessage-deflate; server_no_context_takeover; server_max_window_bits=11", Err(Parameters)),
            (strict, "permessage-deflate; server_max_window_bits=10", Err(Parameters)),
            (
                strict,
                "permessage-deflate; server_no_context_takeover; server_max_window_bits=8; client_max_window_bits=13",
                Err(Parameters),
            ),
            (fallback, "permessage-deflate", Ok(())),
            ("x-foo; a=1", "X-Foo; b=2", Ok(())),
        ] {
            assert_eq!(check(offer, answer).map(drop), expected, "{offer} / {answer}");
        }
    }
}
