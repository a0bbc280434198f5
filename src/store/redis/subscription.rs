//! The task that subscribes to the channels of all listeners.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_core::Stream;
use redis::{
    Client, Msg, RedisResult, Value,
    aio::{PubSubSink, PubSubStream},
};
use tokio::time::{self, Instant, Interval, MissedTickBehavior};

use crate::store::{redis::switchboard::Switchboard, version::Version};

/// One connection that is subscribed.
struct Subscription<'a> {
    switchboard: &'a Switchboard,
    sink: PubSubSink,
    stream: PubSubStream,
    ticks: Interval,
}

enum Event {
    Message(Msg),
    Closed,
    Added,
    Tick,
}

/// The connection was lost, or does not answer.
struct Lost;

/// Tells the listeners that there is no subscription, also when the runtime drops the task.
struct Silence<'a>(&'a Switchboard);

/// How long a server may take for one answer.
const LIMIT: Duration = Duration::from_secs(5);
/// How often the connection is checked, and idle channels are looked for.
const TICK: Duration = Duration::from_secs(10);
/// How many channels one command subscribes to.
const BATCH: usize = 500;
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Runs until there are no listeners.
pub(super) async fn run(switchboard: Arc<Switchboard>) {
    let mut pause = Duration::ZERO;
    for attempt in 0.. {
        if switchboard.ends_task() {
            return;
        }
        let start = Instant::now();
        let node = switchboard.node(attempt);
        let silence = Silence(&switchboard);
        let served = match Subscription::open(node, &switchboard).await {
            Ok(subscription) => subscription.serve().await,
            Err(lost) => Err(lost),
        };
        drop(silence);
        if served.is_ok() {
            continue;
        }
        if start.elapsed() > TICK {
            pause = Duration::ZERO;
        }
        switchboard.sweep();
        time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
    }
}

async fn answer<T>(answer: impl Future<Output = RedisResult<T>>) -> Result<T, Lost> {
    match time::timeout(LIMIT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Lost),
    }
}

// === impl Subscription ===

impl<'a> Subscription<'a> {
    async fn open(node: &Client, switchboard: &'a Switchboard) -> Result<Self, Lost> {
        let (sink, stream) = answer(node.get_async_pubsub()).await?.split();
        let mut ticks = time::interval_at(Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { switchboard, sink, stream, ticks })
    }

    /// Ends with `Ok` where no channel is left.
    async fn serve(mut self) -> Result<(), Lost> {
        loop {
            for channels in self.switchboard.take_wanted().chunks(BATCH) {
                answer(self.sink.subscribe(channels)).await?;
                self.switchboard.subscribed(channels);
            }
            match self.event().await {
                Event::Message(message) => {
                    let version = message.get_payload().map(Version::from_u64).ok();
                    self.switchboard.heard(message.get_channel_name(), version);
                }
                Event::Closed => return Err(Lost),
                Event::Added => {}
                Event::Tick => {
                    let idle = self.switchboard.sweep();
                    for channels in idle.chunks(BATCH) {
                        answer(self.sink.unsubscribe(channels)).await?;
                    }
                    if self.switchboard.is_empty() {
                        return Ok(());
                    }
                    answer(self.sink.ping::<Value>()).await?;
                }
            }
        }
    }

    async fn event(&mut self) -> Event {
        let mut added = pin!(self.switchboard.added());
        poll_fn(|cx| {
            if let Poll::Ready(message) = Pin::new(&mut self.stream).poll_next(cx) {
                return Poll::Ready(message.map_or(Event::Closed, Event::Message));
            }
            if added.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Added);
            }
            self.ticks.poll_tick(cx).map(|_| Event::Tick)
        })
        .await
    }
}

// === impl Silence ===

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        self.0.unsubscribed();
    }
}
