//! For tests: stands still for ever at a step of the way, to be killed there; and a sync that fails as a disk would.

/// Where to stand still: a name as in [`crate::Config::pause_at`], and the how-manieth time (`judge.after:3`).
pub(super) struct Pause {
    name: String,
    left: u64,
}

impl Pause {
    /// From the setting.
    pub(super) fn new(setting: &str) -> Self {
        match setting.rsplit_once(':').and_then(|(name, count)| Some((name, count.parse().ok()?))) {
            Some((name, count)) => Self { name: name.to_owned(), left: count },
            None => Self { name: setting.to_owned(), left: 1 },
        }
    }

    /// Passes by, or says so on stderr and never comes back.
    pub(super) fn at(&mut self, step: &str, when: &str) {
        if self.name.strip_prefix(step).and_then(|rest| rest.strip_prefix('.')) != Some(when) {
            return;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            eprintln!("paused at {}", self.name);
            loop {
                std::thread::park();
            }
        }
    }
}
