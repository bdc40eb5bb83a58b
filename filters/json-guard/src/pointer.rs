//! A place in a JSON document that has to be there: RFC 6901 through objects, and a bare name for a top-level member.

/// A path of member names, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    names: Vec<String>,
}

impl Pointer {
    /// Reads `/user/id` or `type`. In a pointer `~1` is a slash and `~0` a tilde.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let names = match text.strip_prefix('/') {
            Some(names) => names.split('/').map(unescape).collect::<Option<_>>(),
            None if text.is_empty() => return Err("`required` has an empty name; write the name of a member".into()),
            None => Some(vec![text.to_owned()]),
        };
        let names = names.ok_or_else(|| format!("`required` has {text:?}; write ~0 for a tilde and ~1 for a slash"))?;
        Ok(Self { names })
    }

    /// How many names long.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// Whether its name number `index` is this one, given as it stands between the quotes of a JSON string.
    pub(crate) fn names(&self, index: u32, quoted: &[u8]) -> bool {
        let name = usize::try_from(index).ok().and_then(|index| self.names.get(index));
        name.is_some_and(|name| {
            name.as_bytes() == quoted || (quoted.contains(&b'\\') && unquote(quoted).is_some_and(|key| key == *name))
        })
    }
}

fn unescape(name: &str) -> Option<String> {
    let mut pieces = name.split('~');
    let mut unescaped = pieces.next()?.to_owned();
    for piece in pieces {
        let (tilde, rest) = piece.strip_prefix('0').map(|rest| ('~', rest)).or_else(|| {
            let rest = piece.strip_prefix('1')?;
            Some(('/', rest))
        })?;
        unescaped.push(tilde);
        unescaped.push_str(rest);
    }
    Some(unescaped)
}

/// The text of a JSON string that has escapes. Rare in keys, so it may cost an allocation.
fn unquote(quoted: &[u8]) -> Option<String> {
    tidegate_guest::read_json(&format!("\"{}\"", str::from_utf8(quoted).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_a_top_level_member_even_with_tildes() {
        let pointer = Pointer::parse("a~b").unwrap();
        assert_eq!(pointer.len(), 1);
        assert!(pointer.names(0, b"a~b"));
    }

    #[test]
    fn a_pointer_has_one_name_between_two_slashes() {
        let pointer = Pointer::parse("/user/a~1b~0").unwrap();
        assert_eq!(pointer.len(), 2);
        assert!(pointer.names(0, b"user") && pointer.names(1, b"a/b~") && !pointer.names(2, b""));
    }

    #[test]
    fn a_key_written_with_escapes_is_the_same_name() {
        assert!(Pointer::parse("type").unwrap().names(0, br"t\u0079pe"));
    }

    #[test]
    fn a_stray_tilde_and_an_empty_name_are_refused() {
        assert!(Pointer::parse("/a~b").is_err());
        assert!(Pointer::parse("").is_err());
    }
}
