//! The page in a real browser: what a person sees after `evert demo`, and that data is shown as text, whatever it is.
//!
//! A headless Chromium is driven over a pair of pipes by its own protocol, so that the test can ask the page until it
//! shows what it should. Without Chromium the tests say so and pass, unless EVERT_TEST_CHROMIUM=1 demands it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};
use servers::{Process, Signal, free_port, wait_until};
use tempfile::TempDir;

use crate::user::User;
use crate::world::DEADLINE;

const FLAGS: &str = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
                     --disable-component-update --disable-sync --remote-debugging-pipe";

/// A browser with one page.
struct Browser {
    process: Process,
    commands: File,
    answers: Receiver<Value>,
    session: Option<String>,
    last: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser on a page; `None`, said loudly, when there is none on this machine.
    fn open(url: &str) -> Option<Self> {
        let Some(program) = chromium() else {
            let demanded = std::env::var("EVERT_TEST_CHROMIUM").is_ok_and(|value| value == "1");
            assert!(!demanded, "EVERT_TEST_CHROMIUM=1, but there is no chromium on PATH");
            eprintln!("SKIPPED: the page was not looked at, because there is no chromium on PATH");
            return None;
        };
        let profile = tempfile::Builder::new().prefix("evert-page-").tempdir().unwrap();
        let (input, output) = (profile.path().join("input"), profile.path().join("output"));
        assert!(Command::new("mkfifo").args([&input, &output]).status().unwrap().success());
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("exec \"$0\" {FLAGS} --user-data-dir=\"$1\" 3<\"$2\" 4>\"$3\"")])
            .args([&program, &profile.path().join("profile"), &input, &output])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command).unwrap();
        let commands = File::options().write(true).open(&input).unwrap();
        let answers = listen(File::open(&output).unwrap());
        let (session, last) = (None, 0);
        let mut browser = Self { process, commands, answers, session, last, _profile: profile };
        let target = browser.ask("Target.createTarget", json!({ "url": url }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        Some(browser)
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let answer = self.answers.recv_timeout(DEADLINE).expect("the browser answers");
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.ask("Runtime.evaluate", parameters)["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    fn until(&mut self, what: &str, expression: &str) {
        let came = wait_until(DEADLINE, || self.value(expression) == true);
        let text = self.value("document.body ? document.body.innerText : 'no page'");
        assert!(came, "never: {what}\n{}", text.as_str().unwrap_or_default());
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to close, it takes its children along; when it is gone already, there is nothing to ask.
        self.session = None;
        let close = json!({ "id": 0, "method": "Browser.close" });
        self.commands.write_all(format!("{close}\0").as_bytes()).unwrap_or_default();
        self.process.wait(DEADLINE).map(drop).unwrap_or_default();
    }
}

/// Receives what the browser says: JSON objects, each with a zero byte behind it.
fn listen(output: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(output).split(0) {
            let Ok(message) = message else { break };
            let Ok(message) = serde_json::from_slice(&message) else { break };
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    receiver
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let programs = names.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    programs.into_iter().find(|program| Path::is_file(program))
}

#[test]
fn the_demos_page_shows_the_views_the_path_and_a_search() {
    let user = User::new();
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let mut demo = user.start(&["demo", "--data", "shop", "--rate", "50", "--http", &address]);
    let full = ["query", "--data", "shop", "select * from bestsellers"];
    demo.until("the shop has products", |_| user.evert(&full).stdout.lines().count() == 10);
    let Some(mut browser) = Browser::open(&format!("http://{address}/")) else { return };
    for (view, rows) in [("revenue_by_region", 1), ("bestsellers", 10), ("catalogue", 10)] {
        let of_view = format!("article[aria-label=\"View {view}\"] tbody tr");
        let shown = format!("document.querySelectorAll('{of_view}').length >= {rows}");
        browser.until(&format!("rows of {view}"), &shown);
    }
    for node in ["shop", "revenue_by_region", "bestsellers", "catalogue", "catalogue_search"] {
        let shown = format!("document.querySelector('#columns b[title=\"{node}\"]') !== null");
        browser.until(&format!("{node} in the path"), &shown);
    }
    browser.until("edges", "document.querySelectorAll('#edges path').length > 0");
    browser.until("a search box", "!document.getElementById('search').hidden");
    let before = browser.value("document.getElementById('time').textContent");
    browser.until(
        "the page lives",
        &format!("document.getElementById('time').textContent !== {before}"),
    );
    browser.value(
        "document.getElementById('search-words').value = 'teapot';
         document.getElementById('search-words').dispatchEvent(new Event('input', { bubbles: true }))",
    );
    browser.until("hits", "document.querySelectorAll('#search-result tbody tr mark').length > 0");
    // Views come and go under the reader's eyes, and the others move on.
    let regions =
        "create view regions as select region, count(*) as n from customers group by region";
    user.ok(&["sql", "--data", "shop", regions]);
    let of_view =
        "document.querySelectorAll('article[aria-label=\"View regions\"] tbody tr').length";
    browser.until("rows of the new view", &format!("{of_view} > 1"));
    user.ok(&["drop", "--data", "shop", "regions"]);
    browser.until("the view is gone", &format!("{of_view} === 0"));
    let before = browser.value("document.getElementById('time').textContent");
    browser.until(
        "the page lives on",
        &format!(
            "document.getElementById('time').textContent !== {before}
             && document.getElementById('link').dataset.state === 'live'"
        ),
    );
    assert_eq!(demo.end_by(Signal::Interrupt).code, Some(0));
    browser.until(
        "the page says that nobody answers",
        "document.getElementById('link').dataset.state !== 'live'",
    );
}

#[test]
fn data_is_text_on_the_page_whatever_it_is() {
    let user = User::new();
    let hostile =
        "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>";
    let row = json!({ "id": 1, "note": hostile });
    user.write("notes.ndjson", &format!("{row}\n"));
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let pipe = "notes.ndjson (follow = $$true$$) | select id, note | search";
    let mut job = user.start(&["run", "--http", &address, pipe]);
    let full = ["query", "select count(*) as n from result"];
    job.until("the row is there", |_| user.evert(&full).stdout == "{\"n\":1}\n");
    let Some(mut browser) = Browser::open(&format!("http://{address}/")) else { return };
    browser.until(
        "the value as text",
        &format!("document.getElementById('views').innerText.includes({})", json!(hostile)),
    );
    assert_eq!(browser.value("document.querySelectorAll('#views img, #views script').length"), 0);
    assert_eq!(browser.value("document.title.includes('broken')"), false);
    assert_eq!(job.end_by(Signal::Terminate).code, Some(0));
}
