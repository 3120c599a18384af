//! The outbox against its claims, under many interleavings.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "tests count small numbers"
)]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use futures::FutureExt;

use super::*;

const LONG: Duration = Duration::from_secs(3_600);

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]))
}

fn batch(rows: &[(i64, i64)]) -> ChangeBatch {
    let values: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let rows_of = RecordBatch::try_new(schema(), vec![values]).unwrap();
    ChangeBatch::new(rows_of, rows.iter().map(|row| row.1).collect())
}

/// A small generator: the same seed gives the same interleaving.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

#[tokio::test]
async fn what_is_taken_sums_to_what_was_put_for_any_interleaving() {
    for seed in 0..200 {
        let mut random = Seeded(seed);
        let outbox = Outbox::new(schema(), Time(7));
        let (mut put, mut taken) = (Vec::new(), Vec::new());
        let (mut upto, mut held) = (Time(7), Time(7));
        for _ in 0..random.below(900) {
            if random.below(20) == 0 {
                if let Some(step) = outbox.take(LONG).now_or_never() {
                    let (after, next, changes) = step.unwrap().expect("it is open");
                    assert_eq!(after, held, "seed {seed}: taken steps are adjacent");
                    assert_eq!(
                        changes,
                        consolidate(&schema(), std::slice::from_ref(&changes)).unwrap()
                    );
                    held = next;
                    taken.push(changes);
                }
                continue;
            }
            let after = upto;
            upto = upto.plus(1 + random.below(3));
            let rows: Vec<(i64, i64)> = (0..random.below(4))
                .map(|_| (random.below(9) as i64, [1, -1][random.below(2) as usize]))
                .collect();
            let changes = batch(&rows);
            outbox.put(after, upto, (!rows.is_empty()).then_some(&changes));
            put.push(changes);
        }
        outbox.close();
        let next = || outbox.take(LONG).now_or_never().expect("closed").unwrap();
        while let Some((after, next, changes)) = next() {
            assert_eq!(after, held);
            held = next;
            taken.push(changes);
        }
        assert_eq!(held, upto, "seed {seed}: the last Time arrives");
        assert_eq!(
            consolidate(&schema(), &taken).unwrap(),
            consolidate(&schema(), &put).unwrap(),
            "seed {seed}"
        );
    }
}

#[test]
fn an_absent_sink_costs_no_more_than_the_difference_of_two_states() {
    let outbox = Outbox::new(schema(), Time::ZERO);
    // A view of one row that changes two million times.
    for time in 0..2_000 {
        let rows: Vec<(i64, i64)> =
            (0..500).flat_map(|n| [(time * 500 + n, -1), (time * 500 + n + 1, 1)]).collect();
        outbox.put(Time(time as u64), Time(time as u64 + 1), Some(&batch(&rows)));
        assert!(outbox.pending_rows() <= CONSOLIDATE_ROWS_MIN + 1_000, "at {time}");
    }
    let (after, upto, changes) = outbox.take(LONG).now_or_never().unwrap().unwrap().unwrap();
    assert_eq!((after, upto), (Time::ZERO, Time(2_000)));
    assert_eq!(changes, batch(&[(0, -1), (1_000_000, 1)]));
}

#[test]
fn many_small_steps_stay_few_batches() {
    let outbox = Outbox::new(schema(), Time::ZERO);
    for time in 0..10_000 {
        outbox.put(Time(time), Time(time + 1), Some(&batch(&[(time as i64, 1)])));
        let batches = outbox.state().pending.len();
        assert!(batches < LOOSE_STEPS_MAX + 16, "{batches} batches at {time}");
    }
    assert_eq!(outbox.take(LONG).now_or_never().unwrap().unwrap().unwrap().2.len(), 10_000);
}

#[tokio::test]
async fn a_quiet_view_moves_its_position_once_in_a_while() {
    let outbox = Outbox::new(schema(), Time::ZERO);
    outbox.put(Time(0), Time(1), None);
    outbox.put(Time(1), Time(2), Some(&batch(&[(1, 1), (1, -1)])));
    assert!(outbox.take(LONG).now_or_never().is_none(), "not yet due");
    let (after, upto, changes) = outbox.take(Duration::from_millis(20)).await.unwrap().unwrap();
    assert_eq!((after, upto, changes.len()), (Time(0), Time(2), 0));
    outbox.put(Time(2), Time(3), None);
    outbox.close();
    let (after, upto, _) =
        outbox.take(LONG).await.unwrap().expect("closing gives the position at once");
    assert_eq!((after, upto), (Time(2), Time(3)));
    assert!(outbox.take(LONG).await.unwrap().is_none());
}

#[tokio::test]
async fn a_waiting_sink_is_woken() {
    let outbox = Arc::new(Outbox::new(schema(), Time::ZERO));
    let taker = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move { outbox.take(LONG).await }
    });
    tokio::task::yield_now().await;
    outbox.put(Time(0), Time(5), Some(&batch(&[(4, 1)])));
    let step = tokio::time::timeout(Duration::from_secs(5), taker).await.unwrap().unwrap().unwrap();
    assert_eq!(step, Some((Time(0), Time(5), batch(&[(4, 1)]))));
}

/// A batch of one row that comes, of so many bytes. They are zero and never read, so they cost no memory.
fn bytes(count: i32) -> ChangeBatch {
    let offsets = OffsetBuffer::new(vec![0, count].into());
    let value = BinaryArray::new(offsets, vec![0; count as usize].into(), None);
    let value: ArrayRef = Arc::new(value);
    let rows = RecordBatch::try_from_iter_with_nullable([("v", value, true)]).unwrap();
    ChangeBatch::new(rows, vec![1].into())
}

#[tokio::test]
async fn changes_too_large_for_one_batch_fail_the_sink_and_not_the_engine() {
    let (small, large) = (bytes(1), bytes(i32::MAX));
    // With few steps they are summed when they are taken, with many when they are put.
    for steps in [2, LOOSE_STEPS_MAX as u64] {
        let outbox = Outbox::new(small.schema(), Time::ZERO);
        for time in 1..steps {
            outbox.put(Time(time - 1), Time(time), Some(&small));
        }
        outbox.put(Time(steps - 1), Time(steps), Some(&large));
        assert_eq!(outbox.pending_rows() == 0, steps > 2, "what cannot be summed goes");
        for time in steps..steps + 2 {
            let error = outbox.take(LONG).await.unwrap_err();
            assert_eq!((error.code(), error.is_transient()), ("SINK024", false), "{error}");
            outbox.put(Time(time), Time(time + 1), Some(&large));
            assert_eq!(outbox.pending_rows(), 0, "nothing gathers that nobody can take");
            assert_eq!(outbox.upto(), Time(time + 1), "the engine goes on");
        }
    }
}
