//! A person at a terminal: a program behind a pseudo-terminal, what it shows, and keys for it.

use super::cluster::{PATIENCE, Place};
use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

/// kubectl at a terminal of 77 columns and 33 rows; ends with the story.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    pub fn kubectl(place: &Place, arguments: &[&str]) -> Terminal {
        let kubectl = place.kubectl_command(arguments);
        let words: Vec<String> = std::iter::once(kubectl.get_program())
            .chain(kubectl.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let line = format!("stty rows 33 cols 77; exec {}", words.join(" "));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]);
        for (name, value) in kubectl.get_envs() {
            command.env(name, value.unwrap());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let shown = Arc::<Mutex<String>>::default();
        let screen = Arc::clone(&shown);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).replace('\r', "");
                screen.lock().unwrap().push_str(&text);
            }
        });
        Terminal { child, keys, shown }
    }

    pub fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Waits until the screen has shown a text.
    pub fn until(&self, text: &str) {
        let begun = Instant::now();
        while !self.shown().contains(text) {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain for {text:?} on a terminal:\n{}",
                self.shown()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn type_line(&mut self, line: &str) {
        writeln!(self.keys, "{line}").unwrap();
        self.keys.flush().unwrap();
    }

    /// The program's exit code, once it has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("a program at a terminal does not end:\n{}", self.shown());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
