use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// Runs every schedule that differs from the round-robin one by a bounded number of delays.
///
/// A task runs until it waits, and then the next one in turn. A delay skips a task: at a scheduling
/// point, or at a choice, the turn goes to the next one. All interleavings that need few unlucky
/// preemptions are among these schedules (Emmi, Qadeer and Rakamarić: Delay-bounded scheduling,
/// POPL 2011).
pub struct DelayScheduler {
    bound: usize,
    /// The choices of the present schedule.
    choices: Vec<Choice>,
    step: usize,
    is_first: bool,
}

#[derive(Clone, Copy)]
struct Choice {
    delays: usize,
    alternatives: usize,
}

// === impl DelayScheduler ===

impl DelayScheduler {
    pub fn new(bound: usize) -> Self {
        Self { bound, choices: Vec::new(), step: 0, is_first: true }
    }

    /// Moves on to the next schedule: delays the last choice that can be delayed once more.
    fn advance(&mut self) -> bool {
        let mut spent: usize = self.choices.iter().map(|choice| choice.delays).sum();
        while let Some(choice) = self.choices.pop() {
            if choice.delays + 1 < choice.alternatives && spent < self.bound {
                self.choices.push(Choice { delays: choice.delays + 1, ..choice });
                return true;
            }
            spent -= choice.delays;
        }
        false
    }
}

impl Scheduler for DelayScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.step = 0;
        (std::mem::take(&mut self.is_first) || self.advance()).then(|| Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let first = runnable.iter().position(|task| match current {
            Some(current) if is_yielding => task.id() > current,
            Some(current) => task.id() >= current,
            None => true,
        });
        if self.step == self.choices.len() {
            self.choices.push(Choice { delays: 0, alternatives: runnable.len() });
        }
        let turn = first.unwrap_or_default() + self.choices[self.step].delays;
        self.step += 1;
        Some(runnable[turn % runnable.len()].id())
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
