//! Container log files: `2016-10-06T00:17:09.669794202Z stdout F text`, one line each, `P` for unfinished ones.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a str,
    /// False: the next line of the same stream continues it.
    pub is_whole: bool,
    pub text: &'a [u8],
}

/// Reads one line without its newline; `None` when it is none of ours.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |&byte| byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let _stream = parts.next()?;
    let tags = parts.next()?;
    let text = parts.next().unwrap_or_default();
    Some(Line {
        time,
        is_whole: tags.split(|&byte| byte == b':').next() == Some(b"F"),
        text,
    })
}

/// The end of a log as plain text: at most so many bytes and lines. Empty when there is no log.
#[must_use]
pub fn last_text(path: &Path, bytes: usize, lines: usize) -> String {
    // A line of the file is longer than its text by some forty bytes; short lines must not starve the answer.
    let window = bytes + lines * 64;
    let text = tail(path, window).unwrap_or_default();
    let mut plain: Vec<u8> = Vec::new();
    let parsed: Vec<Line<'_>> = text
        .split(|&byte| byte == b'\n')
        .filter_map(parse)
        .collect();
    let skipped = parsed.len().saturating_sub(lines);
    for line in &parsed[skipped..] {
        plain.extend_from_slice(line.text);
        if line.is_whole {
            plain.push(b'\n');
        }
    }
    let start = plain.len().saturating_sub(bytes);
    String::from_utf8_lossy(&plain[start..]).into_owned()
}

/// The last bytes of a file, from the beginning of a line.
fn tail(path: &Path, window: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(window as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(window as u64).read_to_end(&mut text)?;
    if start > 0 {
        let first = text.iter().position(|&byte| byte == b'\n');
        text.drain(..first.map_or(text.len(), |at| at + 1));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let line = parse(b"2016-10-06T00:17:09.669794202Z stdout F hello world").unwrap();
        assert_eq!(
            (line.is_whole, line.text),
            (true, b"hello world".as_slice())
        );
        assert!(!parse(b"t stderr P part").unwrap().is_whole);
        assert!(parse(b"t stderr F:x y").unwrap().is_whole);
        assert_eq!(parse(b"t stdout F ").unwrap().text, b"");
        assert_eq!(parse(b"garbage"), None);
    }

    #[test]
    fn the_end_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let lines: Vec<String> = (0..100).map(|n| format!("t stdout F line {n}\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
        assert_eq!(last_text(&path, 2048, 2), "line 98\nline 99\n");
        assert_eq!(last_text(&path, 10, 80), "8\nline 99\n");
        assert_eq!(last_text(&dir.path().join("none"), 10, 10), "");
    }
}
