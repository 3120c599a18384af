//! The search index: equal to the view at the Time it holds, also after a kill.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use change::{ChangeBatch, Time};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tempfile::TempDir;
use view::search::{SearchIndex, SearchReader};
use view::{ViewError, ViewInfo, json};

use crate::fixture::{Model, Person, change, changes, info, person, rows_of};

const LOG: [u8; 16] = [7; 16];

const DEFINITION: &str = "0123456789abcdef";

fn open(dir: &Path, key: &[usize]) -> SearchIndex {
    SearchIndex::open(dir, &info("people", key), LOG, DEFINITION, &[]).unwrap()
}

/// The rows of the model as the index gives them back.
fn lines(model: &Model) -> Vec<String> {
    let rows: Vec<(Person, i64)> = rows_of(model).into_iter().map(|row| (row, 1)).collect();
    let batch = changes(&rows);
    let mut lines = Vec::new();
    for (row, &count) in batch.diffs().iter().enumerate() {
        let mut line = Vec::new();
        json::RowWriter::new(batch.rows()).row(row, &mut line);
        let line = String::from_utf8(line).unwrap();
        lines.extend((0..count).map(|_| line.clone()));
    }
    lines.sort_unstable();
    lines
}

fn found(index: &SearchIndex, query: &str) -> Vec<String> {
    let found = index.search(query, 100).unwrap();
    let mut names: Vec<String> =
        found.hits.iter().map(|hit| hit.row["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.total, names.len() as u64);
    names.sort_unstable();
    names
}

#[test]
fn rows_are_created_updated_and_deleted_by_key() {
    let dir = TempDir::new().unwrap();
    let mut index = open(dir.path(), &[0]);
    assert_eq!(index.held(), None);
    index
        .apply(&changes(&[(person(1, "Ada Byron", "emea"), 1), (person(2, "Bob", "apac"), 1)]))
        .unwrap();
    assert!(found(&index, "ada").is_empty(), "nothing is seen before the commit");
    index.commit(Time(3)).unwrap();
    assert_eq!(found(&index, "ada"), ["Ada Byron"]);

    index
        .apply(&changes(&[
            (person(1, "Ada Byron", "emea"), -1),
            (person(1, "Ada Lovelace", "emea"), 1),
            (person(2, "Bob", "apac"), -1),
        ]))
        .unwrap();
    index.commit(Time(4)).unwrap();
    assert_eq!(found(&index, "ada"), ["Ada Lovelace"]);
    assert!(found(&index, "byron").is_empty() && found(&index, "bob").is_empty());
    assert_eq!(index.held(), Some(Time(4)));
    expect![[r#"{"id":1,"name":"Ada Lovelace","region":"emea"}"#]]
        .assert_eq(&index.contents().unwrap().join("\n"));
}

#[test]
fn a_row_may_come_and_go_within_one_commit() {
    let dir = TempDir::new().unwrap();
    let mut index = open(dir.path(), &[0]);
    index.apply(&changes(&[(person(1, "a", "x"), 1), (person(2, "b", "x"), 1)])).unwrap();
    index.apply(&changes(&[(person(1, "a", "x"), -1), (person(1, "c", "x"), 1)])).unwrap();
    index.apply(&changes(&[(person(2, "b", "x"), -1)])).unwrap();
    index.commit(Time(1)).unwrap();
    assert_eq!(found(&index, "x"), ["c"]);
}

#[test]
fn what_was_not_committed_is_gone() {
    let dir = TempDir::new().unwrap();
    let mut index = open(dir.path(), &[0]);
    index.apply(&changes(&[(person(1, "ada", "x"), 1)])).unwrap();
    index.commit(Time(1)).unwrap();
    index.apply(&changes(&[(person(1, "ada", "x"), -1), (person(2, "bob", "x"), 1)])).unwrap();
    drop(index);
    let mut index = open(dir.path(), &[0]);
    assert_eq!(index.held(), Some(Time(1)));
    assert_eq!(found(&index, "x"), ["ada"]);
    index.apply(&changes(&[(person(2, "bob", "x"), 1)])).unwrap();
    index.commit(Time(2)).unwrap();
    assert_eq!(found(&index, "x"), ["ada", "bob"]);
}

/// The part of `a_killed_process_leaves_the_last_commit` that is killed.
#[test]
fn killed_writer() {
    let Ok(dir) = std::env::var("EVERT_KILLED_WRITER_DIR") else { return };
    let mut index = open(Path::new(&dir), &[0]);
    let from = index.held().map_or(0, |time| time.0);
    for time in from + 1..=from + 3 {
        let id = i64::try_from(time).unwrap();
        index.apply(&changes(&[(person(id, "row", "x"), 1)])).unwrap();
        index.commit(Time(time)).unwrap();
    }
    let all: Vec<_> = (1..=2_000).map(|id| (person(-id, "lost", "x"), 1)).collect();
    index.apply(&changes(&all)).unwrap();
    // As with kill -9: no destructor runs, no lock is given back.
    std::process::abort();
}

#[test]
fn a_killed_process_leaves_the_last_commit_and_no_lock() {
    let dir = TempDir::new().unwrap();
    for round in 1..=3 {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "searches::killed_writer"])
            .env("EVERT_KILLED_WRITER_DIR", dir.path())
            .output()
            .unwrap()
            .status;
        assert!(!status.success(), "the writer was killed");
        let index = open(dir.path(), &[0]);
        assert_eq!(index.held(), Some(Time(3 * round)));
        assert_eq!(index.search("row", 0).unwrap().total, 3 * round);
        assert_eq!(index.search("lost", 0).unwrap().total, 0);
    }
}

#[test]
fn one_writer_at_a_time() {
    let dir = TempDir::new().unwrap();
    let _index = open(dir.path(), &[0]);
    let error =
        SearchIndex::open(dir.path(), &info("people", &[0]), LOG, DEFINITION, &[]).unwrap_err();
    assert!(matches!(error, ViewError::IndexBusy { .. }), "{error}");
}

#[test]
fn an_index_of_something_else_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path(), &[0]));
    let refusal = |info: &ViewInfo, log: [u8; 16], definition: &str| {
        let error = SearchIndex::open(dir.path(), info, log, definition, &[]).unwrap_err();
        assert_eq!(error.code(), "VIEW011");
        assert!(error.help().unwrap().contains("delete"), "it says how to repair");
        error.to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    expect!["the search index in DIR belongs to the log 07070707070707070707070707070707, not to the log 08080808080808080808080808080808"]
        .assert_eq(&refusal(&info("people", &[0]), [8; 16], DEFINITION));
    expect![[r#"the search index in DIR belongs to the view "people", not to the view "persons""#]]
        .assert_eq(&refusal(&info("persons", &[0]), LOG, DEFINITION));
    let mut other = info("people", &[0]);
    other.schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    expect!["the search index in DIR belongs to a view with the columns id Int64, name Utf8, region Utf8, not to a view with the columns id Int64"]
        .assert_eq(&refusal(&other, LOG, DEFINITION));
    expect![[r#"the search index in DIR belongs to the definition 0123456789abcdef of the view "people", not to the definition fedcba9876543210 of the view "people""#]]
        .assert_eq(&refusal(&info("people", &[0]), LOG, "fedcba9876543210"));
    assert_eq!(open(dir.path(), &[0]).held(), None, "a refusal changes nothing");
}

#[test]
fn a_missing_index_is_said() {
    let dir = TempDir::new().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("nowhere")] {
        let error = SearchReader::open(&path).unwrap_err();
        assert_eq!(error.code(), "VIEW010");
    }
}

#[test]
fn readers_open_beside_a_writer_and_at_rest() {
    let dir = TempDir::new().unwrap();
    let mut index = open(dir.path(), &[0]);
    index.apply(&changes(&[(person(1, "ada", "x"), 1)])).unwrap();
    index.commit(Time(1)).unwrap();
    let reader = SearchReader::open(dir.path()).unwrap();
    let near = index.reader();
    index.apply(&changes(&[(person(2, "bob", "x"), 1)])).unwrap();
    index.commit(Time(2)).unwrap();
    assert_eq!(near.search("x", 10).unwrap().total, 2, "the same process sees it at once");
    assert_eq!(reader.search("x", 10).unwrap().total, 1);
    reader.reload().unwrap();
    assert_eq!(reader.search("x", 10).unwrap().total, 2);
    drop(index);
    let reader = SearchReader::open(dir.path()).unwrap();
    assert_eq!(reader.held().unwrap(), Some(Time(2)));
    assert_eq!(reader.contents().unwrap().len(), 2);
}

fn catalogue() -> (TempDir, SearchIndex) {
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(12, 2), true),
        Field::new("sold", DataType::Boolean, true),
        Field::new("day", DataType::Date32, true),
        Field::new(
            "at",
            DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
            true,
        ),
    ];
    let schema = Arc::new(Schema::new(fields));
    let prices = Decimal128Array::from(vec![Some(999), Some(1_050), Some(12_300), None]);
    let at = [1_767_323_045_000_000, 1_767_323_045_500_000, 1_769_904_000_000_000, i64::MAX];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1, 2, 3, 4])),
        Arc::new(StringArray::from(vec![
            "Red kettle",
            "Blue Kettle, electric",
            "Caf\u{e9} table",
            "Free sample 12:30",
        ])),
        Arc::new(prices.with_precision_and_scale(12, 2).unwrap()),
        Arc::new(BooleanArray::from(vec![true, false, true, false])),
        Arc::new(arrow::array::Date32Array::from(vec![20_455, 20_456, 20_500, i32::MAX])),
        Arc::new(TimestampMicrosecondArray::from(at.to_vec()).with_timezone("UTC")),
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let info = ViewInfo { name: "goods".to_owned(), schema, key: vec![0], order: Vec::new() };
    let dir = TempDir::new().unwrap();
    let mut index = SearchIndex::open(dir.path(), &info, LOG, DEFINITION, &[]).unwrap();
    index.apply(&ChangeBatch::inserts(rows)).unwrap();
    index.commit(Time(1)).unwrap();
    (dir, index)
}

