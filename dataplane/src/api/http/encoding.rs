//! Compressed bodies of requests. Each step gives a bounded number of bytes, so that a body of a
//! few kilobytes does not become gigabytes of memory.

use std::io::{self, Write};

use bytes::{Buf, Bytes, BytesMut};
use flate2::write::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::error::HttpError;

/// Bytes of a gzip body that one step takes: they become at most 1032 times as many.
const GZIP_STEP_BYTES: usize = 2 * 1024;
/// Bytes that one step of a zstd body gives at most.
const ZSTD_STEP_BYTES: usize = 256 * 1024;
/// Memory for the history of a zstd body, as a power of two: 8 MiB, which every decoder must have.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Decodes the body of one request.
pub(crate) enum BodyDecoder {
    Identity,
    Gzip(Box<GzDecoder<Vec<u8>>>),
    Zstd {
        decoder: ZstdDecoder<'static>,
        /// Whether a frame has started and not ended.
        is_open: bool,
    },
}

impl BodyDecoder {
    /// The decoder for the header Content-Encoding.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, HttpError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let (first, second) = (values.next(), values.next());
        let Some(value) = first else {
            return Ok(Self::Identity);
        };
        let unsupported = || HttpError::UnsupportedMediaType {
            field: "Content-Encoding",
            bound: "gzip, zstd or identity, one of them",
            found: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        if second.is_some() {
            return Err(unsupported());
        }
        match value.to_str().unwrap_or_default().trim() {
            name if name.eq_ignore_ascii_case("identity") => Ok(Self::Identity),
            name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                Ok(Self::Gzip(Box::new(GzDecoder::new(Vec::new()))))
            }
            name if name.eq_ignore_ascii_case("zstd") => {
                let mut decoder = ZstdDecoder::new().map_err(|error| malformed("zstd", &error))?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|error| malformed("zstd", &error))?;
                Ok(Self::Zstd {
                    decoder,
                    is_open: false,
                })
            }
            _ => Err(unsupported()),
        }
    }

    /// Takes bytes from `input`, and adds a bounded number of decoded ones to `output`. Callers
    /// repeat it until `input` is empty.
    pub(crate) fn step(
        &mut self,
        input: &mut Bytes,
        output: &mut BytesMut,
    ) -> Result<(), HttpError> {
        match self {
            Self::Identity => {
                output.extend_from_slice(input);
                input.clear();
            }
            Self::Gzip(decoder) => {
                let part = input.split_to(input.len().min(GZIP_STEP_BYTES));
                let written = decoder.write_all(&part).and_then(|()| decoder.flush());
                written.map_err(|error| malformed("gzip", &error))?;
                output.extend_from_slice(decoder.get_ref());
                decoder.get_mut().clear();
            }
            Self::Zstd { decoder, is_open } => {
                let before = output.len();
                output.resize(before + ZSTD_STEP_BYTES, 0);
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(&mut output[before..]);
                let hint = decoder.run(&mut from, &mut to);
                let (taken, given) = (from.pos(), to.pos());
                output.truncate(before + given);
                *is_open = hint.map_err(|error| malformed("zstd", &error))? != 0;
                input.advance(taken);
                if taken == 0 && given == 0 && !input.is_empty() {
                    return Err(malformed("zstd", &io::ErrorKind::InvalidData.into()));
                }
            }
        }
        Ok(())
    }

    /// Gives the last bytes. Fails if the body is cut off.
    pub(crate) fn finish(&mut self, output: &mut BytesMut) -> Result<(), HttpError> {
        match self {
            Self::Identity | Self::Zstd { is_open: false, .. } => Ok(()),
            Self::Gzip(decoder) => {
                decoder
                    .try_finish()
                    .map_err(|error| malformed("gzip", &error))?;
                output.extend_from_slice(decoder.get_ref());
                decoder.get_mut().clear();
                Ok(())
            }
            Self::Zstd { .. } => Err(malformed("zstd", &io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn malformed(encoding: &'static str, error: &io::Error) -> HttpError {
    HttpError::BodyMalformed {
        field: "body".to_owned(),
        bound: match encoding {
            "gzip" => "a complete gzip stream, as Content-Encoding says",
            _ => "a complete zstd stream, as Content-Encoding says",
        },
        cause: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: &str, body: &[u8]) -> Result<(Vec<u8>, usize), HttpError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        let mut decoder = BodyDecoder::of(&headers)?;
        let (mut whole, mut largest) = (Vec::new(), 0);
        for piece in body.chunks(7000) {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                let mut step = BytesMut::new();
                decoder.step(&mut piece, &mut step)?;
                largest = largest.max(step.len());
                whole.extend_from_slice(&step);
            }
        }
        let mut end = BytesMut::new();
        decoder.finish(&mut end)?;
        whole.extend_from_slice(&end);
        Ok((whole, largest))
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_come_out_as_they_went_in() {
        let data: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let zstd = zstd::encode_all(&*data, 1).unwrap();
        for (encoding, body) in [
            ("gzip", gzip(&data)),
            ("zstd", zstd),
            ("identity", data.clone()),
        ] {
            assert_eq!(decode(encoding, &body).unwrap().0, data, "{encoding}");
        }
        assert!(decode("br", b"").is_err());
        assert!(decode("gzip, zstd", b"").is_err());
    }

    #[test]
    fn one_step_of_a_bomb_is_bounded() {
        let zeros = vec![0; 64 << 20];
        let zstd = zstd::encode_all(&*zeros, 1).unwrap();
        assert!(zstd.len() < 16 << 10);
        for (encoding, body) in [("gzip", gzip(&zeros)), ("zstd", zstd)] {
            let (whole, largest) = decode(encoding, &body).unwrap();
            assert_eq!(whole.len(), zeros.len());
            assert!(largest < 3 << 20, "{encoding}: {largest}");
        }
    }

    #[test]
    fn cut_off_and_damaged_bodies_are_refused() {
        let data = b"the same text again and again ".repeat(1000);
        let zstd = zstd::encode_all(&*data, 1).unwrap();
        for (encoding, body) in [("gzip", gzip(&data)), ("zstd", zstd)] {
            for end in [4, body.len() / 2, body.len() - 1] {
                assert!(decode(encoding, &body[..end]).is_err(), "{encoding} {end}");
            }
            assert!(decode(encoding, b"not compressed at all").is_err());
        }
    }
}
