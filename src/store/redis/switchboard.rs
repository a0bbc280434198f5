use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redis::Client;
use tokio::{
    sync::{Notify, futures::Notified, watch},
    task::AbortHandle,
};

use crate::store::contract::Version;

/// The channels that listeners wait for. The listeners and the task of the subscription share it.
pub(super) struct Switchboard {
    /// The servers that the subscription may use.
    nodes: Vec<Client>,
    lines: Mutex<Lines>,
    /// Wakes the task when a line was added.
    added: Notify,
}

/// The latest news of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) is_subscribed: bool,
    /// Counts the beginnings and ends of subscriptions.
    pub(super) turns: u64,
    /// The version that the last message named.
    pub(super) heard: Option<Version>,
}

struct Lines {
    by_channel: HashMap<String, Line>,
    /// The channels that are to be subscribed to.
    wanted: Vec<String>,
    task: Option<AbortHandle>,
}

/// One channel. Its listeners are the receivers of the hint.
struct Line {
    hint: watch::Sender<Hint>,
    /// The last sweep has found no listener.
    is_idle: bool,
}

// === impl Switchboard ===

impl Switchboard {
    pub(super) fn new(nodes: Vec<Client>) -> Self {
        let lines = Lines { by_channel: HashMap::new(), wanted: Vec::new(), task: None };
        Self { nodes, lines: Mutex::new(lines), added: Notify::new() }
    }

    /// Adds a listener to a channel.
    pub(super) fn listen(&self, channel: String) -> watch::Receiver<Hint> {
        let mut lines = self.lines();
        if let Some(line) = lines.by_channel.get_mut(&channel) {
            line.is_idle = false;
            return line.hint.subscribe();
        }
        let (hint, receiver) = watch::channel(Hint::default());
        lines.wanted.push(channel.clone());
        lines.by_channel.insert(channel, Line { hint, is_idle: false });
        drop(lines);
        self.added.notify_one();
        receiver
    }

    /// Starts the task, unless it runs. A task whose runtime has shut down does not.
    pub(super) fn ensure_task(&self, start: impl FnOnce() -> AbortHandle) {
        let mut lines = self.lines();
        let is_running = lines.task.as_ref().is_some_and(|task| !task.is_finished());
        if !is_running && !self.nodes.is_empty() {
            lines.task = Some(start());
        }
    }

    pub(super) fn abort_task(&self) {
        if let Some(task) = self.lines().task.take() {
            task.abort();
        }
    }

    /// Lets the task end where there is no channel: a listener that comes later starts another one.
    pub(super) fn ends_task(&self) -> bool {
        let mut lines = self.lines();
        let is_over = lines.by_channel.is_empty();
        if is_over {
            lines.task = None;
        }
        is_over
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines().by_channel.is_empty()
    }

    /// The server for this attempt to connect.
    pub(super) fn node(&self, attempt: usize) -> &Client {
        &self.nodes[attempt % self.nodes.len()]
    }

    pub(super) fn added(&self) -> Notified<'_> {
        self.added.notified()
    }

    /// Takes the channels that are to be subscribed to.
    pub(super) fn take_wanted(&self) -> Vec<String> {
        mem::take(&mut self.lines().wanted)
    }

    /// Marks channels as subscribed to, and wakes their listeners: hints were lost until now.
    pub(super) fn subscribed(&self, channels: &[String]) {
        let lines = self.lines();
        for line in channels.iter().filter_map(|channel| lines.by_channel.get(channel)) {
            line.hint.send_modify(|hint| hint.turn(true));
        }
    }

    /// Passes a hint on to the listeners of a channel.
    pub(super) fn heard(&self, channel: &str, version: Option<Version>) {
        if let Some(line) = self.lines().by_channel.get(channel) {
            line.hint.send_modify(|hint| hint.heard = version);
        }
    }

    /// Marks all channels as lost, and wakes their listeners, which poll until the next
    /// subscription.
    pub(super) fn unsubscribed(&self) {
        let mut lines = self.lines();
        lines.wanted = lines.by_channel.keys().cloned().collect();
        for line in lines.by_channel.values() {
            line.hint.send_if_modified(|hint| {
                let was_subscribed = hint.is_subscribed;
                if was_subscribed {
                    hint.turn(false);
                }
                was_subscribed
            });
        }
    }

    /// Forgets the channels that have had no listener since the sweep before, and returns them.
    pub(super) fn sweep(&self) -> Vec<String> {
        let mut lines = self.lines();
        let idle = lines.by_channel.extract_if(|_, line| {
            let is_idle = line.hint.receiver_count() == 0;
            mem::replace(&mut line.is_idle, is_idle) && is_idle
        });
        let idle = idle.map(|(channel, _)| channel).collect();
        let Lines { by_channel, wanted, .. } = &mut *lines;
        wanted.retain(|channel| by_channel.contains_key(channel));
        idle
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Hint ===

impl Hint {
    fn turn(&mut self, is_subscribed: bool) {
        self.is_subscribed = is_subscribed;
        self.turns += 1;
    }
}
