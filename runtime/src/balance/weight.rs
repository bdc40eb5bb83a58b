//! Warming up: an endpoint that has just appeared gets less than its weight.

/// What an endpoint weighs whose uptime is zero or, by a clock that was set, negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JustStarted {
    /// 1, which protects an endpoint that has just started.
    #[default]
    Least,
    /// The full weight, as Apache ShenYu has it.
    Full,
}

/// The weight in force `uptime_ms` milliseconds after the endpoint appeared, in `1..=weight`. A weight of 0 stays 0, and
/// without a warm-up (`warmup_ms` = 0) the weight is in force at once.
///
/// The arithmetic is ShenYu's, in single precision, so that both pick the same endpoint.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and the result is clamped"
)]
pub fn effective_weight(uptime_ms: i64, warmup_ms: u64, weight: u32, just_started: JustStarted) -> u32 {
    if weight == 0 || warmup_ms == 0 {
        return weight;
    }
    if uptime_ms <= 0 {
        return match just_started {
            JustStarted::Least => 1,
            JustStarted::Full => weight,
        };
    }
    if uptime_ms.unsigned_abs() >= warmup_ms {
        return weight;
    }
    let share = uptime_ms as f32 / (warmup_ms as f32 / weight as f32);
    (share as u32).clamp(1, weight)
}

#[cfg(test)]
mod tests {
    use super::JustStarted::{Full, Least};
    use super::*;

    #[test]
    fn the_weight_grows_with_the_uptime_as_shenyus_does() {
        for (uptime, warmup, weight, expected) in [
            (50, 100, 50, 25),
            (1, 100, 50, 1),
            (99, 100, 50, 49),
            (5, 10, 50, 25),
            (9, 10, 50, 45),
            (3, 100, 50, 1),
            (33, 100, 50, 16),
            (100, 100, 50, 50),
            (7, 10, 3, 2),
            (300_000, 600_000, 50, 25),
        ] {
            assert_eq!(effective_weight(uptime, warmup, weight, Least), expected, "{uptime} {warmup} {weight}");
            assert_eq!(effective_weight(uptime, warmup, weight, Full), expected, "{uptime} {warmup} {weight}");
        }
    }

    #[test]
    fn a_just_started_endpoint_weighs_1_and_in_compatibility_all() {
        for uptime in [0, -5, i64::MIN] {
            assert_eq!(effective_weight(uptime, 100, 50, Least), 1);
            assert_eq!(effective_weight(uptime, 100, 50, Full), 50);
        }
    }

    #[test]
    fn no_warm_up_and_no_weight_leave_the_weight_alone() {
        assert_eq!(effective_weight(0, 0, 50, Least), 50);
        assert_eq!(effective_weight(5, 100, 0, Least), 0);
        assert_eq!(effective_weight(1, u64::MAX, u32::MAX, Least), 1);
        assert_eq!(effective_weight(i64::MAX, u64::MAX, u32::MAX, Least), u32::MAX / 2 + 1);
    }
}
