//! For tests: stands still at a step of the way, to be killed there, or to be continued by a signal.

/// Where to stand still: a name as in the setting `storage.pause_at`, and the how-manieth time (`judge.after:3`). With `stop/` before it
/// the whole process stops as by SIGSTOP and goes on when it is told to (`stop/intent.after`).
pub(crate) struct Pause {
    name: String,
    left: u64,
    is_stop: bool,
}

impl Pause {
    /// From the setting.
    pub(crate) fn new(setting: &str) -> Self {
        let (is_stop, setting) = setting.strip_prefix("stop/").map_or((false, setting), |rest| (true, rest));
        match setting.rsplit_once(':').and_then(|(name, count)| Some((name, count.parse().ok()?))) {
            Some((name, count)) => Self { name: name.to_owned(), left: count, is_stop },
            None => Self { name: setting.to_owned(), left: 1, is_stop },
        }
    }

    /// Passes by, or says so on stderr and never comes back.
    pub(crate) fn at(&mut self, step: &str, when: &str) {
        if self.name.strip_prefix(step).and_then(|rest| rest.strip_prefix('.')) != Some(when) {
            return;
        }
        if self.left == 0 {
            return; // it stopped here once and was continued
        }
        self.left -= 1;
        if self.left == 0 {
            eprintln!("paused at {}", self.name);
            if self.is_stop {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP); // our own process
                return;
            }
            loop {
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_steps_and_earlier_times_pass_by() {
        let mut pause = Pause::new("judge.after:3");
        for (step, when) in [("judge", "before"), ("append", "after"), ("judge", "after"), ("judg", "e.after"), ("judge", "after")] {
            pause.at(step, when);
        }
        assert_eq!(pause.left, 1, "the next one would stand still");
        assert_eq!((Pause::new("intent.before").left, Pause::new("a:b").name), (1, "a:b".to_owned()));
    }
}
