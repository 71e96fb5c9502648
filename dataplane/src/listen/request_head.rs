//! The framing of a request, from its head: RFC 9112 without what a server may repair.

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed {
    /// So many bytes.
    Length(u64),
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// A line is no header.
    Line,
    /// There is not exactly one Host.
    Host,
    /// The length of the body is no number, or given more than once.
    Length,
    /// The coding of the body is not `chunked`, or given more than once.
    Coding,
}

/// The framing of the request with this head, whose lines end in CRLF.
pub(super) fn framing_of(head: &[u8]) -> Result<Framed, HeadError> {
    let mut lines = head
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end);
    let is_newest = lines.next().is_some_and(|line| line.ends_with(b"HTTP/1.1"));
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    let mut framed = Framed::Length(0);
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(HeadError::Line)?);
        let value = value[1..].trim_ascii();
        // Neither a space before the colon nor a folded line.
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(HeadError::Line);
        }
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            framed = Framed::Length(number(value).ok_or(HeadError::Length)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Coding);
            }
            framed = Framed::Chunked;
        }
    }
    if hosts > 1 || (hosts == 0 && is_newest) {
        return Err(HeadError::Host);
    }
    match (lengths, codings) {
        (0 | 1, 0) | (0, 1) => Ok(framed),
        (_, 0) => Err(HeadError::Length),
        _ => Err(HeadError::Coding),
    }
}

/// A number of digits alone.
fn number(value: &[u8]) -> Option<u64> {
    let is_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| is_digits)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unambiguous_heads_pass() {
        let framed = |lines: &str| framing_of(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes());
        let host = "Host: x\r\n";
        assert_eq!(framed(host), Ok(Framed::Length(0)));
        assert_eq!(
            framed(&format!("{host}content-length:  7 \r\n")),
            Ok(Framed::Length(7))
        );
        assert_eq!(
            framed(&format!("{host}Transfer-Encoding: CHUNKED\r\n")),
            Ok(Framed::Chunked)
        );
        assert_eq!(framing_of(b"GET / HTTP/1.0\r\n\r\n"), Ok(Framed::Length(0)));
        for (lines, error) in [
            ("", HeadError::Host),
            ("Host: x\r\nHost: x\r\n", HeadError::Host),
            (
                "Host: x\r\nContent-Length: 7\r\nContent-Length: 7\r\n",
                HeadError::Length,
            ),
            ("Host: x\r\nContent-Length: 7, 7\r\n", HeadError::Length),
            ("Host: x\r\nContent-Length: +7\r\n", HeadError::Length),
            ("Host: x\r\nContent-Length: \r\n", HeadError::Length),
            (
                "Host: x\r\nContent-Length: 99999999999999999999\r\n",
                HeadError::Length,
            ),
            (
                "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n",
                HeadError::Coding,
            ),
            (
                "Host: x\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n",
                HeadError::Coding,
            ),
            (
                "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n",
                HeadError::Coding,
            ),
            (
                "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                HeadError::Coding,
            ),
            (
                "Host: x\r\nTransfer-Encoding : chunked\r\n",
                HeadError::Line,
            ),
            ("Host: x\r\nA: a\r\n b\r\n", HeadError::Line),
            ("Host: x\r\nno colon\r\n", HeadError::Line),
        ] {
            assert_eq!(framed(lines), Err(error), "{lines:?}");
        }
    }
}
