//! A node that says what a test wants it to say.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::halod::CONTROL;

/// How long an answer may take before the daemon counts as stalled.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A control connection.
pub(crate) struct Node {
    stream: BufReader<TcpStream>,
}

impl Node {
    /// Connects and says nothing.
    pub(crate) fn silent() -> Self {
        Self::over(TcpStream::connect(CONTROL).unwrap())
    }

    /// Says nothing yet, on a connection that there is.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Connects and registers, with addresses that have this number in them. The second is the `welcome`.
    pub(crate) fn join(name: &str, number: u16) -> (Self, Value) {
        let mut node = Self::silent();
        node.say(&hello(name, number));
        let welcome = node.hear();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (node, welcome)
    }

    pub(crate) fn say(&mut self, message: &Value) {
        self.send(format!("{message}\n").as_bytes());
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The next message.
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.stream.read_line(&mut line).unwrap() > 0, "the daemon has closed the connection");
        serde_json::from_str(&line).unwrap()
    }

    /// The next message is an error with this code.
    #[track_caller]
    pub(crate) fn hears_error(&mut self, code: &str) {
        let message = self.hear();
        assert_eq!((message["type"].as_str(), message["code"].as_str()), (Some("error"), Some(code)), "{message}");
    }

    /// The daemon closes the connection, and has nothing more to say.
    #[track_caller]
    pub(crate) fn hears_end(&mut self) {
        let mut line = String::new();
        assert_eq!(self.stream.read_line(&mut line).unwrap(), 0, "{line}");
    }

    /// The connection is served: a message of no known kind is answered.
    #[track_caller]
    pub(crate) fn is_served(&mut self) {
        self.say(&json!({"type": "dance"}));
        self.hears_error("unknown_type");
    }

    /// The connection itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

pub(crate) fn hello(name: &str, number: u16) -> Value {
    let [high, low] = number.to_be_bytes();
    let at = |port| SocketAddr::from(([127, 1, high, low], port));
    json!({
        "type": "hello",
        "version": 1,
        "name": name,
        "incarnation": format!("{number:016x}"),
        "browser": [at(8000)],
        "app": [at(9000)],
        "admin": at(9001),
    })
}
