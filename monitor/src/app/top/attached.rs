//! Frames of a running kevmon, over its commands socket: one connection for each. It may end and come again while it is looked at.

use std::{io, path::PathBuf, pin::Pin};

use anyhow::Result;
use serde_json::{Value as Json, json};

use super::{
    frame::{Frame, Members},
    source::Answer,
};
use crate::{
    app::{Exit, service, wanted},
    cli::TopArgs,
    config::Environment,
    shown, users,
};

/// With more groups than this the processes of all are asked for: a request is bounded.
const NAMED_GROUPS: usize = 300;
/// What every refusal begins with.
const ERROR: &[u8] = b"{\"error\"";

/// A reply on its way.
type Asked = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>>>>;

/// One instance.
pub(super) struct Attached {
    path: PathBuf,
    /// Its version when it was found.
    version: String,
    /// The run of the last frame, and the last event of it that is known.
    run: Option<u64>,
    since: u64,
    asked: Option<Asked>,
    /// The processes that are asked for with it.
    members: Members,
    /// Other processes were asked for meanwhile: the next request is for these.
    next: Option<Members>,
}

impl Attached {
    /// Finds the one instance.
    ///
    /// # Errors
    /// A socket cannot be asked.
    pub(super) fn find(args: &TopArgs, environment: &Environment) -> Result<std::result::Result<Self, Exit>> {
        let instance = match service::the_one(&wanted(&args.which, environment))? {
            Ok(instance) => instance,
            Err(exit) => {
                if exit == Exit::NotRunning {
                    shown::complain(
                        "kevmon top watches by itself with --process-name REGEX or --plugin NAME",
                    );
                }
                return Ok(Err(exit));
            }
        };
        let version = instance.status["version"].as_str().unwrap_or("unknown");
        Ok(Ok(Self::new(instance.path, version)))
    }

    fn new(path: PathBuf, version: &str) -> Self {
        Self {
            path,
            version: version.to_owned(),
            run: None,
            since: 0,
            asked: None,
            members: Members::All,
            next: None,
        }
    }

    pub(super) fn ask(&mut self, members: &Members) {
        if self.asked.is_some() {
            self.next = Some(members.clone()).filter(|next| *next != self.members);
            return;
        }
        self.members.clone_from(members);
        let request = match members {
            Members::Of(groups) if groups.len() <= NAMED_GROUPS => {
                json!({ "command": "top", "since": self.since, "groups": groups })
            }
            _ => json!({ "command": "top", "since": self.since, "all": true }),
        };
        let path = self.path.clone();
        self.asked = Some(Box::pin(async move {
            let (reply, _) = service::ask_for(&path, &request).await?;
            Ok(reply)
        }));
    }

    pub(super) async fn told(&mut self) -> Answer {
        let Some(asked) = &mut self.asked else {
            return std::future::pending().await;
        };
        let reply = asked.await;
        self.asked = None;
        let answer = match reply {
            Ok(reply) => self.read(&reply),
            Err(error) => Answer::Away(away(&error)),
        };
        if let Some(next) = self.next.take() {
            self.ask(&next);
        }
        answer
    }

    fn read(&mut self, reply: &[u8]) -> Answer {
        if reply.starts_with(ERROR) {
            return self.refusal(reply);
        }
        let mut frame: Frame = match serde_json::from_slice(reply) {
            Ok(frame) => frame,
            Err(error) => return Answer::Away(format!("the reply cannot be read: {error}")),
        };
        if self.run.is_some_and(|run| run != frame.run) {
            // Numbers of another run: they are asked for from the beginning next time.
            frame.events.clear();
            (frame.events_missed, self.since) = (0, 0);
        }
        self.run = Some(frame.run);
        for told in &mut frame.events {
            self.since = self.since.max(told.number);
            name_user(&mut told.event);
        }
        Answer::Frame(Box::new(frame))
    }

