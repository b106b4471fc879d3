//! For tests: stands still at a step of the way, to be killed there, or to be continued by a signal.

use std::{
    future::pending,
    sync::{Mutex, PoisonError},
};

/// The place to stand still at, if a test named one.
#[derive(Default)]
pub(crate) struct Pauses(Option<Mutex<Pause>>);

impl Pauses {
    /// From the setting.
    pub(crate) fn new(setting: Option<&str>) -> Self {
        Self(setting.map(Pause::new).map(Mutex::new))
    }

    /// Passes by, or says so on stderr and never comes back; the thread stands still.
    pub(crate) fn at(&self, step: &str, when: &str) {
        if self.is_met(step, when) {
            loop {
                std::thread::park();
            }
        }
    }

    /// The same, but only whoever awaits it stands still: the thread has others to serve.
    pub(crate) async fn alone_at(&self, step: &str, when: &str) {
        if self.is_met(step, when) {
            pending::<()>().await;
        }
    }

    fn is_met(&self, step: &str, when: &str) -> bool {
        self.0.as_ref().is_some_and(|pause| pause.lock().unwrap_or_else(PoisonError::into_inner).is_met(step, when))
    }
}

/// Where to stand still: a name as in the setting `storage.pause_at`, and the how-manieth time (`judge.after:3`). With `stop/` before it
/// the whole process stops as by SIGSTOP and goes on when it is told to (`stop/intent.after`).
struct Pause {
    name: String,
    left: u64,
    is_stop: bool,
}

impl Pause {
    fn new(setting: &str) -> Self {
        let (is_stop, setting) = setting.strip_prefix("stop/").map_or((false, setting), |rest| (true, rest));
        match setting.rsplit_once(':').and_then(|(name, count)| Some((name, count.parse().ok()?))) {
            Some((name, count)) => Self { name: name.to_owned(), left: count, is_stop },
            None => Self { name: setting.to_owned(), left: 1, is_stop },
        }
    }

    /// Whether to stand still now, said on stderr. One that stops the whole process does so here, and goes on when it is told to.
    fn is_met(&mut self, step: &str, when: &str) -> bool {
        if self.left == 0 || self.name.strip_prefix(step).and_then(|rest| rest.strip_prefix('.')) != Some(when) {
            return false; // with nothing left it stopped here once and was continued
        }
        self.left -= 1;
        if self.left > 0 {
            return false;
        }
        eprintln!("paused at {}", self.name);
        if self.is_stop {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP); // our own process
        }
        !self.is_stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_steps_and_earlier_times_pass_by() {
        let mut pause = Pause::new("judge.after:3");
        for (step, when) in [("judge", "before"), ("append", "after"), ("judge", "after"), ("judg", "e.after"), ("judge", "after")] {
            assert!(!pause.is_met(step, when));
        }
        assert!(pause.is_met("judge", "after"), "the third one stands still");
        assert_eq!((Pause::new("intent.before").left, Pause::new("a:b").name), (1, "a:b".to_owned()));
    }
}
