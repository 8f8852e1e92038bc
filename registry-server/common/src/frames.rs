//! Messages as gRPC frames them, for those whose bytes are there already: nothing is encoded, or copied, again.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint};

/// The bytes before each message: whether it is compressed, and its length.
pub const HEAD_BYTES: usize = 5;

/// The first bytes of a message in its frame; `follow` more bytes of the message come after them.
pub fn framed(begin: &[u8], follow: usize) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + begin.len());
    frame.put_u8(0);
    // Longer ones were refused.
    frame.put_u32(u32::try_from(begin.len() + follow).unwrap_or(u32::MAX));
    frame.put_slice(begin);
    frame.freeze()
}

/// What comes before `length` bytes that are the only field of a message: the head of its frame, the key of the field, and its length.
pub fn before_field(number: u32, length: usize) -> Bytes {
    let mut begin = BytesMut::new();
    encode_key(number, WireType::LengthDelimited, &mut begin);
    encode_varint(length as u64, &mut begin);
    framed(&begin, length)
}
