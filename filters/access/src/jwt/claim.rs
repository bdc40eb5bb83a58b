//! The value of a claim, as far as access depends on it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A claim's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Text(String),
    Number(i64),
    /// A number with a fraction, cut down to the whole: good for a date, and equal to nothing.
    Fraction(i64),
    Truth(bool),
    List(Vec<Claim>),
    /// An object, `null`, or a number out of range: nothing that access can depend on.
    Other,
}

impl Claim {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// As a NumericDate (RFC 7519 section 2).
    pub(crate) fn seconds(&self) -> Option<u64> {
        match self {
            Self::Number(number) | Self::Fraction(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// Whether it is, or as a list has, this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        match self {
            Self::List(claims) => claims.iter().any(|claim| claim.text() == Some(text)),
            claim => claim.text() == Some(text),
        }
    }

    /// Whether it is, or as a list has, the value that is wanted or one of those that are.
    pub(crate) fn satisfies(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (_, Self::List(wanted)) => wanted.iter().any(|wanted| self.satisfies(wanted)),
            (Self::List(claims), wanted) => claims.contains(wanted),
            (claim, wanted) => claim == wanted && claim.is_comparable(),
        }
    }

    /// Whether it can be equal to another.
    pub(crate) fn is_comparable(&self) -> bool {
        match self {
            Self::Text(_) | Self::Number(_) | Self::Truth(_) => true,
            Self::List(claims) => claims.iter().all(Self::is_comparable),
            Self::Fraction(_) | Self::Other => false,
        }
    }

    /// As an attribute; lists and objects are none.
    pub(crate) fn plain(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Truth(truth) => Some(truth.to_string()),
            Self::Fraction(_) | Self::List(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Claim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyClaim)
    }
}

struct AnyClaim;

impl<'de> Visitor<'de> for AnyClaim {
    type Value = Claim;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Claim, E> {
        Ok(Claim::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Claim, E> {
        Ok(i64::try_from(number).map_or(Claim::Other, Claim::Number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Claim, E> {
        Ok(Claim::Number(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Claim, E> {
        if !(-1e15..1e15).contains(&number) {
            return Ok(Claim::Other);
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        let whole = number as i64;
        Ok(if number.fract() == 0.0 { Claim::Number(whole) } else { Claim::Fraction(whole) })
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Claim, E> {
        Ok(Claim::Truth(truth))
    }

    fn visit_unit<E>(self) -> Result<Claim, E> {
        Ok(Claim::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Claim, A::Error> {
        let mut claims = Vec::new();
        while let Some(claim) = list.next_element()? {
            claims.push(claim);
        }
        Ok(Claim::List(claims))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Claim, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Claim::Other)
    }
}
