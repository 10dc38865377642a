//! Sends collections and events to the receiver, beside the ticks.

use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{error, info, warn};

use crate::{
    export::{Collection, ExportError, Exporter, HostIdentity, Run, log_requests, requests},
    plugin::{Notice, Plugin},
};

/// Collections that wait for a slow receiver; more are dropped, which costs their points in time, not their sums.
const WAITING: usize = 16;

/// What one tick has for the receiver.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) collection: Collection,
    pub(super) notices: Vec<Notice>,
}

/// Delivers parcels to one receiver.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    exporter: Exporter,
    host: HostIdentity,
    /// By group.
    plugins: Vec<Plugin>,
    /// The receiver has no use for logs.
    no_logs: bool,
}

impl Delivery {
    pub(super) fn new(exporter: Exporter, host: HostIdentity, plugins: Vec<Plugin>) -> Self {
        Self {
            exporter,
            host,
            plugins,
            no_logs: false,
        }
    }

    /// Where to.
    pub(super) fn endpoint(&self) -> &str {
        self.exporter.endpoint()
    }

    /// Sends the metrics, then the events of those plugins that export them.
    pub(super) async fn deliver(&mut self, parcel: &Parcel) -> Result<(), ExportError> {
        let Parcel { collection, notices } = parcel;
        self.exporter
            .export(requests(collection, &self.host, Run::Service))
            .await?;
        if self.no_logs || notices.is_empty() {
            return Ok(());
        }
        let plugins: Vec<&Plugin> = self.plugins.iter().collect();
        let (clock, time) = (collection.clock, collection.time);
        for request in log_requests(notices, &plugins, clock, time, &self.host, Run::Service) {
            match self.exporter.export_logs(request).await {
                Err(error @ ExportError::NoLogs { .. }) => {
                    warn!("{error}");
                    self.no_logs = true;
                    return Ok(());
                }
                result => result?,
            }
        }
        Ok(())
    }
}

/// The queue to a [`Delivery`] that works beside the ticks.
pub(super) struct Sender {
    outbox: mpsc::Sender<Parcel>,
    failures: mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

impl Sender {
    /// Delivers one parcel after the other. Says when that fails and when it works again, not every time.
    pub(super) fn start(mut delivery: Delivery) -> Self {
        let (outbox, mut waiting) = mpsc::channel::<Parcel>(WAITING);
        let (failed, failures) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut well = true;
            while let Some(parcel) = waiting.recv().await {
                match delivery.deliver(&parcel).await {
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
            outbox,
            failures,
            task,
        }
    }

    /// Queues a parcel; false when there is no room.
    pub(super) fn push(&self, parcel: Parcel) -> bool {
        self.outbox.try_send(parcel).is_ok()
    }

    /// Deliveries that have failed since the last call.
    pub(super) fn take_failures(&mut self) -> u64 {
        let mut failures = 0;
        while self.failures.try_recv().is_ok() {
            failures += 1;
        }
        failures
    }

    /// Stops; what waits is dropped.
    pub(super) fn abort(self) {
        self.task.abort();
    }
}
