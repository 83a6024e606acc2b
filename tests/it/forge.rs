//! A small Git server over HTTP or HTTPS: `git http-backend` behind a server that asks for a password and notes what it is asked for.

use crate::support::World;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use trimtab::source::{Credentials, GitSource, SourceConfig};

/// With a second argument it speaks TLS, by the certificate that `tls/cert.pem` holds at each connection.
const SERVER: &str = r#"
import base64, json, os, ssl, subprocess, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
ROOT, TLS = sys.argv[1], len(sys.argv) > 2
WANTED = "Basic " + base64.b64encode(b"bot:s3cret").decode()
class H(BaseHTTPRequestHandler):
    def refuse(self):
        if not os.path.exists(ROOT + "/refusal"):
            self.send_response(401); self.send_header("www-authenticate", "Basic"); self.send_header("content-length", "0"); self.end_headers(); return
        said = (open(ROOT + "/refusal").read() + str(self.headers.get("authorization"))).encode()
        self.send_response(403); self.send_header("content-type", "text/plain"); self.send_header("content-length", str(len(said))); self.end_headers()
        self.wfile.write(said)
    def do(self):
        if self.headers.get("authorization") != WANTED: return self.refuse()
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": ROOT, "GIT_HTTP_EXPORT_ALL": "1", "REMOTE_USER": "bot", "PATH_INFO": path, "QUERY_STRING": query,
               "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(body)),
               "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""), "GIT_PROTOCOL": self.headers.get("git-protocol", "")}
        out = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True).stdout
        head, _, rest = out.partition(b"\r\n\r\n")
        with open(ROOT + "/requests", "a") as log:
            log.write(json.dumps({"path": self.path, "asked": body.decode("latin1"), "answered": len(rest)}) + "\n")
        lines = [l.split(": ", 1) for l in head.decode().split("\r\n")]
        status = next((int(v.split()[0]) for k, v in lines if k == "Status"), 200)
        self.send_response(status)
        for k, v in lines:
            if k != "Status": self.send_header(k, v)
        self.send_header("content-length", str(len(rest))); self.end_headers(); self.wfile.write(rest)
    do_GET = do_POST = do
    def log_message(self, *a): pass
class S(ThreadingHTTPServer):
    def get_request(self):
        socket, address = super().get_request()
        if TLS:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(ROOT + "/tls/cert.pem", ROOT + "/tls/key.pem")
            socket = context.wrap_socket(socket, server_side=True, do_handshake_on_connect=False)
        return socket, address
s = S(("127.0.0.1", int(os.environ.get("FORGE_PORT", "0"))), H)
print(s.server_port, flush=True)
s.serve_forever()
"#;

/// Ends with the test.
pub struct Forge {
    server: Child,
    root: PathBuf,
    pub url: String,
}

impl Forge {
    /// Serves the world's repository, which takes pushes.
    pub fn start(w: &World) -> Self {
        Self::launch(w, &[])
    }

    /// The same over TLS, with the certificate at `tls/cert.pem` and its key at `tls/key.pem`.
    pub fn start_tls(w: &World) -> Self {
        Self::launch(w, &["tls"])
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Starts it again, at the same address.
    pub fn again(&mut self) {
        let port = self.url.rsplit(':').next().unwrap().split('/').next().unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(&self.root).env("FORGE_PORT", port);
        self.server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        BufReader::new(self.server.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    }

    fn launch(w: &World, tls: &[&str]) -> Self {
        w.repo.config().unwrap().set_bool("http.receivepack", true).unwrap();
        let root = w.dir.path().to_owned();
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).arg(&root).args(tls).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let scheme = if tls.is_empty() { "http" } else { "https" };
        Self { server, root, url: format!("{scheme}://127.0.0.1:{}/models.git", port.trim()) }
    }

    /// What it was asked for and by how much it answered, so far: path with its query, body, bytes.
    pub fn requests(&self) -> Vec<(String, String, u64)> {
        let text = fs::read_to_string(self.root.join("requests")).unwrap_or_default();
        let read = |line: &str| {
            let v: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| v[key].as_str().unwrap().to_owned();
            (text("path"), text("asked"), v["answered"].as_u64().unwrap())
        };
        text.lines().map(read).collect()
    }

    /// From now on a refusal is 403 with these words and the credentials that came.
    pub fn refuse_with(&self, words: &str) {
        fs::write(self.root.join("refusal"), words).unwrap();
    }

    /// The world's repository by way of this server.
    pub fn open(&self, w: &World, secret: &str) -> GitSource {
        GitSource::open(&config(w, &self.url, secret)).unwrap()
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A source with the forge's user, that retries without a pause.
pub fn config(w: &World, url: &str, secret: &str) -> SourceConfig {
    SourceConfig {
        location: url.into(),
        branch: Some("main".into()),
        folder: "specs".into(),
        state: w.state(),
        credentials: Credentials {
            username: Some("bot".into()),
            secret: Some(secret.into()),
            ..Credentials::default()
        },
        timeout: Duration::from_secs(60),
        ca: None,
        random: || 0,
    }
}
