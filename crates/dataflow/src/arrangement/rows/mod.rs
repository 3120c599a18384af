//! The rows of each key, as words, each with its count.
//!
//! The rows of a key lie side by side in a *run*, so a join reads them in one go. A run has room for a number of rows
//! of the series 1, 2, 3, 4, 6, 8, 12, … and moves to a larger place when it is full; places that became free are used
//! again. When a store is told that each key has one row, that row lies at the key's number, without a run; when it
//! turns out that it was told wrongly, it changes its form.
//!
//! What rows rarely have is left out as long as no row has it: words with NULLs, and counts other than one. A row that
//! is there several times may lie there several times. A change of −1 must find its row: in a short run by looking at
//! each, in a long one by a hash table over its rows.
//!
//! Invariant: between steps every stored row has a count above zero, and a key is held in its [`Space`] exactly while
//! it has rows.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use change::map::HashTable;

use super::keys::hash_words;
use super::layout::{Encoded, Layout, Stored};
use super::{Floats, NONE, Pages, Space, StateSize, Texts, number};

/// Runs with room for so many rows have a hash table.
const INDEXED_ROWS: u32 = 64;

/// The rows whose places are brought into the cache together.
pub(crate) const TOUCHED_ROWS: usize = 64;

/// What a store of rows knows of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowsOptions {
    /// Each key has at most one row.
    pub(crate) unique: bool,
    /// Each row has a number beside its count, which starts as given and is changed by [`Rows::add_matches`].
    pub(crate) has_matches: bool,
}

/// Rows by key number.
pub(crate) struct Rows {
    layout: Layout,
    texts: Texts,
    shape: Shape,
    words: Pages,
    form: Form,
    /// Entries with a count below zero.
    negatives: usize,
    /// Keys of a unique store whose row is there other than once.
    repeated: usize,
    held: usize,
    encoded: Encoded,
    /// Places of long runs whose rows changed, when someone follows them: keys, and places within their runs.
    changed: Option<Vec<(u32, u32)>>,
}

/// What an entry's words are: values, NULLs if any, the count if any is not one, the matches if wanted.
#[derive(Clone, Copy)]
struct Shape {
    /// Values and NULLs: what makes the row.
    width: usize,
    has_nulls: bool,
    count: Option<usize>,
    matches: Option<usize>,
    stride: usize,
}

/// What entries have besides their values.
#[derive(Clone, Copy)]
struct Parts {
    has_nulls: bool,
    has_counts: bool,
    has_matches: bool,
}

enum Form {
    /// A row at each key's number.
    Unique,
    Runs(Runs),
}

#[derive(Default)]
struct Runs {
    runs: Vec<Run>,
    /// The sum of each key's counts; empty as long as all are one.
    totals: Vec<i64>,
    /// Free places by class.
    free: Vec<Vec<u32>>,
    /// The hash and position of each row of an indexed run.
    index: HashTable<(u64, u32)>,
}

#[derive(Clone, Copy, Default)]
struct Run {
    start: u32,
    len: u32,
    /// The size class of its place, plus one; 0 for no place.
    class: u8,
}

impl Run {
    fn room(self) -> u32 {
        if self.class == 0 { 0 } else { place_rows(self.class - 1) }
    }

    fn is_indexed(self) -> bool {
        self.room() >= INDEXED_ROWS
    }
}

/// The rows of a place of a class: 1, 2, 3, 4, 6, 8, 12, 16, …
fn place_rows(class: u8) -> u32 {
    match class {
        0 => 1,
        class if class % 2 == 1 => 2 << (class / 2),
        class => 3 << (class / 2 - 1),
    }
}

impl Shape {
    fn new(layout: &Layout, parts: Parts) -> Self {
        let Parts { has_nulls, has_counts, has_matches } = parts;
        let width = layout.value_words() + if has_nulls { layout.null_words() } else { 0 };
        // A row without words has at least a count.
        let count = (has_counts || width == 0).then_some(width);
        let counted = width + usize::from(count.is_some());
        let matches = has_matches.then_some(counted);
        Self { width, has_nulls, count, matches, stride: counted + usize::from(has_matches) }
    }
}

