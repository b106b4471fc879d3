//! An HTTP/1.1 client over a plain socket: it sends exactly the bytes it is told to, right or wrong.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// Sends to one address, a connection per request.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Client {
    /// A client of `http://host:port`.
    pub fn of(url: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/').to_owned();
        Self { address }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub fn webhook(&self, funnel: &str, api_key: &str, body: &[u8]) -> Answer {
        self.send("POST", &format!("/v1/webhook/custom/{funnel}"), &[("content-type", "application/json"), ("x-api-key", api_key)], body)
    }

    pub fn session(&self, body: &Value) -> Answer {
        let headers = [("content-type", "text/plain"), ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Test/1.0")];
        self.send("POST", "/v1/session", &headers, body.to_string().as_bytes())
    }

    /// Sends a request with a `content-length` and reads the whole answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (key, value) in headers {
            head.extend([key, ": ", value, "\r\n"]);
        }
        if !body.is_empty() || method == "POST" || method == "PUT" {
            head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
        }
        head.push_str("\r\n");
        self.try_raw(&[head.as_bytes(), body].concat())
    }

    /// Sends bytes as they are and reads one answer.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        self.try_raw(bytes).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_raw(&self, bytes: &[u8]) -> std::io::Result<Answer> {
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        socket.set_nodelay(true)?;
        let sent = socket.write_all(bytes); // a server may answer and close before it has read everything
        read_answer(&mut BufReader::new(socket)).or_else(|error| sent.and(Err(error)))
    }
}

/// Reads one answer.
pub fn read_answer(from: &mut impl BufRead) -> std::io::Result<Answer> {
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| bad("no status line"))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        let (key, value) = text.split_once(':').ok_or_else(|| bad("no header"))?;
        headers.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    let find = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let mut body = Vec::new();
    if let Some(length) = find("content-length").and_then(|length| length.parse::<usize>().ok()) {
        body.resize(length, 0);
        from.read_exact(&mut body)?;
    } else if find("transfer-encoding").is_some_and(|encoding| encoding.contains("chunked")) {
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| bad("no chunk size"))?;
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else {
        from.read_to_end(&mut body)?;
    }
    Ok(Answer { status, headers, body })
}
