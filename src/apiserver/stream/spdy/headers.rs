//! Header blocks: pairs of names and values in one zlib stream per direction, with SPDY/3's dictionary.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::sync::LazyLock;

/// An inflated block may not be larger.
const BLOCK_MAX: usize = 64 * 1024;

/// SPDY draft 3, 2.6.10.1, as hexadecimal digits.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = include_str!("../../../../assets/spdy3-header-dictionary.hex");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("ASCII digits");
        u8::from_str_radix(pair, 16).expect("hexadecimal digits")
    };
    digits.chunks_exact(2).map(byte).collect()
});

/// Names are in lower case.
pub type Headers = Vec<(String, String)>;

pub struct Reader(Decompress);

pub struct Writer(Compress);

impl Reader {
    pub fn new() -> Reader {
        Reader(Decompress::new(true))
    }

    /// `None` for a block that breaks the rules; the connection is lost then, as its zlib stream is.
    pub fn read(&mut self, block: &[u8]) -> Option<Headers> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, block: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(1024);
        let start = self.0.total_in();
        loop {
            let consumed = usize::try_from(self.0.total_in() - start).ok()?;
            let before = out.len();
            match self
                .0
                .decompress_vec(&block[consumed..], &mut out, FlushDecompress::Sync)
            {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).ok()?;
                }
                Err(_) | Ok(Status::StreamEnd) => return None,
                Ok(_) => {
                    let consumed = usize::try_from(self.0.total_in() - start).ok()?;
                    if out.len() > BLOCK_MAX {
                        return None;
                    }
                    if consumed == block.len() && out.len() < out.capacity() {
                        return Some(out);
                    }
                    if out.len() == out.capacity() {
                        out.reserve(4096);
                    } else if out.len() == before {
                        return None;
                    }
                }
            }
        }
    }
}

fn parse(block: &[u8]) -> Option<Headers> {
    let mut rest = block;
    let count = number(&mut rest)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut rest)?;
        headers.push((name, text(&mut rest)?));
    }
    rest.is_empty().then_some(headers)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    let (head, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    Some(u32::from_be_bytes(*head))
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(rest)?).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).ok()
}

impl Writer {
    pub fn new() -> Writer {
        let mut compress = Compress::new(Compression::fast(), true);
        compress
            .set_dictionary(&DICTIONARY)
            .expect("a fresh stream takes a dictionary");
        Writer(compress)
    }

    pub fn write(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = u32::try_from(headers.len())
            .expect("few headers")
            .to_be_bytes()
            .to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(
                u32::try_from(text.len())
                    .expect("short headers")
                    .to_be_bytes(),
            );
            plain.extend(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let consumed =
                usize::try_from(self.0.total_in() - start).expect("no more than there is");
            let flushed = self
                .0
                .compress_vec(&plain[consumed..], &mut out, FlushCompress::Sync);
            flushed.expect("deflate takes any input");
            // Room left over means that the flush is complete.
            if out.len() < out.capacity() {
                return out;
            }
            out.reserve(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_survive_the_wire() {
        assert_eq!(DICTIONARY.len(), 1423);
        let (mut writer, mut reader) = (Writer::new(), Reader::new());
        let long = "v".repeat(10_000);
        let cases: [&[(&str, &str)]; 4] = [
            &[],
            &[("streamtype", "data"), ("port", "80"), ("requestid", "0")],
            &[("long", &long)],
            &[("streamtype", "error")],
        ];
        for headers in cases {
            let read = reader.read(&writer.write(headers)).unwrap();
            let expected: Headers = headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        assert!(Reader::new().read(b"nonsense").is_none());
        let bomb = "x".repeat(BLOCK_MAX * 2);
        let block = Writer::new().write(&[("a", &bomb)]);
        assert!(Reader::new().read(&block).is_none());
        assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 9, b'a']).is_none());
    }
}
