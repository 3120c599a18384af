//! TLS with a certificate that its server signed itself, made by the `openssl` that Debian's PostgreSQL brings.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use std::sync::Arc;

use servers::Postgres;
use source::Phase;

use super::rig::{Memory, Running, config, server, until};

/// Gives the server a certificate for 127.0.0.1 and returns its path.
fn certify(server: &Postgres) -> String {
    let directory = server.socket_directory();
    let (key, certificate) = (directory.join("tls.key"), directory.join("tls.crt"));
    let mut openssl = Command::new("openssl");
    openssl.args("req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=localhost".split(' '));
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let output = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output();
    let output = output.expect("openssl is installed: it comes with Debian's postgresql");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let owner = directory.metadata().unwrap();
    chown(&key, Some(owner.uid()), Some(owner.gid())).unwrap();
    set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
    server
        .psql(&format!(
            "alter system set ssl_cert_file = '{certificate}'; alter system set ssl_key_file = '{key}';
             alter system set ssl = on; select pg_reload_conf()"
        ))
        .unwrap();
    certificate
}

#[tokio::test]
async fn the_stream_is_encrypted_and_the_server_proves_its_name_when_asked() {
    let server = server("create table t (id int primary key)");
    let certificate = certify(&server);
    until("TLS", || server.psql("show ssl").unwrap() == "on").await;
    let memory = Arc::new(Memory::default());
    let encrypted = "select ssl from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'evert'";
    for (mode, expected) in [
        ("sslmode=disable", "f"),
        ("sslmode=require", "t"),
        (&*format!("sslmode=verify-full&sslrootcert={certificate}"), "t"),
    ] {
        let mut config = config(&server, &[]);
        config.url = format!("{}?{mode}", config.url);
        let running = Running::start(config, &memory, memory.resume(), false);
        until("streaming", || running.progress.report().phase == Phase::Streaming).await;
        assert_eq!(server.psql(encrypted).unwrap(), expected, "{mode}");
        running.stop().await;
    }
    let mut unknown = config(&server, &[]);
    unknown.url = format!("{}?sslmode=verify-full", unknown.url);
    let error = Running::start(unknown, &memory, memory.resume(), true).end().await.unwrap_err();
    assert_eq!((error.code(), error.is_transient()), ("SRC020", false), "{error}");
}
