//! The commands socket: what an operator asks a running kevmon for, on this host alone.
//!
//! One line of JSON is a request, one line the reply, and the connection ends. A thread of its own answers, so that no client
//! holds the loop up: the loop is handed orders, and waits for nobody. Each connection has deadlines and sizes, and each user
//! a number of connections: one more ends that user's oldest.
//!
//! Who may connect is decided by the socket's file: its owner, root, and the group `kevmon` where there is one. All of them
//! may read. Only root and kevmon's own user may stop, restart or reload it (SO_PEERCRED, unix(7)).

use std::{
    io,
    os::unix::net::UnixListener as StdListener,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream, unix::UCred},
    runtime::Builder,
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{place, status::Status, view::Views};
use crate::{
    app::{reload::Reloaded, top::Members},
    files::{self, Socket},
    health::Pulses,
    users,
};

/// Its members may read.
const GROUP: &str = "kevmon";
/// Bytes of a request at most.
const LONGEST_REQUEST: u64 = 4 << 10;
/// From the connection to the end of the request.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// From there to the end of the reply.
const REPLY_WITHIN: Duration = Duration::from_secs(5);
/// A reload reads files, whose disk may take its time.
const RELOAD_WITHIN: Duration = Duration::from_secs(30);
/// Connections of one user.
const CLIENTS_OF_USER: usize = 8;
/// Connections of all users.
const CLIENTS: usize = 128;
/// After a connection could not be accepted (no file descriptor left, mostly).
const PAUSE: Duration = Duration::from_secs(1);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields, tag = "command")]
enum Request {
    /// What runs, and how it fares.
    Status {},
    /// What every group has and does at this moment: a frame of `kevmon top`.
    Top {
        /// The number of the last event that is known; 0: none is.
        #[serde(default)]
        since: u64,
        /// Whether the processes of all groups are asked for …
        #[serde(default)]
        all: bool,
        /// … or of these.
        #[serde(default)]
        groups: Vec<u64>,
    },
    /// To end.
    Stop {},
    /// To end and to begin again in the same process.
    Restart {},
    /// To read the configuration again.
    Reload {},
}

/// What the loop is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Order {
    Stop,
    Restart,
}

/// What the replies are made of, and where orders go.
#[derive(Clone)]
pub(in crate::app) struct Desk {
    pub(in crate::app) status: Status,
    pub(in crate::app) pulses: Pulses,
    pub(in crate::app) views: Views,
    pub(in crate::app) orders: mpsc::Sender<Order>,
    pub(in crate::app) reloads: mpsc::Sender<oneshot::Sender<Reloaded>>,
    /// Whether kevmon has what it needs to begin again in the same process.
    pub(in crate::app) may_begin_again: bool,
}

/// The thread that answers, which ends with it.
#[derive(Debug)]
pub(in crate::app) struct Control {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Control {
    /// Listens in `folder` for the instance of this name. Where another kevmon has the name, the pid is added to it.
    ///
    /// # Errors
    /// The socket cannot be had, or the system has no thread left.
    pub(in crate::app) fn start(folder: &Path, instance: &str, desk: Desk) -> io::Result<Self> {
        let named = Socket::listen(&place::file(folder, instance));
        let (socket, listener) = match named {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let name = format!("{instance}-{}", std::process::id());
                Socket::listen(&place::file(folder, &name))?
            }
            named => named?,
        };
        let path = socket.path();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("kevmon-control".to_owned())
            .spawn(move || {
                share(&socket);
                runtime.block_on(async {
                    tokio::select! {
                        served = serve(listener, desk) => {
                            if let Err(error) = served {
                                warn!("{}: {error}; no commands are taken", socket.path().display());
                            }
                        }
                        // An error: its owner is gone, and so the thread ends too.
                        _ = ended => {}
                    }
                });
            })?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
            path,
        })
    }

    /// Where it listens.
    pub(in crate::app) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic of it has been logged
        }
    }
}

/// Lets the group read, where there is one. Asked for here, since a name service may take its time.
fn share(socket: &Socket) {
    let Some(group) = users::group(GROUP) else { return };
    if let Err(error) = socket.share_with(group) {
        debug!(
            "{}: the group {GROUP} cannot be let in: {error}",
            socket.path().display()
        );
    }
}

