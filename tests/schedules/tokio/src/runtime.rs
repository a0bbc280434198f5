//! Runtimes that only remember their tasks: shuttle runs them.

use std::{
    cell::RefCell,
    error, fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use shuttle::future::AbortHandle;

use crate::{
    model::point,
    task::{JoinHandle, Task},
};

/// A runtime. Its tasks end when it is shut down.
pub struct Runtime(Handle);

#[derive(Clone)]
pub struct Handle(Arc<Mutex<Tasks>>);

/// The caller is in no runtime.
#[derive(Debug)]
pub struct TryCurrentError(());

#[derive(Default)]
struct Tasks {
    is_shut_down: bool,
    running: Vec<AbortHandle>,
}

shuttle::thread_local! {
    static CURRENT: RefCell<Option<Handle>> = RefCell::new(None);
}

// === impl Runtime ===

impl Runtime {
    #[expect(clippy::new_without_default, reason = "tokio has none")]
    pub fn new() -> Self {
        Self(Handle(Arc::default()))
    }

    pub fn handle(&self) -> &Handle {
        &self.0
    }

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.0.spawn(future)
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let outer = CURRENT.with(|current| current.replace(Some(self.0.clone())));
        let output = shuttle::future::block_on(future);
        CURRENT.with(|current| current.replace(outer));
        output
    }

    /// Cancels all tasks. Later ones are cancelled when they are spawned.
    pub fn shut_down(&self) {
        point();
        let running = self.0.with(|tasks| {
            tasks.is_shut_down = true;
            mem::take(&mut tasks.running)
        });
        for task in running {
            task.abort();
        }
    }

    /// Whether all tasks are over.
    pub fn is_idle(&self) -> bool {
        self.0.with(|tasks| tasks.running.iter().all(AbortHandle::is_finished))
    }
}

// === impl Handle ===

impl Handle {
    pub fn try_current() -> Result<Self, TryCurrentError> {
        CURRENT.with(|current| current.borrow().clone()).ok_or(TryCurrentError(()))
    }

    pub fn current() -> Self {
        Self::try_current().expect("the caller is in a runtime")
    }

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        point();
        if self.with(|tasks| tasks.is_shut_down) {
            drop(future);
            return JoinHandle::cancelled();
        }
        let task = shuttle::future::spawn(Task::new(self.clone(), future));
        let abort = task.abort_handle();
        let is_shut_down = self.with(|tasks| {
            tasks.running.push(abort.clone());
            tasks.is_shut_down
        });
        if is_shut_down {
            abort.abort();
        }
        JoinHandle::of(task)
    }

    pub(crate) fn enter(&self) {
        CURRENT.with(|current| *current.borrow_mut() = Some(self.clone()));
    }

    fn with<T>(&self, f: impl FnOnce(&mut Tasks) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

// === impl TryCurrentError ===

impl fmt::Display for TryCurrentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no runtime here")
    }
}

impl error::Error for TryCurrentError {}
