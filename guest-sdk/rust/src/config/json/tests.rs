use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    limit: u32,
    #[serde(default)]
    share: f64,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Within(u8),
    Between { low: i8, high: i8 },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    find: String,
    #[serde(default)]
    names: BTreeMap<String, u8>,
}

fn error(text: &str) -> String {
    read::<Settings>(text).unwrap_err()
}

#[test]
fn a_configuration_becomes_the_type_of_its_component() {
    let text =
        r#" { "limit" : 5, "share": 0.25, "mode": "fast", "rules": [ {"find": "a"}, {"find":"", "names":{"x":1}} ] } "#;
    let settings: Settings = read(text).unwrap();
    assert_eq!((settings.limit, settings.share, settings.mode), (5, 0.25, Some(Mode::Fast)));
    assert_eq!(settings.rules[1], Rule { find: String::new(), names: BTreeMap::from([("x".into(), 1)]) });
}

#[test]
fn variants_with_values_are_tables_of_one_key() {
    assert_eq!(read::<Vec<Mode>>(r#"[{"within":7},"fast"]"#).unwrap(), [Mode::Within(7), Mode::Fast]);
    let between = read::<Mode>(r#"{"between":{"low":-1,"high":2}}"#).unwrap();
    assert_eq!(between, Mode::Between { low: -1, high: 2 });
    assert!(read::<Mode>(r#"{"within":7,"fast":1}"#).is_err());
}

#[test]
fn an_error_names_the_key_it_is_about() {
    assert_eq!(
        error(r#"{"limit":"ten"}"#),
        r#"limit: expected a whole number from 0 to 4294967295, found the text "ten""#
    );
    assert_eq!(error(r#"{"limit":-1}"#), "limit: expected a whole number from 0 to 4294967295, found `-1`");
    assert_eq!(
        error(r#"{"limit":1.5}"#),
        "limit: expected a whole number from 0 to 4294967295, found a number with a fraction"
    );
    assert_eq!(error(r#"{"limit":[]}"#), "limit: expected a whole number from 0 to 4294967295, found a list");
    assert_eq!(error(r#"{"limit":1,"rules":[{"find":"a"},{}]}"#), "rules[1]: `find` is missing");
    let nested = r#"{"limit":1,"rules":[{"find":"a","names":{"x":true}}]}"#;
    assert_eq!(error(nested), "rules[0].names.x: expected a whole number from 0 to 255, found `true`");
    assert_eq!(
        error(r#"{"limit":1,"mode":"slow"}"#),
        "mode: expected one of `fast`, `within`, `between`, found \"slow\""
    );
}

#[test]
fn what_would_fit_is_told_in_the_words_of_toml() {
    assert_eq!(error(r#"{"limit":1,"share":"x"}"#), r#"share: expected a number, found the text "x""#);
    assert_eq!(error(r#"{"limit":1,"rules":7}"#), "rules: expected a list, found `7`");
    assert_eq!(error(r#"{"limit":1,"rules":[7]}"#), "rules[0]: expected a table, found `7`");
    assert_eq!(error(r#"{"limit":1,"rules":[{"find":false}]}"#), "rules[0].find: expected text, found `false`");
    assert_eq!(error("[]"), "expected a table, found 0 values");
    assert_eq!(read::<bool>("1").unwrap_err(), "expected `true` or `false`, found `1`");
}

#[test]
fn unknown_missing_and_repeated_keys_are_refused() {
    assert_eq!(error("{}"), "`limit` is missing");
    assert_eq!(error(r#"{"limit":1,"limit":2}"#), "`limit` stands here twice");
    let unknown = error(r#"{"limits":1}"#);
    assert_eq!(unknown, "unknown key `limits`; the keys are `limit`, `share`, `mode`, `rules`");
}

#[test]
fn any_json_reads_as_a_general_reader_has_it() {
    for text in [
        "null",
        "[]",
        "{}",
        "[[],{}]",
        "0",
        "-7",
        "18446744073709551615",
        "0.1",
        "-2.5e3",
        "123456.789",
        "1e22",
        "3E-5",
        r#""plain""#,
        r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é""#,
        r#"{"a\n":[true,false,null,{"b":"c"}]}"#,
        " [ 1 , 2 ] ",
    ] {
        assert_eq!(read::<Value>(text).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":1,}",
        "{1:2}",
        "\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "nul",
        "tru",
        "1 1",
        "1.2.3",
        "--1",
        "1e",
        "\"\n\"",
        "é",
        "-",
        "01",
        "-01",
        "1.",
        ".5",
        "-.5",
        "1.e5",
        "1e+",
        "+1",
        "1e1.5",
        "0x10",
        "1e999",
        "NaN",
        "Infinity",
        "\"\\u+0ff\"",
        "\"\\u00g0\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"\\U0041\"",
        "[1]\u{a0}",
        "\u{feff}1",
    ] {
        assert!(read::<Value>(text).is_err(), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_before_the_stack_runs_out() {
    assert!(read::<Value>(&("[".repeat(64) + &"]".repeat(64))).is_ok());
    assert!(read::<Value>(&"[".repeat(1_000_000)).unwrap_err().ends_with("nested too deep"));
}

/// A generator that gives the same numbers each time (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

fn document(chance: &mut Chance, depth: usize, text: &mut String) {
    text.push_str(chance.one_of(&["", "", " ", "\t\r\n"]));
    match chance.below(if depth == 0 { 3 } else { 5 }) {
        0 => {
            for _ in 0..=chance.below(5) {
                text.push_str(chance.one_of(&[
                    "-",
                    "0",
                    "1",
                    "9",
                    ".",
                    "e",
                    "E",
                    "+",
                    "00",
                    "17",
                    "340",
                    "18446744073709551615",
                ]));
            }
        }
        1 => string(chance, text),
        2 => text.push_str(chance.one_of(&["true", "false", "null", "-0", "0.1", "1e308", "1e-400", "-2.5E+3", "nul"])),
        3 => {
            text.push('[');
            for index in 0..chance.below(4) {
                text.push_str(if index > 0 { "," } else { "" });
                document(chance, depth - 1, text);
            }
            text.push(']');
        }
        _ => {
            text.push('{');
            for index in 0..chance.below(4) {
                text.push_str(if index > 0 { "," } else { "" });
                string(chance, text);
                text.push(':');
                document(chance, depth - 1, text);
            }
            text.push('}');
        }
    }
}

fn string(chance: &mut Chance, text: &mut String) {
    const PIECES: &[&str] = &[
        "a",
        "é",
        "😀",
        " ",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e9",
        "\\u+0ff",
        "\\ud83d\\ude00",
        "\\ud800",
        "\\udc00",
        "\\u12",
        "\\x",
        "\u{1}",
        "\u{7f}",
    ];
    text.push('"');
    for _ in 0..chance.below(4) {
        text.push_str(chance.one_of(PIECES));
    }
    text.push('"');
}

/// Whether two values are the same, but for the last digits of a fraction.
fn alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            ours == theirs || (ours - theirs).abs() <= theirs.abs() * 1e-14 || theirs.abs() < 1e-300
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| alike(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(name, ours)| theirs.get(name).is_some_and(|theirs| alike(ours, theirs)))
        }
        _ => ours == theirs,
    }
}

#[test]
fn random_texts_are_read_or_refused_as_a_general_reader_does() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let mut text = String::new();
        document(&mut chance, 3, &mut text);
        if chance.below(2) == 0 && !text.is_empty() {
            let place = text.floor_char_boundary(chance.below(text.len()));
            match chance.below(3) {
                0 => text.truncate(place),
                1 => text
                    .insert_str(place, chance.one_of(&["\"", "[", "}", ",", ":", "\\", "-", "0", " ", "e", "\u{0}"])),
                _ => {
                    text.remove(place);
                }
            }
        }
        match (read::<Value>(&text), serde_json::from_str::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) => {
                assert!(alike(&ours, &theirs), "{text}: {ours} and {theirs}");
                taken += 1;
            }
            (Err(_), Err(_)) => refused += 1,
            (ours, theirs) => panic!("{text:?}: {ours:?} and {theirs:?}"),
        }
    }
    assert!(taken > 50_000 && refused > 50_000, "{taken} taken, {refused} refused");
}
