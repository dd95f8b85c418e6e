//! What people read: steps with milliseconds, a spinner on terminals only, errors with an advice.

use super::event;
use std::{
    io::{IsTerminal, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
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

const SPINNER: [char; 6] = ['⠋', '⠙', '⠸', '⠴', '⠦', '⠇'];
const TURN: Duration = Duration::from_millis(80);
const CLEAR: &str = "\r\x1b[K";

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

/// Something that is not as one might think; what is done goes on.
pub fn note(text: &str) {
    say(&format!("{} {text}", mark("❗", "!")));
}

/// Prints to standard output; a closed pipe is not an error of ours.
pub fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A list of steps being worked off.
pub struct Steps {
    started: Instant,
    spinner: Option<Spinner>,
}

impl Steps {
    #[must_use]
    pub fn begin(title: &str) -> Steps {
        say(title);
        Steps {
            started: Instant::now(),
            spinner: (std::io::stderr().is_terminal() && !prints_events()).then(Spinner::start),
        }
    }

    /// Shows on a terminal that work goes on; silent elsewhere.
    pub fn spin(&self, what: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.show(Some(what.to_owned()));
        }
    }

    fn rest(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.show(None);
        }
    }

    pub fn done(&self, what: &str, took: Duration) {
        if prints_events() {
            return result(&event::step(what));
        }
        self.rest();
        let sign = mark("✓", "-");
        say(&format!("  {sign} {what:<44}{:>7} ms", millis(took)));
    }

    pub fn failed(&self, what: &str) {
        self.rest();
        say(&format!("  {} {what}", mark("✗", "x")));
    }

    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Turns beside what is being done, on a thread of its own: whoever works does not think of it.
struct Spinner {
    shown: Arc<Mutex<Option<String>>>,
    /// Dropped, it ends the thread.
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Spinner {
    fn start() -> Spinner {
        let shown = Arc::new(Mutex::new(None::<String>));
        let (end, ended) = mpsc::channel::<()>();
        let own = Arc::clone(&shown);
        let thread = thread::spawn(move || {
            for sign in SPINNER.iter().cycle() {
                draw(&own, *sign);
                if ended.recv_timeout(TURN) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Spinner {
            shown,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// Replaces what is shown; the line is the caller's when nothing is.
    fn show(&self, what: Option<String>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.is_some() && what.is_none() {
            let _ = write!(std::io::stderr(), "{CLEAR}");
        }
        *shown = what;
    }
}

/// Written under the lock: a line that is printed next is not drawn over.
fn draw(shown: &Mutex<Option<String>>, sign: char) {
    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(what) = shown.as_deref() {
        let _ = write!(std::io::stderr(), "\r  {sign} {what}\x1b[K");
        let _ = std::io::stderr().flush();
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.show(None);
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
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
