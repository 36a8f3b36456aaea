//! Asking the owners of state, each with a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_store::Queries;
use tokio::sync::oneshot;

use super::{Control, internal};
use crate::orders::{RatingOrder, ShardOrder};
use crate::topology::Shared;
use crate::{limits, log};

const DEADLINE: Duration = Duration::from_millis(limits::CONTROL_DEADLINE_MS);

/// Longest wait for the database to hold what the journal has, ms. A query after it says what is missing.
const CATCH_UP_MS: u64 = 3_000;

impl Control {
    pub(super) fn shared(&self) -> Arc<Shared> {
        self.state.borrow().shared.clone()
    }

    /// Asks every shard the same question; the answers in the order of the shards.
    pub(super) async fn ask_shards<T>(
        &self,
        order: impl Fn(oneshot::Sender<T>) -> ShardOrder,
    ) -> Result<Vec<T>, ErrorObject> {
        let shared = self.shared();
        let mut waiting = Vec::new();
        for (n, door) in shared.shards.iter().enumerate() {
            let (sender, receiver) = oneshot::channel();
            if door.orders.push(order(sender)).is_err() {
                return Err(ErrorObject::new(
                    ErrorCode::Busy,
                    format!("shard {n} has too many questions open; try again"),
                ));
            }
            door.waker.wake();
            waiting.push(receiver);
        }
        let mut answers = Vec::new();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        for (n, receiver) in waiting.into_iter().enumerate() {
            match tokio::time::timeout_at(deadline, receiver).await {
                Ok(Ok(answer)) => answers.push(answer),
                _ => return Err(internal(format!("shard {n} did not answer within {} s", DEADLINE.as_secs()))),
            }
        }
        Ok(answers)
    }

    /// Asks one shard.
    pub(super) async fn ask_shard<T>(
        &self,
        n: usize,
        order: impl FnOnce(oneshot::Sender<T>) -> ShardOrder,
    ) -> Result<T, ErrorObject> {
        let shared = self.shared();
        let (sender, receiver) = oneshot::channel();
        let busy = || ErrorObject::new(ErrorCode::Busy, format!("shard {n} has too many questions open; try again"));
        let door = shared.shards.get(n).ok_or_else(busy)?;
        door.orders.push(order(sender)).map_err(|_| busy())?;
        door.waker.wake();
        match tokio::time::timeout(DEADLINE, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(internal(format!("shard {n} did not answer within {} s", DEADLINE.as_secs()))),
        }
    }

    /// Asks the rating thread.
    pub(super) async fn ask_rating<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> RatingOrder,
    ) -> Result<T, ErrorObject> {
        let shared = self.shared();
        let (sender, receiver) = oneshot::channel();
        if shared.rating.orders.push(order(sender)).is_err() {
            return Err(ErrorObject::new(ErrorCode::Busy, "the rating thread has too many questions open; try again"));
        }
        shared.rating.wake();
        deadline(receiver).await
    }

    /// Gives the rating thread an order that must not be given up half-way: its answer is waited for however slow the disk
    /// is, because what it says is what the next start does.
    pub(super) async fn order_rating<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<T>) -> RatingOrder,
    ) -> Result<T, ErrorObject> {
        let shared = self.shared();
        let (sender, receiver) = oneshot::channel();
        if shared.rating.orders.push(order(sender)).is_err() {
            return Err(ErrorObject::new(ErrorCode::Busy, "the rating thread has too many questions open; try again"));
        }
        shared.rating.wake();
        receiver.await.map_err(|_| internal("the switch is stopping"))
    }

    /// Returns when record `seq` is safe from a power cut. A disk that takes longer than the deadline is waited for no
    /// more: the record is written, only a power cut within the next moments could take it.
    pub(super) async fn on_disk(&self, seq: u64) {
        let positions = self.state.borrow().positions.clone();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while positions.synced() < seq {
            if tokio::time::Instant::now() >= deadline {
                log::warning(&format!("record {seq} is not synced after {} s", DEADLINE.as_secs()));
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Runs a query off this thread, once the database holds every call that ended before now.
    pub(super) async fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Queries) -> Result<T, ErrorObject> + Send + 'static,
    ) -> Result<T, ErrorObject> {
        let (positions, dir) = {
            let state = self.state.borrow();
            (state.positions.clone(), state.config.data_dir.join("journal"))
        };
        let wanted = positions.written();
        let shared = self.shared();
        let mut waited = 0;
        while positions.applied() < wanted && waited < CATCH_UP_MS {
            shared.projection.hurry();
            tokio::time::sleep(Duration::from_millis(5)).await;
            waited += 5;
        }
        let work = tokio::task::spawn_blocking(move || {
            let queries = Queries::open(&dir).map_err(|error| internal(error.to_string()))?;
            query(&queries)
        });
        work.await.map_err(|error| internal(format!("the query ended early: {error}")))?
    }
}

async fn deadline<T>(receiver: impl Future<Output = Result<T, oneshot::error::RecvError>>) -> Result<T, ErrorObject> {
    match tokio::time::timeout(DEADLINE, receiver).await {
        Ok(Ok(answer)) => Ok(answer),
        _ => Err(internal(format!("the rating thread did not answer within {} s", DEADLINE.as_secs()))),
    }
}
