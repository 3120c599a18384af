//! What the documents show is what happens: their examples are run, word for word, against a real PostgreSQL.
//!
//! Only what differs from machine to machine is replaced: the databases' addresses, and ports. A block is what is
//! between fences, or indented by four spaces. An HTML comment before a block says what a reader learns from the text:
//! `<!-- refused: SQL031 -->` that it is refused with that code.

use std::fs;

use servers::{Postgres, PostgresOptions, Signal, free_port};

use crate::user::User;

const README: &str = include_str!("../../../../README.md");
const GUIDE: &str = include_str!("../../../../docs/guide.md");
const CONNECTORS: &str = include_str!("../../../../docs/connectors.md");
const SQL: &str = include_str!("../../../../docs/sql.md");
const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

/// The tables that the examples read, as the guide makes them, and what else they mention.
const SHOP: &str = "\
create table customers (id bigint primary key, name text, region text);
create table orders (id bigint primary key, customer_id bigint, status text, region text,
    total numeric(10,2), note text);
insert into customers values (1, 'Ada', 'north'), (2, 'Grace', 'south');
insert into orders values (10, 1, 'new', 'north', 120.50, 'blue teapot'),
    (11, 2, 'void', 'south', 180, 'green kettle'), (12, 2, 'paid', 'south', 80, null);
";

/// An example in a document.
#[derive(Debug)]
struct Block {
    line: usize,
    /// What is behind the opening fence; empty for indented blocks.
    language: String,
    text: String,
    /// The code behind `<!-- refused: … -->`.
    refused: Option<String>,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut fenced, mut refused, mut before) = (false, None, "");
    for (at, line) in markdown.lines().enumerate() {
        let indented = line.strip_prefix("    ").filter(|_| !fenced);
        if let Some(language) = line.strip_prefix("```") {
            fenced = !fenced;
            if fenced {
                let (language, refused) = (language.to_owned(), refused.take());
                blocks.push(Block { line: at + 1, language, text: String::new(), refused });
            }
        } else if fenced {
            let block = blocks.last_mut().unwrap();
            block.text += line;
            block.text.push('\n');
        } else if let Some(code) = line.strip_prefix("<!-- refused: ") {
            refused = Some(code.trim_end_matches(" -->").to_owned());
        } else if let Some(line) = indented {
            if before.is_empty() {
                let (language, text) = (String::new(), String::new());
                blocks.push(Block { line: at + 1, language, text, refused: None });
            }
            let block = blocks.last_mut().unwrap();
            block.text += line;
            block.text.push('\n');
        }
        before = line;
    }
    assert!(!fenced, "a fence is left open");
    blocks
}

/// The commands of a block that call `evert`; quoted ones may go over several lines.
fn commands(block: &Block) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open = false;
    for line in block.text.lines() {
        if open {
            let command = commands.last_mut().unwrap();
            command.push('\n');
            command.push_str(line);
        } else if line.starts_with("evert ") || line.contains("| evert ") {
            commands.push(line.to_owned());
        } else {
            continue;
        }
        open = commands.last().unwrap().matches('\'').count() % 2 == 1;
    }
    // What has a gap, or a name to put in, is a form and no example.
    let is_form = |command: &String| command.contains('…') || command.contains("NAME");
    commands.into_iter().filter(|command| !is_form(command)).collect()
}

/// A server with the databases that the documents speak of.
fn server() -> Postgres {
    let server = Postgres::start(PostgresOptions::quick()).unwrap();
    for database in ["shop", "warehouse", "lab"] {
        server.psql(&format!("create database {database}")).unwrap();
    }
    server
}

/// The text with the addresses of this machine.
fn here(text: &str, server: &Postgres) -> String {
    let host = format!("127.0.0.1:{}", server.port());
    let mut text = text.to_owned();
    for user in ["app", "report", "me"] {
        text = text.replace(&format!("{user}@localhost/"), &format!("postgres@{host}/"));
    }
    text.replace("app:${SHOP_PASSWORD}@localhost/", &format!("postgres:${{SHOP_PASSWORD}}@{host}/"))
        .replace("postgres://localhost/", &format!("postgres://postgres@{host}/"))
}