    fn refusal(&self, reply: &[u8]) -> Answer {
        let reply: Json = serde_json::from_slice(reply).unwrap_or_default();
        let text = |key: &str| reply[key].as_str().unwrap_or_default().to_owned();
        let error = text("error");
        // As serde says it of a command that it does not know.
        if error.contains("unknown variant") {
            return Answer::Refused(format!(
                "{}: the running kevmon (version {}) does not know kevmon top (version {}): restart it (systemctl restart kevmon, \
                 or kevmon --restart), so that the installed version runs",
                self.path.display(),
                self.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        Answer::Away(format!("{error}; {}", text("remedy")))
    }
}

/// Events tell users by number; the name service is this side's to ask.
fn name_user(event: &mut Json) {
    let uid = event["uid"].as_u64().and_then(|uid| u32::try_from(uid).ok());
    if let (Some(uid), None) = (uid, event.get("user"))
        && let Some(name) = users::name_of(uid)
    {
        event["user"] = json!(*name);
    }
}

fn away(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => {
            "kevmon has ended; the last values stand until it runs again".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not connect any more; run the command as root, or add the user to the group kevmon"
                .to_owned()
        }
        _ => format!("kevmon does not answer: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    fn attached() -> Attached {
        Attached::new("/run/kevmon/kevmon.sock".into(), "0.0.9")
    }

    fn frame(run: u64, events: &[u64]) -> Vec<u8> {
        let events: Vec<Json> = events
            .iter()
            .map(|number| json!({ "number": number, "group": "web", "event": { "event": "start" } }))
            .collect();
        let frame = json!({ "run": run, "time": 1, "boot_time": 1, "source": "ebpf", "lost": 0, "fresh": true, "groups": [],
            "groups_left_out": 0, "events": events, "events_missed": 3 });
        serde_json::to_vec(&frame).unwrap()
    }

    #[test]
    fn another_run_begins_its_events_from_the_first() {
        let mut attached = attached();
        for (run, events, kept, since) in [
            (1, &[1, 2][..], 2, 2),
            (1, &[3], 1, 3),
            (1, &[], 0, 3),
            (2, &[5], 0, 0),
            (2, &[1, 5], 2, 5),
        ] {
            let Answer::Frame(frame) = attached.read(&frame(run, events)) else {
                panic!("no frame");
            };
            assert_eq!((frame.events.len(), attached.since), (kept, since), "{events:?}");
        }
    }

    #[test]
    fn an_older_kevmon_is_named_with_the_remedy() {
        let reply = br#"{"error":"the request cannot be read: unknown variant `top`, expected one of `status`, `stop`","remedy":"x"}"#;
        let Answer::Refused(why) = attached().read(reply) else {
            panic!("not refused");
        };
        assert!(
            why.contains("version 0.0.9") && why.contains("kevmon --restart"),
            "{why}"
        );
        for other in [
            &br#"{"error":"kevmon is busy","remedy":"ask again"}"#[..],
            b"not json",
            b"{}",
            b"{\"error\"",
        ] {
            assert!(matches!(attached().read(other), Answer::Away(_)), "{other:?}");
        }
    }

    #[tokio::test]
    async fn other_processes_that_are_asked_for_meanwhile_are_asked_for_next() {
        let path = std::env::temp_dir().join(format!("kevmon-top-{}.sock", std::process::id()));
        let _: io::Result<()> = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let mut attached = Attached::new(path.clone(), "1");
        attached.ask(&Members::Of(vec![1]));
        attached.ask(&Members::Of(vec![1, 2]));
        let served = async {
            let mut requests = Vec::new();
            for _ in 0..2 {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                stream.write_all(&frame(1, &[7])).await.unwrap();
                requests.push(serde_json::from_str::<Json>(&line).unwrap());
            }
            requests
        };
        let told = async {
            for _ in 0..2 {
                let within = tokio::time::timeout(std::time::Duration::from_secs(10), attached.told());
                assert!(matches!(within.await, Ok(Answer::Frame(_))));
            }
        };
        let (requests, ()) = tokio::join!(served, told);
        let of = |request: &Json| (request["groups"].clone(), request["since"].clone());
        assert_eq!(of(&requests[0]), (json!([1]), json!(0)));
        assert_eq!(of(&requests[1]), (json!([1, 2]), json!(7)));
        attached.ask(&Members::Of(vec![1]));
        attached.ask(&Members::Of(vec![1]));
        assert!(attached.next.is_none(), "the same ones are on their way");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn very_many_expanded_groups_are_asked_for_as_all() {
        let mut attached = attached();
        attached.ask(&Members::Of((0..10_000).collect()));
        assert!(attached.asked.is_some());
    }
}
