use proptest::prelude::*;

use super::*;

fn syntax(text: &str) -> Result<(), Fault> {
    scan(text.as_bytes(), DEEPEST, &[])
}

fn requires(text: &str, required: &[&str]) -> Result<(), Fault> {
    let required: Vec<_> = required.iter().map(|text| Pointer::parse(text).unwrap()).collect();
    scan(text.as_bytes(), DEEPEST, &required)
}

#[test]
fn every_form_of_a_value_is_well_formed() {
    for text in [
        "0",
        "-0.5e+10",
        "1E400",
        "12345678901234567890123",
        "\"\"",
        r#""\u00e9\n\\\"""#,
        "true",
        "false",
        "null",
        "[]",
        "{}",
        " [ 1 , { \"a\" : [ ] , \"a\" : { } } ] \r\n\t",
        "\"0123456789abcdef0123456789\"",
    ] {
        assert_eq!(syntax(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_not_json_is_found_where_it_stops_being_json() {
    for (text, offset) in [
        ("", 0),
        ("01", 1),
        ("-", 1),
        ("1.", 2),
        ("1e", 2),
        (".5", 0),
        ("+1", 0),
        ("nul", 3),
        ("nulL", 3),
        ("\"a", 2),
        ("\"\t\"", 1),
        (r#""\x""#, 2),
        (r#""\u12g4""#, 5),
        ("[1,]", 3),
        ("[1 2]", 3),
        ("{\"a\"}", 4),
        ("{\"a\":1,}", 7),
        ("{1:2}", 1),
        ("[}", 1),
        ("{]", 1),
        ("[1", 2),
        ("1 1", 2),
        ("]", 0),
        ("\u{feff}1", 0),
        ("'a'", 0),
        ("\"0123456789abcde\u{1}\"", 16),
    ] {
        assert_eq!(syntax(text), Err(Fault::Syntax { offset }), "{text}");
    }
}

#[test]
fn depth_counts_containers_inside_each_other() {
    assert_eq!(scan(b"[{\"a\":[]},[],[]]", 3, &[]), Ok(()));
    assert_eq!(scan(b"[{\"a\":[]},[],[]]", 2, &[]), Err(Fault::TooDeep));
    assert_eq!(scan(b"1", 0, &[]), Ok(()));
}

#[test]
fn the_deepest_document_is_scanned_without_a_stack() {
    let depth = DEEPEST as usize;
    let deepest = "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(syntax(&deepest), Ok(()));
    assert_eq!(syntax(&format!("[{deepest}]")), Err(Fault::TooDeep));
    assert_eq!(scan("[".repeat(1_000_000).as_bytes(), DEEPEST, &[]), Err(Fault::TooDeep));
}

#[test]
fn required_members_are_found_wherever_they_stand() {
    let text = r#"{"a":{"x":{"b":0},"b":{"c":[]}},"type":null}"#;
    assert_eq!(requires(text, &["type", "/a", "/a/b/c", "/a/x/b"]), Ok(()));
}

#[test]
fn a_member_of_the_same_name_elsewhere_is_another_member() {
    for (text, required) in [
        (r#"{"x":{"type":1}}"#, "type"),
        (r#"{"a":[{"b":1}]}"#, "/a/b"),
        (r#"{"a":{"x":{"b":1}}}"#, "/a/b"),
        (r#"{"a":{},"b":1}"#, "/a/b"),
        (r#"{"a":1,"x":{"b":1}}"#, "/a/b"),
        (r#"[{"type":1}]"#, "type"),
        (r#""type""#, "type"),
    ] {
        assert_eq!(requires(text, &[required]), Err(Fault::Missing(Some(0))), "{text}");
    }
}

#[test]
fn the_first_missing_member_is_named() {
    assert_eq!(requires(r#"{"a":1}"#, &["a", "b", "c"]), Err(Fault::Missing(Some(1))));
}

proptest! {
    /// A value that serde_json's type for it cannot hold is the only thing on which the two may differ.
    #[test]
    fn what_serde_json_takes_is_taken_and_what_it_refuses_is_refused(
        text in r#"[\[\]{}:,"a\\ntu0-9eE+. -]{0,12}|\{("[a-c]":(\[[0-9]*\]|"(\\n|\\u00e9|[a-z]{0,20})"|true),?){0,3}\}"#
    ) {
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(syntax(&text).is_ok(), theirs);
    }
}

/// Documents with what is hard about them, most of them damaged in one place.
#[test]
fn random_texts_pass_as_a_general_reader_has_it() {
    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\\u00e9\"",
        "\"\\u+0ff\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"\u{1}\"",
        "\"é\"",
        "0",
        "01",
        "-",
        "-0",
        "-.5",
        "1.",
        "1.5",
        "1e",
        "1e+5",
        "1E-7",
        "12",
        "true",
        "null",
        "nul",
        " ",
        "\n",
        "\u{b}",
        "\\",
        "[]",
        "{}",
        "\"k\":1",
        "[1,2]",
        "{\"k\":[{}]}",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % most as u64).unwrap()
    };
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..300_000 {
        let mut text: String = (0..=below(5)).map(|_| PIECES[below(PIECES.len())]).collect();
        for _ in 0..below(3) {
            text = match below(3) {
                0 => format!("[{text}]"),
                1 => format!("[0,{text}]"),
                _ => format!("{{\"k\":{text}}}"),
            };
        }
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        assert_eq!(scan(text.as_bytes(), DEEPEST, &[]).is_ok(), theirs, "{text:?}");
        if theirs { passed += 1 } else { refused += 1 }
    }
    assert!(passed > 10_000 && refused > 10_000, "{passed} passed, {refused} refused");
}
