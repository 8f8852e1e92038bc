//! Messages from the wire to JSON: an answer is written as it is read.
//!
//! Maps and lists come in the order of the wire, and the server writes maps in the order of their keys: the same answer is the same text.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Buf as _;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde::Serialize;

use super::{Field, Malformed, Many, Message, MessageAt, Scalar, Schema, take};

impl Schema {
    /// Writes a message as JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>, of: MessageAt, bytes: &[u8]) -> Result<(), Malformed> {
        let message = &self.messages[of.0];
        if let Some(known) = message.known {
            return known.write(out, bytes);
        }
        out.push(b'{');
        self.write_fields(out, message, bytes, true)?;
        out.push(b'}');
        Ok(())
    }

    /// Writes the members of an object. What is repeated stands together on the wire, as every encoder of ours has it.
    fn write_fields(&self, out: &mut Vec<u8>, of: &Message, mut bytes: &[u8], first: bool) -> Result<(), Malformed> {
        let mut first = first;
        let mut open: Option<&Field> = None;
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes)?;
            let Ok(at) = of.fields.binary_search_by_key(&number, |field| field.number) else {
                skip_field(wire, number, &mut bytes, DecodeContext::default())?;
                continue;
            };
            let field = &of.fields[at];
            let again = open.is_some_and(|open| open.number == number);
            if !again {
                close(out, open.take());
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend(&field.key);
            }
            match field.many {
                Many::One => self.write_value(out, field.scalar, wire, &mut bytes)?,
                Many::Map => {
                    out.push(if again { b',' } else { b'{' });
                    self.write_entry(out, field, take(&mut bytes)?)?;
                    open = Some(field);
                }
                Many::List => {
                    out.push(if again { b',' } else { b'[' });
                    match field.scalar {
                        Scalar::String | Scalar::Bytes | Scalar::Message(_) => {
                            self.write_value(out, field.scalar, wire, &mut bytes)?;
                        }
                        // Numbers are packed.
                        scalar if wire == WireType::LengthDelimited => {
                            self.write_packed(out, scalar, take(&mut bytes)?)?
                        }
                        scalar => self.write_value(out, scalar, wire, &mut bytes)?,
                    }
                    open = Some(field);
                }
            }
        }
        close(out, open);
        Ok(())
    }

    fn write_packed(&self, out: &mut Vec<u8>, scalar: Scalar, mut bytes: &[u8]) -> Result<(), Malformed> {
        let wire = match scalar {
            Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => WireType::SixtyFourBit,
            Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => WireType::ThirtyTwoBit,
            _ => WireType::Varint,
        };
        let mut first = true;
        while !bytes.is_empty() {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            self.write_value(out, scalar, wire, &mut bytes)?;
        }
        Ok(())
    }

    /// An entry of a map: of its key and its value, what is not on the wire is the default.
    fn write_entry(&self, out: &mut Vec<u8>, map: &Field, mut bytes: &[u8]) -> Result<(), Malformed> {
        let Scalar::Message(entry) = map.scalar else { return Err(Malformed) };
        let [key, value] = &self.messages[entry.0].fields[..] else { return Err(Malformed) };
        let begin = out.len();
        let mut is_written = false;
        while !bytes.is_empty() {
            match decode_key(&mut bytes)? {
                // The key comes first, as every encoder of ours has it.
                (1, wire) if out.len() == begin => self.write_key(out, key.scalar, wire, &mut bytes)?,
                (2, wire) if !is_written => {
                    if out.len() == begin {
                        write_default_key(out, key.scalar);
                    }
                    out.push(b':');
                    self.write_value(out, value.scalar, wire, &mut bytes)?;
                    is_written = true;
                }
                _ => return Err(Malformed),
            }
        }
        if out.len() == begin {
            write_default_key(out, key.scalar);
        }
        if !is_written {
            out.push(b':');
            self.write_default(out, value.scalar)?;
        }
        Ok(())
    }

    /// The key of an entry, which is text whatever it is.
    fn write_key(&self, out: &mut Vec<u8>, of: Scalar, wire: WireType, bytes: &mut &[u8]) -> Result<(), Malformed> {
        let is_quoted = matches!(of, Scalar::String | Scalar::Int64 | Scalar::Uint64 | Scalar::Sint64)
            || matches!(of, Scalar::Fixed64 | Scalar::Sfixed64);
        if is_quoted {
            return self.write_value(out, of, wire, bytes);
        }
        out.push(b'"');
        self.write_value(out, of, wire, bytes)?;
        out.push(b'"');
        Ok(())
    }

    fn write_default(&self, out: &mut Vec<u8>, scalar: Scalar) -> Result<(), Malformed> {
        match scalar {
            Scalar::String | Scalar::Bytes => out.extend(b"\"\""),
            Scalar::Bool => out.extend(b"false"),
            Scalar::Double | Scalar::Float => out.extend(b"0.0"),
            Scalar::Int64 | Scalar::Uint64 | Scalar::Sint64 | Scalar::Fixed64 | Scalar::Sfixed64 => {
                out.extend(b"\"0\"")
            }
            Scalar::Enum(at) => self.write_enum(out, at, 0),
            Scalar::Message(at) => self.write(out, at, &[])?,
            _ => out.push(b'0'),
        }
        Ok(())
    }

    fn write_value(
        &self,
        out: &mut Vec<u8>,
        scalar: Scalar,
        wire: WireType,
        bytes: &mut &[u8],
    ) -> Result<(), Malformed> {
        let expected = match scalar {
            Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => WireType::SixtyFourBit,
            Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => WireType::ThirtyTwoBit,
            Scalar::String | Scalar::Bytes | Scalar::Message(_) => WireType::LengthDelimited,
            _ => WireType::Varint,
        };
        if wire != expected {
            return Err(Malformed);
        }
        match scalar {
            Scalar::Double => double(out, f64::from_le_bytes(fixed(bytes)?)),
            Scalar::Float => float(out, f32::from_le_bytes(fixed(bytes)?)),
            Scalar::Fixed64 => text(out, u64::from_le_bytes(fixed(bytes)?)),
            Scalar::Sfixed64 => text(out, i64::from_le_bytes(fixed(bytes)?)),
            Scalar::Fixed32 => number(out, u32::from_le_bytes(fixed(bytes)?)),
            Scalar::Sfixed32 => number(out, i32::from_le_bytes(fixed(bytes)?)),
            Scalar::String => string(out, take(bytes)?)?,
            Scalar::Bytes => base64(out, take(bytes)?),
            Scalar::Message(at) => {
                let bytes = take(bytes)?;
                self.write(out, at, bytes)?;
            }
            varint => {
                let value = decode_varint(bytes)?;
                match varint {
                    // Numbers of 32 bits are extended to 64 on the wire.
                    Scalar::Int32 => number(out, value as i32),
                    Scalar::Uint32 => number(out, value as u32),
                    Scalar::Sint32 => number(out, ((value as u32) >> 1) as i32 ^ -((value as u32 & 1) as i32)),
                    Scalar::Int64 => text(out, value as i64),
                    Scalar::Sint64 => text(out, (value >> 1) as i64 ^ -((value & 1) as i64)),
                    Scalar::Bool => out.extend(if value == 0 { &b"false"[..] } else { b"true" }),
                    Scalar::Enum(at) => self.write_enum(out, at, value as i32),
                    _ => text(out, value),
                }
            }
        }
        Ok(())
    }

    fn write_enum(&self, out: &mut Vec<u8>, at: usize, value: i32) {
        match self.enums[at].names.get(&value) {
            Some(name) => {
                out.push(b'"');
                out.extend(name.as_bytes());
                out.push(b'"');
            }
            None => number(out, value),
        }
    }

    /// Writes the details of an error, with commas between them: each an object that says its type. One that is not known is left out.
    pub(crate) fn write_details(&self, out: &mut Vec<u8>, status: &[u8]) {
        let details = tonic_types::pb::Status::decode(status).unwrap_or_default().details;
        let mut first = true;
        for detail in details {
            let name = detail.type_url.rsplit('/').next().unwrap_or_default();
            let Some(at) = self.message(name) else { continue };
            let mut text = Vec::new();
            let url = serde_json::to_vec(&detail.type_url).unwrap_or_default();
            if self.write_fields(&mut text, &self.messages[at.0], &detail.value, false).is_ok() {
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend(b"{\"@type\":");
                out.extend(url);
                out.extend(text);
                out.push(b'}');
            }
        }
    }
}

