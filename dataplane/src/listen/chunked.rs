//! The framing of a chunked body: where its data and its end are.

/// The place in a chunked body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chunked {
    Size(u64),
    /// Behind the size, up to the end of the line.
    Extension(u64),
    Data(u64),
    /// The line end behind the data.
    DataEnd,
    /// A line of the trailers, with its length so far.
    Trailer(usize),
}

/// The place behind a byte.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Inside(Chunked),
    /// The body has ended.
    Ended,
    /// It is no chunked body.
    Unknown,
}

impl Chunked {
    /// The place behind a byte that is not data.
    pub(super) fn after(self, byte: u8) -> Next {
        Next::Inside(match (self, byte) {
            (Self::Size(size), byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                let Some(size) = size.checked_mul(16) else {
                    return Next::Unknown;
                };
                Self::Size(size + u64::from(digit))
            }
            (Self::Size(size) | Self::Extension(size), b'\n') => match size {
                0 => Self::Trailer(0),
                size => Self::Data(size),
            },
            (Self::Size(size) | Self::Extension(size), _) => Self::Extension(size),
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Size(0),
            (Self::Trailer(0), b'\n') => return Next::Ended,
            (Self::Trailer(_), b'\n') => Self::Trailer(0),
            (Self::Trailer(length), b'\r') => Self::Trailer(length),
            (Self::Trailer(length), _) => Self::Trailer(length + 1),
            (Self::DataEnd | Self::Data(_), _) => return Next::Unknown,
        })
    }
}