#[test]
fn words_values_and_ranges_are_found() {
    let (_dir, index) = catalogue();
    let check = |query: &str, ids: &[i64]| {
        let found = index.search(query, 10).unwrap();
        let mut seen: Vec<i64> =
            found.hits.iter().map(|hit| hit.row["id"].as_i64().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, ids, "{query}");
    };
    check("kettle", &[1, 2]);
    check("KETTLE electric", &[2]);
    check("red OR electric", &[1, 2]);
    check("cafe", &[3]);
    check("caf\u{e9}", &[3]);
    check("\"red kettle\"", &[1]);
    check("\"kettle red\"", &[]);
    check("kettle -red", &[2]);
    check("* -kettle", &[3, 4]);
    check("", &[1, 2, 3, 4]);
    check("name:table", &[3]);
    check("price:10.50", &[2]);
    check("price:>10", &[2, 3]);
    check("price:[9.99 TO 10.50]", &[1, 2]);
    check("kettle price:<10", &[1]);
    check("sold:true", &[1, 3]);
    check("id:>=3", &[3, 4]);
    check("id: IN [1 4]", &[1, 4]);
    check("day:2026-01-02", &[1]);
    check("day:[2026-01-02 TO 2026-01-03]", &[1, 2]);
    check("at:>2026-01-15", &[3, 4]);
    check("at:\"2026-01-02T03:04:05Z\"", &[1]);
    check("at:[2026-01-02T03:04:05Z TO 2026-01-02T03:04:05.5Z]", &[1, 2]);
    check("at:infinity", &[4]);
    check("\"12:30\"", &[4]);
}

