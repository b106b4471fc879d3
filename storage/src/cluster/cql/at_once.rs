//! Many futures at once, with a bound, on the caller's own task: a task for each row would cost more than the row.

use futures_util::{
    StreamExt,
    stream::{FuturesOrdered, FuturesUnordered},
};

use super::error::LedgerError;

/// Futures under way, none of which answers anything.
pub(super) struct Writes<F>(FuturesUnordered<F>, usize);

impl<F: Future<Output = Result<(), LedgerError>>> Writes<F> {
    /// None yet, and at most so many at one time.
    pub(super) fn at_most(max: usize) -> Self {
        Self(FuturesUnordered::new(), max.max(1))
    }

    /// One more; waits until there is room. The first that failed ends it.
    pub(super) async fn push(&mut self, write: F) -> Result<(), LedgerError> {
        while self.0.len() >= self.1
            && let Some(done) = self.0.next().await
        {
            done?;
        }
        self.0.push(write);
        Ok(())
    }

    /// Waits for those that are left.
    pub(super) async fn finish(mut self) -> Result<(), LedgerError> {
        while let Some(done) = self.0.next().await {
            done?;
        }
        Ok(())
    }
}

/// Futures under way whose answers are kept in the order of the questions.
pub(super) struct Reads<F, T>(FuturesOrdered<F>, usize, Vec<T>)
where
    F: Future;

impl<T, F: Future<Output = Result<T, LedgerError>>> Reads<F, T> {
    /// None yet, and at most so many at one time.
    pub(super) fn at_most(max: usize) -> Self {
        Self(FuturesOrdered::new(), max.max(1), Vec::new())
    }

    /// One more; waits until there is room. The first that failed ends it.
    pub(super) async fn push(&mut self, read: F) -> Result<(), LedgerError> {
        while self.0.len() >= self.1
            && let Some(answer) = self.0.next().await
        {
            self.2.push(answer?);
        }
        self.0.push_back(read);
        Ok(())
    }

    /// Waits for those that are left; all answers, in order.
    pub(super) async fn finish(mut self) -> Result<Vec<T>, LedgerError> {
        while let Some(answer) = self.0.next().await {
            self.2.push(answer?);
        }
        Ok(self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_questions_and_a_failure_ends_it() {
        let mut reads = Reads::at_most(3);
        for n in 0..10_u32 {
            let slow = async move {
                for _ in 0..(10 - n) {
                    tokio::task::yield_now().await;
                }
                Ok(n)
            };
            reads.push(slow).await.expect("none fails");
        }
        assert_eq!(reads.finish().await, Ok((0..10).collect()));

        let mut writes = Writes::at_most(1);
        let failed = LedgerError::Transient("no".into());
        assert_eq!(writes.push(std::future::ready(Err(failed.clone()))).await, Ok(()));
        assert_eq!(writes.push(std::future::ready(Ok(()))).await, Err(failed));
    }
}
