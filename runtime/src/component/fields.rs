//! Header fields in little memory.

/// Header fields, in order. Every open connection with a filter keeps those of its handshake, so all names and values
/// lie in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    text: Box<[u8]>,
    /// Where each name and each value ends.
    ends: Box<[(u32, u32)]>,
}

impl Fields {
    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, (name, value))| {
            let part = |from: u32, to: u32| self.text.get(from as usize..to as usize).unwrap_or_default();
            // Names came as text.
            (std::str::from_utf8(part(start, *name)).unwrap_or_default(), part(*name, *value))
        })
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    /// Fields past 4 GiB are left out; the limit on a head is far below.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let fields = fields.into_iter();
        // Room for as many as are told, of the length that most have.
        let count = fields.size_hint().0;
        let (mut text, mut ends) = (Vec::with_capacity(count * USUAL), Vec::with_capacity(count));
        for (name, value) in fields {
            let start = text.len();
            text.extend_from_slice(name.as_ref().as_bytes());
            let middle = u32::try_from(text.len());
            text.extend_from_slice(value.as_ref());
            let (Ok(middle), Ok(end)) = (middle, u32::try_from(text.len())) else {
                text.truncate(start);
                break;
            };
            ends.push((middle, end));
        }
        Self { text: text.into(), ends: ends.into() }
    }
}

/// Bytes of a field, name and value.
const USUAL: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_went_in() {
        let fields = [("cookie", b"a=b".as_slice()), ("x-empty", b""), ("x-tenant", b"\xff"), ("cookie", b"c=d")];
        let kept: Fields = fields.into_iter().collect();
        assert_eq!(kept.iter().collect::<Vec<_>>(), fields);
        assert_eq!(Fields::default().iter().count(), 0);
    }
}
