//! Tasks, and values that belong to one task.

use std::{
    any::Any,
    cell::RefCell,
    error, fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

pub use shuttle::future::yield_now;

use crate::{model::Deliberate, runtime::Handle};

/// A handle to a task. Dropping it cancels nothing.
pub struct JoinHandle<T>(Option<shuttle::future::JoinHandle<Result<T, JoinError>>>);

/// The task was cancelled, or has panicked.
pub struct JoinError(Option<Box<dyn Any + Send>>);

/// A future that runs as a task: it knows its runtime, and a panic of the scenario ends it alone.
pub(crate) struct Task<F> {
    runtime: Handle,
    future: Pin<Box<F>>,
}

/// A key of [`task_local`](crate::task_local).
pub struct LocalKey<T: 'static>(
    #[doc(hidden)] pub &'static shuttle::thread::LocalKey<RefCell<Option<T>>>,
);

/// The key has no value in this task.
#[derive(Debug)]
pub struct AccessError(());

/// A future with a value for a key.
struct TaskLocalFuture<T: 'static, F> {
    key: &'static LocalKey<T>,
    value: Option<T>,
    future: Option<Pin<Box<F>>>,
}

#[macro_export]
macro_rules! task_local {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty $(;)?) => {
        $(#[$attr])*
        $vis static $name: $crate::task::LocalKey<$t> = {
            $crate::shuttle::thread_local! {
                static VALUE: ::std::cell::RefCell<Option<$t>> = ::std::cell::RefCell::new(None);
            }
            $crate::task::LocalKey(&VALUE)
        };
    };
}

pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    Handle::current().spawn(future)
}

// === impl JoinHandle ===

impl<T> JoinHandle<T> {
    pub(crate) fn of(task: shuttle::future::JoinHandle<Result<T, JoinError>>) -> Self {
        Self(Some(task))
    }

    pub(crate) fn cancelled() -> Self {
        Self(None)
    }

    pub fn abort(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            None => Poll::Ready(Err(JoinError(None))),
            Some(task) => {
                Pin::new(task).poll(cx).map(|ended| ended.unwrap_or(Err(JoinError(None))))
            }
        }
    }
}

// === impl JoinError ===

impl JoinError {
    pub fn is_cancelled(&self) -> bool {
        self.0.is_none()
    }

    pub fn is_panic(&self) -> bool {
        self.0.is_some()
    }

    pub fn into_panic(self) -> Box<dyn Any + Send> {
        self.0.expect("the task has panicked")
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_panic() { "JoinError::Panic" } else { "JoinError::Cancelled" })
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_panic() { "task panicked" } else { "task was cancelled" })
    }
}

impl error::Error for JoinError {}

// === impl Task ===

impl<F> Task<F> {
    pub(crate) fn new(runtime: Handle, future: F) -> Self {
        Self { runtime, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Task<F> {
    type Output = Result<F::Output, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.runtime.enter();
        match catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) if panic.is::<Deliberate>() => Poll::Ready(Err(JoinError(Some(panic)))),
            Err(failed_check) => resume_unwind(failed_check),
        }
    }
}

// === impl LocalKey ===

impl<T: 'static> LocalKey<T> {
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let value = self.0.try_with(|value| value.borrow().as_ref().map(f));
        value.ok().flatten().ok_or(AccessError(()))
    }

    pub fn scope<F: Future>(
        &'static self,
        value: T,
        future: F,
    ) -> impl Future<Output = F::Output> + use<T, F> {
        TaskLocalFuture { key: self, value: Some(value), future: Some(Box::pin(future)) }
    }

    fn swap(&'static self, value: &mut Option<T>) {
        self.0.with(|current| mem::swap(&mut *current.borrow_mut(), value));
    }
}

// === impl TaskLocalFuture ===

impl<T: 'static, F> Unpin for TaskLocalFuture<T, F> {}

impl<T: 'static, F> TaskLocalFuture<T, F> {
    /// Runs `f` with the value in place, also if it panics.
    fn within<R>(&mut self, f: impl FnOnce(&mut Option<Pin<Box<F>>>) -> R) -> R {
        self.key.swap(&mut self.value);
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut self.future)));
        self.key.swap(&mut self.value);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<T: 'static, F: Future> Future for TaskLocalFuture<T, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.within(|future| {
            let poll = future.as_mut().expect("not polled after its end").as_mut().poll(cx);
            if poll.is_ready() {
                *future = None;
            }
            poll
        })
    }
}

impl<T: 'static, F> Drop for TaskLocalFuture<T, F> {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.within(|future| *future = None);
        }
    }
}
