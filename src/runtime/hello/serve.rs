//! `serve`: says which pod it is, greets, and counts visits in `/data` if that is there.

use super::fetch;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    sync::Mutex,
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);
const LINE_BYTES_MAX: u64 = 8 << 10;
const DATA: &str = "/data";

/// Visits of this process, where there is no `/data`.
static VISITS: Mutex<u64> = Mutex::new(0);

pub fn run(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(|e| format!("listen on port {port}: {e}"))?;
    super::say(&format!("listening on port {port}\n"));
    for stream in listener.incoming().flatten() {
        // A connection that cannot have its thread is dropped: the client sees it closed.
        let _ = thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(move || answer(&stream));
    }
    Ok(())
}

fn answer(stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut lines = BufReader::new(stream.take(LINE_BYTES_MAX));
    let mut line = String::new();
    if lines.read_line(&mut line).is_err() {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    // The rest of the head is read so that closing does not reset the connection.
    let mut rest = String::new();
    while lines.read_line(&mut rest).is_ok_and(|count| count > 2) {
        rest.clear();
    }
    let (status, body) = page(&path);
    let mut stream = stream;
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn page(path: &str) -> (&'static str, String) {
    match path.split_once('?').unwrap_or((path, "")) {
        ("/healthz", _) => ("200 OK", "ok".to_owned()),
        ("/fetch", query) => {
            let url = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "url");
            match url.map(|(_, url)| fetch::run(&url)) {
                Some(Ok(text)) => ("200 OK", text),
                Some(Err(error)) => ("502 Bad Gateway", error + "\n"),
                None => ("400 Bad Request", "use /fetch?url=http://…\n".to_owned()),
            }
        }
        ("/", _) => ("200 OK", welcome()),
        _ => ("404 Not Found", format!("there is nothing at {path}\n")),
    }
}

fn welcome() -> String {
    let greeting = std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned());
    let pod = std::env::var("HOSTNAME").unwrap_or_else(|_| "an unknown pod".to_owned());
    let visits = match visit(Path::new(DATA)) {
        Some(visits) => visits.to_string(),
        None => "unknown".to_owned(),
    };
    format!("{greeting}\npod: {pod}\nvisits: {visits}\n")
}

/// One more visit. In a folder that several pods share, a lock keeps their counts together.
fn visit(folder: &Path) -> Option<u64> {
    if !folder.is_dir() {
        let mut visits = VISITS.lock().ok()?;
        *visits += 1;
        return Some(*visits);
    }
    let lock = File::create(folder.join(".lock")).ok()?;
    lock.lock().ok()?;
    let path = folder.join("visits");
    let before: u64 = fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let new = folder.join("visits.new");
    fs::write(&new, format!("{}\n", before + 1)).ok()?;
    fs::rename(&new, &path).ok()?;
    Some(before + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_counted_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(visit(folder.path()), Some(1));
        assert_eq!(visit(folder.path()), Some(2));
        assert_eq!(
            fs::read_to_string(folder.path().join("visits")).unwrap(),
            "2\n"
        );
    }

    #[test]
    fn pages_have_their_status() {
        assert_eq!(page("/healthz").0, "200 OK");
        assert_eq!(page("/nothing").0, "404 Not Found");
        assert_eq!(page("/fetch").0, "400 Bad Request");
        assert_eq!(page("/fetch?url=ftp%3A%2F%2Fx").0, "502 Bad Gateway");
    }
}
