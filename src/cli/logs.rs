//! `kubik logs`: the daemon's own log.

use super::{args::LogsOptions, failure::Failure, place, screen};
use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Write},
    time::Duration,
};

/// Between two looks at a followed file. A person watches; nothing else depends on it.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);

pub fn run(profile: &str, options: &LogsOptions) -> Result<(), Failure> {
    let (layout, _) = place::existing(profile)?;
    let path = layout.daemon_log();
    let failure = |error: std::io::Error| Failure::host(&path.display().to_string(), &error);
    if let Some(copy) = &options.file {
        std::fs::copy(&path, copy)
            .map_err(|e| Failure::host(&format!("copy the log to {}", copy.display()), &e))?;
        screen::line(&format!("Wrote {}", copy.display()));
        return Ok(());
    }
    let mut lines = BufReader::new(File::open(&path).map_err(failure)?);
    let is_wanted = |line: &str| !options.problems || is_problem(line);
    for line in last_lines(&mut lines, options.lines, is_wanted).map_err(failure)? {
        screen::result(&line);
    }
    if !options.follow {
        return Ok(());
    }
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line).map_err(failure)? == 0 {
            std::thread::sleep(FOLLOW_PAUSE);
        } else if is_wanted(&String::from_utf8_lossy(&line))
            && std::io::stdout().write_all(&line).is_err()
        {
            return Ok(());
        }
    }
}

/// Warnings and errors of our own, and a panic's message.
fn is_problem(line: &str) -> bool {
    [" WARN ", " ERROR ", "panicked at"]
        .iter()
        .any(|word| line.contains(word))
}

fn last_lines(
    lines: &mut impl BufRead,
    count: usize,
    is_wanted: impl Fn(&str) -> bool,
) -> std::io::Result<VecDeque<String>> {
    let mut last = VecDeque::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if is_wanted(&text) {
            last.push_back(text);
        }
        if last.len() > count {
            last.pop_front();
        }
        line.clear();
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut text: &[u8] = b"a\nb\nc\n";
        assert_eq!(last_lines(&mut text, 2, |_| true).unwrap(), ["b", "c"]);
        let mut text: &[u8] = b"1  INFO a\n2  WARN b\n3 ERROR c\n";
        let problems = last_lines(&mut text, 9, is_problem).unwrap();
        assert_eq!(problems, ["2  WARN b", "3 ERROR c"]);
    }
}
