//! A service manager's end of sd_notify(3): a datagram socket, and the messages that came.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::{
    scratch::{Scratch, unique},
    wait,
};

/// Longest message that is read.
const LONGEST: usize = 4096;
/// The reader looks this often whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Every message so far, with the time at which it came.
type Messages = Mutex<Vec<(Instant, String)>>;

/// The socket, read by a thread: the kernel holds few datagrams that nobody reads (net.unix.max_dgram_qlen).
#[derive(Debug)]
pub struct Manager {
    address: String,
    messages: Arc<Messages>,
    _folder: Scratch,
}

impl Manager {
    /// At a path of its own.
    pub fn at_path() -> Self {
        let folder = Scratch::new();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self::of(socket, path.display().to_string(), folder)
    }

    /// At an abstract name of its own.
    pub fn at_abstract_name() -> Self {
        let name = format!("kevmon-manager-{}", unique());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        Self::of(socket, format!("@{name}"), Scratch::new())
    }

    fn of(socket: UnixDatagram, address: String, folder: Scratch) -> Self {
        let messages = Arc::<Messages>::default();
        let reader = Arc::downgrade(&messages);
        socket.set_read_timeout(Some(LOOK)).expect("a socket");
        std::thread::spawn(move || {
            let mut buffer = [0; LONGEST];
            while let Some(messages) = reader.upgrade() {
                let Ok(length) = socket.recv(&mut buffer) else {
                    continue;
                };
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                messages
                    .lock()
                    .expect("nobody panics with it")
                    .push((Instant::now(), text));
            }
        });
        Self {
            address,
            messages,
            _folder: folder,
        }
    }

    /// What `NOTIFY_SOCKET` is to hold.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Every message so far.
    pub fn messages(&self) -> Vec<(Instant, String)> {
        self.messages.lock().expect("nobody panics with it").clone()
    }

    /// The messages that say one of these names, in their order.
    pub fn said(&self, names: &[&str]) -> Vec<String> {
        let says = |text: &str| names.iter().any(|name| text.starts_with(&format!("{name}=")));
        let messages = self.messages().into_iter().map(|(_, text)| text);
        messages.filter(|text| says(text)).collect()
    }

    /// Number of messages since then that hold this text.
    pub fn count_since(&self, since: Instant, message: &str) -> usize {
        let messages = self.messages();
        let after = messages
            .iter()
            .filter(|(at, text)| *at > since && text.contains(message));
        after.count()
    }

    /// Waits for a message that came after `since`; returns it.
    pub fn wait_for(&self, name: &str, since: Instant, limit: Duration) -> String {
        let begins = format!("{name}=");
        wait::until(&format!("{name}= from kevmon"), limit, || {
            let messages = self.messages().into_iter();
            let mut after = messages.filter(|(at, text)| *at > since && text.starts_with(&begins));
            after.next().map(|(_, text)| text)
        })
    }
}