/// The same command, ending when everything has arrived.
fn once(command: &str) -> String {
    if command.contains("--once") {
        return command.to_owned();
    }
    command.replace("evert run ", "evert run --once ")
}

/// Runs a command of a document, which must be a good one; returns what it prints.
#[track_caller]
fn run(user: &User, command: &str, place: &str) -> String {
    let ended = user.shell(&format!("export SHOP_PASSWORD=secret; {command}"));
    assert_eq!(ended.code, Some(0), "{place}: {command}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[test]
fn the_guide_does_what_it_says() {
    let server = server();
    let user = User::new();
    let mut printed = String::new();
    let mut steps = 0;
    for block in blocks(GUIDE) {
        let place = format!("docs/guide.md:{}", block.line);
        match block.language.as_str() {
            "sql" => drop(server.psql_in("shop", &block.text).unwrap()),
            "sh" => printed = run(&user, &here(&block.text, &server), &place),
            "json" => assert_eq!(printed, block.text, "{place}"),
            "slt" => user.write("large.slt", &block.text),
            other => panic!("{place}: nobody says how to run a block of {other:?}"),
        }
        steps += 1;
    }
    assert!(steps >= 8, "the guide has become short: {steps} steps");
    let left =
        "select slot_name from pg_replication_slots union select pubname from pg_publication";
    assert_eq!(server.psql_in("shop", left).unwrap(), "", "the guide leaves nothing behind");
}

#[test]
fn the_pipes_and_the_script_of_the_readme_run() {
    let server = server();
    server.psql_in("shop", SHOP).unwrap();
    let user = User::new();
    user.write("events.ndjson", "{\"country\":\"de\"}\n{\"country\":\"fr\"}\n");
    user.write("events.csv", "id,country\n1,de\n2,fr\n");
    let mut pipes = 0;
    for block in blocks(README) {
        let place = format!("README.md:{}", block.line);
        if block.language == "sql" {
            // The script is another way to say the same, so it begins anew.
            server.psql_in("shop", "select pg_drop_replication_slot('evert_shop')").unwrap();
            fs::remove_dir_all(user.dir().join(".evert")).unwrap();
            user.write("shop.sql", &here(&block.text, &server));
        }
        for command in commands(&block) {
            if command.starts_with("evert run") || command.contains("| evert run") {
                run(&user, &once(&here(&command, &server)), &place);
                pipes += 1;
            }
        }
    }
    assert_eq!(pipes, 6, "five pipes and a script");
    let tables = "select region, orders, revenue from revenue order by 1";
    assert_eq!(server.psql_in("warehouse", tables).unwrap(), "north|1|120.50\nsouth|2|260.00");
    let big = "select id, name, total from big_orders order by 1";
    assert_eq!(server.psql_in("warehouse", big).unwrap(), "10|Ada|120.50\n11|Grace|180.00");
    assert_eq!(server.psql_in("lab", "select count(*) from events").unwrap(), "2");
    assert_eq!(user.ok(&["search", "big_orders", "ada"]).lines().count(), 1);
}

#[test]
fn what_the_demo_and_the_readme_suggest_works_while_the_demo_runs() {
    let user = User::new();
    let port = free_port().unwrap().to_string();
    let address = format!("127.0.0.1:{port}");
    let mut demo = user.start(&["demo", "--rate", "200", "--http", &address]);
    let full = ["query", "--data", ".evert/demo", "select * from bestsellers"];
    demo.until("the shop has products", |_| user.evert(&full).stdout.lines().count() == 10);
    let teapots = ["search", "--data", ".evert/demo", "catalogue", "teapot"];
    demo.until("the index is filled", |_| !user.evert(&teapots).stdout.is_empty());
    let mut tried = 0;
    for block in blocks(README) {
        for command in commands(&block) {
            if command.contains("--data .evert/demo") {
                let printed = run(&user, &command, &format!("README.md:{}", block.line));
                assert!(!printed.is_empty(), "{command}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 3);
    for line in demo.stdout().lines() {
        let Some(at) = line.find("evert ").filter(|_| line.contains("--data .evert/demo")) else {
            continue;
        };
        let command = line[at..].replace(" --follow", "");
        assert!(!run(&user, &command, "the demo's first screen").is_empty(), "{command}");
        tried += 1;
    }
    assert!(tried >= 8, "the demo suggests {tried} commands");
    assert_eq!(demo.end_by(Signal::Interrupt).code, Some(0));
}

#[test]
fn the_examples_of_the_language_are_planned_or_refused_as_marked() {
    let server = server();
    server.psql_in("shop", SHOP).unwrap();
    let user = User::new();
    let (mut planned, mut refused) = (0, 0);
    for block in blocks(SQL) {
        let place = format!("docs/sql.md:{}", block.line);
        user.write("example.sql", &here(&block.text, &server));
        let text = here(&block.text, &server);
        let argument = if block.language == "sql" { "example.sql" } else { text.trim() };
        let ended = user.evert(&["plan", argument]);
        match &block.refused {
            None => {
                assert_eq!(ended.code, Some(0), "{place}\n{}", ended.stderr);
                assert!(ended.stdout.contains("-- how "), "{place}\n{}", ended.stdout);
                planned += 1;
            }
            Some(code) => {
                assert_eq!(ended.code, Some(2), "{place}\n{}", ended.stdout);
                let error = format!("error[{code}]: ");
                assert!(ended.stderr.starts_with(&error), "{place}\n{}", ended.stderr);
                refused += 1;
            }
        }
    }
    assert!(planned >= 6 && refused >= 8, "{planned} planned, {refused} refused");
}

#[test]
fn the_codes_of_the_language_are_documented_where_they_are_used() {
    for block in blocks(SQL) {
        let Some(code) = block.refused else { continue };
        assert!(SQL.contains(&format!("| {code} | ")), "{code} is not in the table of problems");
    }
    // SRC004 was refused types; there are none any more.
    for code in (1..=15).filter(|code| *code != 4) {
        assert!(CONNECTORS.contains(&format!("| SRC{code:03} | ")), "SRC{code:03}");
    }
    for code in 1..=9 {
        assert!(SQL.contains(&format!("| TAB{code:03} | ")), "TAB{code:03}");
    }
    for code in 20..=29 {
        assert!(CONNECTORS.contains(&format!("| SRC{code:03} | ")), "SRC{code:03}");
    }
}

#[test]
fn the_rights_that_the_documentation_asks_for_are_enough() {
    let server = server();
    server.psql_in("shop", SHOP).unwrap();
    let sql: Vec<Block> =
        blocks(CONNECTORS).into_iter().filter(|block| block.language == "sql").collect();
    assert_eq!(sql.len(), 2, "rights for an owner, and for a reader");
    for (block, role, option) in [
        (&sql[0], "evert", "(tables = $$orders$$)"),
        (&sql[1], "reader", "(publication = $$evert_pub$$, slot = $$reader$$)"),
    ] {
        let place = format!("docs/connectors.md:{}", block.line);
        server.psql_in("shop", &block.text).unwrap();
        let user = User::new();
        let url = format!("postgres://{role}@127.0.0.1:{}/shop {option}", server.port());
        let pipe = format!("{url} | from orders | aggregate count(*) as n | stdout");
        let printed = run(&user, &format!("evert run --once '{pipe}'"), &place);
        assert_eq!(printed, "{\"n\":3}\n", "{place}");
        run(&user, "evert drop shop", &place);
    }
    assert_eq!(server.psql("select slot_name from pg_replication_slots").unwrap(), "");
    let left = server.psql_in("shop", "select pubname from pg_publication").unwrap();
    assert_eq!(left, "evert_pub", "somebody else's publication stays");
}

#[test]
fn the_commands_of_the_connectors_run() {
    let user = User::new();
    user.write("events.ndjson", "{\"country\":\"de\"}\n{\"country\":\"fr\"}\n");
    let mut ran = 0;
    for block in blocks(CONNECTORS) {
        for command in commands(&block) {
            let printed = run(&user, &command, &format!("docs/connectors.md:{}", block.line));
            assert_eq!(printed.lines().count(), 2, "{command}\n{printed}");
            ran += 1;
        }
    }
    assert_eq!(ran, 1);
}

#[test]
fn the_test_files_of_the_operations_pass() {
    let user = User::new();
    let files = blocks(OPERATIONS).into_iter().filter(|block| block.language == "slt");
    let mut passed = 0;
    for block in files {
        user.write("shown.slt", &block.text);
        let place = format!("docs/operations.md:{}", block.line);
        run(&user, "evert test --verify shown.slt", &place);
        passed += 1;
    }
    assert_eq!(passed, 1);
}

#[test]
fn the_backups_of_the_operations_are_made_and_restored() {
    let user = User::new();
    let begin = OPERATIONS.lines().position(|line| line == "## Backup and restore").unwrap();
    let end = OPERATIONS.lines().position(|line| line == "## Tests of your own").unwrap();
    let within = |block: &Block| (begin..end).contains(&block.line) && block.language == "sh";
    let (mut printed, mut ran) = (String::new(), 0);
    for block in blocks(OPERATIONS).into_iter().filter(within) {
        let text = block.text.replace("/tmp/evert-vault", "vault");
        printed = run(&user, &text, &format!("docs/operations.md:{}", block.line));
        ran += 1;
    }
    assert_eq!(ran, 2);
    assert!(printed.contains("done: restored holds the log up to Time"), "{printed}");
    assert!(printed.ends_with("{\"id\":1,\"total\":20}\n"), "{printed}");
}

/// The cells of a drawn plan, without what differs from machine to machine: its numbers.
fn cells(drawn: &str) -> Vec<Vec<&str>> {
    let is_certain = |cell: &&str| !cell.is_empty() && !cell.starts_with(|c: char| c.is_numeric());
    drawn.lines().map(|line| line.split("  ").map(str::trim).filter(is_certain).collect()).collect()
}

#[test]
fn explained_plans_are_as_the_operations_show_them() {
    let user = User::new();
    let all = blocks(OPERATIONS);
    let begin = OPERATIONS.lines().position(|line| line == "## What a view costs").unwrap();
    let end = OPERATIONS.lines().position(|line| line == "## Exit codes").unwrap();
    let (mut printed, mut compared) = (String::new(), 0);
    for block in all.iter().filter(|block| (begin..end).contains(&block.line)) {
        let place = format!("docs/operations.md:{}", block.line);
        match block.language.as_str() {
            "sql" => {
                user.write("shown.sql", &block.text);
                run(&user, "evert sql shown.sql", &place);
            }
            "sh" => printed = run(&user, &block.text, &place),
            "text" => {
                assert_eq!(cells(&printed), cells(&block.text), "{place}\n{printed}");
                compared += 1;
            }
            other => panic!("{place}: nobody says how to run a block of {other:?}"),
        }
    }
    assert_eq!(compared, 2);
}

#[test]
fn the_data_directory_and_the_error_are_as_the_operations_show_them() {
    let user = User::new();
    user.write("events.ndjson", "{\"id\":1}\nbad\n");
    let pipe = "events.ndjson (follow = $$true$$, columns = $$id bigint$$) | search";
    let mut job = user.start(&["run", pipe]);
    let there = |name: &str| user.dir().join(".evert").join(name).exists();
    job.until("it answers", |_| there("search/events") && there("evert.sock"));
    let blocks = blocks(OPERATIONS);
    let tree = blocks.iter().find(|block| block.text.starts_with(".evert/")).unwrap();
    for line in tree.text.lines().skip(1) {
        let name = line.split_whitespace().next().unwrap().replace("VIEW", "events");
        assert!(there(&name), "{name}");
    }
    let shown = blocks.iter().find(|block| block.text.starts_with("error[EVT002]")).unwrap();
    let ended = user.evert(&["run"]);
    let holder = format!("process {}", job.id());
    assert_eq!(ended.stderr.replace(&holder, "process 4711"), shown.text);
    assert_eq!(job.end_by(Signal::Terminate).code, Some(0));

    let dead_letters = "create view bad as select * from evert.dead_letters";
    assert!(OPERATIONS.contains(&format!("`{dead_letters}`")));
    // The file is followed, so it never ends; what is there is taken all the same.
    run(&user, &format!("evert run --once '{dead_letters}'"), "docs/operations.md");
    let bad = user.ok(&["query", "select place, raw from bad"]);
    assert_eq!(bad, "{\"place\":\"line 2\",\"raw\":\"bad\"}\n");
}
