//! Numbers (RFC 8259 section 6).

/// A number in the smallest type that holds it.
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    /// One with a fraction or an exponent, or beyond the whole ones; infinite when no number is as large.
    Fraction(f64),
}

impl Number {
    /// `None` when a text is no number.
    pub(super) fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            None => (digits, None),
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        };
        let (whole, decimals) = match mantissa.split_once('.') {
            None => (mantissa, None),
            Some((whole, decimals)) => (whole, Some(decimals)),
        };
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let power = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
        let has_zero_in_front = whole.len() > 1 && whole.starts_with('0');
        if has_zero_in_front || !are_digits(whole) || ![decimals, power].into_iter().flatten().all(are_digits) {
            return None;
        }
        if decimals.is_none() && exponent.is_none() {
            if let Ok(number) = text.parse() {
                return Some(Self::Unsigned(number));
            }
            if let Ok(number) = text.parse() {
                return Some(Self::Signed(number));
            }
        }
        // A larger one than is counted makes a zero or an infinity either way, for a text is not as long.
        let power = power.map_or(0, |power| power.parse().unwrap_or(1 << 40));
        let power = if exponent.is_some_and(|exponent| exponent.starts_with('-')) { -power } else { power };
        let value = decimal(whole, decimals.unwrap_or_default(), power);
        Some(Self::Fraction(if digits.len() < text.len() { -value } else { value }))
    }
}

/// `whole.decimals` times ten to a power. The standard library's parser is exact to the last bit, and brings large tables
/// for it.
fn decimal(whole: &str, decimals: &str, power: i64) -> f64 {
    let (mut mantissa, mut power) = (0_u64, power);
    for (index, digit) in whole.bytes().chain(decimals.bytes()).enumerate() {
        if mantissa < MOST {
            mantissa = mantissa * 10 + u64::from(digit - b'0');
            power -= i64::from(index >= whole.len());
        } else {
            // Beyond what the result can tell apart.
            power += i64::from(index < whole.len());
        }
    }
    let mut value = mantissa as f64;
    // In steps, because the power itself may be beyond the numbers where the result is not.
    while power != 0 && value != 0.0 && value.is_finite() {
        let step = power.clamp(-22, 22);
        let factor = (0..step.unsigned_abs()).fold(1.0, |factor, _| factor * 10.0);
        value = if step < 0 { value / factor } else { value * factor };
        power -= step;
    }
    value
}

/// Below it another digit fits.
const MOST: u64 = u64::MAX / 100;
