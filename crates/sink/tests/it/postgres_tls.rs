//! TLS to a real server, with a certificate that only its own root vouches for. Keys and certificates under `tls/`
//! were made for this test and open nothing else.

use servers::{Postgres, PostgresOptions};
use sink::{SinkConfig, SinkError};

use crate::world::{config, table_url};

/// Has the server write its own key, so that it is its owner's alone, and turn TLS on.
fn turn_on_tls(server: &Postgres) {
    for (file, text) in [
        ("server.key", include_str!("tls/server.key")),
        ("server.crt", include_str!("tls/server.crt")),
    ] {
        let lines = text.trim_end().replace('\n', "'), ('");
        let program = format!("umask 077; cat > {file}");
        server.psql(&format!("copy (values ('{lines}')) to program '{program}'")).unwrap();
    }
    server.psql("alter system set ssl = on").unwrap();
    server.psql("select pg_reload_conf()").unwrap();
    let on = || server.psql("show ssl").unwrap() == "on";
    assert!(servers::wait_until(std::time::Duration::from_secs(10), on), "TLS is on");
}

async fn open(config: &SinkConfig, parameters: &str) -> Result<(), SinkError> {
    let url = format!("{}?{parameters}", config.url);
    sink::open(SinkConfig { url, ..config.clone() }).await.map(drop)
}

#[tokio::test]
async fn sslmode_means_what_it_means_to_libpq() {
    let server = Postgres::start(PostgresOptions::quick()).unwrap();
    let config = config(table_url(&server, "things"), server.socket_directory());
    let error = open(&config, "sslmode=require").await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("SINK016", false), "{error}");
    open(&config, "sslmode=prefer").await.expect("a server without TLS is good enough");

    turn_on_tls(&server);
    open(&config, "sslmode=require").await.expect("encrypted, whoever it is");
    let root = server.socket_directory().join("root.crt");
    std::fs::write(&root, include_str!("tls/ca.crt")).unwrap();
    let root = root.display();
    open(&config, &format!("sslmode=verify-full&sslrootcert={root}"))
        .await
        .expect("the root vouches for the server");
    let error = open(&config, "sslmode=verify-full").await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("SINK016", false), "{error}");
    let error = open(&config, "sslmode=verify-full&sslrootcert=/nowhere").await.unwrap_err();
    assert_eq!(error.code(), "SINK016", "{error}");
}
