//! What statuses say of an answer.

use http::StatusCode;

/// Whether an answer of this status may have content (RFC 9110 section 6.4.1); to `HEAD` none has.
pub fn has_content(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}
