use proptest::prelude::*;

use super::*;

fn redirect(to: &str) -> Redirect {
    Redirect::parse(to, StatusCode::PERMANENT_REDIRECT).unwrap()
}

fn asked<'a>(host: &'a str, path: &'a str, query: Option<&'a str>) -> Asked<'a> {
    Asked { host, path, rest: path.strip_prefix("/old").unwrap_or_default(), query }
}

#[test]
fn the_url_is_made_of_the_request() {
    for (to, host, path, query, location) in [
        ("https://{host}{path}?{query}", "a.example", "/x/y", Some("b=c&d"), "https://a.example/x/y?b=c&d"),
        ("https://{host}{path}?{query}", "a.example", "/x", None, "https://a.example/x"),
        ("https://{host}{path}?{query}", "a.example", "/x", Some(""), "https://a.example/x?"),
        ("https://{host}:8443{path}", "[2001:db8::1]", "/", None, "https://[2001:db8::1]:8443/"),
        ("https://www.{host}/", "a.example", "/x", None, "https://www.a.example/"),
        ("https://new.example{rest}", "a", "/old/x", None, "https://new.example/x"),
        ("https://new.example{rest}", "a", "/old", None, "https://new.example"),
        ("/new{rest}?{query}#top", "a", "/old/x", Some("q"), "/new/x?q#top"),
        ("/new{rest}?{query}#top", "a", "/old/x", None, "/new/x#top"),
        ("{path}/", "a", "/x", None, "/x/"),
        ("/", "", "/x", None, "/"),
        ("/a?{query}&from=old", "", "/x", Some("b"), "/a?b&from=old"),
        ("/a?{query}&from=old", "", "/x", None, "/a?from=old"),
        ("/a?from=old&{query}", "", "/x", None, "/a?from=old"),
        ("/a?from=old&{query}", "", "/x", Some("b"), "/a?from=old&b"),
        ("https://id.example/?to={path}&at={host}", "a:1", "/x?y", None, "https://id.example/?to=/x%3Fy&at=a%3A1"),
        ("https://{host}{path}", "a", "*", None, "https://a/"),
        ("https://{host}{path}", "a", "", None, "https://a/"),
    ] {
        let location_of = redirect(to).location(&asked(host, path, query)).unwrap();
        assert_eq!(location_of, location, "{to} {host} {path} {query:?}");
    }
}

#[test]
fn no_client_leads_anybody_to_another_host() {
    for (to, path, query, location) in [
        ("{path}/", "//evil.example", None, "/evil.example/"),
        ("{path}/", "///evil.example", None, "/evil.example/"),
        ("{path}/", "/\\evil.example", None, "/%5Cevil.example/"),
        ("/{path}", "/evil.example", None, "/evil.example"),
        ("/{rest}", "/old//evil.example", None, "/evil.example"),
        ("https://a.example{path}", "//evil.example/", None, "https://a.example//evil.example/"),
        ("https://a.example{path}", "/@evil.example/", None, "https://a.example/@evil.example/"),
        (
            "https://a.example{path}?{query}",
            "/",
            Some("\\\"<>`{}|^\u{e9} "),
            "https://a.example/?%5C%22%3C%3E%60%7B%7D%7C%5E%C3%A9%20",
        ),
        (
            "https://a.example/?to={path}",
            "/&to=//evil.example#",
            None,
            "https://a.example/?to=/%26to%3D//evil.example%23",
        ),
        ("/a", "/\r\nset-cookie: a=b", None, "/a"),
        ("{path}", "/\r\nset-cookie: a=b", None, "/%0D%0Aset-cookie:%20a=b"),
    ] {
        assert_eq!(redirect(to).location(&asked("h", path, query)).unwrap(), location, "{to} {path}");
    }
}

