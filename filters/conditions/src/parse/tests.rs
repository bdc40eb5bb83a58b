use serde_json::json;

use super::*;

fn problems(config: Value) -> String {
    condition(&config).expect_err("the configuration is wrong")
}

#[test]
fn an_unknown_operator_is_refused_with_its_place() {
    let good = json!({"path": true, "op": "match", "value": "/ws/**"});

    assert_eq!(
        problems(json!({"all": [good, {"header": "x-tenant", "op": "~", "value": "gold"}]})),
        "all[1].op: unknown operator \"~\"; one of match, =, regex, contains, startsWith, endsWith, pathPattern, \
         isBlank, exclude, timeBefore, timeAfter"
    );
}

#[test]
fn a_bad_regular_expression_is_refused_with_its_place() {
    let nested = json!({"any": [{"all": [{"query": "room", "op": "regex", "value": "(a"}]}]});

    let problems = problems(nested);

    assert!(problems.starts_with("any[0].all[0].value: \"(a\" is no regular expression"), "{problems}");
}

#[test]
fn every_mistake_names_its_place_and_what_to_write() {
    for (config, expected) in [
        (json!({}), "config: is empty; write { all = [..] }"),
        (json!([]), "config: must be { all = [..] }"),
        (json!({"all": []}), "all: is empty; list at least one condition"),
        (json!({"all": {}}), "all: must be a list of conditions"),
        (json!({"all": ["x"]}), "all[0]: must be { all = [..] }"),
        (json!({"all": [], "any": []}), "config: has both `all` and `any`"),
        (json!({"al": [{"path": true}]}), "al: unknown key; one of path, query,"),
        (json!({"all": [{"host": true, "op": "isBlank"}], "not": 1}), "not: unknown key beside `all`"),
        (json!({"path": true}), "op: missing; one of match, ="),
        (json!({"path": true, "op": 1}), "op: must be a string"),
        (
            json!({"path": true, "op": "startswith", "value": "/"}),
            "op: unknown operator \"startswith\"; write \"startsWith\"",
        ),
        (json!({"path": true, "op": "="}), "value: missing; op \"=\" compares with one"),
        (json!({"path": true, "op": "=", "value": 7}), "value: must be a string; write it in quotes"),
        (json!({"path": "/ws", "op": "=", "value": "/ws"}), "path: write `path = true`"),
        (json!({"ip": false, "op": "=", "value": "::1"}), "ip: write `ip = true`"),
        (json!({"header": "", "op": "isBlank"}), "header: must be the name of a header"),
        (json!({"header": "x tenant", "op": "isBlank"}), "header: must be the name of a header"),
        (json!({"cookie": true, "op": "isBlank"}), "cookie: must be the name of a cookie"),
        (json!({"query": "", "op": "isBlank"}), "query: must be the name of a query"),
        (json!({"path": true, "host": true, "op": "isBlank"}), "config: has both `path` and `host`; write two"),
        (json!({"op": "=", "value": "x"}), "config: has no parameter; one of path, query,"),
        (json!({"path": true, "op": "isBlank", "value": ""}), "value: unknown key; op \"isBlank\" takes no value"),
        (json!({"path": true, "op": "match", "value": "ws/*"}), "value: \"ws/*\" fits no path"),
        (json!({"path": true, "op": "pathPattern", "value": "/**/x"}), "value: \"/**/x\" has \"**\" before its end"),
        (json!({"host": true, "op": "pathPattern", "value": "/x"}), "value: op \"pathPattern\" is for `path` only"),
        (json!({"path": true, "op": "contains", "value": ""}), "value: is empty, so op \"contains\" would hold"),
        (json!({"ip": true, "op": "=", "value": "10.0.0.0/40"}), "value: \"10.0.0.0/40\" has no prefix length"),
        (
            json!({"op": "timeAfter", "value": "tomorrow"}),
            "value: \"tomorrow\" is no time; write \"2026-01-31T08:00:00Z\"",
        ),
        (json!({"path": true, "op": "regex", "value": "a)|(b"}), "value: \"a)|(b\" is no regular expression"),
        (json!({"path": true, "op": "regex", "value": "(?x) a # b"}), "value: \"(?x) a # b\" is no regular expression"),
    ] {
        let problems = problems(config.clone());
        assert!(problems.starts_with(expected), "{config}: {problems}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let config = json!({"all": [
        {"header": "x-tenant", "op": "~", "value": "gold"},
        {"any": [{"path": true, "op": "=", "valu": "/"}]},
    ]});

    let problems = problems(config);

    let places: Vec<_> = problems.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["all[0].op", "all[1].any[0].valu", "all[1].any[0].value"]);
}

#[test]
fn a_regular_expression_that_would_be_slow_is_refused() {
    for expression in ["(a{100}){100}", "((a{50}){50}){50}"] {
        let problems = problems(json!({"path": true, "op": "regex", "value": expression}));
        assert!(problems.contains("size limit"), "{problems}");
    }
    let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
    assert!(problems(json!({"path": true, "op": "regex", "value": deep})).contains("too much nesting"));
}
