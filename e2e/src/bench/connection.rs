//! One kept connection that never blocks: a request goes out as it is, and of the answer only the head is understood.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// Room for an answer of 1 KB; larger ones make it grow.
const BUFFER: usize = 8 * 1024;
/// A head that is longer is none.
const LONGEST_HEAD: usize = 16 * 1024;

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Bytes of the body.
    pub length: usize,
}

/// Where a head ends and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    answer: Answer,
    body_at: usize,
}

/// An HTTP/1.1 connection with one request on its way at a time.
pub struct Connection {
    stream: TcpStream,
    /// Bytes of the request that are sent.
    sent: usize,
    /// What has come of the answer: the first `received` bytes.
    buffer: Vec<u8>,
    received: usize,
    head: Option<Head>,
}

impl Connection {
    /// Waits until it stands; nothing after that waits.
    pub fn open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Connection { stream, sent: 0, buffer: vec![0; BUFFER], received: 0, head: None })
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// A new request begins; the last one's answer is whole.
    pub fn begin(&mut self) {
        (self.sent, self.received, self.head) = (0, 0, None);
    }

    /// Sends and receives what can be without waiting; the answer, once it is whole.
    pub fn advance(&mut self, request: &[u8]) -> io::Result<Option<Answer>> {
        let at_once = self.sent == 0;
        while self.sent < request.len() {
            match self.stream.write(&request[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.sent == request.len() && at_once {
                // It has only just left: the answer's arrival will be an event of its own.
                return Ok(None);
            }
        }
        self.receive()
    }

    /// Whether the other side has closed it, asked between requests. Bytes that nobody asked for close it as well.
    pub fn is_over(&mut self) -> bool {
        match self.stream.read(&mut self.buffer) {
            Err(error) => error.kind() != ErrorKind::WouldBlock,
            Ok(0) => true,
            Ok(_unasked) => true,
        }
    }

    fn receive(&mut self) -> io::Result<Option<Answer>> {
        loop {
            if let Some(answer) = self.whole()? {
                return Ok(Some(answer));
            }
            if self.received == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            match self.stream.read(&mut self.buffer[self.received..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn whole(&mut self) -> io::Result<Option<Answer>> {
        if self.head.is_none() {
            self.head = parse_head(&self.buffer[..self.received])?;
        }
        let is_whole = |head: &Head| self.received >= head.body_at + head.answer.length;
        Ok(self.head.filter(is_whole).map(|head| head.answer))
    }
}

/// The head at the start of `bytes`, or nothing if its end has not come yet.
fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > LONGEST_HEAD { Err(ErrorKind::InvalidData.into()) } else { Ok(None) };
    };
    let malformed = || io::Error::from(ErrorKind::InvalidData);
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| line.strip_prefix(b"HTTP/1.1 ")).and_then(|rest| rest.get(..3));
    let status = status.and_then(number).and_then(|status| u16::try_from(status).ok()).ok_or_else(malformed)?;
    // Without a length (chunks) this reader does not know where the answer ends.
    let length = lines.find_map(content_length).ok_or_else(malformed)?;
    Ok(Some(Head { answer: Answer { status, length }, body_at: end + 4 }))
}

fn content_length(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    if name.eq_ignore_ascii_case(NAME) { number(value.trim_ascii()) } else { None }
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nX-Amz-Crc32: 7\r\nContent-Length: 2\r\ndate: now\r\n\r\n{}";

    #[test]
    fn a_head_is_found_once_it_is_whole() {
        let end = ANSWER.len() - 2;
        for length in 0..end {
            assert_eq!(parse_head(&ANSWER[..length]).unwrap(), None);
        }
        let expected = Head { answer: Answer { status: 400, length: 2 }, body_at: end };
        assert_eq!(parse_head(&ANSWER[..end]).unwrap(), Some(expected));
        assert_eq!(parse_head(ANSWER).unwrap(), Some(expected));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(parse_head(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n").is_err());
        assert!(parse_head(&vec![b'x'; LONGEST_HEAD + 1]).is_err());
    }
}
