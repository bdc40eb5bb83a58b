//! What a route asks for: a token, somewhere in the request.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::bearer::Bearer;
use super::refused::Refused;
use super::rules::{Rules, Verified};
use super::source::{Offer, Source, without_parameter};

/// That a request has a token which holds.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// What has to be true of it.
    pub rules: Arc<Rules>,
    /// Where it may stand; the first place that has one decides.
    pub from: Vec<Source>,
}

/// Somebody who has come in by a token.
#[derive(Debug)]
pub struct Admitted {
    /// Who.
    pub bearer: Arc<Bearer>,
    /// When the token is over.
    pub until: Instant,
    /// What is told of it, by name.
    pub attributes: Vec<(String, String)>,
}

/// Subprotocols of which no token is one.
#[derive(Debug, PartialEq, Eq)]
pub struct Offered {
    /// What is left of the list; `None`: nothing.
    pub rest: Option<HeaderValue>,
    /// What the answer names where nothing is left: a browser fails a connection whose answer names none of those that it
    /// offered.
    pub answer: Option<HeaderValue>,
}

impl Requirement {
    /// The token of a request: the first place that has one decides.
    ///
    /// # Errors
    /// [`Refused::Missing`], and [`Refused::Several`] where a place has more than one, or one that goes on to the upstream has
    /// another.
    pub fn find(&self, headers: &HeaderMap, query: Option<&str>) -> Result<String, Refused> {
        let mut first = None;
        for source in &self.from {
            let Some(found) = source.find(headers, query)? else { continue };
            match &first {
                None => first = Some(found),
                Some(first) if source.goes_on() && *first != found => return Err(Refused::Several),
                Some(_) => {}
            }
        }
        first.ok_or(Refused::Missing)
    }

    /// Admits the bearer of a token.
    ///
    /// # Errors
    /// What the token lacks.
    pub fn admit(&self, token: &str) -> Result<Admitted, Refused> {
        let Verified { subject, until, attributes } = self.rules.verify(token)?;
        let bearer = Arc::new(Bearer { rules: self.rules.clone(), subject });
        Ok(Admitted { bearer, until, attributes })
    }

    /// A query without the parameters that may hold a token; `None`: nothing is left of it.
    pub fn stripped_query(&self, query: &str) -> Option<String> {
        let mut query = query.to_owned();
        for source in &self.from {
            if let Source::Query(name) = source {
                query = without_parameter(&query, name)?;
            }
        }
        Some(query)
    }

    /// What is offered in a list of subprotocols beside a token; `None`: nothing in it is about one.
    pub fn stripped_protocols(&self, list: &str) -> Option<Offered> {
        let (mut left, mut answer) = (list.to_owned(), None);
        for source in &self.from {
            if let Source::Subprotocol(name) = source {
                let Offer { name, rest, .. } = Offer::of(name, &left);
                answer = answer.or(name.map(str::to_owned));
                left = rest.join(", ");
            }
        }
        let answer = HeaderValue::try_from(answer?).ok();
        let rest = if left.is_empty() { None } else { HeaderValue::try_from(left).ok() };
        Some(Offered { answer: answer.filter(|_| rest.is_none()), rest })
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::rules;
    use super::*;

    fn requirement(from: &[&str]) -> Requirement {
        Requirement { rules: rules(|_| ()), from: from.iter().map(|source| source.parse().unwrap()).collect() }
    }

    #[test]
    fn the_first_place_with_a_token_decides() {
        let requirement = requirement(&["header:authorization", "query:token"]);
        let headers = |value| HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_static(value))]);
        assert_eq!(requirement.find(&headers("Bearer a"), Some("token=b")), Ok("a".to_owned()));
        assert_eq!(requirement.find(&headers("Basic a"), Some("token=b")), Ok("b".to_owned()));
        assert_eq!(requirement.find(&headers("Basic a"), None), Err(Refused::Missing));
    }

    #[test]
    fn several_tokens_in_one_place_are_refused_whichever_place_decides() {
        let requirement = requirement(&["header:authorization", "cookie:session"]);
        let headers: HeaderMap = [("authorization", "Bearer a"), ("cookie", "session=b; session=c")]
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        assert_eq!(requirement.find(&headers, None), Err(Refused::Several));
    }

    #[test]
    fn what_goes_on_to_the_upstream_is_the_token_that_was_verified() {
        let headers = HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_static("session=a"))]);
        let requirement = requirement(&["query:token", "cookie:session"]);
        assert_eq!(requirement.find(&headers, Some("token=a")), Ok("a".to_owned()));
        assert_eq!(requirement.find(&headers, Some("token=b")), Err(Refused::Several));
        assert_eq!(requirement.find(&headers, None), Ok("a".to_owned()));
    }

    #[test]
    fn an_answer_names_what_was_offered_for_the_token_where_nothing_else_was() {
        let requirement = requirement(&["query:token", "subprotocol:bearer"]);
        let stripped = |list| {
            let Offered { rest, answer } = requirement.stripped_protocols(list)?;
            let text = |value: Option<HeaderValue>| value.map(|value| value.to_str().unwrap().to_owned());
            Some((text(rest), text(answer)))
        };
        let texts =
            |rest: Option<&str>, answer: Option<&str>| Some((rest.map(str::to_owned), answer.map(str::to_owned)));
        assert_eq!(stripped("chat, bearer, a.b.c"), texts(Some("chat"), None));
        assert_eq!(stripped("bearer, a.b.c"), texts(None, Some("bearer")));
        assert_eq!(stripped("bearer.a.b.c"), texts(None, Some("bearer.a.b.c")));
        assert_eq!(stripped("chat"), None);
        let requirement = self::requirement(&["subprotocol:bearer", "subprotocol:jwt"]);
        let left = requirement.stripped_protocols("chat, jwt, a.b.c, bearer.d.e.f").unwrap().rest.unwrap();
        assert_eq!(left, "chat");
    }

    #[test]
    fn a_query_goes_on_without_what_may_be_a_token() {
        let requirement = requirement(&["query:token", "query:access_token"]);
        assert_eq!(requirement.stripped_query("token=a&x=1&access_token=b").as_deref(), Some("x=1"));
        assert_eq!(requirement.stripped_query("token=a&access_token=b"), None);
    }
}
