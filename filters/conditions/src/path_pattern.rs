//! Patterns over paths, segment by segment: `?` and `*` within a segment, `**` for any number of segments,
//! `{name}` for exactly one, `{*name}` for the rest.
//!
//! Two dialects differ in one thing. `match` follows Spring's `AntPathMatcher` and takes `**` anywhere; `pathPattern`
//! follows its `PathPattern` and takes `**` at the end only. Names in braces are accepted and capture nothing.

use std::str::Split;

use crate::wildcard::{Element, Glob, Token, covers};

/// Where `**` may stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Dialect {
    Ant,
    PathPattern,
}

/// A pattern that a whole path either fits or does not.
#[derive(Debug)]
pub(crate) struct PathPattern(Vec<Segment>);

impl PathPattern {
    /// Errors say what is wrong and what to write instead.
    pub(crate) fn parse(pattern: &str, dialect: Dialect) -> Result<Self, String> {
        if !pattern.starts_with('/') && !pattern.starts_with("**") {
            return Err(format!("{pattern:?} fits no path: a path starts with \"/\"; write \"/{pattern}\""));
        }
        let mut segments = Vec::new();
        let mut texts = pattern.split('/').peekable();
        while let Some(text) = texts.next() {
            let is_last = texts.peek().is_none();
            let segment = Segment::parse(text, is_last)?;
            if matches!(segment, Segment::Rest) && !is_last && dialect == Dialect::PathPattern {
                return Err(format!("{pattern:?} has \"**\" before its end; write op \"match\" for that"));
            }
            segments.push(segment);
        }
        Ok(Self(segments))
    }

    /// Whether the pattern covers `path` from end to end.
    pub(crate) fn matches(&self, path: &str) -> bool {
        covers::<Segment, Split<'_, char>>(&self.0, path.split('/'))
    }
}

#[derive(Debug)]
enum Segment {
    /// `**`: any number of segments, none among them.
    Rest,
    /// `{name}`, or `*` before the end: any segment but an empty one.
    NotEmpty,
    /// Characters and wildcards within one segment; `*` at the end, which takes an empty segment as well.
    Glob(Glob),
}

impl Segment {
    fn parse(text: &str, is_last: bool) -> Result<Self, String> {
        match text {
            "**" => return Ok(Self::Rest),
            "*" if !is_last => return Ok(Self::NotEmpty),
            _ => {}
        }
        let mut tokens = Vec::new();
        let mut rest = text;
        let mut names = 0;
        while let Some(character) = rest.chars().next() {
            rest = rest.get(character.len_utf8()..).unwrap_or_default();
            match character {
                '{' => {
                    let Some((name, after)) = rest.split_once('}') else {
                        return Err(format!("{text:?} has \"{{\" without \"}}\""));
                    };
                    let whole = names == 0 && tokens.is_empty() && after.is_empty();
                    if let Some(name) = name.strip_prefix('*') {
                        check_name(name)?;
                        if !(whole && is_last) {
                            return Err(format!("{text:?} must be the last segment of the pattern"));
                        }
                        return Ok(Self::Rest);
                    }
                    check_name(name)?;
                    if whole {
                        return Ok(Self::NotEmpty);
                    }
                    names += 1;
                    tokens.push(Token::Many);
                    rest = after;
                }
                '}' => return Err(format!("{text:?} has \"}}\" without \"{{\"")),
                other => tokens.push(Token::from(other)),
            }
        }
        Ok(Self::Glob(Glob::from_tokens(tokens)))
    }
}

impl Element<&str> for Segment {
    fn is_run(&self) -> bool {
        matches!(self, Self::Rest)
    }

    fn accepts(&self, item: &str) -> bool {
        match self {
            Self::Rest => true,
            Self::NotEmpty => !item.is_empty(),
            Self::Glob(glob) => glob.matches(item),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.contains(':') {
        return Err(format!("\"{{{name}}}\" holds a regular expression; write op \"regex\" for that"));
    }
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if is_name { Ok(()) } else { Err(format!("\"{{{name}}}\" has no name in its braces; write \"{{name}}\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_read_the_common_patterns_alike() {
        for (pattern, path, expected) in [
            ("/ws/chat", "/ws/chat", true),
            ("/ws/chat", "/ws/chatter", false),
            ("/ws/chat", "/ws/chat/", false),
            ("/ws/*", "/ws/chat", true),
            ("/ws/*", "/ws/", true),
            ("/ws/*", "/ws", false),
            ("/ws/*", "/ws/chat/room", false),
            ("/ws/*/room", "/ws/chat/room", true),
            ("/ws/*/room", "/ws//room", false),
            ("/ws/c?at", "/ws/chat", true),
            ("/ws/c?at", "/ws/c/at", false),
            ("/ws/**", "/ws", true),
            ("/ws/**", "/ws/", true),
            ("/ws/**", "/ws/a/b/c", true),
            ("/ws/**", "/wss", false),
            ("/**", "/", true),
            ("/ws/{room}", "/ws/7", true),
            ("/ws/{room}", "/ws/", false),
            ("/ws/{room}", "/ws/7/8", false),
            ("/ws/{room}/log", "/ws/7/log", true),
            ("/ws/room-{id}.json", "/ws/room-7.json", true),
            ("/ws/{*rest}", "/ws/7/8", true),
            ("/ws/{*rest}", "/ws", true),
            ("/WS", "/ws", false),
        ] {
            for dialect in [Dialect::Ant, Dialect::PathPattern] {
                let parsed = PathPattern::parse(pattern, dialect).expect(pattern);
                assert_eq!(parsed.matches(path), expected, "{dialect:?} {pattern} on {path}");
            }
        }
    }

    #[test]
    fn match_takes_two_stars_anywhere() {
        for (pattern, path, expected) in [
            ("/ws/**/room", "/ws/room", true),
            ("/ws/**/room", "/ws/a/b/room", true),
            ("/ws/**/room", "/ws/a/b/rooms", false),
            ("**/room", "/a/room", true),
            ("/**/b/**/d", "/a/b/c/b/d", true),
        ] {
            let parsed = PathPattern::parse(pattern, Dialect::Ant).expect(pattern);
            assert_eq!(parsed.matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_pattern_that_can_never_fit_is_refused() {
        for (pattern, dialect, word) in [
            ("ws/chat", Dialect::Ant, "write \"/ws/chat\""),
            ("", Dialect::Ant, "starts with"),
            ("/ws/**/room", Dialect::PathPattern, "before its end"),
            ("/ws/{room", Dialect::PathPattern, "without"),
            ("/ws/room}", Dialect::PathPattern, "without"),
            ("/ws/{}", Dialect::PathPattern, "no name"),
            ("/ws/{id:[0-9]+}", Dialect::PathPattern, "regex"),
            ("/ws/{*rest}/x", Dialect::PathPattern, "last segment"),
        ] {
            let error = PathPattern::parse(pattern, dialect).expect_err(pattern);
            assert!(error.contains(word), "{pattern}: {error}");
        }
    }
}
