//! A Kafka broker, which is its own controller: one process, one node.
//!
//! Its jars are fetched once with Maven and kept below the temporary directory; it needs Java 17 or later.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::install::{Fetcher, kept};
use crate::process::{Daemon, READY_MAX};
use crate::{ServerError, free_port};

/// The version that is fetched.
const VERSION: &str = "4.2.0";

/// The cluster's identity.
const CLUSTER: &str = "ZXZlcnQtdGVzdC1rYWZrYQ";

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

const FETCHER: Fetcher = Fetcher {
    program: "Kafka's jars, or Maven that fetches them,",
    package: "maven",
    variable: "KAFKA_JARS",
};

const JAVA: Fetcher = Fetcher {
    program: "java, which runs Kafka,",
    package: "default-jre-headless",
    variable: "JAVA_HOME",
};

/// How a broker is set up.
#[derive(Clone, Copy, Debug)]
pub struct KafkaOptions {
    /// Whether messages are synced to disk before they are acknowledged.
    pub fsync: bool,
}

impl KafkaOptions {
    /// What is acknowledged is on disk: `log.flush.interval.messages = 1`.
    #[must_use]
    pub fn durable() -> Self {
        Self { fsync: true }
    }

    /// As it is without settings: when files are synced is left to the system.
    #[must_use]
    pub fn quick() -> Self {
        Self { fsync: false }
    }
}

/// A Kafka broker of its own; stopped and removed when dropped.
#[derive(Debug)]
pub struct Kafka {
    daemon: Daemon,
}

impl Deref for Kafka {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Kafka {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

impl Kafka {
    /// Starts a broker on a free port. Topics are made when they are first asked for, with one partition.
    ///
    /// # Errors
    /// When it cannot be fetched, with what is missing for that; or when it does not become ready.
    pub fn start(options: KafkaOptions) -> Result<Self, ServerError> {
        let (jars, port) = (jars()?, free_port()?);
        let directory = Daemon::directory_for("kafka")?;
        let settings = directory.path().join("server.properties");
        let text = properties(options, port, free_port()?, &directory.path().join("data"));
        fs::write(&settings, text).map_err(ServerError::io("write server.properties"))?;
        let mut format = java(&jars);
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(&settings);
        JAVA.run(&mut format)?;
        let mut command = java(&jars);
        command.arg("kafka.Kafka").arg(&settings);
        let daemon = Daemon::start(command, directory, port, answers)?;
        Ok(Self { daemon })
    }

    /// The address for clients: host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }
}

/// The broker's settings.
fn properties(options: KafkaOptions, port: u16, controller: u16, data: &Path) -> String {
    let flush = if options.fsync { "log.flush.interval.messages=1" } else { "" };
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         inter.broker.listener.name=PLAINTEXT\n\
         log.dirs={}\n\
         {flush}\n\
         num.partitions=1\n\
         min.insync.replicas=1\n\
         default.replication.factor=1\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n",
        data.display()
    )
}

/// Whether a broker answers, and has joined its cluster.
fn answers(port: u16) -> bool {
    metadata(port, None).is_ok_and(|said| said.brokers() > 0)
}

/// What a broker says of its cluster.
struct Metadata(Vec<u8>);

impl Metadata {
    /// How many brokers are there and may be asked.
    fn brokers(&self) -> i32 {
        // Behind the number of the request.
        self.0.get(4..8).and_then(|count| count.try_into().ok()).map_or(0, i32::from_be_bytes)
    }
}

/// Asks a broker for its cluster and one topic, which is made when it is not there.
fn metadata(port: u16, topic: Option<&str>) -> io::Result<Metadata> {
    let mut request = Vec::new();
    // Kind 3 (metadata), version 1, the request's number, and a client without a name.
    request.extend([0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff]);
    // How many topics, and each with its length.
    request.extend(u32::from(topic.is_some()).to_be_bytes());
    if let Some(topic) = topic {
        let length = u16::try_from(topic.len()).map_err(io::Error::other)?;
        request.extend(length.to_be_bytes());
        request.extend(topic.as_bytes());
    }
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(READY_MAX))?;
    stream.write_all(&u32::try_from(request.len()).map_err(io::Error::other)?.to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut answer = vec![0; length.min(ANSWER_BYTES_MAX)];
    stream.read_exact(&mut answer)?;
    Ok(Metadata(answer))
}

/// Java with Kafka's classes.
fn java(jars: &Path) -> Command {
    let home = std::env::var_os(JAVA.variable).map(PathBuf::from);
    let mut java = Command::new(home.map_or_else(|| "java".into(), |home| home.join("bin/java")));
    let log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
    java.args(["-Xmx512m", log, "-cp"]).arg(jars.join("*"));
    java
}

/// Kafka's jars: those that are named, or fetched.
fn jars() -> Result<PathBuf, ServerError> {
    if let Some(path) = std::env::var_os(FETCHER.variable) {
        return Ok(path.into());
    }
    let directory = kept(&format!("evert-kafka-jars-{VERSION}"), |directory| {
        let project = directory.join("pom.xml");
        let dependency = |group: &str, artifact: &str, version: &str| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>"
            )
        };
        let kafka = dependency("org.apache.kafka", "kafka_2.13", VERSION);
        let log = dependency("org.slf4j", "slf4j-simple", "1.7.36");
        let text = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>evert</groupId>\
             <artifactId>kafka</artifactId><version>1</version>\
             <dependencies>{kafka}{log}</dependencies></project>"
        );
        fs::write(&project, text).map_err(ServerError::io("write pom.xml"))?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&project).arg("dependency:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", directory.join("jars").display()));
        FETCHER.run(&mut maven)
    })?;
    Ok(directory.join("jars"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Stop, wait_until};

    #[test]
    fn a_broker_keeps_its_topics_over_a_restart() {
        let mut server = Kafka::start(KafkaOptions::durable()).unwrap();
        let address = server.address();
        let has = |server: &Kafka, topic: &str| {
            let said = metadata(server.port(), Some(topic)).unwrap().0;
            // No error, then the name.
            let wanted =
                [&[0, 0, 0, u8::try_from(topic.len()).unwrap()], topic.as_bytes()].concat();
            said.windows(wanted.len()).any(|bytes| bytes == wanted)
        };
        assert!(!has(&server, "kept"));
        assert!(wait_until(READY_MAX, || has(&server, "kept")));
        server.stop(Stop::Fast).unwrap();
        server.start_again().unwrap();
        assert_eq!(server.address(), address);
        assert!(has(&server, "kept"));
        assert!(!has(&server, "other"));
    }

    #[test]
    fn a_dropped_broker_leaves_no_process_and_no_directory() {
        let server = Kafka::start(KafkaOptions::quick()).unwrap();
        let (directory, port) = (server.directory().to_owned(), server.port());
        drop(server);
        assert!(!directory.exists());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
