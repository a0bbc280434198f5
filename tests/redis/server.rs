//! A server that belongs to one test.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tower_refresh::store::Redis;

use crate::support::temporary;

/// A server on a port of its own, which keeps all that it acknowledges. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    child: Child,
}

/// How long a server may take to start.
const LIMIT: Duration = Duration::from_secs(20);

/// A port that no server listens on.
pub(crate) fn free_port() -> u16 {
    // The bus of a cluster uses the port 10000 above.
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}

// === impl Server ===

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = temporary("redis");
        fs::create_dir_all(&directory).unwrap();
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let port = free_port();
        let child = spawn(port, &directory, &arguments);
        let server = Self { port, directory, arguments, child };
        server.wait();
        server
    }

    /// Kills the server and starts it again, with its data.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    pub(crate) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(self.port, &self.directory, &self.arguments);
        self.wait();
    }

    /// Sends a signal, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    pub(crate) fn store(&self) -> Redis {
        Redis::new(self.client())
    }

    /// Sends a command as an administrator does.
    pub(crate) fn command(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut self.client().get_connection().unwrap()).unwrap()
    }

    /// Waits until the server has loaded its data.
    fn wait(&self) {
        let start = Instant::now();
        while !self.answers().is_ok_and(|answer| !answer.starts_with("-LOADING")) {
            assert!(start.elapsed() < LIMIT, "the server has not started");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn answers(&self) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn spawn(port: u16, directory: &PathBuf, arguments: &[String]) -> Child {
    let program = env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    Command::new(&program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
        .arg(directory)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?}: {error}; run tests/interop/redis.sh"))
}
