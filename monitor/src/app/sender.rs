//! Sends collections and events to the receiver, beside the ticks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{error, info, warn};

use super::{keeper::Kept, outbox::Outbox};
use crate::{
    export::{
        Collection, EncodedRequest, ExportError, Exporter, HostIdentity, MetricRequests, Run, Temporality,
        log_events, log_requests,
    },
    plugin::{Notice, Plugin},
};

/// Collections that wait for a slow receiver; more are dropped, which costs their points in time, not their sums.
const WAITING: usize = 16;

/// The events for the receiver. They do not wait with the collection that brought them: one that is dropped, or not
/// delivered, is made good by the next one's sums, and an event by nothing.
#[derive(Debug)]
struct Events {
    /// By group.
    plugins: Vec<Plugin>,
    outbox: Mutex<Outbox>,
}

impl Events {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, collection: &Collection, notices: Vec<Notice>) {
        let events = log_events(notices, &self.plugins, collection);
        self.outbox().push(events);
    }
}

/// Delivers collections, and the events that wait, to one receiver.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    exporter: Exporter,
    host: HostIdentity,
    requests: Arc<Mutex<MetricRequests>>,
    events: Arc<Events>,
}

impl Delivery {
    pub(super) fn new(exporter: Exporter, host: HostIdentity, plugins: Vec<Plugin>, kept: &Kept) -> Self {
        let mut requests = MetricRequests::new(host.clone(), Run::Service, Temporality::Cumulative);
        kept.told_before(&plugins, &mut requests);
        Self {
            exporter,
            host,
            requests: Arc::new(Mutex::new(requests)),
            events: Arc::new(Events {
                plugins,
                outbox: Mutex::default(),
            }),
        }
    }

    /// Where to.
    pub(super) fn endpoint(&self) -> &str {
        self.exporter.endpoint()
    }

    /// Adds to the events that wait.
    pub(super) fn hold(&self, collection: &Collection, notices: Vec<Notice>) {
        self.events.push(collection, notices);
    }

    /// Events that wait still.
    pub(super) fn undelivered(&self) -> usize {
        self.events.outbox().undelivered()
    }

    /// Sends the metrics, then all events that wait.
    pub(super) async fn deliver(&mut self, collection: &Collection) -> Result<(), ExportError> {
        let requests = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.encode(collection, |_| true)
        };
        match self.exporter.export_all(requests).await {
            // The events would wait for the same answer as long again.
            Err(error @ ExportError::Unreachable { .. }) => Err(error),
            // A receiver may refuse metrics and take events.
            result => self.deliver_events().await.and(result),
        }
    }

    async fn deliver_events(&mut self) -> Result<(), ExportError> {
        let requests = {
            let mut outbox = self.events.outbox();
            log_requests(outbox.take_off(), &self.events.plugins, &self.host, Run::Service)
        };
        let mut answer = Ok(());
        for EncodedRequest { body, items, .. } in requests {
            let events = usize::try_from(items).unwrap_or(usize::MAX);
            match self.exporter.export_logs(body).await {
                Ok(()) => self.events.outbox().settle(events, 0),
                Err(error @ ExportError::NoLogs { .. }) => {
                    warn!("{error}");
                    self.events.outbox().close();
                    return Ok(());
                }
                Err(error) => match error.rejected_logs(events as u64) {
                    Some(rejected) => {
                        self.events.outbox().settle(events, rejected);
                        answer = Err(error);
                    }
                    None => {
                        self.events.outbox().come_back();
                        return Err(error);
                    }
                },
            }
        }
        answer
    }
}

/// The queue to a [`Delivery`] that works beside the ticks.
pub(super) struct Sender {
    queue: mpsc::Sender<Collection>,
    events: Arc<Events>,
    failures: mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

impl Sender {
    /// Delivers one collection after the other. Says when that fails and when it works again, not every time.
    pub(super) fn start(mut delivery: Delivery) -> Self {
        let (queue, mut waiting) = mpsc::channel::<Collection>(WAITING);
        let (failed, failures) = mpsc::unbounded_channel();
        let events = Arc::clone(&delivery.events);
        let task = tokio::spawn(async move {
            let mut well = true;
            while let Some(collection) = waiting.recv().await {
                match delivery.deliver(&collection).await {
                    Ok(()) if !well => {
                        info!("{} accepts exports again", delivery.endpoint());
                        well = true;
                    }
                    Ok(()) => {}
                    Err(error) => {
                        if std::mem::take(&mut well) {
                            error!("{error}; trying again at every tick");
                        }
                        // Only fails when the daemon is gone.
                        let _: Result<(), mpsc::error::SendError<()>> = failed.send(());
                    }
                }
            }
        });
        Self {
            queue,
            events,
            failures,
            task,
        }
    }