#[test]
fn a_url_that_a_client_could_bend_is_refused_when_it_is_read() {
    let unknown = InvalidRedirect::Template(InvalidTemplate::Unknown("hots".to_owned()));
    for (to, invalid) in [
        ("", InvalidRedirect::Nowhere),
        ("{host}", InvalidRedirect::Nowhere),
        ("{rest}", InvalidRedirect::Nowhere),
        ("{query}", InvalidRedirect::Nowhere),
        ("a.example/{path}", InvalidRedirect::Nowhere),
        ("//{host}{path}", InvalidRedirect::Nowhere),
        ("javascript:alert(1)", InvalidRedirect::Nowhere),
        ("HTTPS://{host}", InvalidRedirect::Nowhere),
        ("https://{path}", InvalidRedirect::Host),
        ("https:///{path}", InvalidRedirect::Host),
        ("https://", InvalidRedirect::Host),
        ("https://user@a.example/", InvalidRedirect::Host),
        ("https://{host}@evil.example/", InvalidRedirect::Host),
        ("https://my{host}/", InvalidRedirect::Host),
        ("https://{host}{host}/", InvalidRedirect::Host),
        ("https://{host}my/", InvalidRedirect::Host),
        ("https://a.example:{host}/", InvalidRedirect::Host),
        ("https://a.example:0/", InvalidRedirect::Host),
        ("https://a.example{rest}.evil.example/", InvalidRedirect::Host),
        ("https://a.example{rest}{rest}@evil.example/", InvalidRedirect::Host),
        ("https://a.example{rest}{host}/", InvalidRedirect::Host),
        ("https://a.example{query}", InvalidRedirect::Query),
        ("/a{query}", InvalidRedirect::Query),
        ("/a?{query}b", InvalidRedirect::Query),
        ("/a?{query}{path}", InvalidRedirect::Query),
        ("/a?x={query}", InvalidRedirect::Query),
        ("/a#?{query}", InvalidRedirect::Query),
        ("/a b", InvalidRedirect::Character(' ')),
        ("/a\r\nb: c", InvalidRedirect::Character('\r')),
        ("/\\a", InvalidRedirect::Character('\\')),
        ("/caf\u{e9}", InvalidRedirect::Character('\u{e9}')),
        ("/%zz", InvalidRedirect::Encoding),
        ("/a%2", InvalidRedirect::Encoding),
        ("https://{hots}/", unknown),
    ] {
        assert_eq!(Redirect::parse(to, StatusCode::FOUND).unwrap_err(), invalid, "{to}");
    }
}

#[test]
fn a_request_without_a_host_or_with_too_long_a_path_is_refused() {
    let host = Err(Refused::Malformed("the request names no host"));
    assert_eq!(redirect("https://{host}/").location(&asked("", "/", None)), host);
    let long = "/\"".repeat(LONGEST / 4 + 1);
    assert_eq!(redirect("{path}").location(&asked("", &long, None)), Err(Refused::TargetTooLong));
}

#[test]
fn to_tls_it_is_the_url_of_the_request() {
    for (host, path, query, port, location) in [
        ("chat.example.com", "/", None, 443, "https://chat.example.com/"),
        ("chat.example.com", "/a%20b", Some("x=//y"), 443, "https://chat.example.com/a%20b?x=//y"),
        ("chat.example.com", "//other.example/a", None, 8443, "https://chat.example.com:8443//other.example/a"),
        ("[2001:db8::1]", "*", None, 443, "https://[2001:db8::1]/"),
    ] {
        let redirect = Redirect::to_tls(port);
        assert_eq!(redirect.location(&asked(host, path, query)).unwrap(), location);
        let response = redirect.response(&asked(host, path, query)).unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["location"]),
            (308, &HeaderValue::from_static(location))
        );
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_leads_to_the_host_that_stands_there(
        path in "(/|\\\\|\\.|@|:|%[0-9a-f]{2}|[ -~]|\u{e9}|\r|\n){0,20}",
        query in prop::option::of("(&|=|\\?|#|/|[ -~]|\u{e9}|\r|\n){0,20}"),
    ) {
        let path = format!("/{path}");
        let asked = asked("a.example", &path, query.as_deref());
        for to in ["{path}?{query}", "/x{path}", "/{rest}?a=1&{query}", "{path}{rest}#{path}"] {
            let location = redirect(to).location(&asked).unwrap();
            let url = location.to_str().unwrap();
            prop_assert!(url.starts_with('/') && !url.starts_with("//") && !url.contains('\\'), "{}", url);
        }
        for to in ["https://{host}{path}?{query}", "https://a.example{rest}?{query}", "https://a.example?p={path}&{query}"] {
            let location = redirect(to).location(&asked).unwrap();
            let rest = location.to_str().unwrap().strip_prefix("https://a.example").unwrap();
            prop_assert!(rest.is_empty() || rest.starts_with(['/', '?']), "{}", rest);
        }
    }
}
