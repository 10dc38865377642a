//! nginx in front of a receiver that speaks no TLS or asks for no client certificate, as an operator would put it: it
//! ends TLS, asks for the certificate, and passes on what it let in.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    certificates::{Authority, Identity},
    kevmon, port,
    scratch::Scratch,
    wait,
};

/// What it passes requests to, on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    Grpc(u16),
    Http(u16),
}

/// A running nginx; killed when dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    port: u16,
    scratch: Scratch,
}

impl Nginx {
    /// Starts the program that `KEVMON_NGINX` names before a receiver. It shows `server`, and lets in
    /// only clients of that authority where one is given.
    pub fn start(upstream: Upstream, server: &Identity, clients: Option<&Authority>) -> Self {
        Self::start_with(upstream, server, clients, "")
    }

    /// The same with further lines in the configuration of its server.
    pub fn start_with(
        upstream: Upstream,
        server: &Identity,
        clients: Option<&Authority>,
        further: &str,
    ) -> Self {
        let program = kevmon::required("KEVMON_NGINX", "the nginx program");
        let scratch = Scratch::new();
        let port = port::free();
        let config = scratch.path().join("nginx.conf");
        let clients = clients.map_or_else(String::new, |authority| {
            let file = authority.file().display();
            format!("ssl_client_certificate {file}; ssl_verify_client on;")
        });
        let text = config_text(
            scratch.path(),
            port,
            upstream,
            server,
            &format!("{clients}\n{further}"),
        );
        fs::write(&config, text).expect("a file in the scratch directory");
        let log = File::create(scratch.path().join("log")).expect("a file in the scratch directory");
        let child = Command::new(program)
            .arg("-e")
            .arg("stderr")
            .arg("-p")
            .arg(scratch.path())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nginx starts");
        let mut nginx = Self { child, port, scratch };
        wait::until("nginx to listen", wait::SOON, || {
            let ended = nginx.child.try_wait().expect("our child");
            assert!(ended.is_none(), "nginx ended: {}", nginx.log());
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        });
        nginx
    }

    /// Its root.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it complained about and whom it answered so far.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        read("log") + &read("access.log")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- nginx's log ---\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process, and every file that it would keep under /var here.
fn config_text(folder: &Path, port: u16, upstream: Upstream, server: &Identity, further: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    let pass = match upstream {
        Upstream::Grpc(port) => format!("grpc_pass grpc://127.0.0.1:{port};"),
        Upstream::Http(port) => format!("proxy_pass http://127.0.0.1:{port};"),
    };
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nevents {{}}\nhttp {{\naccess_log {folder}/access.log;\n\
         {temporary}server {{\nlisten 127.0.0.1:{port} ssl http2;\nssl_certificate {};\nssl_certificate_key {};\n\
         {further}\nlocation / {{ {pass} }}\n}}\n}}\n",
        server.certificate.display(),
        server.key.display(),
    )
}
