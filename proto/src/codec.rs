//! A prost codec for gRPC whose buffers suit few large messages.
//!
//! tonic's codec grows its buffers step by step, and each step copies the batch encoded so far.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// Initial size of a call's buffers, bytes. Small, because many streams are idle most of the time.
const BUFFER_BYTES: usize = 1024;
/// Ready messages are combined into one write up to this size, bytes.
const TOGETHER_BYTES: usize = 32 * 1024;

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, TOGETHER_BYTES)
}

/// Encodes `E` and decodes `D` as `application/grpc+proto`.
#[derive(Clone, Debug)]
pub struct LargeCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for LargeCodec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for LargeCodec<E, D>
where
    E: Message + 'static,
    D: Message + Default + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = LargeEncoder<E>;
    type Decoder = ProstDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        LargeEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(settings())
    }
}

/// Reserves the exact size of a message before encoding it.
#[derive(Clone, Debug)]
pub struct LargeEncoder<E>(PhantomData<E>);

impl<E: Message> Encoder for LargeEncoder<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, message: E, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(message.encoded_len());
        message.encode_raw(to);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}
