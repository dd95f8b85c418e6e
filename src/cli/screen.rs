//! What people read: steps with milliseconds, a spinner on terminals only, errors with an advice.

use super::event;
use std::{
    io::{IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Whether lines are events for programs (`start -o json`), on standard output.
static EVENTS: AtomicBool = AtomicBool::new(false);

pub fn print_events() {
    EVENTS.store(true, Ordering::Relaxed);
}

pub fn prints_events() -> bool {
    EVENTS.load(Ordering::Relaxed)
}

const SPINNER: [char; 4] = ['⠋', '⠙', '⠸', '⠴'];

/// Marks in front of lines: signs on a terminal, ASCII in logs and pipes.
fn mark(sign: &'static str, ascii: &'static str) -> &'static str {
    if std::io::stderr().is_terminal() {
        sign
    } else {
        ascii
    }
}

fn say(line: &str) {
    if prints_events() {
        return result(&event::info(line));
    }
    let _ = writeln!(std::io::stderr(), "{line}");
}

pub fn line(text: &str) {
    say(text);
}

pub fn error(text: &str) {
    say(&format!("{} {text}", mark("❌", "X")));
}

pub fn advice(text: &str) {
    say(&format!("{} {text}", mark("💡", "*")));
}

/// Prints to standard output; a closed pipe is not an error of ours.
pub fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A list of steps being worked off.
pub struct Steps {
    started: Instant,
    spins: bool,
    turn: usize,
}

impl Steps {
    #[must_use]
    pub fn begin(title: &str) -> Steps {
        say(title);
        Steps {
            started: Instant::now(),
            spins: std::io::stderr().is_terminal() && !prints_events(),
            turn: 0,
        }
    }

    /// Shows on a terminal that work goes on; silent elsewhere.
    pub fn spin(&mut self, what: &str) {
        if self.spins {
            self.turn += 1;
            let sign = SPINNER[self.turn % SPINNER.len()];
            let _ = write!(std::io::stderr(), "\r  {sign} {what}\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }

    pub fn done(&self, what: &str, took: Duration) {
        if prints_events() {
            return result(&event::step(what));
        }
        let clear = if self.spins { "\r\x1b[K" } else { "" };
        let sign = mark("✓", "-");
        say(&format!("{clear}  {sign} {what:<44}{:>7} ms", millis(took)));
    }

    pub fn failed(&self, what: &str) {
        let clear = if self.spins { "\r\x1b[K" } else { "" };
        say(&format!("{clear}  {} {what}", mark("✗", "x")));
    }

    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Whole milliseconds from 10 on, one decimal below.
#[must_use]
pub fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis < 10.0 {
        format!("{millis:.1}")
    } else {
        format!("{millis:.0}")
    }
}

/// Columns padded to their widest cell, separated by three spaces, as kubectl does.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}   "));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_their_columns() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[row(["NAME", "AGE"]), row(["a-long-name", "5s"])]);
        assert_eq!(text, "NAME          AGE\na-long-name   5s");
    }
}
