//! A condition, checked and ready to be asked: groups within groups, single questions at the leaves.
//!
//! Whatever could be wrong with it has been refused when it was parsed, so evaluation has no errors.

use tidegate_guest::Handshake;

use crate::operator::Operator;
use crate::parameter::Parameter;
use crate::time::Time;

/// What a handshake must be like.
#[derive(Debug)]
pub(crate) enum Condition {
    /// Every one holds.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
    /// The values of a parameter pass an operator.
    Value(Parameter, Operator),
    /// The present time passes an operator.
    Now(Operator),
}

impl Condition {
    /// Whether it holds for `handshake`. The clock is read only when the answer hangs on it.
    pub(crate) fn holds(&self, handshake: &Handshake, now: &dyn Fn() -> Time) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(handshake, now)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(handshake, now)),
            Self::Value(parameter, test) => {
                test.passes_all(&parameter.values(handshake), parameter.is_named(handshake))
            }
            Self::Now(test) => test.passes_at(now()),
        }
    }
}

#[cfg(test)]
mod tests;