    /// Queues a collection and the events that came with it; false when there is no room for the collection. The
    /// events then go with the next delivery.
    pub(super) fn push(&self, collection: Collection, notices: Vec<Notice>) -> bool {
        self.events.push(&collection, notices);
        self.queue.try_send(collection).is_ok()
    }

    /// Deliveries that have failed since the last call.
    pub(super) fn take_failures(&mut self) -> u64 {
        let mut failures = 0;
        while self.failures.try_recv().is_ok() {
            failures += 1;
        }
        failures
    }

    /// Events that were dropped since the start: too many waited, or the receiver rejected them.
    pub(super) fn events_dropped(&self) -> u64 {
        self.events.outbox().dropped()
    }

    /// Stops. The collections that wait are dropped; the events are held for the last delivery.
    pub(super) async fn stop(self) {
        self.task.abort();
        // Cancelled, or ended by itself: either way it sends nothing more.
        let _: Result<(), tokio::task::JoinError> = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use super::*;
    use crate::{
        app::outbox::tests::event,
        export::tests::{Code, Listener, collection},
        plugin::tracker::tests::plugin,
    };

    /// A delivery to a receiver that is not there yet, and where it is to be.
    fn delivery() -> (Delivery, SocketAddr) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = port.local_addr().expect("bound");
        let exporter =
            Exporter::new(&format!("http://{address}"), Duration::from_secs(5)).expect("an address");
        let host = HostIdentity {
            id: None,
            name: "n".to_owned(),
        };
        let exported = Plugin {
            events: true,
            ..plugin("a")
        };
        (
            Delivery::new(exporter, host, vec![exported, plugin("b")], &Kept::default()),
            address,
        )
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(test);
    }

    /// Events at these times, of the plugin that exports them and of the one that does not.
    fn notices(times: &[u64]) -> Vec<Notice> {
        let of = |group| times.iter().map(move |&time| event(group, time).notice);
        of(0).chain(of(1)).collect()
    }

    /// As the receiver is told them: the machine started at Unix time 10^9 s.
    fn told(times: &[u64]) -> Vec<u64> {
        times
            .iter()
            .map(|time| 1_000_000_000_000_000_000 + time)
            .collect()
    }

    #[test]
    fn events_reach_a_receiver_that_comes_late_or_refuses_at_first() {
        run(async {
            let (mut delivery, address) = delivery();
            let collection = collection();
            delivery.hold(&collection, notices(&[1, 2]));
            let away = delivery.deliver(&collection).await;
            assert!(matches!(away, Err(ExportError::Unreachable { .. })), "{away:?}");
            assert_eq!(delivery.undelivered(), 2);

            let listener = Listener::default();
            *listener.refusals.lock().unwrap() = vec![Code::Internal];
            let deliver = async {
                delivery.hold(&collection, notices(&[3]));
                let refused = delivery.deliver(&collection).await;
                assert!(matches!(refused, Err(ExportError::Refused { .. })), "{refused:?}");
                assert_eq!(delivery.undelivered(), 3);
                delivery.deliver(&collection).await.expect("it listens");
                delivery.deliver(&collection).await.expect("it listens");
            };
            listener.during(address, deliver).await;
            assert_eq!(*listener.told.lock().unwrap(), told(&[1, 2, 3]), "each once");
            assert_eq!(delivery.undelivered(), 0);
        });
    }

    #[test]
    fn what_is_refused_for_good_does_not_hold_up_the_rest() {
        run(async {
            let (mut delivery, address) = delivery();
            let collection = collection();
            let listener = Listener::default();
            *listener.refusals.lock().unwrap() = vec![Code::InvalidArgument];
            let deliver = async {
                delivery.hold(&collection, notices(&[1, 2]));
                delivery.deliver(&collection).await.expect_err("refused");
                delivery.hold(&collection, notices(&[3]));
                delivery.deliver(&collection).await.expect("it listens");
            };
            listener.during(address, deliver).await;
            assert_eq!(*listener.told.lock().unwrap(), told(&[3]));
            assert_eq!(delivery.events.outbox().dropped(), 2);
        });
    }

    #[test]
    fn events_of_a_full_queue_go_with_the_next_delivery_also_with_the_last() {
        run(async {
            let (mut delivery, address) = delivery();
            let sender = Sender::start(delivery.clone());
            let collection = collection();
            // The task has no turn in between.
            let pushed: Vec<bool> = (0..=WAITING as u64)
                .map(|time| sender.push(collection.clone(), notices(&[time])))
                .collect();
            assert_eq!(pushed.iter().filter(|pushed| **pushed).count(), WAITING);
            sender.stop().await;
            let listener = Listener::default();
            listener
                .during(address, async {
                    delivery.deliver(&collection).await.expect("it listens");
                })
                .await;
            let all: Vec<u64> = (0..=WAITING as u64).collect();
            assert_eq!(*listener.told.lock().unwrap(), told(&all));
        });
    }
}
