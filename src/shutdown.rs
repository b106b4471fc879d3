//! What runs in this process, the reasons to stop, and the way out in order.

use std::{
    collections::{BTreeMap, HashMap},
    process::ExitCode,
    time::Duration,
};

use admin::{Checks, MoveAsked};
use anyhow::Context;
use storage::Mark;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{drain, house::House};

/// What the kernel dropped after a failed sync cannot be synced again: the process ends at once, with this status.
const FAILED_SYNC: i32 = 70;
/// A second signal means now.
const IMPATIENT: i32 = 130;

/// What can run in this process, in the order in which it stops: first nothing comes in, then what came in is judged and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// The demo's shop page.
    Shop,
    /// The door.
    Ingest,
    /// What hands the spool's events on.
    Spool,
    /// The judge.
    Process,
    /// The sink.
    Deliver,
    /// The demo's Meta in a box.
    Meta,
    /// The desk.
    Admin,
    /// Whoever follows the directory.
    Directory,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Ingest => "ingest",
            Self::Spool => "spool",
            Self::Process => "process",
            Self::Deliver => "deliver",
            Self::Meta => "meta",
            Self::Admin => "admin",
            Self::Directory => "directory",
        }
    }
}

/// How a task ended.
type Ended = Result<(Id, anyhow::Result<()>), JoinError>;

/// What runs. A task that ends before it is told to stop is a failure of the whole process.
pub struct Tasks {
    signals: Signals,
    running: JoinSet<anyhow::Result<()>>,
    ids: HashMap<Id, Task>,
    stops: BTreeMap<Task, CancellationToken>,
}

impl Tasks {
    /// None yet. From here on a signal no longer kills the process: it is a reason to stop in order.
    pub fn new() -> anyhow::Result<Self> {
        let signals = Signals::listen().context("signals cannot be listened to")?;
        Ok(Self { signals, running: JoinSet::new(), ids: HashMap::new(), stops: BTreeMap::new() })
    }

    /// Starts a task with a reason to stop of its own. Readiness knows of it from now on.
    pub fn start<F>(&mut self, task: Task, checks: &Checks, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let handle = self.running.spawn(run(stop.clone()));
        self.ids.insert(handle.id(), task);
        self.stops.insert(task, stop);
        checks.pass(task.name());
    }

    /// Waits for a signal, for a task that ends by itself, or for a wish to move the folder; then stops everything in order. The status
    /// says which it was.
    pub async fn until_told(mut self, house: &mut House) -> ExitCode {
        let mut asked = house.moves.1.take();
        let told = loop {
            match self.reason(house, wish(&mut asked)).await {
                Reason::Told => break true,
                Reason::Ended => break false,
                Reason::Other(wish) => match self.leave(house, wish).await {
                    Some(is_told) => break is_told,
                    None => house.storage.refuse_events(false),
                },
            }
        };
        self.stop(house, told).await
    }

    /// Waits until judge and sink have finished what there is, then stops everything in order.
    pub async fn until_drained(mut self, house: &House) -> anyhow::Result<()> {
        let reason = self.reason(house, drain::until_drained(&house.storage)).await;
        let drained = match reason {
            Reason::Told => Err(anyhow::anyhow!("told to stop")),
            Reason::Ended => Err(anyhow::anyhow!("a task ended by itself; the log says why")),
            Reason::Other(drained) => drained,
        };
        let code = self.stop(house, true).await;
        drained?;
        if code == ExitCode::SUCCESS { Ok(()) } else { Err(anyhow::anyhow!("not everything stopped in time; the log says what")) }
    }

    /// Takes no more, finishes what there is, and marks the folder: from then on only a move opens it. `None` if that is not granted.
    async fn leave(&mut self, house: &House, wish: MoveAsked) -> Option<bool> {
        let MoveAsked { id, to, answer } = wish;
        tracing::info!(id, to, "the folder is to be moved: no more events are taken");
        house.storage.refuse_events(true);
        let can_drain = [Task::Process, Task::Deliver].iter().all(|task| self.stops.contains_key(task));
        let drained = async { if can_drain { drain::until_drained(&house.storage).await } else { Ok(()) } };
        let drained = match self.reason(house, drained).await {
            Reason::Told => return Some(true), // the wish is answered by our end
            Reason::Ended => return Some(false),
            Reason::Other(drained) => drained,
        };
        let marked = drained.and_then(|()| {
            let before = Mark::read(house.data())?;
            Ok(Mark::new(id.parse()?, to, before.as_ref()).write(house.data())?)
        });
        match marked {
            Ok(()) => {
                let _ = answer.send(Ok(())); // whoever asked finds the mark
                tracing::info!("the folder is marked; stopping");
                Some(true)
            }
            Err(why) => {
                tracing::error!(why = format!("{why:#}"), "the folder is not moved; events are taken again");
                let _ = answer.send(Err(format!("{why:#}")));
                None
            }
        }
    }

