//! A client that writes HTTP/2's frames itself, for what no proper client would send, or leave unread.

use std::net::SocketAddr;

use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::soon;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// On DATA and HEADERS.
const END_STREAM: u8 = 1;
/// On SETTINGS and PING.
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// The largest frame that every peer takes.
const FRAME: usize = 16 * 1024;

/// How the server ended a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With its answer.
    Answer,
    /// With RST_STREAM and this code.
    Reset(u32),
    /// With the connection.
    Connection,
}

/// A connection. What is written is sent by [`flush`](Self::flush), in one piece if it is short. It opens no window: the server may
/// send 65,535 bytes.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    out: Vec<u8>,
    last: u32,
}

impl Wire {
    /// A connection to a server.
    ///
    /// # Panics
    /// If it takes none.
    pub async fn to(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        let mut wire = Self { stream, out: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), last: 0 };
        wire.frame(SETTINGS, 0, 0, &[]);
        wire
    }

    /// Begins a call, with further headers. Answers its stream.
    pub fn begin(&mut self, path: &str, headers: &[(&str, &str)]) -> u32 {
        let of_grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        self.post(path, &[&of_grpc, headers].concat())
    }

    /// Begins a call with JSON, and sends a part of it. Answers its stream.
    pub fn begin_json(&mut self, path: &str, part: &[u8]) -> u32 {
        let stream = self.post(path, &[("content-type", "application/json")]);
        if !part.is_empty() {
            self.data(stream, part, false);
        }
        stream
    }

    fn post(&mut self, path: &str, headers: &[(&str, &str)]) -> u32 {
        self.last = if self.last == 0 { 1 } else { self.last + 2 };
        let usual = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")];
        let mut block = Vec::new();
        for (name, value) in usual.iter().chain(headers) {
            // A literal that is not indexed.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short header"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        self.frame(HEADERS, END_HEADERS, self.last, &block);
        self.last
    }

    /// Sends bytes on a stream, and perhaps ends it.
    pub fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        let mut rest = bytes;
        loop {
            let (piece, behind) = rest.split_at(rest.len().min(FRAME));
            rest = behind;
            let is_last = rest.is_empty();
            self.frame(DATA, if is_last && end { END_STREAM } else { 0 }, stream, piece);
            if is_last {
                return;
            }
        }
    }

    /// A whole call of one message. Answers its stream.
    pub fn call(&mut self, path: &str, message: &impl Message) -> u32 {
        let stream = self.begin(path, &[]);
        self.data(stream, &framed(message), true);
        stream
    }

    /// Gives a stream up.
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Says that no more streams are taken.
    pub fn go_away(&mut self, code: u32) {
        let payload = [0_u32.to_be_bytes(), code.to_be_bytes()].concat();
        self.frame(GOAWAY, 0, 0, &payload);
    }

    fn frame(&mut self, r#type: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
        self.out.extend_from_slice(&length[1..]);
        self.out.extend_from_slice(&[r#type, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
        self.out.extend_from_slice(payload);
    }

    /// Sends what was written. The server may have closed the connection, as it should when somebody misbehaves.
    pub async fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        let _ = self.stream.write_all(&out).await;
    }

    /// Says that nothing more is sent, without a frame.
    pub async fn half_close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Waits until the server has seen everything that was sent so far, or has closed the connection.
    pub async fn settled(&mut self) {
        self.frame(PING, 0, 0, &[7; 8]);
        self.flush().await;
        while let Some((r#type, flags, ..)) = self.next().await {
            if r#type == PING && flags & ACK != 0 {
                return;
            }
        }
    }

    /// Reads until the server ends a stream.
    pub async fn end_of(&mut self, stream: u32) -> End {
        while let Some((r#type, flags, on, payload)) = self.next().await {
            match r#type {
                DATA | HEADERS if on == stream && flags & END_STREAM != 0 => return End::Answer,
                RST_STREAM if on == stream => {
                    return End::Reset(u32::from_be_bytes(payload.try_into().expect("a code")));
                }
                _ => {}
            }
        }
        End::Connection
    }

    /// The next frame; `None` when the connection is closed.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        soon(self.stream.read_exact(&mut header)).await.ok()?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        soon(self.stream.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        if header[3] == SETTINGS && header[4] & ACK == 0 {
            self.frame(SETTINGS, ACK, 0, &[]);
            self.flush().await;
        }
        Some((header[3], header[4], stream, payload))
    }
}

/// A message as it goes over the wire.
pub fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).expect("a message is short").to_be_bytes();
    [&[0], length.as_slice(), &bytes].concat()
}
