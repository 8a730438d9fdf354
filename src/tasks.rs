//! Which tasks run beside the requests? Each has a name, and one that ends by itself is an error that names
//! it.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks that run until they are told to stop.
#[derive(Debug, Default)]
pub struct Tasks {
    stop: CancellationToken,
    tracker: TaskTracker,
    /// The first task that ended by itself.
    ended_early: Arc<SetOnce<EndedEarly>>,
}

/// A task ended although nobody had told it to stop. Without it the process does only a part of its work.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the task that {name} ended by itself")]
pub struct EndedEarly {
    name: &'static str,
    #[source]
    how: Ending,
}

/// How a task ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// Its future was done.
    #[error("it returned before it was told to stop, and the log above may say why")]
    Returned,
    /// It panicked with this message.
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl Tasks {
    /// Tells a task that it is to stop. Every task watches one of these.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task. Its name goes on after "the task that": "follows the mapping's file".
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        let (stop, ended_early) = (self.stop.clone(), Arc::clone(&self.ended_early));
        self.tracker.spawn(async move {
            let how = match task.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(()) if stop.is_cancelled() => return,
                Ok(()) => Ending::Returned,
                Err(Ok(panic)) => Ending::Panicked(message(&*panic)),
                // The runtime ends, and all of its tasks with it.
                Err(Err(_)) => return,
            };
            // Where another one ended before, that one is the error: this one may have ended because of it.
            drop(ended_early.set(EndedEarly { name, how }));
        });
    }

    /// Waits for the first task that ends by itself. While none does, this waits for ever.
    pub async fn ended_early(&self) -> EndedEarly {
        self.ended_early.wait().await.clone()
    }

    /// Tells every task to stop, and waits until all of them have ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_else(|| "it left no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::causes;

    /// What is said of this task, beside another one that runs until it is told to stop.
    async fn said_of(task: impl Future<Output = ()> + Send + 'static) -> String {
        let tasks = Tasks::default();
        let stop = tasks.stop_token();
        tasks.spawn("does as it is told", async move { stop.cancelled().await });
        tasks.spawn("follows the mapping's ConfigMap", task);
        let ended = tasks.ended_early().await;
        tasks.stop().await;
        causes(&ended)
    }

    #[tokio::test]
    async fn a_task_that_returns_early_is_named() {
        assert_eq!(
            said_of(async {}).await,
            "the task that follows the mapping's ConfigMap ended by itself: \
             it returned before it was told to stop, and the log above may say why"
        );
    }

    #[tokio::test]
    async fn a_task_that_panics_is_named_with_its_message() {
        let said = "the task that follows the mapping's ConfigMap ended by itself: it panicked: ";
        assert_eq!(said_of(async { panic!("a fixed text") }).await, format!("{said}a fixed text"));
        let number = 7;
        assert_eq!(said_of(async move { panic!("number {number}") }).await, format!("{said}number 7"));
        assert_eq!(
            said_of(async { std::panic::panic_any(7) }).await,
            format!("{said}it left no message"),
            "a panic may hold anything"
        );
    }

    #[tokio::test]
    async fn the_first_that_ends_is_named_also_where_others_end_after_it() {
        let tasks = Tasks::default();
        tasks.spawn("is first", async {});
        assert_eq!(tasks.ended_early().await.to_string(), "the task that is first ended by itself");
        tasks.spawn("is second", async { panic!("the first one was needed") });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(tasks.ended_early().await.to_string(), "the task that is first ended by itself");
    }

    #[tokio::test]
    async fn a_task_that_is_told_to_stop_is_waited_for_and_is_no_error() {
        let tasks = Tasks::default();
        let (stop, done) = (tasks.stop_token(), Arc::new(SetOnce::new()));
        let (ended_early, told) = (Arc::clone(&tasks.ended_early), Arc::clone(&done));
        tasks.spawn("stops slowly", async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            told.set(()).unwrap();
        });
        tasks.stop().await;
        assert!(done.initialized());
        assert!(!ended_early.initialized());
    }
}
