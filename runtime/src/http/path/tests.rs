use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Path<'_>, InvalidPath> {
    Path::read(text, Paths::Canonical)
}

#[test]
fn a_path_has_the_form_that_it_is_used_in() {
    for (came, forwarded, shown, compared) in [
        ("/ws/chat", "/ws/chat", "/ws/chat", "/ws/chat"),
        ("/", "/", "/", "/"),
        ("//", "//", "/", "/"),
        ("/ws/x/../admin", "/ws/admin", "/ws/admin", "/ws/admin"),
        ("/ws/%2e%2E/admin/.", "/admin/", "/admin/", "/admin/"),
        ("/ws/chat/..", "/ws/", "/ws/", "/ws/"),
        ("/ws/...", "/ws/...", "/ws/...", "/ws/..."),
        ("/ws//admin", "/ws//admin", "/ws/admin", "/ws/admin"),
        ("/ws//../admin", "/ws/admin", "/ws/admin", "/ws/admin"),
        ("//ws///", "//ws///", "/ws/", "/ws/"),
        ("/ws/%61dmin", "/ws/admin", "/ws/admin", "/ws/admin"),
        ("/ws%2fa%2Fb", "/ws%2fa%2Fb", "/ws%2fa%2Fb", "/ws%2Fa%2Fb"),
        ("/ws%5cadmin", "/ws%5cadmin", "/ws%5cadmin", "/ws%5Cadmin"),
        ("/ws\\admin", "/ws\\admin", "/ws\\admin", "/ws%5Cadmin"),
        ("/a%40b/@b", "/a%40b/@b", "/a%40b/@b", "/a@b/@b"),
        ("/caf%c3%a9", "/caf%c3%a9", "/caf%c3%a9", "/caf%C3%A9"),
        ("/café", "/café", "/café", "/caf%C3%A9"),
        ("/a%20b%252e", "/a%20b%252e", "/a%20b%252e", "/a%20b%252e"),
        ("/ws;v=1/admin;a/", "/ws;v=1/admin;a/", "/ws;v=1/admin;a/", "/ws/admin/"),
        ("/ws/admin%3Bx", "/ws/admin%3Bx", "/ws/admin%3Bx", "/ws/admin%3Bx"),
    ] {
        let path = read(came).unwrap();
        assert_eq!((path.forwarded(), path.shown(), path.compared()), (forwarded, shown, compared), "{came}");
    }
}

#[test]
fn a_path_without_a_canonical_form_is_refused() {
    for (text, fault) in [
        ("", InvalidPath::NoSlash),
        ("*", InvalidPath::NoSlash),
        ("ws", InvalidPath::NoSlash),
        ("/..", InvalidPath::AboveRoot),
        ("/ws/../../admin", InvalidPath::AboveRoot),
        ("/ws/%2e./.%2E", InvalidPath::AboveRoot),
        ("/ws/%zz", InvalidPath::Encoding),
        ("/ws/%4", InvalidPath::Encoding),
        ("/ws/%", InvalidPath::Encoding),
        ("/ws/%é", InvalidPath::Encoding),
        ("/ws/%+1", InvalidPath::Encoding),
        ("/ws/admin%00", InvalidPath::Control),
        ("/ws/%0d%0a", InvalidPath::Control),
        ("/ws/%7F", InvalidPath::Control),
        ("/ws/..;/admin", InvalidPath::Parameters),
        ("/ws/%2e;x/admin", InvalidPath::Parameters),
        ("/;x/ws", InvalidPath::Parameters),
    ] {
        assert_eq!(read(text), Err(fault), "{text}");
    }
}

