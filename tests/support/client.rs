//! A client that sends bytes as they are, and holds every answer against the
//! contract.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub const JSON: &str = "Content-Type: application/json";

pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {body}", self.status, self.headers)
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn data(&self) -> Value {
        assert_eq!(self.status, 201, "{self:?}");
        self.json()["data"].clone()
    }

    /// The paths and messages of a 400.
    pub fn issues(&self) -> Vec<(Vec<String>, String)> {
        assert_eq!(self.status, 400, "{self:?}");
        let json = self.json();
        let issues = json["error"]["details"]["issues"].as_array();
        let issues = issues.unwrap_or_else(|| panic!("no issues: {json}"));
        issues
            .iter()
            .map(|issue| {
                serde_json::from_value(issue["path"].clone())
                    .map(|path| (path, issue["message"].as_str().unwrap().to_owned()))
                    .unwrap()
            })
            .collect()
    }

    /// A 400 with one issue, of the body itself.
    #[track_caller]
    pub fn is_malformed(&self) {
        assert_eq!(self.issues(), [(vec![], "Malformed JSON".to_owned())]);
    }

    /// A 400 whose issues are of these fields.
    #[track_caller]
    pub fn is_invalid(&self, fields: &[&str]) {
        let said: Vec<_> = self.issues().into_iter().map(|(path, _)| path.join("/")).collect();
        assert_eq!(said, fields, "{}", self.json());
    }

    /// A refusal with a code and without details.
    #[track_caller]
    pub fn is(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json()["error"]["code"], code);
        assert!(self.json()["error"].get("details").is_none());
    }

    /// Checks the properties of every answer on the path.
    pub fn check_contract(&self, to_head: bool) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(self.header("allow"), (self.status == 405).then_some("POST"));
        assert!(self.header("content-encoding").is_none() && self.header("location").is_none());
        let waits = self.header("retry-after").map(|wait| wait.parse::<u64>().unwrap());
        assert_eq!(waits.is_some(), matches!(self.status, 429 | 503));
        assert!(waits.is_none_or(|wait| wait >= 1));
        if to_head {
            assert_eq!((self.status, self.body.as_slice()), (405, [].as_slice()));
            return;
        }
        let json = self.json();
        super::document::check_answer(self, &json);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        if self.status == 201 {
            assert_eq!(keys(&json), ["data"]);
            assert_eq!(keys(&json["data"]), ["account", "api_key", "token"]);
            assert_eq!(keys(&json["data"]["account"]), ["email", "id", "name", "plan"]);
            return;
        }
        assert_eq!(keys(&json), ["error"]);
        let expected = match self.status {
            400 | 405 | 408 | 413 | 415 => "VALIDATION_ERROR",
            409 => "CONFLICT",
            429 => "RATE_LIMIT_EXCEEDED",
            500 => "INTERNAL_ERROR",
            503 => "EXTERNAL_SERVICE_ERROR",
            other => panic!("no status of the contract: {other}"),
        };
        assert_eq!(json["error"]["code"], expected);
        assert!(json["error"]["message"].is_string());
        let mut allowed = vec!["code", "message"];
        if json["error"].get("details").is_some() {
            assert_eq!(self.status, 400);
            allowed.insert(1, "details");
        }
        assert_eq!(keys(&json["error"]), allowed);
    }
}

/// Where a client notes down what it sends.
pub type Recording = &'static Mutex<Vec<Vec<u8>>>;

/// A connection, reopened if the server has closed it.
pub struct Client {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    pub recording: Option<Recording>,
    /// The number of the client that a proxy names, if each request comes from another one.
    pub forwarded: Option<u32>,
}

impl Client {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, recording: None, forwarded: None }
    }

    pub async fn post(&mut self, body: &[u8]) -> Response {
        let Some(number) = &mut self.forwarded else {
            return self.request("POST", "/auth/signup", &[JSON], body).await;
        };
        *number += 1;
        let client = format!("X-Forwarded-For: {}", std::net::Ipv4Addr::from_bits(*number));
        self.request("POST", "/auth/signup", &[JSON, &client], body).await
    }

    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Response {
        self.send(&request(method, path, headers, body), method == "HEAD").await
    }

    /// Posts on the connection that there is, or gives none where it breaks.
    pub async fn try_post(&mut self, body: &[u8]) -> Option<Response> {
        self.try_post_with(&[JSON], body).await
    }

    /// The same with these headers.
    pub async fn try_post_with(&mut self, headers: &[&str], body: &[u8]) -> Option<Response> {
        self.try_send(&request("POST", "/auth/signup", headers, body)).await
    }

    /// Sends a request on the connection that there is, or gives none where it breaks.
    pub async fn try_send(&mut self, request: &[u8]) -> Option<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.addr).await.ok()?,
        };
        stream.write_all(request).await.ok()?;
        let response = read_response(&mut stream, false).await?;
        Some(self.keep(stream, response))
    }

    /// Sends bytes, on a new connection where the old one has been closed.
    pub async fn send(&mut self, bytes: &[u8], to_head: bool) -> Response {
        if let Some(recording) = self.recording {
            recording.lock().unwrap().push(bytes.to_vec());
        }
        if let Some(mut stream) = self.stream.take()
            && stream.write_all(bytes).await.is_ok()
            && let Some(response) = read_response(&mut stream, to_head).await
        {
            return self.keep(stream, response);
        }
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        // A server that answers before it has read everything closes: the
        // answer counts.
        let _ = stream.write_all(bytes).await;
        let response = read_response(&mut stream, to_head).await;
        let response =
            response.unwrap_or_else(|| panic!("no answer to {}", String::from_utf8_lossy(bytes)));
        self.keep(stream, response)
    }

    fn keep(&mut self, stream: TcpStream, response: Response) -> Response {
        if response.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        response
    }
}

/// A request as bytes, with its length.
pub fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for header in headers {
        request += header;
        request += "\r\n";
    }
    request += &format!("Content-Length: {}\r\n\r\n", body.len());
    [request.as_bytes(), body].concat()
}

/// The next answer, or none where the connection ends before one.
pub async fn read_response(stream: &mut TcpStream, to_head: bool) -> Option<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    if status == 100 {
        return Box::pin(read_response(stream, to_head)).await;
    }
    let headers: Vec<_> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response = Response { status, headers, body: Vec::new() };
    let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
    if !to_head {
        response.body = vec![0; length];
        stream.read_exact(&mut response.body).await.ok()?;
    }
    Some(response)
}

/// The password of everybody whom [`signup`] signs up.
pub const PASSWORD: &str = "correct horse";

/// Returns a valid sign-up for this address.
pub fn signup(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD})
}
