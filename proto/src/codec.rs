//! A prost codec for gRPC whose buffers suit few large messages, and which bounds the memory of
//! requests.
//!
//! tonic's codec grows its buffers step by step, and each step copies the batch encoded so far. It
//! also decodes every message within its size, whatever that takes in memory.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use crate::decode_cost::{self, CallMessage};

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
    D: CallMessage,
{
    type Encode = E;
    type Decode = D;
    type Encoder = LargeEncoder<E>;
    type Decoder = LargeDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        LargeEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        LargeDecoder(ProstDecoder::new(settings()))
    }
}

/// Decodes replies, and requests that do not take too much memory.
#[derive(Debug)]
pub struct LargeDecoder<D>(ProstDecoder<D>);

impl<D: CallMessage> Decoder for LargeDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        if let Some(shape) = D::REQUEST {
            // tonic has the whole message in one buffer.
            decode_cost::check(from.chunk(), shape)?;
        }
        self.0.decode(from)
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
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