#[test]
fn strict_paths_are_read_alike_by_everybody() {
    for (text, fault) in [
        ("/ws/./chat", InvalidPath::DotSegment),
        ("/ws/x/%2e%2e", InvalidPath::DotSegment),
        ("/ws//chat", InvalidPath::RepeatedSlash),
        ("//ws", InvalidPath::RepeatedSlash),
        ("/ws%2Fchat", InvalidPath::EncodedSlash),
        ("/ws%2fchat", InvalidPath::EncodedSlash),
        ("/ws\\chat", InvalidPath::Backslash),
        ("/ws%5cchat", InvalidPath::Backslash),
    ] {
        assert_eq!(Path::read(text, Paths::Strict), Err(fault), "{text}");
    }
    for text in ["/", "/ws/chat/", "/ws/%7Echat/caf%C3%A9", "/ws/.well-known", "/ws/a;v=1"] {
        assert!(Path::read(text, Paths::Strict).is_ok(), "{text}");
    }
}

#[test]
fn the_length_of_segments_is_that_in_what_is_shown() {
    let path = read("/ws;v=1//admin%40x/room").unwrap();
    assert_eq!(path.shown(), "/ws;v=1/admin%40x/room");
    let lengths: Vec<_> = (0..5).map(|segments| path.length_of(segments)).collect();
    assert_eq!(lengths, [0, 7, 17, 22, 22]);
}

/// Paths of what is hard about them.
fn paths() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "/", "/", "/", "/ws", "/admin", ".", "..", "%2e", "%2E", "%2F", "%2f", "%5C", "\\", ";", ";x=1", "a", "ws",
        "admin", "%61dmin", "adm%69n", "%40", "@", "%25", "%32", "é", "%C3%A9", "%c3", "~", "%7e", "%", "z", "%00",
        " ",
    ]);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// What an upstream makes of a path that decodes all but slashes, merges slashes, cuts parameters off, and resolves dot
/// segments before and after it does.
fn upstream(path: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        let segment = segment.split(';').next().unwrap();
        let mut decoded = Vec::new();
        let mut bytes = segment.bytes();
        while let Some(byte) = bytes.next() {
            let byte = match byte {
                b'%' => u8::from_str_radix(&format!("{}{}", char::from(bytes.next()?), char::from(bytes.next()?)), 16)
                    .ok()?,
                byte => byte,
            };
            if byte == b'/' { decoded.extend(b"%2F") } else { decoded.push(byte) }
        }
        match decoded.as_slice() {
            b"" | b"." => {}
            b".." => {
                segments.pop()?;
            }
            _ => segments.push(String::from_utf8_lossy(&decoded).into_owned()),
        }
    }
    Some(segments)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn each_form_is_its_own_form(text in paths()) {
        if let Ok(path) = read(&text) {
            for form in [path.forwarded(), path.shown()] {
                let again = read(form).unwrap();
                prop_assert_eq!(again.forwarded(), form);
                prop_assert_eq!(again.shown(), path.shown());
                prop_assert_eq!(again.compared(), path.compared());
            }
            let again = read(path.compared()).unwrap();
            prop_assert_eq!(again.compared(), path.compared());
        }
    }

    #[test]
    fn what_goes_up_is_read_by_the_upstream_as_what_matched(text in paths()) {
        if let Ok(path) = read(&text) {
            let read = upstream(path.forwarded());
            prop_assert!(read.is_some());
            prop_assert_eq!(&upstream(path.shown()), &read);
            prop_assert_eq!(&upstream(path.compared()), &read);
        }
    }

    #[test]
    fn a_path_that_the_upstream_takes_for_a_guarded_one_is_compared_as_one(text in paths()) {
        if let Ok(path) = read(&text) {
            let guarded = upstream(path.forwarded()).is_some_and(|path| path.starts_with(&["ws".into(), "admin".into()]));
            let rest = path.compared().strip_prefix("/ws/admin");
            let is_found = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            prop_assert_eq!(is_found, guarded, "{:?}", path);
        }
    }

    #[test]
    fn a_plain_path_is_what_the_long_way_makes_of_it(text in "/[a-z.~%/;]{0,8}") {
        let long = format!("/x/..{text}");
        let long = read(&long);
        prop_assert_eq!(read(&text).map(|path| path.compared().to_owned()), long.map(|path| path.compared().to_owned()));
    }
}
