//! Plain requests for a page that knows which it is: the request and the answer, both sides.

/// Bytes of a page.
pub const SIZE: usize = 1024;

/// Where the pages are; behind it stands the number of one.
pub const PATH: &str = "/page/";

/// Appends a page: its number, filled up with dots.
pub fn write(number: &str, bytes: &mut Vec<u8>) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {SIZE}\r\n\r\n{number}");
    bytes.extend_from_slice(head.as_bytes());
    bytes.resize(bytes.len() + SIZE - number.len().min(SIZE), b'.');
}

/// Whether these bytes are the page of this number.
pub fn is(page: &[u8], number: u64) -> bool {
    let number = number.to_string();
    page.len() == SIZE && page.strip_prefix(number.as_bytes()).is_some_and(|rest| rest.iter().all(|byte| *byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::Head;

    #[test]
    fn a_page_is_known_by_its_number() {
        let mut bytes = Vec::new();
        write("17", &mut bytes);
        let length = Head::find(&bytes).unwrap().length;
        assert!(is(&bytes[length..], 17) && !is(&bytes[length..], 1) && !is(&bytes[length..], 170));
    }
}
