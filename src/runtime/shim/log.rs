//! A container's log in the format of the Container Runtime Interface, with rotation.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`; `P` marks text that goes on in the next line of the same
//! stream. Written by the shim, so that logs go on while the daemon is away. Never blocks the container: a full disk
//! loses log lines, not the container.

use jiff::Timestamp;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    mem,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The kubelet's defaults.
const FILE_MAX: u64 = 10 << 20;
const FILES_MAX: usize = 5;
/// Longer lines are split.
const LINE_MAX: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Cuts one stream into log lines.
#[derive(Debug)]
pub struct Lines {
    name: &'static str,
    rest: Vec<u8>,
}

impl Lines {
    pub fn new(stream: Stream) -> Lines {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        Lines {
            name,
            rest: Vec::new(),
        }
    }

    /// Log lines for what has just arrived; an unfinished line waits.
    pub fn push(&mut self, mut bytes: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = LINE_MAX - self.rest.len();
            let newline = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            if let Some(end) = newline {
                self.rest.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 1..];
                self.emit('F', now, out);
            } else if bytes.len() >= room {
                self.rest.extend_from_slice(&bytes[..room]);
                bytes = &bytes[room..];
                self.emit('P', now, out);
            } else {
                self.rest.extend_from_slice(bytes);
                break;
            }
        }
    }

    /// What is left when the stream ends: text without a newline is partial for ever.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.rest.is_empty() {
            self.emit('P', now, out);
        }
        self.rest = Vec::new();
    }

    fn emit(&mut self, tag: char, now: Timestamp, out: &mut Vec<u8>) {
        let _ = write!(out, "{now:.9} {} {tag} ", self.name);
        out.append(&mut self.rest);
        out.push(b'\n');
        if self.rest.capacity() > 2 * LINE_MAX {
            self.rest = Vec::new();
        }
    }
}

/// The file, and its rotated predecessors `<file>.<time>`.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl LogFile {
    pub fn open(path: &Path) -> io::Result<LogFile> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        let size = file.metadata()?.len();
        Ok(LogFile {
            path: path.to_owned(),
            file: Some(file),
            size,
        })
    }

    pub fn write(&mut self, lines: &[u8], now: Timestamp) {
        if lines.is_empty() {
            return;
        }
        if self.size > 0 && self.size + lines.len() as u64 > FILE_MAX {
            let _ = self.rotate(now);
        }
        if let Some(file) = &mut self.file
            && file.write_all(lines).is_ok()
        {
            self.size += lines.len() as u64;
        }
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let stamp = now.strftime("%Y%m%d-%H%M%S");
        let mut target = with_suffix(&self.path, &format!("{stamp}"));
        let mut attempt = 0;
        while target.exists() {
            attempt += 1;
            target = with_suffix(&self.path, &format!("{stamp}.{attempt}"));
        }
        fs::rename(&self.path, target)?;
        let fresh = LogFile::open(&self.path)?;
        drop(mem::replace(self, fresh));
        for old in surplus(rotated(&self.path)?) {
            let _ = fs::remove_file(old);
        }
        Ok(())
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn rotated(path: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = with_suffix(path, "");
    let prefix = prefix.as_os_str().as_encoded_bytes();
    let dir = path.parent().unwrap_or(Path::new("/"));
    let files = fs::read_dir(dir)?.filter_map(Result::ok).map(|e| e.path());
    Ok(files
        .filter(|p| p.as_os_str().as_encoded_bytes().starts_with(prefix))
        .collect())
}

/// The oldest rotated files beyond the limit (the current file counts). Their names sort by time.
fn surplus(mut rotated: Vec<PathBuf>) -> Vec<PathBuf> {
    rotated.sort();
    let keep = FILES_MAX - 1;
    rotated.truncate(rotated.len().saturating_sub(keep));
    rotated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> String {
        let mut lines = Lines::new(Stream::Stdout);
        let mut out = Vec::new();
        let now = Timestamp::UNIX_EPOCH;
        for piece in pieces {
            lines.push(piece, now, &mut out);
        }
        lines.finish(now, &mut out);
        String::from_utf8(out)
            .unwrap()
            .replace("1970-01-01T00:00:00.000000000Z stdout ", "")
    }

    #[test]
    fn lines_are_cut_and_tagged() {
        assert_eq!(cut(&[b"a\nb", b"c\n"]), "F a\nF bc\n");
        assert_eq!(cut(&[b"no newline"]), "P no newline\n");
        assert_eq!(cut(&[b"\n\n"]), "F \nF \n");
        assert_eq!(cut(&[]), "");
        let long = vec![b'x'; LINE_MAX + 3];
        let text = cut(&[&long, b"\n"]);
        let sizes: Vec<(char, usize)> = text
            .lines()
            .map(|l| (l.chars().next().unwrap(), l.len() - 2))
            .collect();
        assert_eq!(sizes, [('P', LINE_MAX), ('F', 3)]);
        let exact = [vec![b'x'; LINE_MAX], b"\n".to_vec()].concat();
        assert_eq!(cut(&[&exact]).len(), LINE_MAX + 3);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c/0.log");
        let mut log = LogFile::open(&path).unwrap();
        let chunk = vec![b'y'; 6 << 20];
        for second in 0..9 {
            log.write(&chunk, Timestamp::from_second(second).unwrap());
        }
        let mut names: Vec<String> = fs::read_dir(dir.path().join("c"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "0.log",
                "0.log.19700101-000005",
                "0.log.19700101-000006",
                "0.log.19700101-000007",
                "0.log.19700101-000008"
            ]
        );
    }
}
