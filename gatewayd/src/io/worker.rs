//! A thread with a bounded queue of orders, and its end.

use std::fmt;
use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{Builder, JoinHandle};

/// A handle on the thread. Dropping it closes the queue and waits until the thread has done what is in it.
pub(super) struct Worker<T> {
    orders: Option<SyncSender<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Worker<T> {
    /// Starts `run` on a thread called `name`, with room for `capacity` orders. It must end when the queue is closed.
    pub(super) fn start(
        name: &str,
        capacity: usize,
        run: impl FnOnce(Receiver<T>) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, queue) = mpsc::sync_channel(capacity);
        let thread = Builder::new().name(name.to_owned()).spawn(move || run(queue))?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Queues an order without waiting; gives it back where the queue is full or the thread gone.
    pub(super) fn order(&self, order: T) -> Result<(), T> {
        let Some(orders) = &self.orders else { return Err(order) };
        orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(order) | TrySendError::Disconnected(order) => order,
        })
    }
}

impl<T> Worker<T> {
    /// Closes the queue, for a thread that must be woken to notice.
    pub(super) fn close(&mut self) {
        self.orders = None;
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // A panic there has been logged by the panic hook; there is nothing to add while stopping.
            let _ = thread.join();
        }
    }
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.thread.as_ref().and_then(|it| it.thread().name());
        f.debug_struct("Worker").field("thread", &name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_queued_is_done_before_the_handle_is_gone_and_a_full_queue_gives_back() {
        let (entered, inside) = mpsc::channel();
        let (open, gate) = mpsc::channel::<()>();
        let (done, results) = mpsc::channel();
        let worker = Worker::start("test", 1, move |queue: Receiver<u32>| {
            for order in queue {
                entered.send(()).expect("the test waits");
                gate.recv().expect("the test opens the gate");
                done.send(order).expect("the test listens");
            }
        })
        .expect("a thread");
        assert_eq!(worker.order(1), Ok(()));
        inside.recv().expect("the first order is being worked on");
        assert_eq!(worker.order(2), Ok(()));
        assert_eq!(worker.order(3), Err(3));
        open.send(()).expect("the thread waits");
        open.send(()).expect("the thread will wait");
        drop(worker);
        assert_eq!(results.iter().collect::<Vec<_>>(), [1, 2]);
    }
}
