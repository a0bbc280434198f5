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

use crate::store::version::Version;

/// The channels that listeners wait for. The listeners and the task of the subscription share it.
pub(super) struct Switchboard {
    /// The servers that the subscription may use.
    nodes: Vec<Client>,
    lines: Mutex<Lines>,
    /// Wakes the task when a line was added.
    added: Notify,
}

/// The news of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    is_subscribed: bool,
    /// Counts the beginnings and ends of subscriptions.
    turns: u64,
    /// The version of the record. `None` where it is not known: a version is only known from a
    /// message, or from a look during the subscription that goes on.
    pub(super) latest: Option<Option<Version>>,
}

/// One listener of a channel.
pub(super) struct Line {
    sender: watch::Sender<Hint>,
    receiver: watch::Receiver<Hint>,
    turns: u64,
}

struct Lines {
    by_channel: HashMap<String, Channel>,
    /// The channels that are to be subscribed to.
    wanted: Vec<String>,
    task: Option<AbortHandle>,
}

/// One channel. Its listeners are the receivers of the hint.
struct Channel {
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
    pub(super) fn listen(&self, channel: String) -> Line {
        let mut lines = self.lines();
        if let Some(channel) = lines.by_channel.get_mut(&channel) {
            channel.is_idle = false;
            return Line::new(channel.hint.clone());
        }
        let hint = watch::Sender::new(Hint::default());
        let line = Line::new(hint.clone());
        lines.wanted.push(channel.clone());
        lines.by_channel.insert(channel, Channel { hint, is_idle: false });
        drop(lines);
        self.added.notify_one();
        line
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
        for channel in channels.iter().filter_map(|channel| lines.by_channel.get(channel)) {
            channel.hint.send_modify(|hint| hint.turn(true));
        }
    }

    /// Passes a message on to the listeners of a channel. `None` stands for one that names no
    /// version: they look.
    pub(super) fn heard(&self, channel: &str, version: Option<Version>) {
        if let Some(channel) = self.lines().by_channel.get(channel) {
            channel.hint.send_modify(|hint| hint.latest = version.map(Some));
        }
    }

    /// Marks all channels as lost, and wakes their listeners, which poll until the next
    /// subscription.
    pub(super) fn unsubscribed(&self) {
        let mut lines = self.lines();
        lines.wanted = lines.by_channel.keys().cloned().collect();
        for channel in lines.by_channel.values() {
            channel.hint.send_if_modified(|hint| {
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
        let idle = lines.by_channel.extract_if(|_, channel| {
            let is_idle = channel.hint.receiver_count() == 0;
            mem::replace(&mut channel.is_idle, is_idle) && is_idle
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
    /// Begins or ends a subscription. Messages were lost before it, and are lost after it.
    fn turn(&mut self, is_subscribed: bool) {
        *self = Self { is_subscribed, turns: self.turns + 1, latest: None };
    }
}

// === impl Line ===

impl Line {
    fn new(sender: watch::Sender<Hint>) -> Self {
        let mut line = Self { receiver: sender.subscribe(), sender, turns: 0 };
        line.read();
        line
    }

    /// The hint of now. [`changed`](Self::changed) waits for a later one.
    pub(super) fn read(&mut self) -> Hint {
        let hint = *self.receiver.borrow_and_update();
        self.turns = hint.turns;
        hint
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.receiver.borrow().is_subscribed
    }

    /// Waits for a hint that came after the last [`read`](Self::read).
    pub(super) async fn changed(&mut self) {
        // This listener has a sender of its own, so that there is one.
        drop(self.receiver.changed().await);
    }

    /// Notes the version that a look after the last [`read`](Self::read) has found. It counts if
    /// the channel has been subscribed to all the time, and no message has come.
    pub(super) fn saw(&self, version: Option<Version>) {
        self.sender.send_if_modified(|hint| {
            if hint.is_subscribed && hint.turns == self.turns && hint.latest.is_none() {
                hint.latest = Some(version);
            }
            // No news for the other listeners.
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    const ONE: Option<Version> = Some(Version::from_u64(1));
    const TWO: Option<Version> = Some(Version::from_u64(2));

    fn switchboard() -> Switchboard {
        Switchboard::new(Vec::new())
    }

    fn listen(switchboard: &Switchboard) -> Line {
        switchboard.listen("a".to_owned())
    }

    #[test]
    fn a_version_is_known_from_a_message_and_from_a_look_during_a_subscription() {
        let switchboard = switchboard();
        let mut line = listen(&switchboard);
        line.saw(ONE);
        assert_eq!(line.read().latest, None, "messages may have been lost since");
        switchboard.subscribed(&switchboard.take_wanted());
        line.saw(ONE);
        assert_eq!(line.read().latest, None, "the look began before the subscription");
        line.saw(ONE);
        assert_eq!(line.read().latest, Some(ONE));
        assert_eq!(listen(&switchboard).read().latest, Some(ONE), "all listeners know it");
        switchboard.heard("a", TWO);
        line.saw(ONE);
        assert_eq!(line.read().latest, Some(TWO), "a message beats an earlier look");
        switchboard.unsubscribed();
        assert_eq!(line.read().latest, None);
    }

    #[test]
    fn a_look_that_spans_two_subscriptions_does_not_count() {
        let switchboard = switchboard();
        let mut line = listen(&switchboard);
        switchboard.subscribed(&switchboard.take_wanted());
        line.read();
        switchboard.unsubscribed();
        switchboard.subscribed(&switchboard.take_wanted());
        line.saw(ONE);
        assert_eq!(line.read().latest, None);
    }

    #[test]
    fn every_turn_and_every_message_wakes_a_listener_and_a_look_wakes_none() {
        let switchboard = switchboard();
        let (mut line, other) = (listen(&switchboard), listen(&switchboard));
        let mut wakes = |change: &dyn Fn()| {
            line.read();
            let mut changed = task::spawn(line.changed());
            assert_pending!(changed.poll());
            change();
            let woke = changed.is_woken();
            if woke {
                assert_ready!(changed.poll());
            }
            woke
        };
        assert!(wakes(&|| switchboard.subscribed(&["a".to_owned()])));
        assert!(!wakes(&|| other.saw(ONE)));
        assert!(wakes(&|| switchboard.heard("a", ONE)));
        assert!(wakes(&|| switchboard.heard("a", None)));
        assert!(!wakes(&|| switchboard.heard("b", ONE)));
        assert!(wakes(&|| switchboard.unsubscribed()));
        assert!(!wakes(&|| switchboard.unsubscribed()), "it was lost before");
    }

    #[test]
    fn a_channel_is_forgotten_by_the_second_sweep_without_a_listener() {
        let switchboard = switchboard();
        let line = listen(&switchboard);
        assert!(switchboard.sweep().is_empty());
        drop(line);
        assert!(switchboard.sweep().is_empty());
        drop(listen(&switchboard));
        assert!(switchboard.sweep().is_empty(), "there was a listener in between");
        assert!(!switchboard.ends_task());
        assert_eq!(switchboard.sweep(), ["a"]);
        assert!(switchboard.take_wanted().is_empty() && switchboard.ends_task());
    }

    #[test]
    fn all_channels_are_wanted_again_after_a_loss() {
        let switchboard = switchboard();
        let _lines = [listen(&switchboard), switchboard.listen("b".to_owned())];
        switchboard.subscribed(&switchboard.take_wanted());
        assert!(switchboard.take_wanted().is_empty());
        switchboard.unsubscribed();
        let mut wanted = switchboard.take_wanted();
        wanted.sort();
        assert_eq!(wanted, ["a", "b"]);
    }
}
