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
    assert_eq!(error(r#"{"limit":"ten"}"#), r#"limit: invalid type: string "ten", expected u32"#);
    assert_eq!(error(r#"{"limit":-1}"#), "limit: invalid value: integer `-1`, expected u32");
    assert_eq!(error(r#"{"limit":1.5}"#), "limit: invalid type: number with a fraction, expected u32");
    assert_eq!(error(r#"{"limit":[]}"#), "limit: invalid type: list, expected u32");
    assert_eq!(error(r#"{"limit":1,"rules":[{"find":"a"},{}]}"#), "rules[1]: missing field `find`");
    let nested = r#"{"limit":1,"rules":[{"find":"a","names":{"x":true}}]}"#;
    assert_eq!(error(nested), "rules[0].names.x: invalid type: boolean `true`, expected u8");
    assert_eq!(
        error(r#"{"limit":1,"mode":"slow"}"#),
        "mode: unknown variant `slow`, expected one of `fast`, `within`, `between`"
    );
}

#[test]
fn unknown_missing_and_repeated_keys_are_refused() {
    assert_eq!(error("{}"), "missing field `limit`");
    assert_eq!(error(r#"{"limit":1,"limit":2}"#), "duplicate field `limit`");
    let unknown = error(r#"{"limits":1}"#);
    assert_eq!(unknown, "unknown field `limits`, expected one of `limit`, `share`, `mode`, `rules`");
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
    ] {
        assert!(read::<Value>(text).is_err(), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_before_the_stack_runs_out() {
    assert!(read::<Value>(&("[".repeat(64) + &"]".repeat(64))).is_ok());
    assert!(read::<Value>(&"[".repeat(1_000_000)).unwrap_err().ends_with("nested too deep"));
}
