//! `evert.damage`: replaced as a whole, read by its name, beside views that stay at their Time.

use change::Time;
use view::{DAMAGE, DamageRow, Views};

fn row(file: &str, offset: u64) -> DamageRow {
    DamageRow {
        file: file.to_owned(),
        offset,
        bytes: 64,
        times: Some((Time(3), Time(5))),
        tables: vec!["shop.orders".to_owned()],
        problem: "it is not there".to_owned(),
        since_us: 1_000_000,
        repair: "bring it back".to_owned(),
    }
}

#[tokio::test]
async fn damage_is_read_by_its_name_and_goes_when_it_is_repaired() {
    let views = Views::new(Vec::new());
    let sql =
        "select file, \"offset\", first_time, last_time, tables from evert.damage order by 1, 2";
    let before = views.snapshot();
    assert!(before.query(sql).await.unwrap().rows.is_empty());
    views.show_damage(&[row("b.log", 0), row("a.log", 128)]).unwrap();
    let found = views.snapshot().query(sql).await.unwrap();
    let shown = String::from_utf8(view::json::to_array(&found.rows)).unwrap();
    let expected = r#"[{"file":"a.log","offset":128,"first_time":3,"last_time":5,"tables":"shop.orders"},{"file":"b.log","offset":0,"first_time":3,"last_time":5,"tables":"shop.orders"}]"#;
    assert_eq!(shown, expected);
    assert!(before.query(sql).await.unwrap().rows.is_empty(), "a snapshot never changes");
    assert_eq!(views.snapshot().views().count(), 0, "it is not listed");
    assert_eq!(views.snapshot().row_count(DAMAGE).unwrap(), 2);
    // A step of the views leaves it as it is.
    views.apply(Time(1), Vec::new()).unwrap();
    assert_eq!(views.snapshot().row_count(DAMAGE).unwrap(), 2);
    assert_eq!(views.snapshot().time, Time(1));
    views.show_damage(&[]).unwrap();
    assert_eq!(views.snapshot().row_count(DAMAGE).unwrap(), 0);
}