#[test]
fn hits_keep_all_digits_and_the_best_is_first() {
    let (_dir, index) = catalogue();
    let found = index.search("kettle", 1).unwrap();
    assert_eq!((found.total, found.hits.len()), (2, 1));
    assert_eq!(serde_json::to_string(&found.hits[0].row["price"]).unwrap(), "9.99");
}

#[test]
fn wrong_searches_say_what_to_do() {
    let (_dir, index) = catalogue();
    let check = |query: &str, expected: Expect| {
        let error = index.search(query, 10).unwrap_err();
        assert_eq!(error.code(), "VIEW008");
        expected.assert_eq(&format!("{error}\nhelp: {}\n", error.help().unwrap()));
    };
    check(
        "nmae:kettle",
        expect![[r#"
            there is no searched column "nmae"
            help: did you mean "name"? (a word that contains a colon needs double quotes)
        "#]],
    );
    check(
        "at 12:30",
        expect![[r#"
            there is no searched column "12"
            help: the columns are id, name, price, sold, day, at (a word that contains a colon needs double quotes)
        "#]],
    );
    check(
        "price:cheap",
        expect![[r#"
        the column holds numbers, and this is none
        help: compare the column with a number, as in `price:>10`
    "#]],
    );
    check(
        "id:1.5",
        expect![[r#"
        the column holds whole numbers, and this is none
        help: compare the column with a number, as in `price:>10`
    "#]],
    );
    check(
        "sold:maybe",
        expect![[r#"
        the column holds true or false
        help: write `column:true` or `column:false`
    "#]],
    );
    check(
        "(kettle",
        expect![[r#"
        the search "(kettle" cannot be read
        help: close every quote and bracket, and put words with special characters in double quotes
    "#]],
    );
    check(
        "-kettle",
        expect![[r#"
        the search only says what is not wanted
        help: add `*` for all rows, as in `* -void`
    "#]],
    );
    check(
        "[1 TO 2]",
        expect![[r#"
            this cannot be searched for: Range query need to target a specific field
            help: the columns are id, name, price, sold, day, at
        "#]],
    );
}

#[test]
fn only_the_chosen_columns_are_searched() {
    let dir = TempDir::new().unwrap();
    let searched = ["name".to_owned()];
    let mut index =
        SearchIndex::open(dir.path(), &info("people", &[0]), LOG, DEFINITION, &searched).unwrap();
    index.apply(&changes(&[(person(1, "ada", "emea"), 1)])).unwrap();
    index.commit(Time(1)).unwrap();
    assert_eq!(found(&index, "ada"), ["ada"]);
    assert!(found(&index, "emea").is_empty());

    let wrong = ["nmae".to_owned()];
    let error =
        SearchIndex::open(dir.path(), &info("people", &[0]), LOG, DEFINITION, &wrong).unwrap_err();
    assert_eq!(error.code(), "VIEW009");
    expect![[r#"did you mean "name"?"#]].assert_eq(&error.help().unwrap());
}

#[test]
fn long_keys_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let mut index = open(dir.path(), &[1]);
    let long = |end: &str| format!("{}{end}", "x".repeat(100_000));
    index
        .apply(&changes(&[(person(1, &long("a"), "one"), 1), (person(2, &long("b"), "two"), 1)]))
        .unwrap();
    index.commit(Time(1)).unwrap();
    index.apply(&changes(&[(person(1, &long("a"), "one"), -1)])).unwrap();
    index.commit(Time(2)).unwrap();
    assert_eq!(index.search("one", 9).unwrap().total, 0);
    assert_eq!(index.search("two", 9).unwrap().total, 1);
}

/// Changes of `people` that respect the key `id` when there is one.
fn valid(model: &Model, seeds: &[(u8, u8, i8)], keyed: bool) -> Vec<(Person, i64)> {
    let mut after = model.clone();
    for &(id, name, diff) in seeds {
        let row = person(i64::from(id % 9), &format!("name{}", name % 4), "x");
        if keyed {
            after.retain(|other, _| other.0 != row.0);
            if diff > 0 {
                after.insert(row, 1);
            }
        } else {
            let count = after.entry(row).or_default();
            *count = (*count + i64::from(diff)).max(0);
        }
    }
    after.retain(|_, count| *count > 0);
    let mut rows: Vec<(Person, i64)> =
        model.iter().map(|(row, &count)| (row.clone(), -count)).collect();
    rows.extend(after);
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_index_equals_the_view_whatever_happens(
        keyed in any::<bool>(),
        steps in prop::collection::vec(
            (prop::collection::vec((any::<u8>(), any::<u8>(), -2i8..4), 0..12), 0u8..4),
            1..8,
        )
    ) {
        let key: &[usize] = if keyed { &[0] } else { &[] };
        let dir = TempDir::new().unwrap();
        let mut index = open(dir.path(), key);
        let (mut model, mut committed) = (Model::new(), Model::new());
        let mut held = None;
        for (time, (seeds, then)) in (1..).zip(&steps) {
            let rows = valid(&model, seeds, keyed);
            index.apply(&changes(&rows)).unwrap();
            change(&mut model, &rows);
            match then {
                0 => {}
                1 => {
                    drop(index);
                    index = open(dir.path(), key);
                    model = committed.clone();
                }
                _ => {
                    index.commit(Time(time)).unwrap();
                    committed = model.clone();
                    held = Some(Time(time));
                }
            }
            prop_assert_eq!(index.held(), held);
            prop_assert_eq!(index.contents().unwrap(), lines(&committed));
            let with_name = |row: &&Person| row.1.as_deref() == Some("name1");
            let expected = committed.keys().filter(with_name).count() as u64;
            prop_assert_eq!(index.search("name1", 5).unwrap().total, expected);
        }
    }
}

#[test]
fn a_commit_that_was_killed_before_it_counted_is_made_again() {
    // The next commit may take in more; with one of these numbers, its files have the names of the killed one's.
    for more in 0..4 {
        let dir = TempDir::new().unwrap();
        let rows = [1, 2, 3].map(|id| (person(id, &format!("row {id}"), "x"), 1));
        let gone = (person(1, "row 1", "x"), -1);
        let mut index = open(dir.path(), &[0]);
        index.apply(&changes(&rows)).unwrap();
        index.commit(Time(1)).unwrap();
        let before = std::fs::read(dir.path().join("meta.json")).unwrap();
        index.apply(&changes(std::slice::from_ref(&gone))).unwrap();
        index.commit(Time(2)).unwrap();
        drop(index);
        // A commit writes its files, among them one that says which rows are gone, and then replaces meta.json.
        std::fs::write(dir.path().join("meta.json"), before).unwrap();

        let mut index = open(dir.path(), &[0]);
        assert_eq!(index.held(), Some(Time(1)));
        assert_eq!(index.contents().unwrap().len(), 3);
        let come = (0..more).map(|id| (person(10 + id, "new", "x"), 1));
        index.apply(&changes(&come.chain([gone]).collect::<Vec<_>>())).unwrap();
        index.commit(Time(3)).unwrap();
        assert_eq!(i64::try_from(index.contents().unwrap().len()), Ok(2 + more));
    }
}
