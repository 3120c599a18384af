//! A circuit that runs, and what comes out of it.

use std::collections::BTreeMap;
use std::error::Error;

use dbsp::circuit::CircuitConfig;
use dbsp::typed_batch::{IndexedZSetReader, SpineSnapshot};
use dbsp::{
    DBData, DBSPHandle, OrdIndexedZSet, OrdZSet, OutputHandle, RootCircuit, Runtime, ZWeight,
};

/// Where the differences of a collection of rows come out.
pub(crate) type Rows<K> = OutputHandle<SpineSnapshot<OrdZSet<K>>>;

/// Where the differences of a collection of values by key come out.
pub(crate) type Values<K, V> = OutputHandle<SpineSnapshot<OrdIndexedZSet<K, V>>>;

/// Starts a circuit.
pub(crate) fn start<T: Clone + Send + 'static>(
    workers: usize,
    build: impl Fn(&mut RootCircuit) -> T + Clone + Send + Sync + 'static,
) -> Result<(DBSPHandle, T), Box<dyn Error>> {
    let config = CircuitConfig::with_workers(workers).with_allow_input_during_commit(false);
    Ok(Runtime::init_circuit(config, move |circuit| Ok(build(circuit)))?)
}

/// Ends a circuit.
pub(crate) fn stop(circuit: DBSPHandle) -> Result<(), Box<dyn Error>> {
    circuit.kill().map_err(|_panic| "a worker panicked".into())
}

/// Goes through the step's differences.
pub(crate) fn each<K: DBData>(output: &Rows<K>, mut see: impl FnMut(K, ZWeight)) {
    output.concat().iter().for_each(|(row, (), weight)| see(row, weight));
}

/// Keeps the value of each key, as a reader would have it.
pub(crate) fn keep<K: DBData, V: DBData>(view: &mut BTreeMap<K, V>, output: &Values<K, V>) {
    for (key, value, weight) in output.concat().iter() {
        if weight > 0 {
            view.insert(key, value);
        } else if view.get(&key) == Some(&value) {
            view.remove(&key);
        }
    }
}