fn close(out: &mut Vec<u8>, open: Option<&Field>) {
    match open.map(|field| field.many) {
        Some(Many::List) => out.push(b']'),
        Some(Many::Map) => out.push(b'}'),
        _ => {}
    }
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let taken = *bytes.first_chunk::<N>().ok_or(Malformed)?;
    bytes.advance(N);
    Ok(taken)
}

fn write_default_key(out: &mut Vec<u8>, of: Scalar) {
    out.extend(match of {
        Scalar::String => &b"\"\""[..],
        Scalar::Bool => b"\"false\"",
        _ => b"\"0\"",
    });
}

fn number(out: &mut Vec<u8>, value: impl Serialize) {
    // Neither numbers nor a Vec fail.
    let _ = serde_json::to_writer(out, &value);
}

/// 64 bits are text: JavaScript has 53.
fn text(out: &mut Vec<u8>, value: impl Serialize) {
    out.push(b'"');
    number(out, value);
    out.push(b'"');
}

fn double(out: &mut Vec<u8>, value: f64) {
    match value {
        nan if nan.is_nan() => out.extend(b"\"NaN\""),
        f64::INFINITY => out.extend(b"\"Infinity\""),
        f64::NEG_INFINITY => out.extend(b"\"-Infinity\""),
        finite => number(out, finite),
    }
}

fn float(out: &mut Vec<u8>, value: f32) {
    match value {
        finite if finite.is_finite() => number(out, finite),
        other => double(out, f64::from(other)),
    }
}

pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Malformed> {
    let text = str::from_utf8(bytes).map_err(|_| Malformed)?;
    serde_json::to_writer(out, text).map_err(|_| Malformed)
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    out.extend(BASE64_STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}