impl Shape {
    fn parts(&self) -> Parts {
        Parts {
            has_nulls: self.has_nulls,
            has_counts: self.count.is_some(),
            has_matches: self.matches.is_some(),
        }
    }
}

impl Rows {
    /// Makes an empty store of rows with columns of the given types.
    pub(crate) fn new(types: &[DataType], options: RowsOptions) -> Result<Self, ArrowError> {
        let layout = Layout::new(types, Floats::Kept)?;
        let (has_counts, has_matches) = (options.unique, options.has_matches);
        let parts = Parts { has_nulls: false, has_counts, has_matches };
        let form = if options.unique { Form::Unique } else { Form::Runs(Runs::default()) };
        let shape = Shape::new(&layout, parts);
        Ok(Self {
            shape,
            layout,
            texts: Texts::default(),
            words: Pages::new(shape.stride),
            form,
            negatives: 0,
            repeated: 0,
            held: 0,
            encoded: Encoded::default(),
            changed: None,
        })
    }

    /// From now on notes which places of long runs change.
    pub(crate) fn follow(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// The places of long runs, by key and place within the run, that hold other rows or none since this was asked
    /// last. Of a run that became long, or that went place by place, at least one is named; [`NONE`] stands for all.
    pub(crate) fn take_changed(&mut self) -> Vec<(u32, u32)> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether a key's run is long: it was once, and has rows still.
    pub(crate) fn is_long(&self, key: u32) -> bool {
        match &self.form {
            Form::Unique => false,
            Form::Runs(runs) => runs.runs.get(key as usize).is_some_and(|run| run.is_indexed()),
        }
    }

    /// The bytes of variable length of the row at a position.
    pub(crate) fn text_bytes(&self, position: u32) -> usize {
        self.layout.text_bytes(&self.words.row(position)[..self.shape.width])
    }

    fn note_changed(&mut self, key: u32, place: u32) {
        if let Some(changed) = &mut self.changed {
            changed.push((key, place));
        }
    }

    /// The positions of a key's rows: the first, and how many.
    ///
    /// They are valid until rows are added. A position may have count zero when each key has at most one row.
    #[inline]
    pub(crate) fn run(&self, key: u32) -> (u32, u32) {
        match &self.form {
            Form::Unique => {
                let there = (key as usize) < self.words.rows() && self.count(key) != 0;
                (key, u32::from(there))
            }
            Form::Runs(runs) => match runs.runs.get(key as usize) {
                Some(run) => (run.start, run.len),
                None => (0, 0),
            },
        }
    }

    /// How often the row at a position is there.
    #[inline]
    pub(crate) fn count(&self, position: u32) -> i64 {
        match self.shape.count {
            Some(at) => self.words.word(position, at).cast_signed(),
            None => 1,
        }
    }

    /// Whether every stored row is there once.
    pub(crate) fn all_once(&self) -> bool {
        match self.form {
            Form::Unique => self.repeated == 0,
            Form::Runs(_) => self.shape.count.is_none(),
        }
    }

    /// The sum of the counts of a key's rows.
    pub(crate) fn total(&self, key: u32) -> i64 {
        match &self.form {
            Form::Unique => {
                let (position, len) = self.run(key);
                if len == 0 { 0 } else { self.count(position) }
            }
            Form::Runs(runs) if runs.totals.is_empty() => {
                runs.runs.get(key as usize).map_or(0, |run| i64::from(run.len))
            }
            Form::Runs(runs) => runs.totals.get(key as usize).copied().unwrap_or(0),
        }
    }

    /// The matches of the row at a position.
    ///
    /// # Panics
    /// When the store was made without matches.
    pub(crate) fn matches(&self, position: u32) -> i64 {
        let at = self.shape.matches.expect("the store has matches");
        self.words.word(position, at).cast_signed()
    }

    /// Adds to the matches of the row at a position and returns them as they were before.
    ///
    /// # Panics
    /// When the store was made without matches.
    pub(crate) fn add_matches(&mut self, position: u32, matches: i64) -> i64 {
        let at = self.shape.matches.expect("the store has matches");
        let word = &mut self.words.row_mut(position)[at];
        let before = word.cast_signed();
        *word = word.wrapping_add_signed(matches);
        before
    }

    /// Returns a column of the rows at positions.
    pub(crate) fn gather(&self, column: usize, positions: &[u32]) -> Result<ArrayRef, ArrowError> {
        let has_nulls = self.shape.has_nulls;
        let rows = Stored { words: &self.words, has_nulls, texts: &self.texts };
        self.layout.gather(column, rows, positions)
    }

    /// Adds rows, each to its key as often as its diff says. Rows without a key ([`NONE`]) and those of which `skip` is
    /// true are left out. `matches` are given to rows that are new.
    pub(crate) fn add(&mut self, added: &Added<'_>, space: &mut Space) -> Result<(), ArrowError> {
        if added.skip.is_some_and(|skip| skip.iter().all(|&skip| skip)) {
            return Ok(());
        }
        let mut encoded = std::mem::take(&mut self.encoded);
        let rows = added.keys.len();
        self.layout.encode(&mut self.texts, added.columns, rows, &mut encoded)?;
        if encoded.has_nulls && !self.shape.has_nulls {
            self.reshape(Parts { has_nulls: true, ..self.shape.parts() });
        }
        self.make_room(space.upper());
        for (row, (&key, &diff)) in added.keys.iter().zip(added.diffs).enumerate() {
            if row % TOUCHED_ROWS == 0 {
                self.touch(&added.keys[row..added.keys.len().min(row + TOUCHED_ROWS)]);
            }
            if key == NONE || diff == 0 || added.skip.is_some_and(|skip| skip[row]) {
                continue;
            }
            let matches = added.matches.map_or(0, |matches| matches[row]);
            let words = &encoded.row(row)[..self.shape.width];
            self.add_row(key, words, (diff, matches), space);
        }
        self.encoded = encoded;
        Ok(())
    }

    /// Removes all rows of a key.
    pub(crate) fn remove_key(&mut self, key: u32, space: &mut Space) {
        let (start, len) = self.run(key);
        if len == 0 {
            return;
        }
        for position in start..start + len {
            let row = self.words.row(position)[..self.shape.width].to_vec();
            self.negatives -= usize::from(self.count(position) < 0);
            self.release_texts(&row);
        }
        self.held -= len as usize;
        space.release(key);
        if let Form::Unique = self.form {
            self.repeated -= usize::from(self.count(key) != 1);
            let count = self.shape.count.expect("a unique store has counts");
            self.words.row_mut(key)[count] = 0;
            return;
        }
        let run = self.runs().runs[key as usize];
        if run.is_indexed() {
            (start..start + len).for_each(|position| self.forget(key, position));
            self.note_changed(key, NONE);
        }
        let runs = self.runs();
        runs.free_place(run);
        runs.runs[key as usize] = Run::default();
        if let Some(total) = runs.totals.get_mut(key as usize) {
            *total = 0;
        }
    }

    /// Removes all rows and gives their memory back.
    pub(crate) fn clear(&mut self, space: &mut Space) {
        for key in 0..number(space.upper()) {
            self.remove_key(key, space);
        }
        self.words = Pages::new(self.shape.stride);
        self.sweep();
        if let Form::Runs(runs) = &mut self.form {
            *runs = Runs::default();
        }
    }

    /// Brings what some keys' runs begin and end with into the processor's cache. The loads do not wait for each other,
    /// as they would one row after the other.
    pub(crate) fn touch(&self, keys: &[u32]) {
        let mut seen = 0;
        for &key in keys {
            let (start, len) = self.run(key);
            if len > 0 {
                seen ^= self.words.word(start, 0);
                seen ^= self.words.word(start + len - 1, self.shape.stride - 1);
            }
        }
        std::hint::black_box(seen);
    }

    /// Ends the step.
    pub(crate) fn sweep(&mut self) {
        if self.layout.has_texts() {
            self.texts.sweep();
        }
    }

    /// How much the store holds.
    pub(crate) fn size(&self) -> StateSize {
        let runs = match &self.form {
            Form::Unique => 0,
            Form::Runs(runs) => {
                runs.runs.capacity() * size_of::<Run>()
                    + runs.totals.capacity() * 8
                    + runs.free.iter().map(|free| free.capacity() * 4).sum::<usize>()
                    + runs.index.allocation_size()
            }
        };
        StateSize { rows: self.held, bytes: self.words.bytes() + runs + self.texts.bytes() }
    }

    /// Makes room for keys below `upper`.
    fn make_room(&mut self, upper: usize) {
        match &mut self.form {
            Form::Unique => self.words.reserve(upper),
            Form::Runs(runs) => {
                if runs.runs.len() < upper {
                    runs.runs.resize(upper, Run::default());
                }
                if !runs.totals.is_empty() && runs.totals.len() < upper {
                    runs.totals.resize(upper, 0);
                }
            }
        }
    }

    fn add_row(&mut self, key: u32, row: &[u64], (diff, matches): (i64, i64), space: &mut Space) {
        if matches!(self.form, Form::Unique) {
            if self.set_unique(key, row, (diff, matches), space) {
                return;
            }
            self.become_runs();
            self.make_room(space.upper());
        }
        self.add_to_run(key, row, (diff, matches), space);
    }

    /// Adds to the only row of a key; false when that would be a second one.
    fn set_unique(
        &mut self,
        key: u32,
        row: &[u64],
        (diff, matches): (i64, i64),
        space: &mut Space,
    ) -> bool {
        let Shape { width, count, matches: matches_at, .. } = self.shape;
        let count_at = count.expect("a unique store has counts");
        let words = self.words.row_mut(key);
        let before = words[count_at].cast_signed();
        let after = before + diff;
        if before == 0 {
            if diff < 0 {
                return false;
            }
            words[..width].copy_from_slice(row);
            if let Some(at) = matches_at {
                words[at] = matches.cast_unsigned();
            }
        } else if words[..width] != *row || after < 0 {
            return false;
        }
        words[count_at] = after.cast_unsigned();
        let is_repeated = |count: i64| usize::from(count != 0 && count != 1);
        self.repeated = self.repeated + is_repeated(after) - is_repeated(before);
        if before == 0 {
            self.hold_texts(row);
            self.held += 1;
            space.hold(key);
        }
        if after == 0 {
            self.release_texts(row);
            self.held -= 1;
            space.release(key);
        }
        true
    }

    fn add_to_run(
        &mut self,
        key: u32,
        row: &[u64],
        (diff, matches): (i64, i64),
        space: &mut Space,
    ) {
        let run = self.runs().runs[key as usize];
        let must_find = diff < 0 || self.negatives > 0 || run.is_indexed();
        let found = if must_find { self.find(key, run, row) } else { None };
        let Some(position) = found else {
            if diff != 1 {
                self.count_rows();
            }
            self.push(key, row, (diff, matches), space);
            return;
        };
        let before = self.count(position);
        let after = before + diff;
        if before > 0 && after < 0 {
            // The row may lie there again: only what none of its entries covers is owed.
            self.add_to_run(key, row, (-before, matches), space);
            self.add_to_run(key, row, (after, matches), space);
            return;
        }
        self.negatives -= usize::from(before < 0);
        if after == 0 {
            self.add_total(key, diff);
            self.remove(key, position, row, space);
            return;
        }
        self.count_rows();
        self.negatives += usize::from(after < 0);
        self.add_total(key, diff);
        let at = self.shape.count.expect("rows are counted by now");
        self.words.row_mut(position)[at] = after.cast_unsigned();
    }

    fn runs(&mut self) -> &mut Runs {
        match &mut self.form {
            Form::Runs(runs) => runs,
            Form::Unique => unreachable!("the store has runs"),
        }
    }

    fn add_total(&mut self, key: u32, diff: i64) {
        let runs = self.runs();
        if let Some(total) = runs.totals.get_mut(key as usize) {
            *total += diff;
        }
    }

    fn find(&self, key: u32, run: Run, row: &[u64]) -> Option<u32> {
        let Shape { width, stride, .. } = self.shape;
        if !run.is_indexed() {
            if run.len == 0 {
                return None;
            }
            let entries = self.words.slice(run.start, run.len as usize);
            // Rows are short and mostly differ in the first word: no call that compares memory.
            let is_row = |entry: &[u64]| entry.iter().zip(row).all(|(one, other)| one == other);
            let at = match width {
                0 => Some(0).filter(|_| run.len > 0),
                _ => entries.chunks_exact(stride).position(is_row),
            };
            return at.map(|at| run.start + number(at));
        }
        let is_row = |position: u32| self.words.row(position)[..width] == *row;
        let Form::Runs(runs) = &self.form else { return None };
        let hash = hash_words(u64::from(key), row);
        let within = run.start..run.start + run.len;
        let same = |&(other, at): &(u64, u32)| other == hash && within.contains(&at) && is_row(at);
        runs.index.find(hash, same).map(|&(_, position)| position)
    }

    fn push(&mut self, key: u32, row: &[u64], (diff, matches): (i64, i64), space: &mut Space) {
        let Shape { width, count, matches: matches_at, .. } = self.shape;
        let run = self.runs().runs[key as usize];
        if run.len == 0 {
            space.hold(key);
        }
        let run = if run.len == run.room() { self.move_to_larger(key, run) } else { run };
        let position = run.start + run.len;
        let words = self.words.row_mut(position);
        words[..width].copy_from_slice(row);
        if let Some(at) = count {
            words[at] = diff.cast_unsigned();
        }
        if let Some(at) = matches_at {
            words[at] = matches.cast_unsigned();
        }
        self.negatives += usize::from(diff < 0);
        self.held += 1;
        self.add_total(key, diff);
        let runs = self.runs();
        runs.runs[key as usize] = Run { len: run.len + 1, ..run };
        if run.is_indexed() {
            let hash = hash_words(u64::from(key), row);
            runs.index.insert_unique(hash, (hash, position), |&(hash, _)| hash);
            self.note_changed(key, run.len);
        }
        self.hold_texts(row);
    }

    /// Removes a row whose count is zero; the last row of the run takes its place.
    fn remove(&mut self, key: u32, position: u32, row: &[u64], space: &mut Space) {
        let run = self.runs().runs[key as usize];
        let last = run.start + run.len - 1;
        if run.is_indexed() {
            self.forget(key, position);
            self.note_changed(key, position - run.start);
            if last != position {
                self.forget(key, last);
                self.note_changed(key, last - run.start);
            }
        }
        if last != position {
            self.words.copy(last, position, 1);
        }
        self.held -= 1;
        let runs = self.runs();
        runs.runs[key as usize].len -= 1;
        if run.len == 1 {
            runs.free_place(run);
            runs.runs[key as usize] = Run::default();
            space.release(key);
        } else if run.is_indexed() && last != position {
            self.note(key, position);
        }
        self.release_texts(row);
    }

    /// Takes the row at a position out of the index.
    fn forget(&mut self, key: u32, position: u32) {
        let hash = self.hash_at(key, position);
        let found = self.runs().index.find_entry(hash, |&(_, at)| at == position);
        found.expect("every row of a long run is in the index").remove();
    }

    /// Puts the row at a position into the index.
    fn note(&mut self, key: u32, position: u32) {
        let hash = self.hash_at(key, position);
        self.runs().index.insert_unique(hash, (hash, position), |&(hash, _)| hash);
    }

    fn hash_at(&self, key: u32, position: u32) -> u64 {
        hash_words(u64::from(key), &self.words.row(position)[..self.shape.width])
    }

    fn move_to_larger(&mut self, key: u32, run: Run) -> Run {
        let class = run.class;
        let start = match self.runs().free.get_mut(usize::from(class)).and_then(Vec::pop) {
            Some(start) => start,
            None => self.new_place(class),
        };
        let larger = Run { start, len: run.len, class: class + 1 };
        if run.is_indexed() {
            (run.start..run.start + run.len).for_each(|position| self.forget(key, position));
        }
        self.words.copy(run.start, start, run.len);
        if larger.is_indexed() {
            (start..start + run.len).for_each(|position| self.note(key, position));
        }
        let runs = self.runs();
        runs.free_place(run);
        runs.runs[key as usize] = larger;
        larger
    }

    /// A place at the end. A short run lies in one page, so that its rows can be looked at as one slice.
    fn new_place(&mut self, class: u8) -> u32 {
        let (rows, mut at) = (place_rows(class), number(self.words.rows()));
        if rows < INDEXED_ROWS {
            let mut gap = number(self.words.gap(rows as usize));
            while gap > 0 {
                let class = (0..class).rev().find(|&class| place_rows(class) <= gap).unwrap_or(0);
                self.runs().free_place(Run { start: at, len: 0, class: class + 1 });
                (at, gap) = (at + place_rows(class), gap - place_rows(class));
            }
        }
        let end = at as usize + rows as usize;
        number(end);
        self.words.reserve(end);
        at
    }

    /// From now on rows have counts.
    fn count_rows(&mut self) {
        if self.shape.count.is_none() {
            self.reshape(Parts { has_counts: true, ..self.shape.parts() });
        }
        if let Form::Runs(runs) = &mut self.form
            && runs.totals.is_empty()
        {
            runs.totals = runs.runs.iter().map(|run| i64::from(run.len)).collect();
        }
    }

    /// Gives the entries another shape, each at the same position.
    fn reshape(&mut self, parts: Parts) {
        let old = self.shape;
        let new = Shape::new(&self.layout, parts);
        let mut words = Pages::new(new.stride);
        words.reserve(self.words.rows());
        for (from, at) in self.words.iter().zip(0..) {
            let to = words.row_mut(at);
            to[..old.width].copy_from_slice(&from[..old.width]);
            if let Some(at) = new.count {
                to[at] = old.count.map_or(1, |at| from[at]);
            }
            if let (Some(from_at), Some(to_at)) = (old.matches, new.matches) {
                to[to_at] = from[from_at];
            }
        }
        (self.words, self.shape) = (words, new);
        if old.width != new.width {
            self.index_anew();
        }
    }

    /// Rows have other words now, so their hashes are others.
    fn index_anew(&mut self) {
        let Form::Runs(runs) = &mut self.form else { return };
        runs.index.clear();
        let indexed = |(key, run): (usize, &Run)| run.is_indexed().then(|| (number(key), *run));
        let long: Vec<(u32, Run)> = runs.runs.iter().enumerate().filter_map(indexed).collect();
        for (key, run) in long {
            (run.start..run.start + run.len).for_each(|position| self.note(key, position));
        }
    }

    /// A key has a second row: gives each key a run.
    fn become_runs(&mut self) {
        let keys = self.words.rows();
        let is_there = |key: u32| self.count(key) != 0;
        let run =
            |key| if is_there(key) { Run { start: key, len: 1, class: 1 } } else { Run::default() };
        let runs: Vec<Run> = (0..number(keys)).map(run).collect();
        let totals = (0..number(keys)).map(|key| self.count(key)).collect();
        // The places of keys without a row are free.
        let free = (0..number(keys)).filter(|&key| !is_there(key)).collect();
        self.form = Form::Runs(Runs { runs, totals, free: vec![free], index: HashTable::new() });
    }

    fn hold_texts(&mut self, row: &[u64]) {
        if self.layout.has_texts() {
            let texts = &mut self.texts;
            self.layout.long_texts(row, |text| texts.hold(text));
        }
    }

    fn release_texts(&mut self, row: &[u64]) {
        if self.layout.has_texts() {
            let texts = &mut self.texts;
            self.layout.long_texts(row, |text| texts.release(text));
        }
    }
}

impl Runs {
    fn free_place(&mut self, run: Run) {
        let Some(class) = run.class.checked_sub(1).map(usize::from) else { return };
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        self.free[class].push(run.start);
    }
}

/// Rows to add.
pub(crate) struct Added<'a> {
    /// The number of each row's key.
    pub(crate) keys: &'a [u32],
    /// The columns that are kept.
    pub(crate) columns: &'a [ArrayRef],
    /// How often each row is added.
    pub(crate) diffs: &'a [i64],
    /// Rows to leave out.
    pub(crate) skip: Option<&'a [bool]>,
    /// The matches of each row, should it be new.
    pub(crate) matches: Option<&'a [i64]>,
}

#[cfg(test)]
mod tests;