async fn serve(listener: StdListener, desk: Desk) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut clients: Vec<(u32, AbortHandle)> = Vec::new();
    loop {
        let accepted = listener.accept().await;
        let accepted = accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream)));
        let (peer, stream) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!("commands socket: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        clients.retain(|(_, task)| !task.is_finished());
        let of_user = clients.iter().filter(|(uid, _)| *uid == peer.uid()).count();
        if of_user >= CLIENTS_OF_USER || clients.len() >= CLIENTS {
            // The oldest of this user, or of all.
            let is_oldest = |(uid, _): &(u32, AbortHandle)| of_user < CLIENTS_OF_USER || *uid == peer.uid();
            if let Some(oldest) = clients.iter().position(is_oldest) {
                clients.remove(oldest).1.abort();
            }
        }
        let task = tokio::spawn(converse(stream, peer, desk.clone()));
        clients.push((peer.uid(), task.abort_handle()));
    }
}

/// One request and its reply.
async fn converse(mut stream: UnixStream, peer: UCred, desk: Desk) {
    let mut line = Vec::new();
    let reading = async {
        let limited = (&mut stream).take(LONGEST_REQUEST);
        BufReader::new(limited).read_until(b'\n', &mut line).await
    };
    if !matches!(timeout(REQUEST_WITHIN, reading).await, Ok(Ok(1..))) {
        return;
    }
    let answer = desk.answer(&line, &peer).await;
    let mut text = answer.reply;
    text.push('\n');
    let replying = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    // A client that does not read its reply has given its order all the same.
    let _: Result<io::Result<()>, tokio::time::error::Elapsed> = timeout(REPLY_WITHIN, replying).await;
    if let Some((permit, order)) = answer.order {
        permit.send(order);
    }
}

/// A reply, and the order that goes to the loop once the reply is written: the loop may end kevmon at once.
struct Answer {
    reply: String,
    order: Option<(mpsc::OwnedPermit<Order>, Order)>,
}

impl From<Json> for Answer {
    fn from(reply: Json) -> Self {
        Self {
            reply: reply.to_string(),
            order: None,
        }
    }
}

fn refusal(error: &str, remedy: &str) -> Answer {
    json!({ "error": error, "remedy": remedy }).into()
}

impl Desk {
    async fn answer(&self, line: &[u8], peer: &UCred) -> Answer {
        let request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => {
                return refusal(
                    &format!("the request cannot be read: {error}"),
                    "send one line such as {\"command\":\"status\"}; commands are status, top, stop, restart and reload",
                );
            }
        };
        let own = rustix::process::geteuid().as_raw();
        let may_change = peer.uid() == 0 || peer.uid() == own;
        match request {
            Request::Status {} => self.status.json(&self.pulses.stuck()).into(),
            Request::Top { since, all, groups } => {
                let members = if all { Members::All } else { Members::Of(groups) };
                self.top(since, &members).await
            }
            _ if !may_change => refusal(
                &format!("user {} may read and nothing else", peer.uid()),
                "give the command as root, or as the user that kevmon runs as",
            ),
            Request::Reload {} => self.reload().await,
            Request::Stop {} => self.order(Order::Stop),
            Request::Restart {} if !self.may_begin_again => refusal(
                "kevmon has given up CAP_BPF and CAP_PERFMON, and would not get them again in the same process",
                "give it --stop, and have what started it start it again",
            ),
            Request::Restart {} => self.order(Order::Restart),
        }
    }

    async fn top(&self, since: u64, members: &Members) -> Answer {
        match self.views.reply(since, members, &self.status).await {
            Some(reply) => Answer { reply, order: None },
            None => refusal(
                "kevmon is busy, and has not looked at its processes in time",
                "ask again; kevmon status names threads that are stuck",
            ),
        }
    }

    fn order(&self, order: Order) -> Answer {
        match self.orders.clone().try_reserve_owned() {
            Ok(permit) => Answer {
                reply: json!({ "accepted": true }).to_string(),
                order: Some((permit, order)),
            },
            Err(_) => refusal("kevmon is about to end already", "wait for that"),
        }
    }

    async fn reload(&self) -> Answer {
        let (answer, answered) = oneshot::channel();
        let reload = async {
            self.reloads.send(answer).await.ok()?;
            answered.await.ok()
        };
        match timeout(RELOAD_WITHIN, reload).await {
            Ok(Some(Reloaded { plugins, faults })) => json!({ "plugins": plugins, "faults": faults }).into(),
            Ok(None) => refusal("kevmon ends", "start it again"),
            Err(_) => refusal(
                "the configuration is still being read",
                "look at the log, which says what came of it",
            ),
        }
    }
}

/// Why there is no socket, for the log.
pub(in crate::app) fn why_none(error: &io::Error) -> String {
    match files::refusal(error) {
        Some(refusal) => refusal.to_string(),
        None => error.to_string(),
    }
}
