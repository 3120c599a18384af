//! The updates of qc from pgoutput's messages, decoded on the engine's own thread.
//!
//! The messages are those of tables with REPLICA IDENTITY FULL, values in binary: they carry the old and the new row,
//! as the ready batches do.

use std::time::{Duration, Instant};

use inputs::{Cdc, Change, Customer, Order, STEP};
use source::MessageDecoder;

use super::bytes::beside_ready;
use super::flow::rate;
use super::scale;
use super::spec::{Qc, Values, rounds};
use super::steps::{Cut, Step, TRANSACTION, cdc_steps, cdc_tables, updates};
use crate::figure::Figure;
use crate::{Outcome, Size};

const NAME: &str = "qc-update-pgoutput";
const CUSTOMERS: u32 = 16_385;
const ORDERS: u32 = 16_386;
const INT8: u32 = 20;
const TEXT: u32 = 25;

/// Measures qc's updates.
pub(crate) fn qc_update(size: Size) -> Outcome {
    let (scale, tables) = (scale(size), cdc_tables());
    let mut cdc = Cdc::new(scale.customers, scale.orders);
    let load: Vec<Step> = cdc_steps(&tables, Cut::SMALL, cdc.load()).collect();
    let mut again = cdc.clone();
    let made: Vec<Step> =
        cdc_steps(&tables, Cut::SMALL, updates(&mut cdc, scale.updates)).collect();
    let messages = messages(updates(&mut again, scale.updates));
    let mut values = Values::default();
    for _ in 0..rounds(size) {
        let mut query = match Qc::new(&tables, 1) {
            Ok(query) => query,
            Err(why) => return Ok(vec![Figure::lacking(NAME, why)]),
        };
        query.run(&load)?;
        values.add("update", rate(scale.update_changes, query.run(&made)?));
        query.regions.check(scale)?;
        let mut query = Qc::new(&tables, 1)?;
        query.run(&load)?;
        let mut decoder = MessageDecoder::new("shop", &tables.all);
        relations().each(|message| decoder.feed(message))?;
        let since = Instant::now();
        for step in &messages {
            step.each(|message| decoder.feed(message))?;
            for group in decoder.cut() {
                query.flow.push(group.tables())?;
            }
            query.step(&Vec::new())?;
        }
        let time: Duration = since.elapsed();
        query.regions.check(scale)?;
        values.add(NAME, rate(scale.update_changes, time));
    }
    Ok(beside_ready(&values, &[(NAME, "update", "changes/s")]))
}

/// Messages, one behind the other.
#[derive(Debug, Default)]
struct Messages {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    /// Calls `take` with each message.
    fn each<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut start = 0;
        for &end in &self.ends {
            take(&self.bytes[start..end])?;
            start = end;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn name(&mut self, name: &str) {
        self.put(name.as_bytes());
        self.put(&[0]);
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// A column's value.
    fn value(&mut self, value: &[u8]) {
        let length = i32::try_from(value.len()).expect("values are small");
        self.put(b"b");
        self.put(&length.to_be_bytes());
        self.put(value);
    }

    fn begin(&mut self, lsn: u64) {
        self.put(b"B");
        self.put(&lsn.to_be_bytes());
        self.put(&[0; 12]);
        self.end();
    }

    fn commit(&mut self, lsn: u64) {
        self.put(b"C\0");
        self.put(&lsn.to_be_bytes());
        self.put(&(lsn + 1).to_be_bytes());
        self.put(&[0; 8]);
        self.end();
    }

    fn relation(&mut self, oid: u32, name: &str, columns: &[(&str, u32)]) {
        self.put(b"R");
        self.put(&oid.to_be_bytes());
        self.name("public");
        self.name(name);
        self.put(b"f");
        self.put(&i16::try_from(columns.len()).expect("few columns").to_be_bytes());
        for (name, type_oid) in columns {
            // With the whole row as identity, every column is part of the key.
            self.put(&[1]);
            self.name(name);
            self.put(&type_oid.to_be_bytes());
            self.put(&(-1_i32).to_be_bytes());
        }
        self.end();
    }

    /// An insert, update or delete.
    fn change<T>(
        &mut self,
        oid: u32,
        old: Option<&T>,
        new: Option<&T>,
        put: impl Fn(&mut Self, &T),
    ) {
        let tag = match (old, new) {
            (None, _) => b"I",
            (Some(_), Some(_)) => b"U",
            (Some(_), None) => b"D",
        };
        self.put(tag);
        self.put(&oid.to_be_bytes());
        if let Some(old) = old {
            self.put(b"O");
            put(self, old);
        }
        if let Some(new) = new {
            self.put(b"N");
            put(self, new);
        }
        self.end();
    }

    fn customer(&mut self, row: &Customer) {
        self.put(&3_i16.to_be_bytes());
        self.value(&row.id.to_be_bytes());
        self.value(row.name().as_bytes());
        self.value(row.region().as_bytes());
    }

    fn order(&mut self, row: &Order) {
        self.put(&5_i16.to_be_bytes());
        self.value(&row.id.to_be_bytes());
        self.value(&row.customer_id.to_be_bytes());
        self.value(row.status.word().as_bytes());
        self.value(&row.amount.to_be_bytes());
        self.value(row.note().as_bytes());
    }
}

/// What the tables are.
fn relations() -> Messages {
    let mut messages = Messages::default();
    let customers = [("id", INT8), ("name", TEXT), ("region", TEXT)];
    messages.relation(CUSTOMERS, "customers", &customers);
    let orders =
        [("id", INT8), ("customer_id", INT8), ("status", TEXT), ("amount", INT8), ("note", TEXT)];
    messages.relation(ORDERS, "orders", &orders);
    messages
}

/// The messages of changes, by steps.
fn messages(changes: impl Iterator<Item = Change>) -> Vec<Messages> {
    let (mut steps, mut lsn, mut open) = (Vec::new(), 1, false);
    for (at, change) in changes.enumerate() {
        if at % STEP == 0 {
            steps.push(Messages::default());
        }
        let Some(step) = steps.last_mut() else { continue };
        if at % TRANSACTION == 0 {
            step.begin(lsn);
        }
        match change {
            Change::Customer(old, new) => {
                step.change(CUSTOMERS, old.as_ref(), new.as_ref(), Messages::customer);
            }
            Change::Order(old, new) => {
                step.change(ORDERS, old.as_ref(), new.as_ref(), Messages::order);
            }
        }
        open = at % TRANSACTION != TRANSACTION - 1;
        if !open {
            step.commit(lsn);
            lsn += 2;
        }
    }
    if let (true, Some(step)) = (open, steps.last_mut()) {
        step.commit(lsn);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_the_ready_batches_say() {
        let tables = cdc_tables();
        let mut cdc = Cdc::new(100, 1_000);
        let mut again = cdc.clone();
        let count = STEP + 5;
        let ready = cdc_steps(&tables, Cut::SMALL, updates(&mut cdc, count));
        let mut decoder = MessageDecoder::new("shop", &tables.all);
        relations().each(|message| decoder.feed(message)).unwrap();
        for (step, messages) in ready.zip(messages(updates(&mut again, count))) {
            messages.each(|message| decoder.feed(message)).unwrap();
            let groups = decoder.cut();
            assert_eq!(groups.len(), 1);
            assert!(groups[0].tables() == step.as_slice());
        }
    }
}
