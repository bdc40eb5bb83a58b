//! The time of day, as an answer tells it (RFC 9110 section 6.6.1).

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    /// The second that was told last, and its text.
    static TOLD: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Appends the time of day.
pub fn date(wire: &mut Vec<u8>) {
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    TOLD.with_borrow_mut(|(told, text)| {
        if *told != second || text.is_empty() {
            (*told, *text) = (second, httpdate::fmt_http_date(now));
        }
        wire.extend_from_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_as_rfc_9110_writes_it() {
        let before = SystemTime::now();
        let mut wire = Vec::new();
        date(&mut wire);
        let told = httpdate::parse_http_date(std::str::from_utf8(&wire).unwrap()).unwrap();
        assert!(wire.ends_with(b" GMT") && wire.len() == 29);
        assert!(told <= SystemTime::now() && before.duration_since(told).unwrap_or_default().as_secs() < 2);
    }
}
