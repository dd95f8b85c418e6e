//! A headless Chromium under test, driven over its debugging pipe: one JSON document per message, ended by a zero byte.
//!
//! No port is opened for it and nothing of a person's profile is touched. Whatever a page complains about fails the
//! story when the browser is closed.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
];
/// Our pipes become the descriptors that Chromium reads commands from and answers on.
const START: &str = r#"exec chromium "$@" about:blank 3<&0 4>&1 >/dev/null 2>&1 </dev/null"#;
/// Pages tell in `openSockets` which WebSockets they hold.
const WATCH_SOCKETS: &str = "
    globalThis.openSockets = new Set();
    globalThis.WebSocket = class extends WebSocket {
        constructor(...all) {
            super(...all);
            openSockets.add(this);
            this.addEventListener('close', () => openSockets.delete(this));
        }
    };
";
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    page: String,
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// A browser with one empty page of this size.
    pub fn start(width: u32, height: u32) -> Browser {
        let profile = tempfile::Builder::new()
            .prefix("kubik-browser-")
            .tempdir_in("/var/tmp")
            .unwrap();
        let mut child = Command::new("sh")
            .args(["-c", START, "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let (tx, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let _ = tx.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let mut browser = Browser {
            child,
            commands,
            messages,
            last: 0,
            page: String::new(),
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.send("Target.createTarget", &json!({"url": "about:blank"}));
        let wanted = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.send("Target.attachToTarget", &wanted);
        browser.page = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.send(domain, &json!({}));
        }
        let watched = json!({"source": WATCH_SOCKETS});
        browser.send("Page.addScriptToEvaluateOnNewDocument", &watched);
        browser.size(width, height);
        browser
    }

    /// One command and its answer; events that come between are looked at.
    fn send(&mut self, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if !self.page.is_empty() {
            command["sessionId"] = self.page.as_str().into();
        }
        self.commands
            .write_all(format!("{command}\0").as_bytes())
            .unwrap();
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let mut message = match self.messages.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => panic!("the browser does not answer {method}"),
                Err(RecvTimeoutError::Disconnected) => panic!("the browser has ended at {method}"),
            };
            if message["id"] == self.last {
                let failure = &message["error"]["message"];
                assert!(failure.is_null(), "{method}: {failure}");
                return message["result"].take();
            }
            self.listen(&message);
        }
    }

    fn listen(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => {
                let details = &parameters["exceptionDetails"];
                let said = &details["exception"]["description"];
                let said = said.as_str().or_else(|| details["text"].as_str());
                self.complaints.push(said.unwrap_or_default().to_owned());
            }
            "Log.entryAdded" if parameters["entry"]["level"] == "error" => {
                let entry = &parameters["entry"];
                self.complaints
                    .push(format!("{} {}", entry["text"], entry["url"]));
            }
            _ => {}
        }
    }

    pub fn size(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.send("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What the system's own theme is, as pages see it.
    pub fn prefers(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.send(
            "Emulation.setEmulatedMedia",
            &json!({"features": [feature]}),
        );
    }

    /// As if another tab had come to the front, or ours again.
    pub fn hide(&mut self, is_hidden: bool) {
        self.eval(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {is_hidden}, configurable: true }}); document.dispatchEvent(new Event('visibilitychange'))"
        ));
    }

    pub fn open(&mut self, url: &str) {
        self.send("Page.navigate", &json!({"url": url}));
    }

    /// The value of an expression in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.send("Runtime.evaluate", &wanted);
        let failure = &answer["exceptionDetails"]["exception"]["description"];
        assert!(failure.is_null(), "{expression}: {failure}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.eval(&format!("Boolean({expression})")) != true {
            if begun.elapsed() > PATIENCE {
                let seen = self.eval("document.body.innerText");
                panic!(
                    "waited in vain for {expression}; the page says: {}\n{:?}",
                    seen.as_str().unwrap_or_default(),
                    self.complaints
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until an element shows a text.
    pub fn until_text(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.until(&format!(
            "[...document.querySelectorAll({selector})].some((one) => one.textContent.includes({text}))"
        ));
    }

    /// Clicks the first element that fits, once it is there.
    pub fn click(&mut self, selector: &str) {
        let selector = json!(selector);
        self.until(&format!("document.querySelector({selector})"));
        self.eval(&format!("document.querySelector({selector}).click()"));
    }

    /// Types into whatever has the focus, as a person with an input method would.
    pub fn write(&mut self, text: &str) {
        self.send("Input.insertText", &json!({"text": text}));
    }

    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.send("Input.dispatchKeyEvent", &event);
        }
    }

    /// Ends the browser; the page must not have complained.
    pub fn close(mut self) {
        self.eval("null");
        let complaints = std::mem::take(&mut self.complaints);
        assert!(
            complaints.is_empty(),
            "the page complained: {complaints:#?}"
        );
    }

    /// What the page has complained of so far, forgotten hereby.
    pub fn complaints(&mut self) -> Vec<String> {
        std::mem::take(&mut self.complaints)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // In good order, so that no process of its own still writes to the profile when that is removed.
        let close = json!({"id": 0, "method": "Browser.close"});
        let _ = self.commands.write_all(format!("{close}\0").as_bytes());
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
