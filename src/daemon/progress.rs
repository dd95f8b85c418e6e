//! What a starting daemon tells the command that started it: one JSON document per line on its standard output.

use serde::{Deserialize, Serialize};
use std::{
    io::Write,
    sync::Mutex,
    time::{Duration, Instant},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Line {
    /// A step has ended.
    Step { name: String, micros: u64 },
    /// Something is not as it was asked for; the start goes on.
    Note { message: String },
    /// The API, RBAC, the default ServiceAccount, the node and DNS all answer.
    Ready,
    /// Another daemon runs this cluster; nothing more follows.
    Busy,
    /// The start was given up; nothing more follows.
    Failed { message: String },
}

/// The daemon's end. Writing never fails the start: the command may have gone away.
pub struct Progress {
    last: Mutex<Instant>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            last: Mutex::new(Instant::now()),
        }
    }
}

impl Progress {
    /// Ends a step that began with the end of the one before it.
    pub fn step(&self, name: &str) {
        let mut last = self.last.lock().expect("no panic while locked");
        let took = last.elapsed();
        *last = Instant::now();
        self.send(&Line::Step {
            name: name.to_owned(),
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
    }

    pub fn send(&self, line: &Line) {
        if let Ok(text) = serde_json::to_string(line) {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        }
    }
}

impl Line {
    #[must_use]
    pub fn parse(text: &str) -> Option<Line> {
        serde_json::from_str(text).ok()
    }

    #[must_use]
    pub fn took(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_pipe() {
        let line = Line::Step {
            name: "store".into(),
            micros: 5,
        };
        assert_eq!(
            Line::parse(&serde_json::to_string(&line).unwrap()),
            Some(line)
        );
        assert_eq!(Line::parse("thread 'main' panicked"), None);
    }
}