    /// Waits for a reason to stop, or for something else.
    async fn reason<T>(&mut self, house: &House, other: impl Future<Output = T>) -> Reason<T> {
        tokio::select! {
            biased;
            why = house.storage.failed() => exit_at_once(&why),
            name = self.signals.next() => {
                tracing::info!(signal = name, "stopping");
                Reason::Told
            }
            Some(ended) = self.running.join_next_with_id() => {
                self.ended_by_itself(ended, &house.checks);
                Reason::Ended
            }
            other = other => Reason::Other(other),
        }
    }

    async fn stop(mut self, house: &House, told: bool) -> ExitCode {
        let deadline = Duration::from_millis(house.settings.shutdown.deadline_ms);
        house.checks.fail("running", "the process is stopping");
        let Self { signals, running, ids, stops } = &mut self;
        let well = tokio::select! {
            biased;
            why = house.storage.failed() => exit_at_once(&why),
            _ = signals.next() => std::process::exit(IMPATIENT),
            well = stop_in_order(running, ids, stops, deadline) => well,
        };
        if told && well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn ended_by_itself(&mut self, ended: Ended, checks: &Checks) {
        let (name, why) = named(&mut self.ids, ended);
        let why = why.map_or_else(|error| format!("{error:#}"), |()| "it returned".to_owned());
        checks.fail(name, &why);
        tracing::error!(task = name, why, "ended by itself; the process stops");
    }
}

/// Why a wait is over.
enum Reason<T> {
    /// By a signal.
    Told,
    /// A task ended by itself.
    Ended,
    /// What else was waited for.
    Other(T),
}

/// The next wish. Never comes where none is heard.
async fn wish(asked: &mut Option<mpsc::Receiver<MoveAsked>>) -> MoveAsked {
    match asked {
        Some(asked) => match asked.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Says whether everyone ended well and in time.
async fn stop_in_order(
    running: &mut JoinSet<anyhow::Result<()>>,
    ids: &mut HashMap<Id, Task>,
    stops: &mut BTreeMap<Task, CancellationToken>,
    deadline: Duration,
) -> bool {
    let until = Instant::now() + deadline;
    let mut well = true;
    for (task, stop) in stops {
        stop.cancel();
        while ids.values().any(|running| running == task) {
            match tokio::time::timeout_at(until, running.join_next_with_id()).await {
                Ok(Some(ended)) => well &= ended_when_told(ids, ended),
                Ok(None) => return well,
                Err(_) => {
                    tracing::error!(task = task.name(), deadline_ms = deadline.as_millis() as u64, "did not stop within the deadline");
                    return false;
                }
            }
        }
    }
    well
}

fn ended_when_told(ids: &mut HashMap<Id, Task>, ended: Ended) -> bool {
    let (name, why) = named(ids, ended);
    match &why {
        Ok(()) => tracing::debug!(task = name, "stopped"),
        Err(error) => tracing::error!(task = name, why = format!("{error:#}"), "failed while it stopped"),
    }
    why.is_ok()
}

fn named(ids: &mut HashMap<Id, Task>, ended: Ended) -> (&'static str, anyhow::Result<()>) {
    let (id, why) = match ended {
        Ok((id, why)) => (id, why),
        Err(error) => (error.id(), Err(anyhow::anyhow!("it panicked: {error}"))),
    };
    (ids.remove(&id).map_or("unknown", Task::name), why)
}

fn exit_at_once(why: &str) -> ! {
    tracing::error!(why, "the store can no longer keep its promises; the process ends at once");
    std::process::exit(FAILED_SYNC)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::{Override, Settings};

    /// Both tests in one: signals belong to the whole process.
    #[tokio::test]
    async fn tasks_stop_in_order_when_told_and_all_of_them_when_one_ends_by_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let value = folder.path().to_string_lossy().into_owned();
        let data = Override { flag: "--data", section: "storage", key: "data", value };
        let settings = Settings::read(None, [], vec![data]).expect("the defaults are settings");
        let mut house = House::open(settings).await.expect("a new folder opens");

        let (stopped, checks) = (Arc::new(Mutex::new(Vec::new())), house.checks.clone());
        let start = |tasks: &mut Tasks, task: Task| {
            let stopped = stopped.clone();
            tasks.start(task, &checks, |stop| async move {
                stop.cancelled().await;
                stopped.lock().expect("nobody panics").push(task);
                Ok(())
            });
        };

        let mut tasks = Tasks::new().expect("signals can be listened to");
        for task in [Task::Admin, Task::Ingest, Task::Deliver, Task::Process] {
            start(&mut tasks, task);
        }
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).expect("we may signal ourselves");
        assert_eq!(tasks.until_told(&mut house).await, ExitCode::SUCCESS);
        assert_eq!(*stopped.lock().expect("nobody panics"), [Task::Ingest, Task::Process, Task::Deliver, Task::Admin]);

        stopped.lock().expect("nobody panics").clear();
        let mut tasks = Tasks::new().expect("signals can be listened to");
        start(&mut tasks, Task::Admin);
        tasks.start(Task::Process, &house.checks, |_| async { panic!("as a bug would") });
        assert_eq!(tasks.until_told(&mut house).await, ExitCode::FAILURE);
        assert_eq!(*stopped.lock().expect("nobody panics"), [Task::Admin]);
        house.close().await;
    }
}
