//! A receiver over gRPC that is not ours: grpcio, the C core's server, which compresses its answers and can answer every
//! status. Its program is `grpcio_server.py`.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{kevmon, wait};

/// How one port answers.
#[derive(Debug, Clone, Copy)]
pub struct Played {
    /// `none`, `gzip` or `deflate`.
    pub compression: &'static str,
    /// A status, by its name.
    pub code: &'static str,
    /// Whether the status has details, with a `RetryInfo`.
    pub details: bool,
    /// The age at which it ends a connection, with a GOAWAY.
    pub age: Option<Duration>,
}

/// A running server; it ends with the test.
#[derive(Debug)]
pub struct Grpcio {
    child: Child,
    _stdin: Option<ChildStdin>,
    ports: BTreeMap<String, u16>,
    /// Name, method and digest of each request.
    asked: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Grpcio {
    /// Starts the Python that `KEVMON_GRPCIO` names, with a port for each of `played`, by name.
    pub fn start(played: &[(String, Played)]) -> Self {
        let python = kevmon::required("KEVMON_GRPCIO", "a Python with grpcio");
        let mut child = Command::new(python)
            .args(["-c", include_str!("grpcio_server.py")])
            .args(played.iter().map(|(name, of)| {
                let details = u8::from(of.details);
                let age = of.age.unwrap_or_default().as_millis();
                format!("{name},{},{},{details},{age}", of.compression, of.code)
            }))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let asked = Arc::<Mutex<Vec<_>>>::default();
        let ports = Arc::<Mutex<BTreeMap<String, u16>>>::default();
        let (kept, found) = (Arc::clone(&asked), Arc::clone(&ports));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                match words[..] {
                    ["port", name, port] => {
                        let port = port.parse().expect("a port");
                        found.lock().expect("no panics").insert(name.to_owned(), port);
                    }
                    ["asked", name, method, digest] => {
                        let one = (name.to_owned(), method.to_owned(), digest.to_owned());
                        kept.lock().expect("no panics").push(one);
                    }
                    _ => {}
                }
            }
        });
        let ports = wait::until("grpcio to listen", Duration::from_secs(30), || {
            let ports = ports.lock().expect("no panics").clone();
            (ports.len() == played.len()).then_some(ports)
        });
        Self {
            child,
            _stdin: stdin,
            ports,
            asked,
        }
    }

    /// The endpoint of a name.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}", self.ports[name])
    }

    /// How often each request with metrics came to a name.
    pub fn attempts(&self, name: &str) -> Vec<usize> {
        let asked = self.asked.lock().expect("no panics");
        let mut counts = BTreeMap::<&str, usize>::new();
        for (_, _, digest) in asked
            .iter()
            .filter(|(of, method, _)| of == name && method.contains("Metrics"))
        {
            *counts.entry(digest).or_default() += 1;
        }
        counts.into_values().collect()
    }
}

impl Drop for Grpcio {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
