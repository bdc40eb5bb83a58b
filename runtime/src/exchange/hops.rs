//! The hops of a request: this one adds itself to them, and a client may have bounded them (RFC 9110 sections 7.6.2 and 7.6.3).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, Version};

use crate::handshake::AnswerBody;

/// Notes on a request that it comes over this hop, as a gateway has to. Gives the answer of the last one where it may go no
/// further.
pub fn pass(parts: &mut Parts) -> Option<Response<AnswerBody>> {
    if parts.method == Method::OPTIONS && !has_left(&mut parts.headers) {
        return Some(last());
    }
    let via = match parts.version {
        Version::HTTP_10 => "1.0 tidegate",
        Version::HTTP_2 => "2 tidegate",
        _ => "1.1 tidegate",
    };
    // A head that is full takes no further field.
    let _ = parts.headers.try_append(header::VIA, HeaderValue::from_static(via));
    None
}

/// Takes one from the hops that are left, if that is bounded. What is no number bounds nothing.
fn has_left(headers: &mut HeaderMap) -> bool {
    let told = headers.get(MAX_FORWARDS).and_then(|told| told.to_str().ok()).map(str::trim);
    let Some(told) = told.filter(|told| !told.is_empty() && told.bytes().all(|byte| byte.is_ascii_digit())) else {
        return true;
    };
    // More than that are no bound.
    let Some(left) = told.parse::<u32>().unwrap_or(u32::MAX).checked_sub(1) else { return false };
    headers.insert(MAX_FORWARDS, HeaderValue::from(left));
    true
}

/// What is told of everything behind this hop.
fn last() -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Empty);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(CARRIED));
    response
}

const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");
/// Those of RFC 9110 that are carried, and PATCH.
const CARRIED: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH";

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// What goes on of a request, or the answer of the last hop.
    fn passed(method: &str, version: Version, bound: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let mut request = Request::builder().method(method).version(version).header("via", "1.0 before");
        for bound in bound {
            request = request.header("max-forwards", *bound);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        if let Some(answer) = pass(&mut parts) {
            return Err(format!("{} {}", answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()));
        }
        let told = |name: &str| parts.headers.get_all(name).iter().map(|it| it.to_str().unwrap().to_owned()).collect();
        Ok((told("via"), told("max-forwards")))
    }

    #[test]
    fn a_request_says_that_it_came_over_this_hop_and_by_which_version() {
        for (version, own) in
            [(Version::HTTP_10, "1.0 tidegate"), (Version::HTTP_11, "1.1 tidegate"), (Version::HTTP_2, "2 tidegate")]
        {
            let expected = ["1.0 before".to_owned(), own.to_owned()].to_vec();
            assert_eq!(passed("GET", version, &[]).unwrap().0, expected);
        }
    }

    #[test]
    fn only_options_have_their_hops_bounded_and_the_last_of_them_is_answered() {
        for (method, bound, expected) in [
            ("OPTIONS", &["1"][..], Ok(vec!["0"])),
            ("OPTIONS", &[" 10 "], Ok(vec!["9"])),
            ("OPTIONS", &["99999999999999999999"], Ok(vec!["4294967294"])),
            ("OPTIONS", &[], Ok(vec![])),
            ("OPTIONS", &["many"], Ok(vec!["many"])),
            ("OPTIONS", &["-1"], Ok(vec!["-1"])),
            ("OPTIONS", &[""], Ok(vec![""])),
            ("GET", &["0"], Ok(vec!["0"])),
            ("OPTIONS", &["0"], Err("200 GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")),
            ("OPTIONS", &["000"], Err("200 GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")),
        ] {
            let passed = passed(method, Version::HTTP_11, bound).map(|(_, bound)| bound);
            let expected = expected.map(|kept| kept.into_iter().map(str::to_owned).collect());
            assert_eq!(passed, expected.map_err(str::to_owned), "{method} {bound:?}");
        }
    }
}
