//! The codec of every service: protobuf, with the bounds of a request checked before it is decoded.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::{Message, Name};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::{message_bounds::Bounded, status::status};

/// Encodes `T` and decodes `U`. Of a client's, `U` is an answer, which has no bounds.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder { decoder: ProstDecoder::default(), bounded: Bounded::request(U::NAME) }
    }
}

#[derive(Debug)]
pub struct BoundedDecoder<U> {
    decoder: ProstDecoder<U>,
    bounded: Option<Bounded>,
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(bounded) = self.bounded {
            // A message arrives in one piece.
            bounded.check(from.chunk()).map_err(|invalid| status(invalid.into()))?;
        }
        self.decoder.decode(from)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.decoder.buffer_settings()
    }
}
